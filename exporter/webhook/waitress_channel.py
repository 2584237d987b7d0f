"""Waitress's connections: how a request gets an answer that comes later.

A connection is a channel. It keeps a request in ``requests`` until it is answered, so that answers keep the order of
pipelined requests, and a stop waits for them.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, Protocol

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, Task, WSGITask

from exporter.webhook.answering import Answer, Give
from exporter.webhook.waitress_parser import LargeBodies, Parser

log = logging.getLogger(__name__)

MAX_PIPELINED: Final = 8
"""Maximum number of unanswered requests on a connection; well-behaved clients and proxies send one."""


class Application(Protocol):
    """The part of Answering that the listener calls, all in its own thread."""

    def begin(self, environ: dict[str, Any], give: Give) -> None:
        """Have ``give`` called once, from any thread: with an answer, or with None to call ``begin`` again."""

    def flush(self) -> None:
        """Go on with all requests that were begun."""

    def expire(self) -> None:
        """Answer the requests that have waited for too long."""


class Turns:
    """The channels whose turn it is in the event loop, with the interface of waitress's dispatcher.

    ``pull`` ends the wait of the event loop, which then calls ``run``.
    """

    def __init__(self, pull: Callable[[], None]) -> None:
        self._pull = pull
        self._channels: deque[HTTPChannel] = deque()
        self._awake = False  # whether the event loop will look at the channels without being woken
        self._closed = False
        self._lock = threading.Lock()

    def add_task(self, task: HTTPChannel) -> None:
        """Add a channel, in the thread of the event loop."""
        self._channels.append(task)

    def give(self, channel: HTTPChannel) -> None:
        """Add a channel, in any thread."""
        self._channels.append(channel)
        if not self._awake:
            self._awake = True
            self.wake()

    def wake(self) -> None:
        """Wake the event loop, in any thread. Does nothing once the loop has ended."""
        with self._lock:
            if not self._closed:
                self._pull()

    def run(self) -> None:
        """Serve the channels, in the thread of the event loop."""
        self._awake = True
        while self._awake:
            while self._channels:
                self._serve(self._channels.popleft())
            self._awake = False
            if self._channels:  # another thread may have added one, and not have woken the event loop
                self._awake = True

    def close(self) -> None:
        """Never call ``pull`` again."""
        with self._lock:
            self._closed = True

    def _serve(self, channel: HTTPChannel) -> None:
        try:
            channel.service()
        except Exception:
            log.exception("internal error; please report it")
            channel.handle_close()  # the others must not suffer


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


@lru_cache(maxsize=64)
def _head(status: str, headers: tuple[tuple[str, str], ...], second: int) -> bytes:
    """Return the head of an answer in HTTP/1.1 whose connection stays open."""
    date = formatdate(second, usegmt=True)
    lines = [f"HTTP/1.1 {status}", *(f"{name.title()}: {value}" for name, value in headers), f"Date: {date}", "", ""]
    return "\r\n".join(lines).encode("latin-1")


class _Respond(Task):
    """Writes the answer that the channel has. The application sets Content-Length, also in its answer to HEAD."""

    complete = True

    def execute(self) -> None:
        answer: Answer = self.channel.answer
        self.channel.answer = self.channel.environ = None
        if self.version == "1.1" and self.request.headers.get("CONNECTION", "").lower() != "close":
            data = _head(answer.status, answer.headers, int(self.start_time)) + answer.body
            # Usually all fits into the socket's buffer. Otherwise waitress keeps the rest.
            sent = 0 if self.channel.total_outbufs_len else self.channel.send(data, do_close=False)
            self.channel.write_soon(data[sent:])
            self.wrote_header = True
        else:
            self.status = answer.status
            self.response_headers.extend(answer.headers)
            self.write(answer.body)


_INTERNAL: Final = Answer("500 Internal Server Error", (("content-length", "9"),), b"internal\n")


class _RespondToError(ErrorTask):
    def execute(self) -> None:
        error = self.request.error
        why = error.body.partition('"')[0].rstrip()  # without what the client sent, which may be part of a body
        log.debug("refused", extra={"status": error.code, "from": self.channel.addr[0], "why": why})
        self.channel.refused(error.code)
        error.body = ""  # it repeats what the client sent
        super().execute()


class _Channel(HTTPChannel):
    """A connection. ``answer`` and ``environ`` belong to its first request."""

    application: Application
    turns: Turns
    refused: Callable[[int], None]

    task_class = _Respond  # type: ignore[assignment]  # a Task like WSGITask
    error_task_class = _RespondToError
    answer: Answer | None = None
    environ: dict[str, Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- passed on
        super().__init__(*args, **kwargs)
        self.requests = _Requests()
        self.since = time.monotonic()  # when it was opened, or last delivered a complete request

    def service(self) -> None:
        """Begin to answer the first request, or write its answer."""
        request = self.requests[0]
        if request.error or self.answer or not self.connected:
            super().service()
            return
        try:
            self.environ = self.environ or WSGITask(self, request).get_environment()
            self.application.begin(self.environ, self.give)
            if request.large:
                request.close()  # the application has read the body
        except Exception:
            log.exception("internal error; please report it")
            self.refused(HTTPStatus.INTERNAL_SERVER_ERROR)
            self.give(_INTERNAL)

    def give(self, answer: Answer | None) -> None:
        """Take the answer to the first request, or None to begin again, in any thread."""
        self.answer = answer
        self.turns.give(self)

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
                self.refused(HTTPStatus.TOO_MANY_REQUESTS)
                self.handle_close()
            return False
        if len(self.requests) > done or self.request is None:
            self.since = time.monotonic()
        return taken


def channel_class(
    application: Application, turns: Turns, refused: Callable[[int], None], large_bodies: LargeBodies
) -> type[HTTPChannel]:
    """Return the class of the channels that ``application`` answers.

    ``refused`` is called with the status of each request that is rejected before the application sees it.
    """
    parser = type("Parser", (Parser,), {"large_bodies": large_bodies})
    attributes = {"application": application, "turns": turns, "refused": staticmethod(refused), "parser_class": parser}
    return type("Channel", (_Channel,), attributes)


def large_requests(channel: Any) -> int:  # noqa: ANN401 -- waitress has no types
    """Return the number of unanswered requests of a channel whose bodies may be large."""
    return sum(request is not None and request.large for request in (channel.request, *channel.requests))
