"""``simulate`` against the real exporter: what it says it sent is what was counted."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from exporter.simulator.simulation import Clock
from tests.support.running import TIMEOUT, Exporter, environment, exporter, until
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record

SUMMARY = r"([\d,]+) calls sent: ([\d,]+) answered 200, ([\d,]+) of them repeats; ([\d,]+) refused(: .*)?"


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "exporter", "simulate", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIMEOUT,
    )


def numbers(line: str) -> list[int]:
    """The figures of the last line: sent, answered 200, repeats, refused."""
    match = re.fullmatch(SUMMARY, line.strip())
    assert match, line
    return [int(number.replace(",", "")) for number in match.groups()[:4]]


def url(running: Exporter) -> str:
    """The callback of an exporter."""
    return f"http://{running.public}/failures"


@pytest.mark.parametrize("form", ["form", "json", "multipart"])
def test_what_it_says_it_sent_is_counted(form: str, tmp_path: Path) -> None:
    """Past traffic is sent at once, in each form; each failure counts once, and each repeat as a duplicate."""
    with exporter(tmp_path) as running:
        done = simulate(url(running), *"--past 7d --for 1s --failures-per-day 100 --seed 1 --format".split(), form)
        sent, good, repeats, refused = numbers(done.stdout)
        samples = running.samples()
        counted = sum(running.failures().values())
    assert (done.returncode, refused) == (0, 0)
    assert sent == good == counted + repeats
    assert samples["smtpeter_exporter_duplicates_total"] == repeats > 0
    assert 560 < counted < 840  # a whole week has as many whatever the hour of the test
    assert done.stderr == f"sending 100 failures a day to {url(running)}, seed 1; Ctrl-C stops\n"


def test_signed_calls_count(tmp_path: Path) -> None:
    """With a key to sign with, its calls pass the check of signatures; without, all are refused, and it says so."""
    pem = tmp_path / "key.pem"
    pem.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signing = ["--sign-key", str(pem), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT]
    past = "--past 1h --for 1s --failures-per-day 2000 --seed 2".split()
    with NameServer() as names:
        names.records[KEY_ID] = [record(key())]
        flags = ("--signature.mode", "required", "--signature.account", ACCOUNT)
        with exporter(tmp_path, *flags, "--signature.nameserver", names.address) as running:
            signed, unsigned = simulate(url(running), *past, *signing), simulate(url(running), *past)
            counted = sum(running.failures().values())
    sent, good, repeats, refused = numbers(signed.stdout)
    assert (sent, counted, refused) == (good, good - repeats, 0)
    sent, good, repeats, refused = numbers(unsigned.stdout)
    assert (good, repeats, refused) == (0, 0, sent)
    assert "first answer of its kind: 403 Forbidden: unsigned\n" in unsigned.stderr
    assert unsigned.stdout.endswith(f"refused: {sent:,} with 403\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_told_to(number: signal.Signals, tmp_path: Path) -> None:
    """A signal ends it in good order: exit code 0, and a last line with what was sent."""
    with exporter(tmp_path) as running:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "simulate", url(running), "--failures-per-day", "1000000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        until(lambda: sum(running.failures().values()) > 5)
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT)
        sent, good, repeats, refused = numbers(output)
        assert (process.returncode, refused) == (0, 0)
        assert sent == good == sum(running.failures().values()) + repeats
    assert re.fullmatch(r"sending 1,000,000 failures a day to \S+, seed \d+; Ctrl-C stops\n", errors)


def test_a_target_that_does_not_answer_is_told_once() -> None:
    """While nobody answers it tries on and says so in one line; at the end it ends."""
    done = simulate("http://127.0.0.1:1/failures", *"--past 1d --for 1s --seed 3".split())
    assert done.returncode == 0
    assert numbers(done.stdout) == [0, 0, 0, 0]
    first, trouble = done.stderr.splitlines()
    assert first == "sending 1,000 failures a day to http://127.0.0.1:1/failures, seed 3; Ctrl-C stops"
    assert re.fullmatch(r"no answer from http://127\.0\.0\.1:1/failures: .*Connection refused; trying on", trouble)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ftp://example.com/x"], "URL: 'ftp://example.com/x': expected that of the callback"),
        (["http://"], "URL: 'http://': expected that of the callback"),
        (["http://a:b/"], "URL: 'http://a:b/': expected that of the callback"),
        (["http://user@a/"], "URL: 'http:***@a/': expected that of the callback"),
        (["http://a/", "--for", "2x"], "'2x': expected a duration such as 90s, 2m or 1d12h"),
        (["http://a/", "--past", "99999999d"], "'99999999d': expected a duration of at most 3660d"),
        (["http://a/", "--failures-per-day", "nan"], "Invalid value for '--failures-per-day': nan is not a number."),
        (["http://a/", "--speed", "nan"], "Invalid value for '--speed': nan is not a number."),
        (["http://a/", "--failures-per-day", "0"], "0.0 is not in the range 1<=x<=10000000"),
        (["http://a/", "--spike", "bad"], "'bad' is not one of 'recipient_unknown'"),
        (["http://a/", "--spike-factor", "0"], "0.0 is not in the range 1<=x<=1000"),
        (["http://a/", "--speed", "0"], "0.0 is not in the range 0.01<=x<=100000"),
        (["http://a/", "--sign-key", "x"], "--sign-key, --sign-key-id and --sign-account go together"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str) -> None:
    """A wrong argument ends it with exit code 2 and a line that says which and what was expected."""
    done = simulate(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_clock_runs_at_its_speed() -> None:
    """A minute of the simulation takes a second at sixty times the speed; what has passed needs no wait."""
    now = 50.0
    clock = Clock(1_000.0, 60.0, lambda: now)
    assert clock.until(1_060.0) == 1.0
    now = 50.5
    assert clock.until(1_060.0) == 0.5
    assert clock.until(940.0) == -1.5
