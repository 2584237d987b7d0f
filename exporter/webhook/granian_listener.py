"""The public listener on granian, which handles HTTP outside Python: faster, and only for use behind a reverse proxy.

It replaces ``waitress_listener.Listener`` and serves the same application. docs/security.md lists its limitations.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final
from wsgiref.types import WSGIApplication

# Granian's own server must be the main thread of its own process. The worker that it starts is all that is needed here,
# but is not public: hence the narrow range of versions in pyproject.toml.
from granian._futures import _new_cbscheduler
from granian._granian import SocketHolder, WorkerSignal, WSGIWorker
from granian.http import HTTP1Settings

from exporter.net import address_of, bind
from exporter.webhook.parsing import MAX_BODY
from exporter.webhook.waitress_listener import DRAIN_TIMEOUT, MAX_HEADER, REQUEST_TIMEOUT

log = logging.getLogger(__name__)

_BACKLOG: Final = 1_024
_BASE: Final[dict[str, Any]] = {  # granian's own includes os.environ, where HTTP_PROXY looks like a header
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


class GranianListener:
    """A server of ``app`` on ``host``:``port`` (0: a free one) with a number of threads and a maximum of connections.

    ``refused`` is called with the status if a body is rejected before the application sees it. Other requests that
    granian rejects go unnoticed. ``failed`` is called if the server ends unexpectedly. Raises ListenError if the
    address cannot be bound.
    """

    def __init__(  # noqa: PLR0913 -- keyword-only, and all of one concern
        self,
        app: WSGIApplication,
        host: str,
        port: int,
        *,
        threads: int,
        connections: int,
        refused: Callable[[int], None],
        failed: Callable[[], None],
    ) -> None:
        self._app = app
        self._refused = refused
        self._failed = failed
        self._threads = threads
        self._connections = connections
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._signal = WorkerSignal()
        self._signal.add_cb(self._ended)
        self._socket = bind(host, port)
        self._loop = (
            asyncio.new_event_loop()
        )  # never run: granian requires a loop, but uses it only for other interfaces
        self.address = address_of(host, self._socket)

    def start(self) -> None:
        """Start serving; returns at once."""
        worker = WSGIWorker(
            1,
            (None, SocketHolder(self._socket.detach(), False, _BACKLOG)),  # noqa: FBT003 -- not a Unix socket
            None,
            threads=1,
            blocking_threads=1,
            py_threads=self._threads,
            py_threads_idle_timeout=600,
            backpressure=self._connections,
            http_mode="1",
            http1_opts=HTTP1Settings(header_read_timeout=int(REQUEST_TIMEOUT * 1_000), max_buffer_size=MAX_HEADER),
            metrics=(None, None),
        )
        worker.serve_mtr(_new_cbscheduler(self._loop, self._serve, impl_asyncio=True), self._loop, self._signal)

    def stop(self) -> None:
        """Accept no more connections and answer requests in flight; returns after at most about DRAIN_TIMEOUT seconds.

        Granian would wait indefinitely for a client that does not send the rest of its body.
        """
        self._stopping.set()
        self._signal.set()
        self._stopped.wait(DRAIN_TIMEOUT)
        self._loop.close()

    def _ended(self) -> None:
        self._stopped.set()
        if not self._stopping.is_set():
            log.error("listener failed", extra={"address": self.address})
            self._failed()

    def _serve(self, protocol: Any, scope: dict[str, Any]) -> None:  # noqa: ANN401 -- granian's own
        """Answer one request, in one of granian's Python threads."""
        try:
            status, headers, answer = self._answer(_BASE | scope)
        except Exception:
            log.exception("internal error; please report it")
            status, headers, answer = HTTPStatus.INTERNAL_SERVER_ERROR.value, [], b""
        protocol.response_bytes(status, headers, answer)

    def _answer(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        try:
            _read_body(environ)
        except _BadBody as error:
            if error.status:
                self._refused(error.status)
            return error.status or HTTPStatus.BAD_REQUEST, [("Connection", "close")], b""
        # Granian keeps only the decoded path. The webhook's path needs no encoding; a request signed for an encoded
        # spelling is rejected, because its signature does not match.
        query = environ["QUERY_STRING"]
        environ["REQUEST_URI"] = f"{environ['PATH_INFO']}?{query}" if query else environ["PATH_INFO"]
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], object]:
            started[:] = [int(status[:3]), headers]
            return _write

        pieces = self._app(environ, start)
        try:
            body = b"".join(pieces)
        finally:
            if close := getattr(pieces, "close", None):
                close()
        return started[0], started[1], body


class _BadBody(Exception):
    """A body that must not reach the application; ``status`` is None if the client disconnected."""

    def __init__(self, status: HTTPStatus | None) -> None:
        self.status = status


def _read_body(environ: dict[str, Any]) -> None:
    """Replace the stream by the whole body. Raises _BadBody.

    Granian's stream ends the same way for a complete body, a client that disconnected, and invalid chunks. So the
    length of the body must be known, or half a report could be counted.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise _BadBody(HTTPStatus.LENGTH_REQUIRED)
    length = int(environ.get("CONTENT_LENGTH") or 0)  # digits: granian rejects anything else
    if length > MAX_BODY:
        raise _BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = environ["wsgi.input"].read(length) if length else b""
    if len(body) < length:
        raise _BadBody(None)
    environ["wsgi.input"] = BytesIO(body)


def _write(_data: bytes) -> object:
    raise NotImplementedError("the application answers with what it returns")
