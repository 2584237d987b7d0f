"""The public listener on granian: what it has in common with waitress, and its own limits."""

import gzip
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.guarded import Guarded, guarded_exporter
from tests.support.raw_http import (
    CHUNKED,
    JSON,
    LIMIT,
    MULTIPART,
    as_json,
    change,
    chunked,
    form,
    http,
    multipart,
    new_failure,
    padded,
    parts,
    refused,
)
from tests.support.running import (
    COUNTED,
    COUNTED_AGAIN,
    FORM,
    TIMEOUT,
    Exporter,
    command,
    connect,
    environment,
    exchange,
    exporter,
    failure,
    failures_of,
    until,
)
from tests.support.sender import Sender, kind_of, total
from tests.support.signing import headers_for

GRANIAN: Final = ("--webhook.server", "granian")


@pytest.fixture(scope="module", params=["waitress", "granian"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter on either server; it may log no error, no address, and no line in another format."""
    directory = tmp_path_factory.mktemp(request.param)
    public_url = ("--webhook.public-url", "https://mail.example.com/smtpeter")
    with exporter(directory, "--webhook.server", request.param, "--log.level", "debug", *public_url) as shared:
        yield shared
        assert shared.stop() == 0
    assert [line for line in shared.lines if not line.startswith("ts=") or "jane.doe" in line] == []
    assert [line["msg"] for line in shared.log() if line["level"] == "error"] == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter on granian."""
    with exporter(tmp_path_factory.mktemp("alone"), *GRANIAN) as shared:
        yield shared


ACCEPTED: Final = {
    "form": lambda: http(body=form()),
    "JSON": lambda: http(body=as_json(), content_type=JSON),
    "multipart": lambda: http(body=multipart(*parts(new_failure())), content_type=MULTIPART),
    "exactly 64 KiB": lambda: http(body=padded(LIMIT)),
    "a query": lambda: http(path="/failures?from=%41%2f", body=form()),
    "an absolute target": lambda: http(path="http://localhost/failures", body=form()),
    "HTTP/1.0": lambda: http(body=form()).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "10 KB of headers": lambda: http(body=form(), headers=(f"X-Long: {'x' * 10_000}",)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_both_servers_accept(either: Exporter, name: str) -> None:
    """On both servers, a valid request is answered 200 and counted once."""
    assert change(either, ACCEPTED[name]()) == (200, COUNTED)


def test_both_servers_recognize_a_duplicate(either: Exporter) -> None:
    """On both servers, a repeated failure is answered 200 and counted as a duplicate."""
    raw = http(body=form())
    assert change(either, raw) == (200, COUNTED)
    assert change(either, raw) == (200, COUNTED_AGAIN)


@pytest.mark.parametrize("path", ["/failures", "/smtpeter/failures"])
def test_both_servers_say_whether_a_failure_was_new(either: Exporter, path: str) -> None:
    """On both servers and at each path, the body of the answer is one word; its length is known."""
    raw = http(path=path, body=form())
    answers = [exchange(either.public, raw) for _ in range(2)]
    assert [(answer.status, answer.text) for answer in answers] == [(200, "counted\n"), (200, "duplicate\n")]
    assert [(answer.headers["Content-Type"], answer.headers["Content-Length"]) for answer in answers] == [
        ("text/plain; charset=utf-8", "8"),
        ("text/plain; charset=utf-8", "10"),
    ]


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
    "two ids": (http(body=form() + b"&id=2"), 400, "duplicate_field"),
    "a click": (http(body=form(type="click")), 400, "other_loop"),
    "a compressed body": (
        http(body=gzip.compress(form()), headers=("Content-Encoding: gzip",)),
        415,
        "content_encoding",
    ),
    "no recipient": (http(body=b"id=1"), 400, "missing_field"),
}


@pytest.mark.parametrize(("raw", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_both_servers_reject(either: Exporter, raw: bytes, status: int, reason: str) -> None:
    """On both servers, an invalid request gets the same answer and is counted by the same reason."""
    assert change(either, raw) == (status, refused(reason))


UNREPORTED: Final = {
    "garbage": (b"garbage\r\n\r\n", 400),
    "two lengths": (http(body=form(), headers=("Content-Length: 5", "Content-Length: 6")), 400),
    "length below zero": (http(body=form(), headers=("Content-Length: -1",)), 400),
    "header of 20 KB": (http(body=form(), headers=(f"X-Long: {'x' * 20_000}",)), 431),
    "path of 20 KB": (http(path=f"/{'x' * 20_000}", body=form()), 431),
    "150 headers": (http(body=form(), headers=tuple(f"X-{number}: 1" for number in range(150))), 431),
}


@pytest.mark.parametrize(("raw", "status"), UNREPORTED.values(), ids=UNREPORTED)
def test_malformed_http_is_not_counted(running: Exporter, raw: bytes, status: int) -> None:
    """Granian rejects malformed HTTP with the right status, but no counter shows it."""
    assert change(running, raw) == (status, {})


CHUNKS: Final = {
    "whole": chunked(form()),
    "cut": chunked(form(), end=b""),
    "junk": chunked(form(), end=b"zz\r\n\r\n"),
    "one of 10 GB": b"%x\r\n" % 10**10 + b"x" * 4 * LIMIT,
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
def test_a_length_is_required(running: Exporter, body: bytes) -> None:
    """A chunked body is answered 411 unread, because granian's stream does not show whether it is complete."""
    assert change(running, http(body=body, headers=CHUNKED)) == (411, refused("malformed"))


def test_half_a_body_is_ignored(running: Exporter) -> None:
    """A request whose client disconnects within the body is not counted, even if the first part could be parsed."""
    before = running.samples()
    with connect(running.public) as sock:
        sock.sendall(http(body=form() + b"&x=1234567890")[:-10])
        sock.shutdown(socket.SHUT_WR)
        sock.recv(65_536)
    assert running.post(new_failure()).status == 200
    assert failures_of(running.samples()) == {
        series: number + (series == "rcptto/5xx/5.1.1")
        for series, number in ({"rcptto/5xx/5.1.1": 0.0} | failures_of(before)).items()
    }


@pytest.mark.parametrize(
    "head",
    [http(headers=("Content-Length: 10000000000",)), http(body=b"%x\r\n" % 10**10, headers=CHUNKED)],
    ids=["length", "chunk"],
)
def test_an_endless_body_uses_no_memory(running: Exporter, head: bytes) -> None:
    """A body of 10 GB is not read; the connection is closed, and memory does not grow."""
    memory = "process_resident_memory_bytes"
    before = running.samples()[memory]
    with connect(running.public) as sock, pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.sendall(head + b"x" * 200_000_000)
    assert running.samples()[memory] - before < 20_000_000


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield an exporter on granian that requires signatures, without a public URL."""
    with guarded_exporter(tmp_path_factory.mktemp("guarded"), *GRANIAN) as guarded:
        yield guarded


@pytest.mark.parametrize("target", ["/failures", "/failures?x=%41%2f", "/failures?x=%2F+a&&y=%zz?"])
def test_the_query_is_verified_as_sent(guarded: Guarded, target: str) -> None:
    """The signature covers the query string as it was sent, not decoded."""
    body = guarded.new()
    headers = headers_for("mail.example.com", target, body, FORM)
    assert guarded.change(headers, body, target) == (200, COUNTED)


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("/failures?x=%41%2f", "/failures?x=A/"),
        ("/failures?x=%41%2f", "/failures?x=%41%2F"),
        ("/failures", "/failures?x"),
        ("/%66ailures", "/%66ailures"),
    ],
)
def test_another_target_does_not_fit(guarded: Guarded, signed: str, sent: str) -> None:
    """Another spelling of the target is rejected, and so is an encoded path, which granian decodes."""
    body = guarded.new()
    headers = headers_for("mail.example.com", signed, body, FORM)
    assert guarded.change(headers, body, sent) == (403, refused("signature"))


def test_an_unsigned_request_is_rejected(guarded: Guarded) -> None:
    """A request without a signature is not counted."""
    assert guarded.change({"Content-Type": FORM}, guarded.new(), "/failures") == (403, refused("unsigned"))


def test_counts_exactly_once_when_killed(tmp_path: Path) -> None:
    """After each kill under load, all failures answered 200 are counted; in the end each is counted once."""
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


def test_stops_under_load(tmp_path: Path) -> None:
    """SIGTERM under load ends the process with 0; after a restart, exactly the answered failures are counted."""
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


def test_clients_do_not_delay_the_stop(tmp_path: Path) -> None:
    """With idle connections, half a header and half a body, the process ends with 0."""
    with exporter(tmp_path, *GRANIAN) as running, ExitStack() as stack:
        for raw in (b"", http(body=form()), http(body=form())[:20], http(body=form())[:-5]):
            sock = stack.enter_context(connect(running.public))
            sock.sendall(raw)
        with running.client() as client:
            assert client.post(new_failure()).status == 200
            running.send_signal(signal.SIGTERM)
            assert running.wait() == 0
    assert [line for line in running.lines if not line.startswith("ts=")] == []


def failed_start(directory: Path, *flags: str, before: str = "") -> tuple[int, str]:
    """Return exit code and standard error of an exporter that does not start, after ``before`` ran in its process."""
    words = command(directory, *GRANIAN, *flags)
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
def test_a_port_in_use_prevents_the_start(tmp_path: Path, host: str) -> None:
    """If the address is in use, the process ends with 4 and one line that names it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as other:
        port = other.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        code, words = failed_start(tmp_path, "--webhook.listen-address", address)
    assert (code, words.count("\n")) == (4, 1)
    assert f" {address}: " in words


def test_ipv6(tmp_path: Path) -> None:
    """The listener accepts an IPv6 address; the address in the log is the one that answers."""
    with exporter(tmp_path, *GRANIAN, "--webhook.listen-address", "[::1]:0") as running:
        assert running.public.startswith("[::1]:")
        assert running.post(failure(1)).status == 200


@pytest.mark.parametrize("module", ["granian", "granian._granian"])
def test_a_missing_package_prevents_the_start(tmp_path: Path, module: str) -> None:
    """Without the package, or with an unsuitable version, the process ends with 2 and says how to install it."""
    code, words = failed_start(tmp_path, before=f"import sys\nsys.modules['{module}'] = None")
    assert (code, words.count("\n")) == (2, 1)
    assert words.startswith("smtpeter-exporter: webhook.server: 'granian'")
    assert "smtpeter-exporter[granian]" in words


def test_granian_is_loaded_only_if_chosen() -> None:
    """The exporter runs on waitress without granian installed."""
    code = "import sys, exporter.serve; print(any(name.startswith('granian') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
