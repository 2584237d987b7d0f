"""The proxies that deploy/ has configurations for, as real programs before a real exporter: what they let through."""

import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import pytest
import trustme

from tests.support.guarded import REQUIRED
from tests.support.raw_http import chunked
from tests.support.running import (
    COUNTED,
    FORM,
    TIMEOUT,
    Exporter,
    Response,
    Samples,
    changes,
    connect,
    exporter,
    failure,
    failures_of,
    free_port,
    server,
    throughout,
    until,
)
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, headers_for, key, record
from tests.support.tree import ROOT

DEPLOY: Final = ROOT / "deploy"
HOST: Final = "mail.example.com"
CALLBACK: Final = "/smtpeter/failures"
FILE: Final = "/smtpeter/smtpeter-x7_Y.txt"
CONTENT: Final = b"\xef\xbb\xbfproof\r\n\0\xff of the owner"
RAISED: Final = {name: by for name, by in COUNTED.items() if "seconds" not in name}
LIMIT: Final = 65_536
NUMBERS: Final = count()
EMPTY: Final[Mapping[str, str]] = {}


class Shipped(NamedTuple):
    """One of the configurations: where it lies, how its program is run, and what makes its time-outs short."""

    file: str
    arguments: tuple[str, ...]
    short: Mapping[str, str]


