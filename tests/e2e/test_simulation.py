"""``simulate`` and ``send`` against servers: every request is counted, retried if necessary, and reported."""

import base64
import json
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from exporter.classification.loops import LOOPS
from exporter.classification.providers import Providers
from exporter.simulator import simulation
from exporter.simulator.answers import SAMPLE_REPLIES
from exporter.simulator.client import FORMS, send
from exporter.simulator.requests import SimulatedRequest
from exporter.simulator.simulation import Clock, Simulation, target_of
from tests.support.running import FORM, TIMEOUT, Exporter, changes, environment, exporter, free_port, until
from tests.support.scripted_server import scripted_server
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record
from tests.support.simulating import command, simulate, summary_of, truth_of
from tests.support.sink import Received, sink


def url(running: Exporter) -> str:
    """Return the URL of the webhook."""
    return f"http://{running.public}/failures"


# The command


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run an exporter for all tests that send unsigned requests."""
    with exporter(tmp_path_factory.mktemp("simulation")) as shared:
        yield shared


@pytest.mark.parametrize(("seed", "form"), list(enumerate(FORMS)), ids=FORMS)
def test_past_traffic_is_sent_and_counted(seed: int, form: str, running: Exporter) -> None:
    """A week of the past is sent at once, in each format; failures count once, and repeats are duplicates."""
    before = running.samples()
    past = ["--past", "7d", "--for", "1s", "--failures-per-day", "100", "--seed", str(seed), "--format", form]
    done = simulate(url(running), *past)
    counted = changes(before, running.samples())
    summary = summary_of(done.stdout)
    failures = sum(by for name, by in counted.items() if name.startswith("smtpeter_failures_total"))
    assert (done.returncode, summary.rejected) == (0, 0)
    assert summary.sent == summary.accepted == failures + summary.repeats
    assert counted["smtpeter_exporter_duplicates_total"] == summary.repeats > 0
    assert 560 < failures < 840


def test_signed_requests_count(tmp_path: Path) -> None:
    """With a key, the requests pass the verification. Without one, all are rejected, and the first answer is shown."""
    pem = tmp_path / "key.pem"
    pem.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signing = ["--sign-key", str(pem), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT]
    past = "--past 1h --for 1s --failures-per-day 2000 --seed 2".split()
    with NameServer() as names:
        names.records[KEY_ID] = [record(key())]
        flags = ("--signature.mode", "required", "--signature.account", ACCOUNT)
        with exporter(tmp_path, *flags, "--signature.nameserver", names.address) as guarded:
            signed, unsigned = simulate(url(guarded), *past, *signing), simulate(url(guarded), *past)
            counted = sum(guarded.failures().values())
    assert (signed.returncode, unsigned.returncode) == (0, 1)
    summary = summary_of(signed.stdout)
    assert (summary.sent, counted, summary.rejected) == (summary.accepted, summary.accepted - summary.repeats, 0)
    summary = summary_of(unsigned.stdout)
    assert (summary.accepted, summary.repeats, summary.rejected) == (0, 0, summary.sent)
    _, first, hint = unsigned.stderr.splitlines()
    assert ("403 Forbidden: unsigned" in first, "signature.mode" in hint) == (True, True)
    assert " 403\n" in unsigned.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it(number: signal.Signals, running: Exporter) -> None:
    """The exit code is 0, and the summary is right."""
    before = running.samples()
    process = subprocess.Popen(
        command(url(running), "--failures-per-day", "1000000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )

    def counted() -> float:
        found = changes(before, running.samples())
        return sum(by for name, by in found.items() if name.startswith("smtpeter_failures_total"))

    until(lambda: counted() > 5)
    process.send_signal(number)
    output, errors = process.communicate(timeout=TIMEOUT)
    summary = summary_of(output)
    assert (process.returncode, summary.rejected) == (0, 0)
    assert summary.sent == summary.accepted == counted() + summary.repeats
    assert (errors.count("\n"), url(running) in errors) == (1, True)


@pytest.mark.parametrize("flags", ["", "--for 1s", "--past 1d", "--failures-per-day 1"])
def test_a_target_that_never_answers_is_an_error(flags: str) -> None:
    """It ends within seconds, whenever the first failure is due: the problem is reported once, the summary printed."""
    target = f"http://127.0.0.1:{free_port()}/failures"
    done = simulate(target, "--seed", "3", *flags.split())
    assert (done.returncode, summary_of(done.stdout)) == (1, (0, 0, 0, 0))
    _, problem, error = done.stderr.splitlines()
    assert (target in problem, "Connection refused" in problem) == (True, True)
    assert error.startswith(f"smtpeter-exporter: no answer from {target}: "), error


def test_a_wrong_path_is_explained(running: Exporter) -> None:
    """If the URL has another path than the webhook's, nothing counts, the exit code is 1, and a line names the path."""
    done = simulate(f"http://{running.public}/", *"--past 1h --for 1s --seed 3".split())
    summary = summary_of(done.stdout)
    assert (done.returncode, summary.accepted, summary.rejected > 0) == (1, 0, True)
    _, first, hint = done.stderr.splitlines()
    assert ("404 Not Found: not_found" in first, "/failures" in hint) == (True, True)


