"""The reverse proxies with a configuration in deploy/, as real programs in front of a real exporter."""

import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from exporter.classification.loops import LOOPS
from tests.support.guarded import without_details
from tests.support.proxies import CALLBACK, HOST, SHIPPED, Proxy, head_of, path_of, proxied
from tests.support.running import (
    COUNTED,
    COUNTED_AGAIN,
    FORM,
    TIMEOUT,
    Exporter,
    Samples,
    changes,
    exporter,
    failure,
    failures_of,
    free_port,
    server,
    throughout,
    until,
)
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, headers_for, key, record
from tests.support.smuggling import PAYLOADS, attempt

FILE: Final = "/smtpeter/smtpeter-x7_Y.txt"
CONTENT: Final = b"\xef\xbb\xbfproof\r\n\0\xff of the owner"
INCREMENTED: Final = {name: by for name, by in COUNTED.items() if "seconds" not in name}
ABOUT_MAIL: Final = {
    "failures": {name: by for name, by in INCREMENTED.items() if "exporter" not in name},
    "deliveries": {
        "smtpeter_deliveries_total": 1.0,
        'smtpeter_deliveries_by_provider_total{provider="other"}': 1.0,
        'smtpeter_deliveries_by_tag_total{tag="other"}': 1.0,
    },
    "bounces": {
        'smtpeter_bounces_total{kind="other"}': 1.0,
        'smtpeter_bounces_by_reason_total{reason="unclassified"}': 1.0,
    },
    "abuses": {'smtpeter_complaints_total{provider="other"}': 1.0},
}
"""By loop, the counters about mail that an event of :func:`new` increments."""
NUMBERS: Final = count()
each_loop = pytest.mark.parametrize("loop", LOOPS)


def new(size: int = 0, loop: str = "failures") -> bytes:
    """Return the body of a new event of a loop, padded to ``size`` bytes."""
    number = next(NUMBERS)
    message, recipient = {"id": f"m{number}"}, {"recipient": f"jane.doe{number}@example.org"}
    fields = {
        "failures": failure(number, description=""),
        "deliveries": {**message, **recipient, "type": "delivery", "description": ""},
        "bounces": {**message, **recipient, "type": "bounce", "mime": "Subject: Re: May\n\n"},
        "abuses": {**message, "type": "abuse", "mime": "Subject: May\n\n"},
    }
    return urlencode(fields[loop]).encode().ljust(size, b"x")


def about_mail(samples: Samples) -> Samples:
    """Return the counters about mail, without those about the exporter."""
    return {name: by for name, by in samples.items() if "exporter" not in name}


