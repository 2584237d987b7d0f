"""The reverse proxies that deploy/ has a configuration for, as real programs."""

import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Final, NamedTuple

import trustme

from tests.support.running import FORM, TIMEOUT, Response, connect, free_port, server, until
from tests.support.signing import headers_for
from tests.support.tree import ROOT

HOST: Final = "mail.example.com"
CALLBACK: Final = "/smtpeter/failures"
"""The path of the URL of the webhook for failures in the configurations."""

_DEPLOY: Final = ROOT / "deploy"
_EMPTY: Final[Mapping[str, str]] = {}


class Shipped(NamedTuple):
    """A shipped configuration: its path, the program's arguments, and the replacements that shorten its timeouts."""

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


def path_of(loop: str) -> str:
    """Return the path of the URL of a loop's webhook in the configurations."""
    return f"/smtpeter/{loop}"


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Replace texts, each of which must occur exactly once."""
    for old, new in replacements.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A running proxy in front of ``upstream``, with the shipped configuration but for the replacements ``other``."""

    def __init__(self, name: str, directory: Path, upstream: str, other: Mapping[str, str]) -> None:
        self.name = name
        self._upstream = upstream
        self.address = f"127.0.0.1:{free_port()}"
        self._log = directory / "log"
        authority = trustme.CA()
        authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(directory / "pem"))
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)
        shipped = SHIPPED[name]
        text = (_DEPLOY / shipped.file).read_text()
        adapted = (self._for_caddy if name == "caddy" else self._for_nginx)(text, directory)
        (directory / "configuration").write_text(replaced(adapted, other))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [server(name), *shipped.arguments, str(directory / "configuration")],
                stdout=log,
                stderr=log,
                env={"HOME": str(directory)},
            )
        try:
            until(self._ready)
            if name == "nginx":  # a body that does not fit into its buffer is then answered 500
                (directory / "client_body").rmdir()
        except BaseException:
            self.stop()
            raise

    def connect(self, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLSocket:
        """Open a TLS connection, verify the certificate, and offer protocols (ALPN)."""
        self._context.set_alpn_protocols(list(protocols))
        sock = connect(self.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(sock, server_hostname=HOST)

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send a request without changing it, and return the answer."""
        with self.connect() as sock:
            with suppress(OSError):  # the proxy may reject the request before it has read all of it
                sock.sendall(head_of(method, path, headers) + body)
            response = HTTPResponse(sock, method=method)
            response.begin()
            with response:
                return Response(response.status, dict(response.getheaders()), response.read())

    def post(self, body: bytes, path: str = CALLBACK, **more: str) -> int:
        """Post a signed request with additional headers; return the status of the answer."""
        headers = headers_for(HOST, path, body, FORM) | {name.replace("_", "-"): text for name, text in more.items()}
        return self.send("POST", path, headers, body).status

    def log(self) -> str:
        """Return the proxy's log so far."""
        return self._log.read_text()

    def stop(self) -> int:
        """Stop the process; return its exit code."""
        self._process.terminate()
        return self._process.wait(TIMEOUT)

    def _for_caddy(self, text: str, directory: Path) -> str:
        port, pem = self.address.rpartition(":")[2], directory / "pem"
        site = f"https://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {pem} {pem}"
        return replaced(
            text,
            {
                "{$SMTPETER_HOST:mail.example.com} {": site,
                "{$SMTPETER_UPSTREAM:127.0.0.1:10125} {": f"{self._upstream} {{",
                "\tservers {": "\tadmin off\n\tauto_https off\n\tservers {",
            },
        )

    def _for_nginx(self, text: str, directory: Path) -> str:
        text = replaced(
            text,
            {
                "listen 443 ssl;": f"listen {self.address} ssl;",
                "listen [::]:443 ssl;": "",
                "/etc/ssl/mail.example.com.crt": f"{directory}/pem",
                "/etc/ssl/mail.example.com.key": f"{directory}/pem",
                "/var/log/nginx/smtpeter-exporter.log": str(self._log),
                "server 127.0.0.1:10125;": f"server {self._upstream};",
            },
        )
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
        return f"pid {directory}/pid; events {{}} http {{ {temporary}\n{text}}}\n"

    def _ready(self) -> bool:
        assert self._process.poll() is None, self.log()
        with suppress(ConnectionError):
            connect(self.address).close()
            return True
        return False


def head_of(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Return request line and headers as bytes."""
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


@contextmanager
def proxied(name: str, directory: Path, upstream: str, other: Mapping[str, str] = _EMPTY) -> Iterator[Proxy]:
    """Run a proxy; it must exit with 0 when it is stopped."""
    proxy = Proxy(name, directory, upstream, other)
    try:
        yield proxy
    finally:
        code = proxy.stop()
    assert code == 0