def test_a_restart_of_the_target_is_survived(tmp_path: Path) -> None:
    """Failures that are due while the exporter restarts are sent afterwards; all count, and the exit code is 0.

    Ctrl-C sends those that wait for a retry a last time.
    """
    port = free_port()
    listen = ("--webhook.listen-address", f"127.0.0.1:{port}")
    with exporter(tmp_path, *listen) as first:
        process = subprocess.Popen(
            command(url(first), "--failures-per-day", "5000000"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        until(lambda: sum(first.failures().values()) > 5)
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert process.stderr is not None
    said = process.stderr
    until(lambda: "retrying" in said.readline())
    with exporter(tmp_path, *listen) as second:
        until(lambda: "answers again" in said.readline())
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT)
        counted = sum(second.failures().values())
    summary = summary_of(output)
    assert (process.returncode, summary.rejected, errors) == (0, 0, "")
    assert summary.sent == summary.accepted > 5
    # A failure that was counted just before the exporter was killed, but not answered, is a duplicate as well.
    assert summary.accepted - summary.repeats == counted


def test_failures_that_an_outage_leaves_are_reported(tmp_path: Path) -> None:
    """After Ctrl-C during an outage, the summary has the requests without an answer, and the exit code is 1."""
    with exporter(tmp_path) as running:
        process = subprocess.Popen(
            command(url(running), "--failures-per-day", "5000000"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        until(lambda: sum(running.failures().values()) > 5)
        assert running.stop() == 0
    assert process.stderr is not None
    said = process.stderr
    until(lambda: "retrying" in said.readline())
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, re.search(r"; [1-9]\d* without an answer$", output.strip()) is not None) == (1, True)


def test_a_password_in_the_url_is_not_shown() -> None:
    """A URL with a password is an error with exit code 2, in which it is masked."""
    done = simulate("http://user:secret@example.com/")
    assert (done.returncode, done.stdout) == (2, "")
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


# All loops


def variables(request: Received) -> dict[str, Any]:
    """Return the variables of a request. Those that are lists have a name that ends in [], except in JSON."""
    content_type = request.headers["content-type"]
    if content_type == "application/json":
        return dict(json.loads(request.body))
    if content_type == FORM:
        pairs = parse_qsl(request.body.decode(), strict_parsing=True)
    else:
        parts = request.body.decode().split(f"--{content_type.partition('boundary=')[2]}")[1:-1]
        pairs = re.findall(r'(?s)name="(.*?)"\r\n\r\n(.*?)\r\n(?=--END)', "".join(f"{part}--END" for part in parts))
    lists: dict[str, Any] = {name.removesuffix("[]"): [] for name, _ in pairs if name.endswith("[]")}
    single = {name: value for name, value in pairs if not name.endswith("[]")}
    assert len(single) == sum(not name.endswith("[]") for name, _ in pairs)
    for name in lists:
        lists[name] = [value for each, value in pairs if each == f"{name}[]"]
    return lists | single


class Counts(NamedTuple):
    """Different events by loop and provider; failures after a delivery by provider; and requests that were repeats."""

    events: Counter[tuple[str, str]]
    after_delivery: Counter[str]
    repeats: int


def counts_of(requests: Sequence[Received]) -> Counts:
    """Return what a server received. The path and the type of each event must agree."""
    providers = Providers({})
    found = Counts(Counter(), Counter(), 0)
    seen = set()
    for request in requests:
        fields = variables(request)
        loop = request.path.removeprefix("/smtpeter/")
        assert fields["type"] == LOOPS[loop].type
        key = (loop, fields["id"], fields.get("mime"))
        if key in seen:
            found = found._replace(repeats=found.repeats + 1)
            continue
        seen.add(key)
        recipient = fields.get("recipient") or re.findall("Original-Rcpt-To: <(.*)>", fields["mime"])[0]
        provider = providers.provider_of(recipient)
        found.events[loop, provider] += 1
        found.after_delivery[provider] += fields.get("state") == "bounce"
    return found


MAILING: Final = "--speed 3600 --for 1h --failures-per-day 300 --mailing-after 5m"
BLOCK: Final = f"{MAILING} --block gmail --spike-after 10m --spike-for 15m"


@pytest.mark.parametrize(
    ("flags", "form"),
    [("--past 7d --for 1s --failures-per-day 12", form) for form in FORMS] + [(MAILING, "form"), (BLOCK, "json")],
)
def test_the_printed_numbers_are_what_a_server_received(flags: str, form: str) -> None:
    """Each loop has its path. The table has the different events that were sent, by loop and provider."""
    with sink() as server:
        arguments = ["--loops", ",".join(LOOPS), "--seed", "3", "--format", form, *flags.split()]
        done = simulate(f"http://{server.address}/smtpeter/failures", *arguments)
    events, after_delivery = truth_of(done.stdout)
    found = counts_of(server.requests)
    assert (done.returncode, +events, +after_delivery) == (0, found.events, +found.after_delivery), done.stderr
    total = len(server.requests)
    assert summary_of(done.stdout.splitlines()[0]) == (total, total, found.repeats, 0)


def test_tags_of_deliveries_are_a_list() -> None:
    """A form repeats the variable tags[], and JSON has an array."""
    for form in FORMS:
        with sink() as server:
            simulate(
                f"http://{server.address}/failures",
                *f"--loops deliveries --past 1d --for 1s --failures-per-day 1 --seed 3 --format {form}".split(),
            )
        tags = {tuple(variables(request)["tags"]) for request in server.requests}
        assert tags >= {("newsletter",), ("newsletter", "offers")}, form


def signed_text(request: Received) -> tuple[bytes, bytes]:
    """Return the text that a request's signature covers (draft-cavage-http-signatures-10), and the signature."""
    parameters = dict(re.findall(r'(\w+)="([^"]*)"', request.headers["signature"]))
    special = {"(request-target)": f"post {request.path}"}
    lines = [f"{name}: {special.get(name) or request.headers[name]}" for name in parameters["headers"].lower().split()]
    return "\n".join(lines).encode(), base64.b64decode(parameters["signature"])


def test_each_loop_signs_its_own_path(tmp_path: Path) -> None:
    """The signature covers the path of the loop, and matches the key."""
    pem = tmp_path / "key.pem"
    pem.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signing = ["--sign-key", str(pem), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT]
    past = f"--loops {','.join(LOOPS)} --past 7d --for 1s --failures-per-day 10 --seed 3".split()
    with sink() as server:
        assert simulate(f"http://{server.address}/smtpeter/failures", *past, *signing).returncode == 0
    paths = {request.path for request in server.requests}
    assert {"/smtpeter/failures", "/smtpeter/deliveries", "/smtpeter/bounces"} <= paths  # complaints are rare
    for request in server.requests:
        text, signature = signed_text(request)
        assert f"(request-target): post {request.path}".encode() in text
        key().public_key().verify(signature, text, PKCS1v15(), SHA256())  # raises InvalidSignature


def test_a_loop_that_is_off_is_explained(running: Exporter) -> None:
    """If the exporter does not serve a loop, nothing of it counts, and a line names the setting."""
    past = "--loops deliveries --past 1h --for 1s --failures-per-day 100 --seed 3".split()
    done = simulate(url(running), *past)
    summary = summary_of(done.stdout.splitlines()[0])
    assert (done.returncode, summary.accepted, summary.rejected > 0) == (1, 0, True)
    _, first, hint = done.stderr.splitlines()
    assert ("404 Not Found: not_found" in first, "deliveries" in hint, "webhook.loops" in hint) == (True, True, True)


# Retries

END: Final = 0.2
"""The clock stands still at 0, so the end is never reached, but nobody waits longer than this for it."""


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the signal handlers that a simulation replaces; wait only shortly before retries."""
    monkeypatch.setattr(simulation, "BACKOFF", (0.01, 0.01))
    monkeypatch.setattr(simulation, "RETRY", 0.01)
    monkeypatch.setattr(simulation, "START_TIMEOUT", TIMEOUT)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def traffic(number: int) -> Iterator[SimulatedRequest]:
    """Yield so many requests that are due now, and no more before the end."""
    for index in range(number):
        yield SimulatedRequest(0.0, SAMPLE_REPLIES[0], {"id": f"m{index}", "recipient": "jan@example.com"})
    yield from repeat(SimulatedRequest(END, SAMPLE_REPLIES[0], {}))


def simulation_of(
    port: int, number: int, say: Callable[[str], None], monotonic: Callable[[], float] = lambda: 0.0
) -> Simulation:
    """Return a simulation of so many requests to loopback."""
    clock = Clock(0.0, 1.0, monotonic)
    target = target_of(f"http://127.0.0.1:{port}/failures")
    return Simulation(target, traffic(number), clock=clock, end=END, form="form", signer=None, say=say)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("statuses", "result"), [((503, 503, 200), "200"), ((503, 503, 503), "503")])
def test_503_is_retried_a_few_times(statuses: tuple[int, ...], result: str) -> None:
    """The same request is sent again. The last answer counts, and the first 503 is reported."""
    said: list[str] = []
    with scripted_server(iter(statuses)) as server:
        running = simulation_of(server.port, 1, said.append)
        running.run()
    assert (len(server.requests), len(set(server.requests))) == (3, 1)
    assert (running.tally.requests, summary_of(str(running.tally)).accepted) == (1, int(result == "200"))
    assert [line for line in said if "503" not in line] == []
    assert len(said) == 1


@pytest.mark.usefixtures("handlers")
def test_other_answers_are_not_retried() -> None:
    """A rejected request is sent once; the first answer of each status is reported."""
    said: list[str] = []
    with scripted_server(iter([403, 403, 400])) as server:
        running = simulation_of(server.port, 3, said.append)
        running.run()
    assert len(server.requests) == 3
    assert summary_of(str(running.tally)) == (3, 0, 0, 3)
    assert [status for status in ("400", "403") for line in said if status in line] == ["400", "403"]


@pytest.mark.usefixtures("handlers")
def test_requests_are_retried_until_the_target_answers() -> None:
    """No request is lost while nothing listens; the outage and its end are reported."""
    port = free_port()
    said: list[str] = []
    with ExitStack() as stack:

        def say(line: str) -> None:
            said.append(line)
            if len(said) == 1:  # the outage was reported
                stack.enter_context(scripted_server(repeat(200), port=port))

        running = simulation_of(port, 1, say)
        running.run()
    assert summary_of(str(running.tally)) == (1, 1, 0, 0)
    assert len(said) == 2


@pytest.mark.usefixtures("handlers")
def test_requests_without_an_answer_are_given_up_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the time is over before the target answers, the summary says how many failures are missing."""

    def fail(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(simulation._Connection, "post", fail)
    with scripted_server(repeat(200)) as server:
        running = simulation_of(server.port, 3, lambda _line: None, time.monotonic)
        running.run()
    assert str(running.tally).endswith("; 3 without an answer")
    assert running.tally.uncounted == 3


@pytest.mark.usefixtures("handlers")
def test_a_target_that_dies_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage of OUTAGE_TIMEOUT no more is sent; the request without an answer is in the summary."""
    monkeypatch.setattr(simulation, "OUTAGE_TIMEOUT", 0.1)
    monkeypatch.setattr(simulation, "CONNECTIONS", 1)
    said: list[str] = []
    with ExitStack() as stack:
        server = stack.enter_context(scripted_server(repeat(200), closing=True))

        def dying() -> Iterator[SimulatedRequest]:
            for index, request in enumerate(traffic(9)):
                if index == 5:
                    stack.close()
                yield request

        target = target_of(f"http://127.0.0.1:{server.port}/failures")
        clock = Clock(0.0, 1.0, lambda: 0.0)
        running = Simulation(target, dying(), clock=clock, end=END, form="form", signer=None, say=said.append)
        running.run()
    assert (running.tally.requests, running.tally.uncounted, summary_of(str(running.tally)).accepted) == (6, 1, 5)
    assert (len(said), target.url in said[0], target.url in running.problem) == (1, True, True)


@pytest.mark.usefixtures("handlers")
def test_a_connection_that_the_server_closed_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is sent once and answered, and nothing is reported."""
    monkeypatch.setattr(simulation, "CONNECTIONS", 1)
    said: list[str] = []
    with scripted_server(repeat(200), closing=True) as server:
        running = simulation_of(server.port, 5, said.append)
        running.run()
    assert (len(server.requests), len(set(server.requests))) == (5, 5)
    assert (summary_of(str(running.tally)), said) == ((5, 5, 0, 0), [])


# One failure


def test_send_follows_no_redirect() -> None:
    """The redirect is the answer: the target of a redirect would be requested with GET, and count nothing."""
    with scripted_server(iter([302, 200])) as server:
        answer = send(f"http://127.0.0.1:{server.port}/", {"id": "1"}, form="form")
    assert answer.status == 302
    assert server.requests == [("POST", b"id=1")]
