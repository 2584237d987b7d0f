"""Answers that are given later, so that no thread waits for the disk or for DNS.

The application leaves what a request must wait for in the WSGI environment, and returns at once:

- TICKET: the failure has to be committed. Then the request is answered 200, and the application is not called again
  unless the commit fails.
- PENDING: a future, such as that of a DNS lookup. When it is done the application is called again, from the beginning.

The same thread makes all calls of the application, so a request never needs a thread of its own.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple
from wsgiref.types import StartResponse, WSGIApplication

from exporter.errors import LedgerError
from exporter.ledger.committer import Committer, Ticket

TICKET: Final = "exporter.ticket"
"""The Ticket of the failure that must be committed before the request is answered."""
FAILED: Final = "exporter.failed"
"""In the second call: the LedgerError because of which that was not possible."""
PENDING: Final = "exporter.pending"
"""The Future for which the request must wait."""
DEADLINE: Final = "exporter.deadline"
"""In the second call: when the request may wait no longer, by time.monotonic."""
RETRY_AFTER: Final = 5
"""Seconds after which a client may retry a request that was answered 503."""
WAIT_TIMEOUT: Final = 4.0
"""Seconds that a request waits for futures, all together; slightly more than the longest DNS lookup takes."""


class Answer(NamedTuple):
    """An answer: the status with its phrase, the headers, and the body."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


Give = Callable[[Answer | None], Any]
"""A function that takes the answer of a request, or None if the application must be called again. Any thread calls it.
"""


def _word(word: str) -> Answer:
    body = f"{word}\n".encode()
    headers = (("content-length", str(len(body))), ("content-type", "text/plain; charset=utf-8"))
    return Answer("200 OK", headers, body)


COUNTED: Final = _word("counted")
DUPLICATE: Final = _word("duplicate")
"""The answers to a failure that is in the ledger: a new one, and one that was there before."""


class Answering:
    """The application ``app``, whose answers depend on ``committer`` and on futures."""

    def __init__(self, app: WSGIApplication, committer: Committer) -> None:
        self._app = app
        self._committer = committer
        self._lock = threading.Lock()
        self._numbers = count()
        self._tickets: list[Ticket] = []
        self._waiting: dict[int, tuple[float, Give]] = {}  # deadline of each request that waits for a future

    def begin(self, environ: dict[str, Any], give: Give) -> None:
        """Call the application, and have ``give`` called once: now, or later if ``flush`` is called.

        If it gets None, call ``begin`` again with the same arguments, in the thread that called it before.
        """
        answer = self._call(environ)
        if pending := environ.pop(PENDING, None):
            self._wait(pending, environ, give)
        elif ticket := environ.pop(TICKET, None):
            ticket.settle = partial(_settle, environ, give)
            self._tickets.append(ticket)
        else:
            give(answer)

    def flush(self) -> None:
        """Submit the failures of all requests that were begun, as one batch. Call this before waiting for anything."""
        if self._tickets:
            self._committer.submit(self._tickets)
            self._tickets = []

    def expire(self) -> None:
        """Answer the requests that have waited for too long. Call this once per second, in any thread."""
        now = time.monotonic()
        for number in list(self._waiting):
            deadline, _ = self._waiting.get(number, (math.inf, None))  # another thread may have removed it
            if now >= deadline:
                self._resume(number)
        self._committer.expire()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Wait for the answer, for servers that only know WSGI."""
        given: SimpleQueue[Answer | None] = SimpleQueue()
        answer = None
        while answer is None:
            with self._lock:  # such a server may have many threads
                self.begin(environ, given.put)
                self.flush()
            answer = self._wait_for(given)
        start_response(answer.status, list(answer.headers))
        return [answer.body]

    def _call(self, environ: dict[str, Any]) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[..., Any]:
            started.append((status, headers))
            return started.append  # the writer of old applications, which Falcon does not use

        body = b"".join(self._app(environ, start_response))
        status, headers = started[-1]
        return Answer(status, tuple(headers), body)

    def _wait(self, future: Future[Any], environ: dict[str, Any], give: Give) -> None:
        number = next(self._numbers)
        deadline = environ.setdefault(DEADLINE, time.monotonic() + WAIT_TIMEOUT)
        self._waiting[number] = deadline, give
        future.add_done_callback(lambda _: self._resume(number))

    def _resume(self, number: int) -> None:
        if waiting := self._waiting.pop(number, None):  # else another thread has done it
            _, give = waiting
            give(None)

    def _wait_for(self, given: "SimpleQueue[Answer | None]") -> Answer | None:
        while True:
            try:
                return given.get(timeout=1)
            except Empty:
                self.expire()


def may_wait(environ: dict[str, Any]) -> bool:
    """Return whether the application may leave a future in this environment."""
    return bool(time.monotonic() < environ.get(DEADLINE, math.inf))


def _settle(environ: dict[str, Any], give: Give, outcome: bool | LedgerError) -> None:  # noqa: FBT001 -- a result
    if isinstance(outcome, LedgerError):
        environ[FAILED] = outcome
        give(None)
    else:
        give(COUNTED if outcome else DUPLICATE)