def incremented(before: Samples, after: Samples) -> Samples:
    """Return the increase of each counter of requests."""
    return {name: by for name, by in without_details(changes(before, after)).items() if "seconds" not in name}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run an exporter that serves all loops, with the settings for a reverse proxy."""
    directory = tmp_path_factory.mktemp("exporter")
    (directory / Path(FILE).name).write_bytes(CONTENT)
    flags = (
        *("--signature.mode", "required", "--signature.account", ACCOUNT, "--log.level", "debug"),
        *("--webhook.public-url", f"https://{HOST}/smtpeter", "--webhook.verification-dir", str(directory)),
        *("--webhook.loops", ",".join(LOOPS)),
    )
    with NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        with exporter(directory, *flags, "--signature.nameserver", name_server.address) as started:
            yield started


@pytest.fixture(scope="module", params=["caddy", "nginx"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, running: Exporter
) -> Iterator[Proxy]:
    """Run each proxy with its shipped configuration, except for addresses, certificate and log."""
    with proxied(request.param, tmp_path_factory.mktemp(request.param), running.public) as started:
        yield started


def test_a_signed_request_is_counted(proxy: Proxy, running: Exporter) -> None:
    """A signed request over HTTPS arrives as SMTPeter signed it, is answered 200, and is counted once."""
    before = running.samples()
    body = new()
    assert [proxy.post(body), proxy.post(body)] == [200, 200]
    again = {name: by + INCREMENTED.get(name, 0) for name, by in COUNTED_AGAIN.items() if "seconds" not in name}
    assert incremented(before, running.samples()) == INCREMENTED | again


@each_loop
def test_each_loop_is_forwarded(proxy: Proxy, running: Exporter, loop: str) -> None:
    """A signed request of each loop is answered 200 on the path of its loop, and counted as an event of that loop."""
    before = running.samples()
    assert proxy.post(new(loop=loop), path_of(loop)) == 200
    after = incremented(before, running.samples())
    assert about_mail(after) == ABOUT_MAIL[loop]
    assert after[f'smtpeter_exporter_accepted_total{{loop="{loop}"}}'] == 1.0


def test_the_verification_file_is_served(proxy: Proxy) -> None:
    """The verification file is served unchanged, and HEAD returns its length."""
    headers = {"Host": HOST, "Content-Length": "0"}
    answers = [proxy.send(method, FILE, headers) for method in ("GET", "HEAD")]
    assert [(answer.status, answer.headers["Content-Length"], answer.body) for answer in answers] == [
        (200, str(len(CONTENT)), CONTENT),
        (200, str(len(CONTENT)), b""),
    ]


def test_nothing_else_is_public(proxy: Proxy, running: Exporter) -> None:
    """The proxy answers other paths and methods with 404 and does not send them to the exporter."""
    before = running.samples()
    body = new()
    others = (
        *(("POST", path) for path in ("/", "/failures", f"{CALLBACK}/x", f"{CALLBACK}/", "/smtpeter/", FILE)),
        *(("POST", path) for path in ("/smtpeter/../failures", "/smtpeter/%2e%2e/failures")),
        *(("POST", path) for path in ("/smtpeter/clicks", "/deliveries", f"{path_of('bounces')}/", "/abuses")),
        *(("POST", f"{path_of(loop)}%0A") for loop in LOOPS),
        *((method, path_of(loop)) for method in ("GET", "HEAD", "PUT", "OPTIONS", "DELETE") for loop in LOOPS),
        *(("GET", path) for path in ("/", "/metrics", "/smtpeter/metrics", "/-/ready", "/smtpeter/ledger.db")),
        *(
            ("GET", path)
            for path in ("/smtpeter-x7_Y.txt", "/smtpeter/smtpeter-..%2Fx.txt", "/smtpeter/a/smtpeter-x.txt")
        ),
        ("GET", f"{FILE}%0A"),
    )
    found = {
        (method, path): proxy.send(method, path, headers_for(HOST, path, body, FORM), body).status
        for method, path in others
    }
    assert found == dict.fromkeys(others, 404)
    assert incremented(before, running.samples()) == {}


@each_loop
def test_the_largest_body_is_counted(proxy: Proxy, running: Exporter, loop: str) -> None:
    """A body of exactly the exporter's limit is accepted. The proxy needs no temporary file for it."""
    before = running.samples()
    assert proxy.post(new(LOOPS[loop].max_body, loop), path_of(loop)) == 200
    assert about_mail(incremented(before, running.samples())) == ABOUT_MAIL[loop]


@each_loop
def test_a_larger_body_is_rejected(proxy: Proxy, running: Exporter, loop: str) -> None:
    """The proxy answers a larger body with 413 and does not send it to the exporter."""
    before = running.samples()
    sizes = (LOOPS[loop].max_body + 1, 3_000_000)
    assert [proxy.post(new(size, loop), path_of(loop)) for size in sizes] == [413, 413]
    assert incremented(before, running.samples()) == {}


