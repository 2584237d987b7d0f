"""The private listener: the standard library's WSGI server with one thread per connection, and optional TLS.

Prometheus's Python client serves metrics the same way. The TLS handshake runs in the connection's thread, so that a
client that connects and sends nothing does not block others.
"""

import logging
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

from exporter.net import OUT_OF_FILES, address_of, bind
from exporter.web.web_config import WebConfig

log = logging.getLogger(__name__)

DISCONNECTED: Final = "exporter.disconnected"
"""Name in the WSGI environment of a function that returns whether the client has disconnected."""
MAX_HEAD: Final = 16_384
"""Maximum size of the request line and all headers of a request together, in bytes."""
DEADLINE: Final = 15.0
"""Seconds after which a connection is closed. Handshake, request and answer must be complete by then."""

# RFC 9112 section 5: a continued line, a NUL or a bare CR must not be accepted as they are.
_HEADERS: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*\r?\n)*\r?\n")
# Only Linux has RDHUP, for a client that has closed its half of the connection.
_ENDED: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class PrivateListener:
    """A server of ``app`` on ``host``:``port`` (0: a free one), with TLS if ``web_config`` configures it.

    It has at most ``connections`` open. When one more arrives, the oldest is closed. ``failed`` is called if the
    serving thread dies. Raises ListenError if the address cannot be bound.
    """

    def __init__(  # noqa: PLR0913 -- the last two by name
        self,
        app: WSGIApplication,
        host: str,
        port: int,
        web_config: WebConfig | None,
        *,
        connections: int,
        failed: Callable[[], None],
    ) -> None:
        self._server = _Server(bind(host, port), web_config, connections)
        self._server.set_app(app)
        self._failed = failed
        self._thread = threading.Thread(target=self._run, name=f"listener {host}:{port}", daemon=True)
        self.address = address_of(host, self._server.socket)
        self.scheme = "https" if web_config and web_config.tls else "http"

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more connections, wait a second for requests in flight, then close all."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.drain(1)

    def _run(self) -> None:
        try:
            self._server.serve_forever(poll_interval=0.2)
        except Exception:
            log.exception("listener failed", extra={"address": self.address})
            self._failed()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, bound: socket.socket, web_config: WebConfig | None, connections: int) -> None:
        host, port = bound.getsockname()[:2]
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.server_name, self.server_port = host, port
        self.setup_environ()
        bound.listen(128)
        self._web_config = web_config
        self._connections = connections
        self._deadlines: dict[Any, float] = {}  # of all open connections, the oldest first
        self._ended = threading.Condition()

    def get_request(self) -> tuple[Any, Any]:
        try:
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in OUT_OF_FILES:
                self._make_room(0.2)  # the server would try again at once, and forever
            raise
        connection.settimeout(DEADLINE)
        if self._web_config and self._web_config.tls:
            try:
                connection = self._web_config.tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            except OSError:  # the client has disconnected already
                connection.close()
                raise
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- a socket
        if len(self._deadlines) >= self._connections:
            self._make_room(1)
        with self._ended:
            self._deadlines[request] = time.monotonic() + DEADLINE
        super().process_request(request, client_address)

    def _make_room(self, seconds: float) -> None:
        """Close the oldest connection, and wait up to ``seconds`` until its thread, or another, has ended."""
        with self._ended:
            before = len(self._deadlines)
            if oldest := next(iter(self._deadlines), None):
                self._deadlines[oldest] = self._deadlines.pop(oldest)  # if its thread hangs, the next one is tried
                _hang_up(oldest)
            self._ended.wait_for(lambda: len(self._deadlines) < before, seconds)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 -- as its base has it
        with self._ended:
            self._deadlines.pop(request, None)
            self._ended.notify_all()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Reload the web configuration and close overdue connections; runs five times a second."""
        if self._web_config:
            self._web_config.reload()
        with self._ended:
            late = [request for request, deadline in self._deadlines.items() if deadline < time.monotonic()]
        for request in late:
            _hang_up(request)

    def drain(self, seconds: float) -> None:
        """Wait up to ``seconds`` for connections to end, then close them and wait as long again."""
        with self._ended:
            self._ended.wait_for(lambda: not self._deadlines, seconds)
            late = list(self._deadlines)
        for request in late:
            _hang_up(request)
        # A request that was cut off here is still answered. It must not read the ledger while that is being closed.
        with self._ended:
            self._ended.wait_for(lambda: not self._deadlines, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 -- as its base has it
        # Clients that disconnect, stall or do not speak TLS are normal. The application logs its own errors.
        log.debug("connection to the private listener failed", extra={"from": client_address[0]}, exc_info=False)


def _hang_up(connection: socket.socket) -> None:
    try:
        # The method of a TLS socket would remove the encryption while the connection's thread is reading.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # closed already


def _disconnected(connection: socket.socket) -> bool:
    """Return whether the client or this server has closed the connection, with TLS or without. It reads nothing."""
    poll = select.poll()
    poll.register(connection, _ENDED)
    return bool(poll.poll(0))


class _ResponseWriter(ServerHandler):
    server_software = "smtpeter-exporter"

    def error_output(self, environ: Any, start_response: Any) -> list[bytes]:  # noqa: ANN401, ARG002 -- as its base has it
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"internal\n"]

    def log_exception(self, exc_info: Any) -> None:  # noqa: ANN401 -- as its base has it
        """Log nothing; the server's handle_error does."""


class _Handler(WSGIRequestHandler):
    rbufsize = 4_096
    error_message_format = "malformed\n"
    error_content_type = "text/plain"
    server_version = "smtpeter-exporter"
    sys_version = ""
    default_request_version = "HTTP/1.0"  # answers to 0.9 have no status

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def handle(self) -> None:
        self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
        head = self._read_head()
        if len(head) > MAX_HEAD:
            self.send_error(431)
            return
        self.raw_requestline, end, headers = head.partition(b"\n")
        self.rfile = BytesIO(headers)  # without a body, which no request needs
        if not (end and self.parse_request()):
            return
        if not _HEADERS.fullmatch(headers):
            self.send_error(400)
            return
        writer = _ResponseWriter(
            self.rfile,
            self.wfile,  # type: ignore[arg-type]  # a BufferedIOBase, of which it only writes to
            self.get_stderr(),
            self.get_environ(),
            multithread=True,
        )
        writer.request_handler = self  # type: ignore[attr-defined]  # as wsgiref does
        writer.run(self.server.get_app())  # type: ignore[attr-defined]  # a WSGIServer

    def _read_head(self) -> bytes:
        """Return the request up to the empty line, more than MAX_HEAD bytes if it is too long, or nothing if cut off.

        The standard library would read 100 headers of 64 KiB each.
        """
        head = bytearray()
        with self.rfile as stream:
            while len(head) <= MAX_HEAD and (line := stream.readline(MAX_HEAD + 1 - len(head))):
                head += line
                if line in {b"\n", b"\r\n"}:
                    return bytes(head)
        return bytes(head) if len(head) > MAX_HEAD else b""

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment, in which the application can ask whether the client has disconnected."""
        return super().get_environ() | {DISCONNECTED: partial(_disconnected, self.request)}

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 -- as its base
        """Answer with the status only; ``message`` would repeat what the client sent."""
        super().send_error(code)
        # If unread data is left when the connection is closed, it is reset, and the client may not see the answer.
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(16):
                if not self.connection.recv(65_536):
                    break

    def log_message(self, *_: object) -> None:
        """Log nothing; scrapes are routine."""
