"""The public listener: waitress in its own thread, with limits on what clients can occupy, and an orderly stop.

It shares nothing with the private listener, so that scrapes are answered whatever clients do here.
"""

import heapq
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from queue import SimpleQueue
from typing import Any, Final
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.server import create_server
from waitress.task import ErrorTask

from exporter.net import OUT_OF_FILES, address_of, bind
from exporter.webhook.parsing import MAX_BODY

log = logging.getLogger(__name__)

MAX_HEADER: Final = 16_384
"""Maximum size of all headers of a request together, in bytes."""
DRAIN_TIMEOUT: Final = 3.0
"""Seconds to wait for requests in flight when stopping."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds within which a connection must deliver each complete request, however slowly its bytes arrive."""
MAX_PIPELINED: Final = 8
"""Maximum number of unanswered requests on a connection; well-behaved clients and proxies send one."""


class Listener:
    """A server of ``app`` on ``host``:``port`` (0: a free one) with a number of threads and a maximum of connections.

    ``refused`` is called with the status if the server rejects a request before the application sees it: malformed or
    too large, 408 if it was not completed in time, 429 if more than MAX_PIPELINED are unanswered. ``failed`` is called
    if the serving thread dies. When nearly all connections are in use, those that have been idle longest are closed.
    Raises ListenError if the address cannot be bound.
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
        self._workers = _Workers(threads)
        self._sockets: dict[int, Any] = {}  # the sockets of waitress's event loop, by file descriptor
        self._server = create_server(
            app,
            map=self._sockets,
            _dispatcher=self._workers,
            sockets=[bind(host, port)],
            connection_limit=connections + 2,  # waitress counts its listening socket and its trigger, too
            channel_timeout=int(2 * REQUEST_TIMEOUT),  # for clients that do not read the answer; _sweep closes others
            log_socket_errors=False,  # clients that disconnect are normal
            max_request_header_size=MAX_HEADER,
            max_request_body_size=2 * MAX_BODY,  # includes chunk framing; the application enforces the exact limit
            clear_untrusted_proxy_headers=False,  # X-Forwarded-… is not used, so it need not be removed
            ident=None,
        )
        self._server.channel_class = _channel_class(refused)
        self._server.accept = self._accept
        self._out_of_files = False
        make_nonblocking(self._server.trigger)
        self._refused = refused
        self._most = connections * 9 // 10
        self._swept = 0.0
        self._failed = failed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listener {host}:{port}", daemon=True)
        self.address = address_of(host, self._server.socket)

    def start(self) -> None:
        """Start serving."""
        self._workers.start()
        self._thread.start()

    def stop(self) -> None:
        """Accept no more connections, answer requests in flight, close all; takes at most about DRAIN_TIMEOUT."""
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._run_loop_once(1)
                self._sweep(time.monotonic())
            self._drain()
        except Exception:
            log.exception("listener failed", extra={"address": self.address})
            self._failed()

    def _run_loop_once(self, timeout: float) -> None:
        # poll, because select does not support file descriptors above 1023.
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)

    def _accept(self) -> Any:  # noqa: ANN401 -- waitress has no types
        try:
            return wasyncore.dispatcher.accept(self._server)
        except OSError as error:
            if error.errno in OUT_OF_FILES:  # the loop would try again at once, and forever
                self._out_of_files = True
                self._server.accepting = False
            raise

    def _sweep(self, now: float) -> None:
        """Close connections that waitress would keep: slow ones, and the longest idle ones when there are too many."""
        full = self._out_of_files or len(self._server.active_channels) > self._most
        if now < self._swept + 1 and not full:
            return
        self._swept = now
        waiting = [channel for channel in self._server.active_channels.values() if not channel.requests]
        late = [channel for channel in waiting if channel.since < now - REQUEST_TIMEOUT]
        if full and not late:
            late = heapq.nsmallest(self._most // 20 + 1, waiting, key=lambda channel: channel.since)
        for channel in late:
            if channel.request is not None:
                self._refused(HTTPStatus.REQUEST_TIMEOUT)
            channel.handle_close()
        # If nothing could be closed, it is tried again in a second.
        self._server.accepting = bool(late) or not self._out_of_files
        self._out_of_files = False

    def _drain(self) -> None:
        wasyncore.dispatcher.close(self._server)  # only the listening socket; the server's close includes the trigger
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self._server.active_channels and time.monotonic() < deadline:
            for channel in list(self._server.active_channels.values()):
                if not (channel.requests or channel.request or channel.total_outbufs_len):
                    channel.will_close = True
            self._run_loop_once(0.02)
        self._workers.stop(timeout=1)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.trigger.close()


class _Workers:
    """The threads that run the application, with the interface of waitress's dispatcher.

    Waitress's own creates a lock for each request; a SimpleQueue, written in C, makes a request a sixth cheaper.
    """

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[HTTPChannel | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"worker {n}", daemon=True) for n in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def add_task(self, task: HTTPChannel) -> None:
        self._tasks.put(task)

    def stop(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the threads to finish their tasks; they are daemon threads."""
        deadline = time.monotonic() + timeout
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task.service()
            except Exception:
                log.exception("internal error; please report it")