@each_loop
def test_a_larger_chunked_body_is_rejected(proxy: Proxy, running: Exporter, loop: str) -> None:
    """A larger body without a length is not counted either. Caddy 2.6 may answer with 502 instead of 413."""
    before = running.samples()
    covered = ("(request-target)", "host", "date", "x-copernica-id", "digest")
    statuses = []
    for size in (1_000, LOOPS[loop].max_body // 2, 3_000_000):
        body = new(size, loop)
        headers = headers_for(HOST, path_of(loop), body, FORM, covered=covered)
        del headers["Content-Length"]
        headers["Transfer-Encoding"] = "chunked"
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        statuses.append(proxy.send("POST", path_of(loop), headers, chunked).status)
    assert statuses in ([200, 200, 413], [200, 200, 502] if proxy.name == "caddy" else [])
    counted = {name: 2 * by for name, by in ABOUT_MAIL[loop].items()}
    assert about_mail(incremented(before, running.samples())) == counted


def test_forwarded_headers_are_ignored(proxy: Proxy, running: Exporter) -> None:
    """A client's X-Forwarded-… headers change nothing, neither for a valid request nor for an invalid one."""
    before = running.samples()
    forged = {
        "X-Forwarded-Host": "other.example.com",
        "X-Forwarded-For": "192.0.2.1",
        "Forwarded": "host=other.example.com",
    }
    assert proxy.post(new(), **forged) == 200
    body = new()
    headers = headers_for("other.example.com", CALLBACK, body, FORM) | {"Host": HOST} | forged
    assert proxy.send("POST", CALLBACK, headers, body).status == 403
    refused = {'smtpeter_exporter_refused_total{reason="signature"}': 1.0}
    assert incremented(before, running.samples()) == INCREMENTED | refused


def test_another_host_is_rejected(proxy: Proxy, running: Exporter) -> None:
    """A request that was signed for another host is neither counted nor answered 200."""
    before = running.samples()
    body = new()
    headers = headers_for("other.example.com", CALLBACK, body, FORM)
    status = proxy.send("POST", CALLBACK, headers, body).status
    assert status == {"caddy": 421, "nginx": 403}[proxy.name]
    assert failures_of(incremented(before, running.samples())) == {}


@pytest.mark.parametrize("name", list(PAYLOADS)[::10])
def test_nothing_is_smuggled(proxy: Proxy, running: Exporter, name: str) -> None:
    """The exporter handles no request that the client of the proxy got no answer for. ``make hostile`` sends more."""
    assert attempt(name, CALLBACK, proxy.connect, running.samples).problem == ""


def test_http_2_is_not_offered(proxy: Proxy) -> None:
    """A client that offers HTTP/2 gets HTTP/1.1, because Caddy 2.6 has no timeout for bodies over HTTP/2."""
    with proxy.connect(["h2", "http/1.1"]) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"


def test_the_log_has_no_personal_data(proxy: Proxy) -> None:
    """The log has method, path and status of a request, and nothing of its query string, headers or body."""
    assert proxy.post(new(), f"{CALLBACK}/logged?token=s3cret", Cookie="s3cret") == 404
    assert proxy.post(new(), f"{CALLBACK}?token=s3cret", Cookie="s3cret") == 200
    lines = until(lambda: [line for line in proxy.log().splitlines() if f"{CALLBACK}/logged" in line])
    assert [("POST" in line, "404" in line) for line in lines] == [(True, True)]
    assert [word for word in ("s3cret", "jane.doe", "keyId", "SHA-256") if word in proxy.log()] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_requests_are_forwarded_unchanged(tmp_path: Path, name: str) -> None:
    """Target and Host are forwarded unchanged for each loop, on connections that clients share."""
    received = []

    class Upstream(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            received.append((self.client_address[1], self.requestline, self.headers["Host"], self.rfile.read(1)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    targets, host = [f"{path_of(loop)}?a=%2f&b=+" for loop in LOOPS for _ in range(2)], "Mail.Example.COM:443"
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as upstream:
        threading.Thread(target=upstream.serve_forever).start()
        try:
            with proxied(name, tmp_path, f"127.0.0.1:{upstream.server_port}") as proxy:
                for target in targets:
                    assert proxy.send("POST", target, {"Host": host, "Content-Length": "1"}, b"x").status == 200
        finally:
            upstream.shutdown()
    assert [tuple(rest) for _, *rest in received] == [(f"POST {target} HTTP/1.1", host, b"x") for target in targets]
    ports = [port for port, *_ in received]
    assert ports[::2] == ports[1::2]


def test_nginx_limits_requests_per_address(tmp_path: Path, running: Exporter) -> None:
    """Nginx rejects requests of an address that has as many open requests as allowed, until one of them ends."""
    head = head_of("POST", CALLBACK, {"Host": HOST, "Content-Length": "9"})
    other = {"limit_conn smtpeter_exporter 100;": "limit_conn smtpeter_exporter 1;"}
    with proxied("nginx", tmp_path, running.public, other) as proxy:
        with proxy.connect() as sock:
            sock.sendall(head)
            until(lambda: proxy.post(new()) == 503)
        until(lambda: proxy.post(new()) == 200)


def is_busy(proxy: Proxy, loop: str) -> bool:
    """Return whether an event of that loop is answered 503."""
    return proxy.post(new(loop=loop), path_of(loop)) == 503


def test_nginx_limits_large_bodies(tmp_path: Path, running: Exporter) -> None:
    """Nginx rejects bounces and complaints while as many as allowed arrive. Failures are not affected."""
    head = head_of("POST", path_of("bounces"), {"Host": HOST, "Content-Length": "9"})
    other = {"limit_conn smtpeter_exporter_mail 64;": "limit_conn smtpeter_exporter_mail 1;"}
    with proxied("nginx", tmp_path, running.public, other) as proxy:
        with proxy.connect() as sock:
            sock.sendall(head)
            for loop in ("bounces", "abuses"):
                until(partial(is_busy, proxy, loop))
            assert [proxy.post(new(loop=loop), path_of(loop)) for loop in ("failures", "deliveries")] == [200, 200]
        until(lambda: proxy.post(new(loop="bounces"), path_of("bounces")) == 200)


def test_caddy_holds_requests_while_the_exporter_restarts(tmp_path: Path) -> None:
    """A request that arrives while no exporter listens waits for one, and is counted. Caddy before 2.11.2 sends 502."""
    version = subprocess.run([server("caddy"), "version"], check=True, capture_output=True, text=True).stdout
    holds = tuple(map(int, re.findall(r"\d+", version)[:3])) >= (2, 11, 2)
    address = f"127.0.0.1:{free_port()}"
    flags = ("--webhook.public-url", f"https://{HOST}/smtpeter", "--webhook.listen-address", address)
    (tmp_path / "caddy").mkdir()
    short = {} if holds else {"lb_try_duration 15s": "lb_try_duration 1s"}
    with proxied("caddy", tmp_path / "caddy", address, short) as proxy, ThreadPoolExecutor() as pool:
        with exporter(tmp_path, *flags):
            assert proxy.post(new()) == 200
        status = pool.submit(proxy.post, new())
        if holds:
            throughout(lambda: not status.done(), 1)
        else:
            assert status.result(TIMEOUT) == 502
        with exporter(tmp_path, *flags) as running:
            assert status.result(TIMEOUT) == (200 if holds else 502)
            assert running.failures() == {"rcptto/5xx/5.1.1": 1 + holds}


def is_closed(sock: ssl.SSLSocket, drip: bytes, received: bytearray) -> bool:
    """Read what the proxy sent and return whether it closed the connection; if not, send ``drip``."""
    try:
        while data := sock.recv(4_096):
            received += data
    except ssl.SSLWantReadError:
        with suppress(OSError):
            sock.sendall(drip)
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("name", SHIPPED)
def test_slow_clients_are_disconnected(tmp_path: Path, running: Exporter, name: str) -> None:
    """Slow headers, a stalled body and an idle connection are closed without a 200; valid requests are answered."""
    body = new()
    head = head_of("POST", CALLBACK, headers_for(HOST, CALLBACK, body, FORM))
    starts = {"silent": (b"", b""), "dripping headers": (head[:-2], b"x"), "stalling body": (head + body[:-1], b"")}
    if name == "caddy":  # nginx's timeout is between two reads of the body
        starts["dripping body"] = (head.replace(b"Content-Length: ", b"Content-Length: 1"), b"x")
    before = running.samples()
    with proxied(name, tmp_path, running.public, SHIPPED[name].short) as proxy, ExitStack() as stack:
        waiting = {start: stack.enter_context(proxy.connect()) for start in starts}
        for start, sock in waiting.items():
            sock.sendall(starts[start][0])
            sock.setblocking(False)  # noqa: FBT003 -- its only argument
        assert proxy.post(new()) == 200
        answers = {start: bytearray() for start in starts}
        for start, sock in waiting.items():
            until(partial(is_closed, sock, starts[start][1], answers[start]), seconds=30)
    assert failures_of(incremented(before, running.samples())) == {"rcptto/5xx/5.1.1": 1}
    assert {start for start, answer in answers.items() if answer.startswith(b"HTTP/1.1 2")} == set()