SHIPPED: Final = {
    "caddy": Shipped(
        "caddy/Caddyfile",
        ("run", "--adapter", "caddyfile", "--config"),
        {
            "read_header 5s": "read_header 500ms",
            "read_timeout 20s": "read_timeout 500ms",
            "keepalive 5s": "keepalive 100ms",
            "read_body 30s": "read_body 1500ms",
        },
    ),
    "nginx": Shipped(
        "nginx/smtpeter-exporter.conf",
        ("-e", "stderr", "-g", "daemon off; master_process off;", "-c"),
        {
            "client_header_timeout 10s;": "client_header_timeout 1s;",
            "client_body_timeout 5s;": "client_body_timeout 1s;",
        },
    ),
}


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Replace words that must be in the text exactly once."""
    for old, new in replacements.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A running proxy before ``upstream`` on a free port of loopback, as shipped but for ``other`` words."""

    def __init__(self, name: str, folder: Path, upstream: str, other: Mapping[str, str]) -> None:
        self.name = name
        self._upstream = upstream
        self.address = f"127.0.0.1:{free_port()}"
        self._log = folder / "log"
        authority = trustme.CA()
        authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(folder / "pem"))
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)
        shipped = SHIPPED[name]
        text = (DEPLOY / shipped.file).read_text()
        adapted = (self._for_caddy if name == "caddy" else self._for_nginx)(text, folder)
        (folder / "configuration").write_text(replaced(adapted, other))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [server(name), *shipped.arguments, str(folder / "configuration")],
                stdout=log,
                stderr=log,
                env={"HOME": str(folder)},
            )
        try:
            until(self._ready)
        except BaseException:
            self.stop()
            raise

    def connect(self, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLSocket:
        """Connect to the host, check its certificate, and offer the protocols."""
        self._context.set_alpn_protocols(list(protocols))
        sock = connect(self.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(sock, server_hostname=HOST)

    def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send a request just so, and read the answer."""
        with self.connect() as sock:
            with suppress(OSError):  # who is turned away early may be hung up on while still talking
                sock.sendall(raw(method, path, headers) + body)
            response = HTTPResponse(sock, method=method)
            response.begin()
            with response:
                return Response(response.status, dict(response.getheaders()), response.read())

    def post(self, body: bytes, path: str = CALLBACK, **more: str) -> int:
        """Post a signed call with more headers; the status of the answer."""
        headers = headers_for(HOST, path, body, FORM) | {name.replace("_", "-"): text for name, text in more.items()}
        return self.call("POST", path, headers, body).status

    def log(self) -> str:
        """Return what the proxy logged so far."""
        return self._log.read_text()

    def stop(self) -> int:
        """End the process; its exit code."""
        self._process.terminate()
        return self._process.wait(TIMEOUT)

    def _for_caddy(self, text: str, folder: Path) -> str:
        site = f"https://{HOST}:{self.address.rpartition(':')[2]} {{\n\tbind 127.0.0.1\n\ttls {folder}/pem {folder}/pem"
        return replaced(
            text,
            {
                "{$SMTPETER_HOST:mail.example.com} {": site,
                "{$SMTPETER_UPSTREAM:127.0.0.1:10125} {": f"{self._upstream} {{",
                "\tservers {": "\tadmin off\n\tauto_https off\n\tservers {",
            },
        )

    def _for_nginx(self, text: str, folder: Path) -> str:
        text = replaced(
            text,
            {
                "listen 443 ssl;": f"listen {self.address} ssl;",
                "listen [::]:443 ssl;": "",
                "/etc/ssl/mail.example.com.crt": f"{folder}/pem",
                "/etc/ssl/mail.example.com.key": f"{folder}/pem",
                "/var/log/nginx/smtpeter-exporter.log": str(self._log),
                "server 127.0.0.1:10125;": f"server {self._upstream};",
            },
        )
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        return f"pid {folder}/pid; events {{}} http {{ {temporary}\n{text}}}\n"

    def _ready(self) -> bool:
        assert self._process.poll() is None, self.log()
        with suppress(ConnectionError):
            connect(self.address).close()
            return True
        return False


def raw(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request."""
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def new(size: int = 0) -> bytes:
    """Return the body of a failure that no other request has, padded to this many bytes."""
    return urlencode(failure(next(NUMBERS), description="")).encode().ljust(size, b"x")


@contextmanager
def proxied(name: str, folder: Path, upstream: str, other: Mapping[str, str] = EMPTY) -> Iterator[Proxy]:
    """Run a proxy; it must end in good order."""
    proxy = Proxy(name, folder, upstream, other)
    try:
        yield proxy
    finally:
        code = proxy.stop()
    assert code == 0


def raised(before: Samples, after: Samples) -> Samples:
    """Return the counters of requests that were incremented."""
    return {name: by for name, by in changes(before, after).items() if "lookups" not in name and "seconds" not in name}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run an exporter as it runs behind a proxy."""
    folder = tmp_path_factory.mktemp("exporter")
    (folder / Path(FILE).name).write_bytes(CONTENT)
    flags = (
        *("--signature.mode", "required", "--signature.account", ACCOUNT, "--log.level", "debug"),
        *("--webhook.public-url", f"https://{HOST}/smtpeter", "--webhook.verification-dir", str(folder)),
    )
    with NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        with exporter(folder, *flags, "--signature.nameserver", name_server.address) as started:
            yield started


@pytest.fixture(scope="module", params=["caddy", "nginx"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, running: Exporter
) -> Iterator[Proxy]:
    """Each of the proxies, as shipped but for addresses, certificate and log."""
    with proxied(request.param, tmp_path_factory.mktemp(request.param), running.public) as started:
        yield started


def test_signed_call_is_counted(proxy: Proxy, running: Exporter) -> None:
    """A signed call over HTTPS gets through as SMTPeter signed it: it is answered 200 and counted, once."""
    before = running.samples()
    body = new()
    assert [proxy.post(body), proxy.post(body)] == [200, 200]
    twice = {"smtpeter_exporter_commit_batch_size_count": 2.0, "smtpeter_exporter_duplicates_total": 1.0}
    assert raised(before, running.samples()) == RAISED | twice


def test_verification_file_is_served(proxy: Proxy) -> None:
    """SMTPeter's file is served byte for byte; HEAD tells its length."""
    headers = {"Host": HOST, "Content-Length": "0"}
    answers = [proxy.call(method, FILE, headers) for method in ("GET", "HEAD")]
    assert [(answer.status, answer.headers["Content-Length"], answer.body) for answer in answers] == [
        (200, str(len(CONTENT)), CONTENT),
        (200, str(len(CONTENT)), b""),
    ]


def test_nothing_else_is_public(proxy: Proxy, running: Exporter) -> None:
    """Other paths and methods are answered 404 by the proxy; the exporter gets to see none of them."""
    before = running.samples()
    body = new()
    strange = (
        *(("POST", path) for path in ("/", "/failures", f"{CALLBACK}/x", f"{CALLBACK}/", "/smtpeter/", FILE)),
        *(("POST", path) for path in ("/smtpeter/../failures", "/smtpeter/%2e%2e/failures")),
        *((method, CALLBACK) for method in ("GET", "HEAD", "PUT", "OPTIONS", "DELETE")),
        *(("GET", path) for path in ("/", "/metrics", "/smtpeter/metrics", "/-/ready", "/smtpeter/ledger.db")),
        *(
            ("GET", path)
            for path in ("/smtpeter-x7_Y.txt", "/smtpeter/smtpeter-..%2Fx.txt", "/smtpeter/a/smtpeter-x.txt")
        ),
    )
    found = {
        (method, path): proxy.call(method, path, headers_for(HOST, path, body, FORM), body).status
        for method, path in strange
    }
    assert found == dict.fromkeys(strange, 404)
    assert raised(before, running.samples()) == {}


def test_largest_body_is_counted(proxy: Proxy, running: Exporter) -> None:
    """A body of exactly 64 KiB, the exporter's own limit, gets through."""
    before = running.samples()
    assert proxy.post(new(LIMIT)) == 200
    assert raised(before, running.samples()) == RAISED


def test_oversized_body_is_turned_away(proxy: Proxy, running: Exporter) -> None:
    """A longer body is answered 413 by the proxy; the exporter gets to see nothing of it."""
    before = running.samples()
    assert [proxy.post(new(LIMIT + 1)), proxy.post(new(1_000_000))] == [413, 413]
    assert raised(before, running.samples()) == {}


def test_oversized_chunks_are_turned_away(proxy: Proxy, running: Exporter) -> None:
    """A longer body that does not tell its length is not counted either; Caddy 2.6 may say 502 instead of 413."""
    before = running.samples()
    covered = ("(request-target)", "host", "date", "x-copernica-id", "digest")
    statuses = []
    for body in (new(1_000), new(1_000_000)):
        headers = headers_for(HOST, CALLBACK, body, FORM, covered=covered)
        del headers["Content-Length"]
        headers["Transfer-Encoding"] = "chunked"
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        statuses.append(proxy.call("POST", CALLBACK, headers, chunked).status)
    assert statuses in ([200, 413], [200, 502] if proxy.name == "caddy" else [])
    assert raised(before, running.samples()) == RAISED


def test_forwarded_host_is_not_believed(proxy: Proxy, running: Exporter) -> None:
    """X-Forwarded-… headers of a client change nothing, for accepted and for rejected requests."""
    before = running.samples()
    lies = {
        "X-Forwarded-Host": "other.example.com",
        "X-Forwarded-For": "192.0.2.1",
        "Forwarded": "host=other.example.com",
    }
    assert proxy.post(new(), **lies) == 200
    body = new()
    headers = headers_for("other.example.com", CALLBACK, body, FORM) | {"Host": HOST} | lies
    assert proxy.call("POST", CALLBACK, headers, body).status == 403
    refused = {'smtpeter_exporter_refused_total{reason="signature"}': 1.0}
    assert raised(before, running.samples()) == RAISED | refused


def test_other_host_is_turned_away(proxy: Proxy, running: Exporter) -> None:
    """A call that was signed for another host does not count, and is not answered 200."""
    before = running.samples()
    body = new()
    headers = headers_for("other.example.com", CALLBACK, body, FORM)
    status = proxy.call("POST", CALLBACK, headers, body).status
    assert status == {"caddy": 421, "nginx": 403}[proxy.name]
    assert failures_of(raised(before, running.samples())) == {}


def test_http_2_is_not_offered(proxy: Proxy) -> None:
    """Who would speak HTTP/2 is told to speak HTTP/1.1: Caddy 2.6 has no time-out for bodies over HTTP/2."""
    with proxy.connect(["h2", "http/1.1"]) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"


def test_log_says_nothing_personal(proxy: Proxy) -> None:
    """The log has method, path and status of a call, and nothing of its query string, headers or body."""
    assert proxy.post(new(), f"{CALLBACK}/logged?token=s3cret", Cookie="s3cret") == 404
    assert proxy.post(new(), f"{CALLBACK}?token=s3cret", Cookie="s3cret") == 200
    lines = until(lambda: [line for line in proxy.log().splitlines() if f"{CALLBACK}/logged" in line])
    assert [("POST" in line, "404" in line) for line in lines] == [(True, True)]
    assert [word for word in ("s3cret", "jane.doe", "keyId", "SHA-256") if word in proxy.log()] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_request_goes_on_as_it_came(tmp_path: Path, name: str) -> None:
    """Target and Host go on just as they came, on a connection that is kept open from client to client."""
    calls = []

    class Upstream(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            calls.append((self.client_address[1], self.requestline, self.headers["Host"], self.rfile.read(1)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nowhere."""

    target, host = f"{CALLBACK}?a=%2f&b=+", "Mail.Example.COM:443"
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as upstream:
        threading.Thread(target=upstream.serve_forever).start()
        try:
            with proxied(name, tmp_path, f"127.0.0.1:{upstream.server_port}") as proxy:
                for _ in range(3):
                    assert proxy.call("POST", target, {"Host": host, "Content-Length": "1"}, b"x").status == 200
        finally:
            upstream.shutdown()
    assert calls == [(calls[0][0], f"POST {target} HTTP/1.1", host, b"x")] * 3


def test_nginx_limits_calls_of_one_address(tmp_path: Path, running: Exporter) -> None:
    """With as many calls open as one address may have, nginx turns more of them away, until one ends."""
    head = raw("POST", CALLBACK, {"Host": HOST, "Content-Length": "9"})
    other = {"limit_conn smtpeter_exporter 100;": "limit_conn smtpeter_exporter 1;"}
    with proxied("nginx", tmp_path, running.public, other) as proxy:
        with proxy.connect() as sock:
            sock.sendall(head)
            until(lambda: proxy.post(new()) == 503)
        until(lambda: proxy.post(new()) == 200)


def test_caddy_holds_calls_while_the_exporter_restarts(tmp_path: Path) -> None:
    """A call that comes while no exporter listens waits for the next one, and counts; Caddy before 2.11.2 says 502."""
    told = subprocess.run([server("caddy"), "version"], check=True, capture_output=True, text=True).stdout
    holds = tuple(map(int, re.findall(r"\d+", told)[:3])) >= (2, 11, 2)
    address = f"127.0.0.1:{free_port()}"
    flags = ("--webhook.public-url", f"https://{HOST}/smtpeter", "--webhook.listen-address", address)
    (tmp_path / "caddy").mkdir()
    short = {} if holds else {"lb_try_duration 15s": "lb_try_duration 1s"}
    with proxied("caddy", tmp_path / "caddy", address, short) as proxy, ThreadPoolExecutor() as pool:
        with exporter(tmp_path, *flags):
            assert proxy.post(new()) == 200
        call = pool.submit(proxy.post, new())
        if holds:
            throughout(lambda: not call.done(), 1)
        else:
            assert call.result(TIMEOUT) == 502
        with exporter(tmp_path, *flags) as running:
            assert call.result(TIMEOUT) == (200 if holds else 502)
            assert running.failures() == {"rcptto/5xx/5.1.1": 1 + holds}


def hung_up(sock: ssl.SSLSocket, drip: bytes, received: bytearray) -> bool:
    """Whether the other side has ended the connection, with the last it sent; if not, send it some more."""
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
def test_slow_client_is_cut_off(tmp_path: Path, running: Exporter, name: str) -> None:
    """Headers that drip, a body that stalls and silence are cut off, not with 200; good calls are answered."""
    body = new()
    head = raw("POST", CALLBACK, headers_for(HOST, CALLBACK, body, FORM))
    starts = {"silent": (b"", b""), "dripping headers": (head[:-2], b"x"), "stalling body": (head + body[:-1], b"")}
    if name == "caddy":  # nginx counts from one piece of the body to the next
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
            until(partial(hung_up, sock, starts[start][1], answers[start]), seconds=8)
    assert failures_of(raised(before, running.samples())) == {"rcptto/5xx/5.1.1": 1}
    assert {start for start, answer in answers.items() if answer.startswith(b"HTTP/1.1 2")} == set()


def test_nginx_in_front_of_granian(tmp_path: Path) -> None:
    """Signed requests pass, chunked ones too, and 64 bodies that never end do not block them."""
    flags = ("--webhook.server", "granian", *REQUIRED, "--webhook.public-url", f"https://{HOST}/smtpeter")
    with ExitStack() as stack:
        names = stack.enter_context(NameServer())
        names.records = {KEY_ID: [record(key())]}
        running = stack.enter_context(exporter(tmp_path, *flags, "--signature.nameserver", names.address))
        proxy = stack.enter_context(proxied("nginx", tmp_path, running.public))
        for _ in range(64):
            sock = stack.enter_context(proxy.connect())
            sock.sendall(raw("POST", CALLBACK, {"Host": HOST, "Content-Type": FORM, "Content-Length": "100"}) + b"id=1")
        assert proxy.post(new()) == 200
        body = new()
        headers = headers_for(HOST, CALLBACK, body, FORM) | {"Transfer-Encoding": "chunked"}
        del headers["Content-Length"]
        assert proxy.call("POST", CALLBACK, headers, chunked(body)).status == 200
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}