def make_nonblocking(trigger: Any) -> None:  # noqa: ANN401 -- waitress has no types
    """Make the pipe that wakes the event loop non-blocking. If it is full, the loop is about to wake anyway.

    A thread that blocks on a full pipe can hold a connection's lock that the loop is waiting for: a deadlock.
    """
    pull = trigger._physical_pull  # noqa: SLF001 -- waitress has no public way

    def pull_unless_full() -> None:
        with suppress(BlockingIOError):
            pull()

    os.set_blocking(trigger.trigger, False)
    trigger._physical_pull = pull_unless_full  # noqa: SLF001 -- waitress has no setting for it


class _Unanswerable(Exception):
    """A connection sent data that gets no answer: ``too_many`` requests, or more after a malformed one."""

    def __init__(self, *, too_many: bool) -> None:
        self.too_many = too_many


class _Requests(list[HTTPRequestParser]):
    """The unanswered requests of a connection, at most MAX_PIPELINED.

    Waitress would parse and keep all requests that one read returned, possibly hundreds, while other clients wait.
    After a malformed request it would parse the rest as requests, although it closes the connection after that answer.
    """

    def append(self, request: HTTPRequestParser) -> None:
        if self and self[-1].error:
            raise _Unanswerable(too_many=False)
        if len(self) >= MAX_PIPELINED:
            raise _Unanswerable(too_many=True)
        super().append(request)


class _Headers(dict[str, str]):
    """The headers of a request, by waitress's names. Waitress would accept odd codings, and join repeated headers."""

    def __setitem__(self, name: str, value: str) -> None:
        if name == "TRANSFER_ENCODING" and value.lower() != "chunked":
            raise ParsingError("header Transfer-Encoding is not chunked")
        if name == "CONTENT_TYPE" and name in self:
            raise ParsingError("header Content-Type is repeated")
        super().__setitem__(name, value)


class _Parser(HTTPRequestParser):
    """Waitress's parser, with 400 for input on which it fails: a length of 5,000 digits, the target ``http://[``.

    It also rejects what another parser may read differently, so that a proxy in front cannot be made to see other
    requests than the exporter does. RFC 9112 section 6.1: a transfer coding other than chunked (answered 400, not 501,
    because it is the client's mistake), one in HTTP/1.0, or one together with a length.
    """

    path = ""  # waitress fails without it if there was no request line and the client disconnects during the answer

    def parse_header(self, header_plus: bytes) -> None:
        self.headers = headers = _Headers()
        try:
            super().parse_header(header_plus)
        except (ValueError, TransferEncodingNotImplemented) as error:
            raise ParsingError("Header is invalid") from error
        if self.chunked and "CONTENT_LENGTH" in headers:
            raise ParsingError("headers Transfer-Encoding and Content-Length cannot be combined")
        if "TRANSFER_ENCODING" in headers:  # waitress removes it unless it ignores it
            raise ParsingError(f"header Transfer-Encoding in HTTP/{self.version}")


def _channel_class(refused: Callable[[int], None]) -> type[HTTPChannel]:
    class ErrorAnswer(ErrorTask):
        def execute(self) -> None:
            error = self.request.error
            why = error.body.partition('"')[0].rstrip()  # without what the client sent, which may be part of a body
            log.debug("refused", extra={"status": error.code, "from": self.channel.addr[0], "why": why})
            refused(error.code)
            error.body = ""  # it repeats what the client sent
            super().execute()

    class Channel(HTTPChannel):
        parser_class = _Parser
        error_task_class = ErrorAnswer

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- passed on
            super().__init__(*args, **kwargs)
            self.requests = _Requests()
            self.since = time.monotonic()  # when it was opened, or last delivered a complete request

        def send_continue(self) -> None:
            """Ask for the body unless there is none: waitress would wait for it and never answer."""
            if self.request is not None and self.request.completed:
                self.request.expect_continue = False
            else:
                super().send_continue()

        def received(self, data: bytes) -> bool:
            done = len(self.requests)
            try:
                taken: bool = super().received(data)
            except _Unanswerable as end:
                self.request = None
                if end.too_many:
                    refused(HTTPStatus.TOO_MANY_REQUESTS)
                    self.handle_close()
                return False
            if len(self.requests) > done or self.request is None:
                self.since = time.monotonic()
            return taken

    return Channel
