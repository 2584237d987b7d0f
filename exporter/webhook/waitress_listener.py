"""The public listener: waitress in a thread of its own, limits on what strangers may hold, and an orderly stop.

It shares nothing with the private one: whatever strangers do here, scrapes are answered.
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

from exporter.net import address_of, bind
from exporter.webhook.parsing import MAX_BODY

log = logging.getLogger(__name__)

MAX_HEADER: Final = 16_384
"""The most bytes that all headers of a request may have together."""
DRAIN_TIMEOUT: Final = 3.0
"""Seconds that requests in flight have to be finished in after the order to stop."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds within which a connection must bring a whole request, its first or its next; bytes that drip don't help."""
MAX_PIPELINED: Final = 8
"""Requests that a connection may bring before the answer to its first; clients and proxies that are well send one."""


class Listener:
    """Serve ``app`` on ``host``:``port`` (0: a free one) with so many threads and at most so many connections.

    ``refused`` is called with the status when the server itself turns a request away before the application sees it
    (garbage, too large; 408 when it did not come to an end, 429 when more than MAX_PIPELINED were sent ahead);
    ``failed`` when the serving thread dies. When nearly all connections are in use, those that have waited for
    longest go. Raises ListenError when the address can't be bound.
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
        self._sockets: dict[int, Any] = {}  # the map of waitress's event loop, by file descriptor
        self._server = create_server(
            app,
            map=self._sockets,
            _dispatcher=self._workers,
            sockets=[bind(host, port)],
            connection_limit=connections,
            channel_timeout=int(2 * REQUEST_TIMEOUT),  # a client that does not read its answer; for others see _sweep
            log_socket_errors=False,  # clients that hang up are no event
            max_request_header_size=MAX_HEADER,
            max_request_body_size=2 * MAX_BODY,  # the application has the exact limit; this one counts chunk frames too
            clear_untrusted_proxy_headers=False,  # nothing here believes X-Forwarded-…, so nothing need remove it
            ident=None,
        )
        self._server.channel_class = _channel_class(refused)
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
        """Accept no more, answer what is in flight, close all; return after DRAIN_TIMEOUT seconds at most."""
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn(1)
                self._sweep(time.monotonic())
            self._drain()
        except Exception:
            log.exception("the listener died", extra={"address": self.address})
            self._failed()

    def _turn(self, timeout: float) -> None:
        # poll, because select can't watch file descriptors past 1023.
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)

    def _sweep(self, now: float) -> None:
        """Close connections that waitress would keep: those that drip, and the oldest ones when there are too many."""
        full = len(self._server.active_channels) > self._most
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

    def _drain(self) -> None:
        wasyncore.dispatcher.close(self._server)  # the listening socket only; the server's close takes the trigger too
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self._server.active_channels and time.monotonic() < deadline:
            for channel in list(self._server.active_channels.values()):
                if not (channel.requests or channel.request or channel.total_outbufs_len):
                    channel.will_close = True
            self._turn(0.02)
        self._workers.stop(timeout=1)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.trigger.close()


class _Workers:
    """The threads that run the application: what waitress wants of a dispatcher.

    Its own makes and drops a lock for each request; with a queue that is written in C, a request costs a sixth less.
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
        """Let the threads finish what they are at, for at most so many seconds; they keep no process alive."""
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
                log.exception("fault while serving; please report it")


def make_nonblocking(trigger: Any) -> None:  # noqa: ANN401 -- waitress has no types
    """Let the pipe that wakes the event loop be full: then the loop is about to wake anyway.

    A thread that waits here for room may hold the lock of a connection that the loop wants, and then both stand still.
    """
    pull = trigger._physical_pull  # noqa: SLF001 -- waitress offers no other way

    def pull_if_room() -> None:
        with suppress(BlockingIOError):
            pull()

    os.set_blocking(trigger.trigger, False)
    trigger._physical_pull = pull_if_room  # noqa: SLF001 -- waitress has no setting for it


class _NoMore(Exception):
    """A connection brought something that gets no answer: ``too_many`` requests, or more after a refused one."""

    def __init__(self, *, too_many: bool) -> None:
        self.too_many = too_many


class _Requests(list[HTTPRequestParser]):
    """The requests of a connection that are still to be answered, so many and no more.

    Waitress would parse and keep all of what one read brought, hundreds of requests, while others wait; and would make
    requests of the rest of what can't be read, though it closes the connection after it has said so.
    """

    def append(self, request: HTTPRequestParser) -> None:
        if self and self[-1].error:
            raise _NoMore(too_many=False)
        if len(self) >= MAX_PIPELINED:
            raise _NoMore(too_many=True)
        super().append(request)


class _Parser(HTTPRequestParser):
    """Waitress's parser, but with an answer to what it trips over: a length of 5,000 digits, ``http://[`` as target.

    A transfer coding other than chunked is the client's mistake too, 400 and not 501: nothing is amiss here.
    """

    path = ""  # else waitress trips over one without a request line when its client hangs up while being answered

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except (ValueError, TransferEncodingNotImplemented) as error:
            raise ParsingError("Header is invalid") from error


def _channel_class(refused: Callable[[int], None]) -> type[HTTPChannel]:
    class Refuse(ErrorTask):
        def execute(self) -> None:
            error = self.request.error
            log.debug("refused", extra={"status": error.code, "from": self.channel.addr[0], "why": error.body})
            refused(error.code)
            error.body = ""  # it repeats what was sent, and strangers need not read that
            super().execute()

    class Channel(HTTPChannel):
        parser_class = _Parser
        error_task_class = Refuse

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- passed on
            super().__init__(*args, **kwargs)
            self.requests = _Requests()
            self.since = time.monotonic()  # when it was opened, or brought its last whole request

        def send_continue(self) -> None:
            """Ask for the body, unless none is to come: waitress would wait for it and answer nothing."""
            if self.request is not None and self.request.completed:
                self.request.expect_continue = False
            else:
                super().send_continue()

        def received(self, data: bytes) -> bool:
            done = len(self.requests)
            try:
                taken: bool = super().received(data)
            except _NoMore as end:
                self.request = None
                if end.too_many:
                    refused(HTTPStatus.TOO_MANY_REQUESTS)
                    self.handle_close()
                return False
            if len(self.requests) > done or self.request is None:
                self.since = time.monotonic()
            return taken

    return Channel
