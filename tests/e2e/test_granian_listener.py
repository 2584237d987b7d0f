"""The public listener on granian: what it has in common with the one on waitress, and its own limits."""

import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.test_proxies import CALLBACK, HOST, proxied, raw
from tests.e2e.test_exactly_once import Sender, kind_of, total
from tests.e2e.test_receiving import (
    JSON,
    LIMIT,
    MULTIPART,
    as_json,
    change,
    chunked,
    form,
    http,
    multipart,
    padded,
    parts,
)
from tests.e2e.test_security import Guarded, refused
from tests.support.running import (
    COUNTED,
    COUNTED_AGAIN,
    FORM,
    TIMEOUT,
    Exporter,
    command,
    connect,
    environment,
    exporter,
    failure,
    failures_of,
    until,
)
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, headers_for, key, record

GRANIAN: Final = ("--webhook.server", "granian")
CHUNKED: Final = ("Transfer-Encoding: chunked",)
_numbers = count(1_000_000)


@pytest.fixture(scope="module", params=["waitress", "granian"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """An exporter on either server; nothing above debug level may be logged but the usual, and no foreign line."""
    folder = tmp_path_factory.mktemp(request.param)
    with exporter(folder, "--webhook.server", request.param, "--log.level", "debug") as shared:
        yield shared
        assert shared.stop() == 0
    assert [line for line in shared.lines if not line.startswith("ts=") or "jane.doe" in line] == []
    assert [line["msg"] for line in shared.log() if line["level"] == "error"] == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """One on granian alone."""
    with exporter(tmp_path_factory.mktemp("alone"), *GRANIAN) as shared:
        yield shared


ACCEPTED: Final = {
    "form": lambda: http(body=form()),
    "JSON": lambda: http(body=as_json(), content_type=JSON),
    "multipart": lambda: http(body=multipart(*parts(next(_numbers))), content_type=MULTIPART),
    "exactly 64 KiB": lambda: http(body=padded(LIMIT)),
    "a query": lambda: http(path="/failures?from=%41%2f", body=form()),
    "an absolute target": lambda: http(path="http://localhost/failures", body=form()),
    "HTTP/1.0": lambda: http(body=form()).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "10 KB of headers": lambda: http(body=form(), headers=(f"X-Long: {'x' * 10_000}",)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_both_servers_accept(either: Exporter, name: str) -> None:
    """A good request is answered 200 and counted once, whatever serves it."""
    assert change(either, ACCEPTED[name]()) == (200, COUNTED)


def test_both_servers_know_a_duplicate(either: Exporter) -> None:
    """The same failure again is answered 200 and counted as a duplicate."""
    raw = http(body=form())
    assert change(either, raw) == (200, COUNTED)
    assert change(either, raw) == (200, COUNTED_AGAIN)


REFUSED: Final = {
    "GET": (http("GET"), 405, "method"),
    "HEAD": (http("HEAD"), 405, "method"),
    "OPTIONS": (http("OPTIONS"), 405, "method"),
    "BREW": (http("BREW", body=form()), 405, "method"),
    "root": (http("GET", "/"), 404, "not_found"),
    "metrics": (http("GET", "/metrics"), 404, "not_found"),
    "path that is not UTF-8": (http("GET", "/%ff%00"), 404, "not_found"),
    "dots": (http("GET", "/../../etc/passwd"), 404, "not_found"),
    "plain text": (http(body=form(), content_type="text/plain"), 415, "content_type"),
    "no content type": (http(body=form(), content_type=None), 415, "content_type"),
    "64 KiB and a byte": (http(body=padded(LIMIT + 1)), 413, "too_large"),
    "announces 10 GB": (http(headers=("Content-Length: 10000000000",)), 413, "too_large"),
    "announces 10 GB and begins": (http(body=form(), headers=("Content-Length: 10000000000",)), 413, "too_large"),
    "no body": (http(), 400, "missing_field"),
    "half of the JSON": (http(body=as_json()[:-5], content_type=JSON), 400, "malformed"),
    "id twice": (http(body=form() + b"&id=2"), 400, "duplicate_field"),
    "NUL in a form": (http(body=b"id=1%00&recipient=a@b.c"), 400, "encoding"),
    "no recipient": (http(body=b"id=1"), 400, "missing_field"),
}


@pytest.mark.parametrize(("raw", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_both_servers_refuse(either: Exporter, raw: bytes, status: int, reason: str) -> None:
    """What is no good is answered and counted in the same way, whatever serves it."""
    assert change(either, raw) == (status, refused(reason))


UNHEARD: Final = {
    "garbage": (b"garbage\r\n\r\n", 400),
    "two lengths": (http(body=form(), headers=("Content-Length: 5", "Content-Length: 6")), 400),
    "length below zero": (http(body=form(), headers=("Content-Length: -1",)), 400),
    "header of 20 KB": (http(body=form(), headers=(f"X-Long: {'x' * 20_000}",)), 431),
    "path of 20 KB": (http(path=f"/{'x' * 20_000}", body=form()), 431),
    "150 headers": (http(body=form(), headers=tuple(f"X-{number}: 1" for number in range(150))), 431),
}


@pytest.mark.parametrize(("raw", "status"), UNHEARD.values(), ids=UNHEARD)
def test_refuses_bad_http_by_itself(running: Exporter, raw: bytes, status: int) -> None:
    """What granian can't read it refuses with the right status, and nothing counts it."""
    assert change(running, raw) == (status, {})


CHUNKS: Final = {
    "whole": chunked(form()),
    "cut": chunked(form(), end=b""),
    "junk": chunked(form(), end=b"zz\r\n\r\n"),
    "one of 10 GB": b"%x\r\n" % 10**10 + b"x" * 4 * LIMIT,
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
def test_wants_a_length(running: Exporter, body: bytes) -> None:
    """A body in chunks is answered 411 unread: where granian's stream ends nobody can tell whether all has come."""
    assert change(running, http(body=body, headers=CHUNKED)) == (411, refused("malformed"))


def test_ignores_half_a_body(running: Exporter) -> None:
    """A sender that hangs up in the middle of the body has said nothing, though what came could be read."""
    before = running.samples()
    with connect(running.public) as sock:
        sock.sendall(http(body=form() + b"&x=1234567890")[:-10])
        sock.shutdown(socket.SHUT_WR)
        sock.recv(65_536)
    assert running.post(failure(next(_numbers))).status == 200
    assert failures_of(running.samples()) == {
        series: number + (series == "rcptto/5xx/5.1.1")
        for series, number in ({"rcptto/5xx/5.1.1": 0.0} | failures_of(before)).items()
    }


@pytest.mark.parametrize(
    "head",
    [http(headers=("Content-Length: 10000000000",)), http(body=b"%x\r\n" % 10**10, headers=CHUNKED)],
    ids=["length", "chunk"],
)
def test_an_endless_body_takes_no_memory(running: Exporter, head: bytes) -> None:
    """Of 10 GB only what is on its way is taken; then the connection is closed, and memory is what it was."""
    memory = "process_resident_memory_bytes"
    before = running.samples()[memory]
    with connect(running.public) as sock, pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.sendall(head + b"x" * 200_000_000)
    assert running.samples()[memory] - before < 20_000_000


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One on granian that wants signatures, with no public URL: target and Host are those of the call."""
    flags = (*GRANIAN, "--signature.mode", "required", "--signature.account", ACCOUNT)
    with NameServer() as names:
        names.records = {KEY_ID: [record(key())]}
        folder = tmp_path_factory.mktemp("guarded")
        with exporter(folder, *flags, "--signature.nameserver", names.address) as running:
            yield Guarded(running, names)


@pytest.mark.parametrize("target", ["/failures", "/failures?x=%41%2f", "/failures?x=%2F+a&&y=%zz?"])
def test_the_signed_target_arrives_as_it_was_sent(guarded: Guarded, target: str) -> None:
    """What stands behind the question mark is checked as it came, not decoded."""
    body = guarded.new()
    headers = headers_for("mail.example.com", target, body, FORM)
    assert guarded.change(headers, body, target) == (200, COUNTED)


@pytest.mark.parametrize(
    ("signed", "called"),
    [
        ("/failures?x=%41%2f", "/failures?x=A/"),
        ("/failures?x=%41%2f", "/failures?x=%41%2F"),
        ("/failures", "/failures?x"),
        ("/%66ailures", "/%66ailures"),
    ],
)
def test_another_target_does_not_fit(guarded: Guarded, signed: str, called: str) -> None:
    """Spelled otherwise a call is refused; so is one whose path, which granian decodes, was signed encoded."""
    body = guarded.new()
    headers = headers_for("mail.example.com", signed, body, FORM)
    assert guarded.change(headers, body, called) == (403, refused("signature"))


def test_an_unsigned_call_is_refused(guarded: Guarded) -> None:
    """Without a signature nothing counts."""
    assert guarded.change({"Content-Type": FORM}, guarded.new(), "/failures") == (403, refused("unsigned"))


def test_behind_nginx(tmp_path: Path) -> None:
    """As shipped, nginx passes signed calls on, those in chunks too; and 64 bodies that never end hold up nobody."""
    url = f"https://{HOST}/smtpeter"
    flags = (*GRANIAN, "--signature.mode", "required", "--signature.account", ACCOUNT, "--webhook.public-url", url)
    with ExitStack() as stack:
        names = stack.enter_context(NameServer())
        names.records = {KEY_ID: [record(key())]}
        running = stack.enter_context(exporter(tmp_path, *flags, "--signature.nameserver", names.address))
        proxy = stack.enter_context(proxied("nginx", tmp_path, running.public))
        for _ in range(64):
            sock = stack.enter_context(proxy.connect())
            sock.sendall(raw("POST", CALLBACK, {"Host": HOST, "Content-Type": FORM, "Content-Length": "100"}) + b"id=1")
        assert proxy.post(form()) == 200
        body = form()
        headers = headers_for(HOST, CALLBACK, body, FORM) | {"Transfer-Encoding": "chunked"}
        del headers["Content-Length"]
        assert proxy.call("POST", CALLBACK, headers, chunked(body)).status == 200
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}


def test_loses_nothing_and_counts_nothing_twice_when_killed(tmp_path: Path) -> None:
    """Killed under load: each restart shows all that was answered 200; in the end each is counted once."""
    sender = Sender()
    for answers in (50, 300, 100):
        with exporter(tmp_path, *GRANIAN, measured=False) as running:
            assert len(sender.answered) <= total(running) <= sender.sent
            enough = len(sender.answered) + answers

            def kill(running: Exporter = running, enough: int = enough) -> None:
                until(lambda: len(sender.answered) >= enough)
                assert running.stop(signal.SIGKILL) == -signal.SIGKILL

            sender.run(running, kill)
    with exporter(tmp_path, *GRANIAN, measured=False) as running:
        sender.run(running)
        assert sender.answered == set(range(sender.sent))
        assert running.failures() == Counter(kind_of(number) for number in range(sender.sent))


def test_stops_in_good_order_under_load(tmp_path: Path) -> None:
    """SIGTERM under load: exit code 0 within 10 s, and after a restart exactly what was answered is counted."""
    sender = Sender()
    with exporter(tmp_path, *GRANIAN, measured=False) as running:

        def terminate() -> None:
            until(lambda: len(sender.answered) >= 300)
            running.send_signal(signal.SIGTERM)
            assert running.wait() == 0

        sender.run(running, terminate)
    assert [line for line in running.lines if not line.startswith("ts=")] == []
    with exporter(tmp_path, *GRANIAN, measured=False) as running:
        assert total(running) == len(sender.answered)


def test_nobody_holds_up_the_stop(tmp_path: Path) -> None:
    """With connections that are idle, new, half a header, half a body, it stops within 10 s, exit code 0."""
    with exporter(tmp_path, *GRANIAN) as running, ExitStack() as stack:
        for raw in (b"", http(body=form()), http(body=form())[:20], http(body=form())[:-5]):
            sock = stack.enter_context(connect(running.public))
            sock.sendall(raw)
        with running.client() as client:
            assert client.post(failure(next(_numbers))).status == 200
            running.send_signal(signal.SIGTERM)
            assert running.wait() == 0
    assert [line for line in running.lines if not line.startswith("ts=")] == []


def refusal(folder: Path, *flags: str, before: str = "") -> tuple[int, str]:
    """Exit code and words of an exporter that does not start; ``before`` is run in its process first."""
    words = command(folder, *GRANIAN, *flags)
    code = f"{before}\nimport sys\nfrom exporter.cli.main import main\nsys.exit(main())"
    done = subprocess.run(
        [words[0], "-c", code, *words[3:]],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_does_not_start_on_a_port_in_use(tmp_path: Path, host: str) -> None:
    """An address that somebody else listens on stops the start with one line and exit code 4."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as other:
        port = other.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        code, words = refusal(tmp_path, "--webhook.listen-address", address)
    assert (code, words.count("\n")) == (4, 1)
    assert "Address already in use" in words


def test_listens_on_ipv6(tmp_path: Path) -> None:
    """The address in the log, with a port that the system chose, is the one that answers."""
    with exporter(tmp_path, *GRANIAN, "--webhook.listen-address", "[::1]:0") as running:
        assert running.public.startswith("[::1]:")
        assert running.post(failure(1)).status == 200


@pytest.mark.parametrize("module", ["granian", "granian._granian"])
def test_says_how_to_install_it(tmp_path: Path, module: str) -> None:
    """Without the package, or with a part of it amiss, the start is refused with one line and exit code 2."""
    code, words = refusal(tmp_path, before=f"import sys\nsys.modules['{module}'] = None")
    assert (code, words.count("\n"), "pip install 'smtpeter-exporter[granian]'" in words) == (2, 1, True)


def test_is_not_loaded_unless_chosen() -> None:
    """Whoever stays with waitress needs no granian."""
    code = "import sys, exporter.cli.main; print(any(name.startswith('granian') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
