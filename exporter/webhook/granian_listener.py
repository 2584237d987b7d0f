"""The public listener on granian, whose threads for HTTP are not Python's: faster, for use behind a proxy only.

It stands in for ``waitress_listener.Listener`` and serves the same application. What it can't do that the other
can is told in docs/security.md.
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

# Granian's own server wants to be the main thread of a process of its own. What it starts there is all that is needed
# here, but is not called public: hence the narrow range of versions in pyproject.toml.
from granian._futures import _new_cbscheduler
from granian._granian import SocketHolder, WorkerSignal, WSGIWorker
from granian.http import HTTP1Settings

from exporter.net import address_of, bind
from exporter.webhook.parsing import MAX_BODY
from exporter.webhook.waitress_listener import DRAIN_TIMEOUT, MAX_HEADER, REQUEST_TIMEOUT

log = logging.getLogger(__name__)

_BACKLOG: Final = 1_024
_BASE: Final[dict[str, Any]] = {  # granian's own has all of os.environ in it, where HTTP_PROXY looks like a header
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


class GranianListener:
    """Serve ``app`` on ``host``:``port`` (0: a free one) with so many threads and at most so many connections.

    ``refused`` is called with the status when a body is turned away before the application sees it; of other requests
    that granian turns away nothing is heard. ``failed`` is called when it ends unasked. Raises ListenError when the
    address can't be bound.
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
        self._loop = asyncio.new_event_loop()  # never run: granian asks for one, and needs it for other interfaces only
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
        """Accept no more, answer what is in flight; returns when done, after some DRAIN_TIMEOUT seconds at most.

        Granian would wait for as long as a client does not send the rest of its body.
        """
        self._stopping.set()
        self._signal.set()
        self._stopped.wait(DRAIN_TIMEOUT)
        self._loop.close()

    def _ended(self) -> None:
        self._stopped.set()
        if not self._stopping.is_set():
            log.error("the listener died", extra={"address": self.address})
            self._failed()

    def _serve(self, protocol: Any, scope: dict[str, Any]) -> None:  # noqa: ANN401 -- granian's own
        """Answer one request, in one of granian's Python threads."""
        try:
            status, headers, answer = self._answer(_BASE | scope)
        except Exception:
            log.exception("fault while serving; please report it")
            status, headers, answer = HTTPStatus.INTERNAL_SERVER_ERROR.value, [], b""
        protocol.response_bytes(status, headers, answer)

    def _answer(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        try:
            _read_body(environ)
        except _BadBody as error:
            if error.status:
                self._refused(error.status)
            return error.status or HTTPStatus.BAD_REQUEST, [("Connection", "close")], b""
        # Granian has decoded the path, and keeps no other. The callback's path has nothing in it that needs to be
        # encoded; a call that is signed for such a spelling all the same is refused, as one that does not fit.
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
    """A body that the application is not to see: with the status of the refusal, or None when its client hung up."""

    def __init__(self, status: HTTPStatus | None) -> None:
        self.status = status


def _read_body(environ: dict[str, Any]) -> None:
    """Put the whole body in the place of its stream. Raises _BadBody.

    Granian's stream ends in the same way whether the body has come to its end, or its client has hung up, or has sent
    chunks that are none. So a body has to say how long it is, or half a report would count.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise _BadBody(HTTPStatus.LENGTH_REQUIRED)
    length = int(environ.get("CONTENT_LENGTH") or 0)  # digits: granian has refused all else
    if length > MAX_BODY:
        raise _BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = environ["wsgi.input"].read(length) if length else b""
    if len(body) < length:
        raise _BadBody(None)
    environ["wsgi.input"] = BytesIO(body)


def _write(_data: bytes) -> object:
    raise NotImplementedError("the application answers with what it returns")
