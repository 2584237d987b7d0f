"""The private listener of a running exporter: TLS, passwords, invalid requests, and hostile clients."""

import fcntl
import json
import os
import signal
import socket
import ssl
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import pytest

from exporter.serve import MAX_CONNECTIONS
from exporter.web import listener as listener_module
from exporter.web.listener import DISCONNECTED, PrivateListener
from exporter.web.web_config import WebConfig
from tests.support.running import (
    TIMEOUT,
    Client,
    Exporter,
    Response,
    command,
    connect,
    environment,
    exchange,
    exporter,
    failure,
    failures_of,
    free_port,
    read_to_end,
    samples_of,
    server,
    until,
)
from tests.support.web_config import authority, basic, hashed, tls, users, write_pair

ALICE: Final = {"Authorization": basic("alice:sesame")}
HEALTH: Final = {"/-/healthy": "healthy\n", "/-/ready": "ready\n"}
SERIES: Final = {"rcptto/5xx/5.1.1": 1.0}


def trusting(directory: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts the tests' authority, with the client certificate in ``directory`` if given."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if directory:
        context.load_cert_chain(directory / "client-cert.pem", directory / "client-key.pem")
    return context


def fetch(
    address: str, path: str = "/metrics", headers: Mapping[str, str] = ALICE, context: ssl.SSLContext | None = None
) -> Response:
    """Return the answer over HTTPS, on a new connection."""
    connection = HTTPSConnection(address, timeout=TIMEOUT, context=context or trusting())
    try:
        connection.request("GET", path, headers=dict(headers))
        with connection.getresponse() as response:
            answered = {name.title(): value for name, value in response.getheaders()}
            return Response(response.status, answered, response.read())
    finally:
        connection.close()


def scraped(address: str) -> dict[str, float]:
    """Return the main counter, scraped over HTTPS."""
    answer = fetch(address)
    assert answer.status == 200
    return failures_of(samples_of(answer.text))


def web_config(directory: Path, content: str) -> tuple[str, str]:
    """Write a configuration and a certificate beside it; return the flags for it."""
    write_pair(directory)
    file = directory / "web.yml"
    file.write_text(content)
    return "--web.config.file", str(file)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter with TLS, a password and one counted failure; clients may cause no log lines but warnings."""
    directory = tmp_path_factory.mktemp("secured")
    with exporter(directory, *web_config(directory, tls() + users(alice=hashed("sesame")))) as running:
        assert running.post(failure(1)).status == 200
        yield running
        assert {line["level"] for line in running.log() if line["msg"] != "ready"} == {"warning"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter without ``--web.config.file``; clients may cause no log lines but warnings."""
    with exporter(tmp_path_factory.mktemp("plain")) as running:
        yield running
        assert {line["level"] for line in running.log() if line["msg"] != "ready"} == {"warning"}


def test_scrape_with_the_password(secured: Exporter) -> None:
    """A client that verifies the certificate gets the counters over HTTPS."""
    answer = fetch(secured.private)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    assert failures_of(samples_of(answer.text)) == SERIES


@pytest.mark.parametrize("path", ["/metrics", "/", "/nowhere", "/-", "/x/../-/ready", "/metrics?/-/ready"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": basic("alice:other")}, {"Authorization": "Bearer x"}],
    ids=["none", "wrong", "other"],
)
def test_the_password_is_required(secured: Exporter, path: str, headers: Mapping[str, str]) -> None:
    """Whatever the path, the answer is 401 with a challenge and nothing else."""
    answer = fetch(secured.private, path, headers)
    assert (answer.status, answer.headers["Www-Authenticate"], answer.text) == (
        401,
        'Basic realm="smtpeter-exporter"',
        "unauthorized\n",
    )


@pytest.mark.parametrize(("path", "body"), HEALTH.items())
def test_health_needs_no_password(secured: Exporter, path: str, body: str) -> None:
    """The health endpoints are open, for orchestrators."""
    answer = fetch(secured.private, path, {})
    assert (answer.status, answer.text) == (200, body)


@pytest.mark.parametrize("path", ["/-/../metrics", "/-/%2e%2e/metrics", "/%2D/../metrics", "/-//metrics", "/-/"])
def test_no_path_bypasses_the_password(secured: Exporter, path: str) -> None:
    """A path that only starts like a health endpoint is not found."""
    answer = fetch(secured.private, path, {})
    assert (answer.status, answer.text) == (404, "not_found\n")


def test_the_log_has_the_https_address(secured: Exporter) -> None:
    """The address in the log line of the start can be used as it is."""
    (ready,) = [line for line in secured.log() if line["msg"] == "ready"]
    assert ready["metrics"] == f"https://{secured.private}/metrics"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /-/healthy HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        b"\0" * 20_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["HTTP", "health over HTTP", "half a hello", "zeros", "SSH", "nothing"],
)
def test_connections_without_tls_are_closed(secured: Exporter, raw: bytes) -> None:
    """Plain HTTP and garbage get no HTTP answer on the TLS port, and scrapes continue."""
    with connect(secured.private) as sock:
        with suppress(OSError):  # the server may close it early
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in read_to_end(sock)
    assert scraped(secured.private) == SERIES


def test_tls_versions(secured: Exporter) -> None:
    """TLS 1.2 and 1.3 are supported by default."""
    negotiated = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting()
        context.minimum_version = context.maximum_version = version
        with connect(secured.private) as sock, context.wrap_socket(sock, server_hostname="localhost") as wrapped:
            negotiated.append(wrapped.version())
    assert negotiated == ["TLSv1.2", "TLSv1.3"]


def test_silent_clients_do_not_block_others(secured: Exporter) -> None:
    """With 50 connections without a handshake and 20 with half a request, scrapes and health are answered."""
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(connect(secured.private))
        for _ in range(20):
            sock = stack.enter_context(connect(secured.private))
            wrapped = stack.enter_context(trusting().wrap_socket(sock, server_hostname="localhost"))
            wrapped.sendall(b"GET /metrics HTTP/1.1\r\nAuth")
        assert [scraped(secured.private) for _ in range(5)] == [SERIES] * 5
        assert fetch(secured.private, "/-/ready", {}).status == 200


def test_clients_that_disconnect_do_not_block_others(secured: Exporter) -> None:
    """A client may disconnect or reset at any point of handshake, request and answer; nothing is logged."""
    reset = b"\1\0\0\0\0\0\0\0"
    for sent, linger in [(sent, linger) for sent in (0, 10, 60) for linger in (None, reset)]:
        with connect(secured.private) as sock:
            if linger:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if sent:
                context = trusting()
                wrapped = context.wrap_socket(sock, server_hostname="localhost")
                request = f"GET /metrics HTTP/1.0\r\nAuthorization: {ALICE['Authorization']}\r\n\r\n".encode()
                wrapped.sendall(request[:10] if sent == 10 else request)
                wrapped.close()
            else:
                sock.sendall(b"\x16\x03\x01\2\0\1\0\1\xfc")
    assert scraped(secured.private) == SERIES


def test_the_oldest_connections_make_room(tmp_path: Path) -> None:
    """While the maximum of connections is idle, scrapes are answered and the oldest connections are closed."""
    with exporter(tmp_path, *web_config(tmp_path, tls())) as running, ExitStack() as stack:
        running.post(failure(1))
        idle = [stack.enter_context(connect(running.private)) for _ in range(MAX_CONNECTIONS.private)]
        assert [scraped(running.private) for _ in range(5)] == [SERIES] * 5
        assert read_to_end(idle[0]) == b""


@contextmanager
def serving(app: Callable[..., list[bytes]], directory: Path, *, secure: bool) -> Iterator[str]:
    """Serve an application with the private listener, with or without TLS; yield its address."""
    flags = web_config(directory, tls() if secure else "")
    listener = PrivateListener(app, "127.0.0.1", 0, WebConfig(Path(flags[1])), connections=9, failed=pytest.fail)
    listener.start()
    try:
        yield listener.address
    finally:
        listener.stop()


def large(_environ: object, start_response: Callable[..., object]) -> list[bytes]:
    """Answer with more than any buffer holds."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * 50_000_000]


@pytest.mark.parametrize("secure", [True, False], ids=["TLS", "plain"])
def test_slow_connections_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, secure: bool) -> None:
    """A client that is silent, sends byte by byte, or does not read the answer is disconnected."""
    monkeypatch.setattr(listener_module, "DEADLINE", 2.0)  # enough for two handshakes on a busy machine
    with serving(large, tmp_path, secure=secure) as address, ExitStack() as stack:
        silent, slow, deaf = (stack.enter_context(connect(address)) for _ in range(3))
        if secure:
            slow, deaf = (
                stack.enter_context(trusting().wrap_socket(sock, server_hostname="localhost")) for sock in (slow, deaf)
            )
        deaf.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until(lambda: closed_by_server(slow))
        assert read_to_end(silent) == b""
        assert len(read_to_end(deaf)) < 50_000_000


@pytest.mark.parametrize("secure", [True, False], ids=["TLS", "plain"])
def test_the_application_knows_that_the_client_has_disconnected(tmp_path: Path, *, secure: bool) -> None:
    """It notices the end of the connection although it reads nothing from it."""
    asked: SimpleQueue[Callable[[], bool]] = SimpleQueue()
    noticed = threading.Event()

    def patient(environ: Mapping[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        asked.put(environ[DISCONNECTED])
        until(environ[DISCONNECTED])
        noticed.set()
        start_response("200 OK", [])
        return []

    with serving(patient, tmp_path, secure=secure) as address:
        with ExitStack() as stack:
            sock = stack.enter_context(connect(address))
            if secure:
                sock = stack.enter_context(trusting().wrap_socket(sock, server_hostname="localhost"))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\nmore, which is not read")
            assert asked.get(timeout=TIMEOUT)() is False
        assert noticed.wait(TIMEOUT)


def closed_by_server(sock: socket.socket) -> bool:
    """Send one more byte; return whether that fails."""
    try:
        sock.sendall(b"x")
    except OSError:
        return True
    return False


def serial(address: str) -> str:
    """Return the serial number of the server's certificate."""
    with connect(address) as sock, trusting().wrap_socket(sock, server_hostname="localhost") as wrapped:
        certificate = wrapped.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_changes_on_disk_are_loaded(tmp_path: Path) -> None:
    """A replaced certificate and a new user are in force without a restart; an invalid file changes nothing."""
    with exporter(tmp_path, *web_config(tmp_path, tls() + users(alice=hashed("sesame")))) as running:
        first = serial(running.private)
        write_pair(tmp_path)
        until(lambda: serial(running.private) != first)
        (tmp_path / "web.yml").write_text(tls() + users(bob=hashed("sesame")))
        until(lambda: fetch(running.private).status == 401)
        assert fetch(running.private, headers={"Authorization": basic("bob:sesame")}).status == 200
        (tmp_path / "web.yml").write_text("colour: red")
        until(lambda: any(line["level"] == "error" and "web.config.file" in line["error"] for line in running.log()))
        assert fetch(running.private, headers={"Authorization": basic("bob:sesame")}).status == 200


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_client_certificates_are_required(tmp_path: Path, version: str) -> None:
    """With RequireAndVerifyClientCert, only a certificate of the authority gets an answer, even for health."""
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    write_pair(tmp_path, "client-")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    pair = authority("another").issue_cert("localhost")
    pair.private_key_pem.write_to_path(foreign / "client-key.pem")
    pair.cert_chain_pems[0].write_to_path(foreign / "client-cert.pem")
    content = tls(client_auth_type="RequireAndVerifyClientCert", client_ca_file="ca.pem", max_version=version)
    with exporter(tmp_path, *web_config(tmp_path, content)) as running:
        for path, directory in [
            (path, directory) for path in ("/metrics", "/-/healthy") for directory in (None, foreign)
        ]:
            with pytest.raises((OSError, HTTPException)):
                fetch(running.private, path, {}, trusting(directory))
        for path in ("/metrics", "/-/healthy"):
            assert fetch(running.private, path, {}, trusting(tmp_path)).status == 200


def test_a_real_prometheus_scrapes_over_tls(tmp_path: Path) -> None:
    """Prometheus with the authority, a client certificate and the password has the counters."""
    program = server("prometheus")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    write_pair(tmp_path, "client-")
    content = tls(client_auth_type="RequireAndVerifyClientCert", client_ca_file="ca.pem")
    flags = web_config(tmp_path, content + users(alice=hashed("sesame")))
    address = f"127.0.0.1:{free_port()}"
    with exporter(tmp_path, *flags) as running, (tmp_path / "log").open("wb") as log:
        assert running.post(failure(1)).status == 200
        (tmp_path / "prometheus.yml").write_text(
            f"""scrape_configs:
- job_name: tests
  scrape_interval: 500ms
  scrape_timeout: 500ms
  scheme: https
  basic_auth: {{username: alice, password: sesame}}
  tls_config: {{ca_file: ca.pem, cert_file: client-cert.pem, key_file: client-key.pem}}
  static_configs: [{{targets: ['{running.private}']}}]
"""
        )
        own = [f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}"]
        process = subprocess.Popen(
            [program, f"--config.file={tmp_path / 'prometheus.yml'}", *own], stdout=log, stderr=log
        )
        try:
            assert until(lambda: queried(address, "smtpeter_failures_total")) == "1"
            assert queried(address, "up") == "1"
        finally:
            process.terminate()
            process.wait(TIMEOUT)


def queried(address: str, query: str) -> str | None:
    """Return the value that Prometheus has for the query; None if it has none or is not ready."""
    with Client(address) as client:
        try:
            answer = client.request("GET", f"/api/v1/query?query={query}")
        except (OSError, HTTPException):
            return None
    result = json.loads(answer.body)["data"]["result"] if answer.status == 200 else []
    return str(result[0]["value"][1]) if result else None


def test_a_password_without_tls(tmp_path: Path) -> None:
    """Users without TLS mean plain HTTP with a password, as in the toolkit."""
    with exporter(tmp_path, *web_config(tmp_path, users(alice=hashed("sesame")))) as running:
        assert [running.get("/metrics").status, running.get("/metrics", **ALICE).status] == [401, 200]
        assert running.get("/-/ready").status == 200


def test_ipv6(tmp_path: Path) -> None:
    """Both listeners accept an IPv6 address, which the log shows in brackets."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("needs IPv6 on loopback")
    flags = web_config(tmp_path, tls() + users(alice=hashed("sesame")))
    addresses = ("--web.listen-address", "[::1]:0", "--webhook.listen-address", "[::1]:0")
    with exporter(tmp_path, *flags, *addresses) as running:
        assert [address.rpartition(":")[0] for address in (running.private, running.public)] == ["[::1]"] * 2
        assert running.post(failure(1)).status == 200
        assert scraped(running.private) == {"rcptto/5xx/5.1.1": 1}


@pytest.mark.parametrize("secure", [True, False], ids=["TLS", "plain"])
def test_silent_clients_do_not_delay_the_stop(tmp_path: Path, *, secure: bool) -> None:
    """SIGTERM ends the process with 0, although connections are open that sent nothing or half a request."""
    flags = web_config(tmp_path, tls()) if secure else ()
    with exporter(tmp_path, *flags) as running, ExitStack() as stack:
        silent = [stack.enter_context(connect(running.private)) for _ in range(3)]
        silent[1].sendall(b"\x16")
        if secure:
            silent[2] = stack.enter_context(trusting().wrap_socket(silent[2], server_hostname="localhost"))
        else:
            silent[2].sendall(b"GET /metrics HTTP/1.1\r\n")
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 10  # the deadline of connections is 15 s
        assert [read_to_end(sock) for sock in silent] == [b""] * 3


def http_of(size: int) -> bytes:
    """Return a valid request for ``/-/healthy`` whose line and headers have this many bytes."""
    start, end = b"GET /-/healthy HTTP/1.1\r\nX: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


REFUSED: Final = {
    "unknown path": (b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found\n"),
    "the callback": (b"POST /failures HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404, "not_found\n"),
    "wrong method": (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "method\n"),
    "deletion": (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method\n"),
    "unknown method": (b"SECRET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method\n"),
    "long path": (b"GET /" + b"secret" * 3_000 + b" HTTP/1.1\r\n\r\n", 431, "malformed\n"),
    "one word": (b"SECRET\r\n\r\n", 400, "malformed\n"),
    "many words": (b"GET /metrics SECRET HTTP/1.1\r\n\r\n", 400, "malformed\n"),
    "no version": (b"GET /metrics SECRET/1.1\r\n\r\n", 400, "malformed\n"),
    "future version": (b"GET /secret HTTP/2.0\r\n\r\n", 505, "malformed\n"),
    "binary": (b"\xff\xfe\0\1 secret\r\n\r\n", 400, "malformed\n"),
    "POST without a version": (b"POST /secret\r\n\r\n", 400, "malformed\n"),
    "many headers": (b"GET /metrics HTTP/1.1\r\n" + b"X-Secret: 1\r\n" * 200 + b"\r\n", 431, "malformed\n"),
    "long header": (b"GET /metrics HTTP/1.1\r\nX: " + b"secret" * 20_000 + b"\r\n\r\n", 431, "malformed\n"),
    "headers of 16 KiB in total": (http_of(16_385), 431, "malformed\n"),
    "many short lines": (b"GET /metrics HTTP/1.1\r\n" + b":\n" * 10_000, 431, "malformed\n"),
    "continued line": (b"GET /metrics HTTP/1.1\r\nX: secret\r\n more\r\n\r\n", 400, "malformed\n"),
    "space before the headers": (b"GET /metrics HTTP/1.1\r\n X: secret\r\n\r\n", 400, "malformed\n"),
    "space before the colon": (b"GET /metrics HTTP/1.1\r\nX : secret\r\n\r\n", 400, "malformed\n"),
    "header without a colon": (b"GET /metrics HTTP/1.1\r\nsecret\r\nX: 1\r\n\r\n", 400, "malformed\n"),
    "header without a name": (b"GET /metrics HTTP/1.1\r\n: secret\r\n\r\n", 400, "malformed\n"),
    "name beyond ASCII": (b"GET /metrics HTTP/1.1\r\nX-\xff: secret\r\n\r\n", 400, "malformed\n"),
    "NUL in a header": (b"GET /metrics HTTP/1.1\r\nX: secret\0\r\n\r\n", 400, "malformed\n"),
    "CR in a header": (b"GET /metrics HTTP/1.1\r\nX: secret\rY: 1\r\n\r\n", 400, "malformed\n"),
    "length that is no number": (b"POST /metrics HTTP/1.1\r\nContent-Length: secret\r\n\r\n", 405, "method\n"),
}


@pytest.mark.parametrize(("raw", "status", "body"), REFUSED.values(), ids=REFUSED)
def test_invalid_requests_get_one_word(plain: Exporter, raw: bytes, status: int, body: str) -> None:
    """An invalid request is answered with one word of plain text that repeats nothing of it."""
    with connect(plain.private) as sock:
        with suppress(ConnectionError):
            sock.sendall(raw)
        response = HTTPResponse(sock)
        response.begin()
        text = response.read().decode()
    head = f"{response.reason} {response.headers}"
    assert (response.status, response.headers.get_content_type(), text) == (status, "text/plain", body)
    assert "secret" not in head.lower()


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n",
        b"",
        b"GET /metrics HTTP/1.1",
        b"GET /metrics HTTP/1.1\r\nX: 1\r\n",
    ],
)
def test_connections_without_a_request_are_closed(plain: Exporter, raw: bytes) -> None:
    """Without a complete request nothing is answered, and health requests continue."""
    with connect(plain.private) as sock:
        with suppress(OSError):  # the server may close it early
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
        assert b" 200 " not in read_to_end(sock)
    assert plain.get("/-/healthy").text == "healthy\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\r\n\r\n",
        b"GET /-/healthy HTTP/1.0\r\n\r\n",
        b"GET /-/healthy?a=b&%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\nHost: x\n\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nX: \xff\r\nY:\r\n\r\n",
        http_of(16_384),
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n",
    ],
)
def test_unusual_requests_are_answered(plain: Exporter, raw: bytes) -> None:
    """Unusual but valid requests are answered, and the connection is closed."""
    answer = exchange(plain.private, raw)
    assert (answer.status, answer.text) == (200, "healthy\n")


def test_one_connection_serves_one_request(plain: Exporter) -> None:
    """The answer announces that the connection closes, so that clients open a new one."""
    with Client(plain.private) as client:
        assert [client.request("GET", "/-/healthy").status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("content", [None, "colour: red"], ids=["no file", "invalid file"])
def test_an_invalid_file_prevents_the_start(tmp_path: Path, content: str | None) -> None:
    """An exporter with an invalid file must not listen without it; it ends with 2 and names the setting."""
    file = tmp_path / "web.yml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(AssertionError, match=r"the exporter exited with 2: .*web\.config\.file: "):
        Exporter(tmp_path, "--web.config.file", str(file))


def test_closing_the_terminal_ends_the_exporter(tmp_path: Path) -> None:
    """Closing the terminal in which ``make run`` runs must not leave an exporter behind that holds the ports."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        command(tmp_path),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY),  # noqa: PLW1509 -- no other thread holds a lock
    )
    os.close(slave)
    output = b""
    while b"msg=ready" not in output:
        output += os.read(master, 65_536)
    os.close(master)
    try:
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()


def test_sighup_reloads_the_web_configuration(tmp_path: Path) -> None:
    """The log says that the file was read again, or that there is none; the exporter goes on."""
    with exporter(tmp_path, *web_config(tmp_path, users(alice=hashed("sesame")))) as running:
        running.send_signal(signal.SIGHUP)
        until(lambda: [line["msg"] for line in running.log()][-1] == "reloaded web.config.file")
        assert running.get("/metrics", **ALICE).status == 200
    with exporter(tmp_path) as running:
        running.send_signal(signal.SIGHUP)
        until(lambda: "web.config.file is not set" in running.log()[-1]["msg"])
        assert running.get("/metrics").status == 200
