"""Answers that are given later: what begins, what waits, and that each request is answered once."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final
from wsgiref.types import StartResponse

import falcon
import pytest
from falcon.testing import create_environ

from exporter.classification.series import Record
from exporter.errors import LedgerError
from exporter.ledger.committer import Ticket
from exporter.refusals import answer
from exporter.webhook import answering as module
from exporter.webhook.answering import (
    COUNTED,
    DUPLICATE,
    FAILED,
    PENDING,
    TICKET,
    WAIT_TIMEOUT,
    Answer,
    Answering,
    may_wait,
)
from tests.support.running import TIMEOUT, until
from tests.support.tickets import Pending

SERVED: Final = Answer("200 OK", (("content-length", "2"),), b"ok")
REFUSED: Final = Answer("503 Service Unavailable", (("content-length", "4"),), b"lost")


class FakeCommitter:
    """A committer that keeps the batches; the test settles their tickets."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Ticket]] = []
        self.expired = 0

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Keep the batch."""
        self.batches.append(tickets)

    def expire(self) -> None:
        """Count the call."""
        self.expired += 1


class Application:
    """An application that leaves the values in ``leaves``, and answers 503 if a commit failed."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.threads: set[int] = set()
        self.leaves: list[tuple[str, Any]] = []
        self.error: Exception | None = None

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        """Answer the request, or leave something to wait for."""
        self.calls.append(dict(environ))
        self.threads.add(threading.get_ident())
        if self.error:
            raise self.error
        if self.leaves and FAILED not in environ:
            name, value = self.leaves.pop(0)
            environ[name] = value
        given = REFUSED if FAILED in environ else SERVED
        start_response(given.status, list(given.headers))
        return [given.body]


class World:
    """An application with its parts, and the answers that it gave."""

    def __init__(self) -> None:
        self.app, self.committer = Application(), FakeCommitter()
        fake: Any = self.committer
        self.answering = Answering(self.app, fake)
        self.given: list[Answer | None] = []
        self.environ: dict[str, Any] = {"exporter.test": "1"}

    def begin(self) -> None:
        """Begin the request, and hand on what it waits for."""
        self.answering.begin(self.environ, self.given.append)
        self.answering.flush()

    def call(self) -> tuple[list[Any], list[bytes]]:
        """Call the application as a plain WSGI server does; return what it starts with, and the body."""
        started: list[Any] = []
        body = self.answering(self.environ, lambda *arguments: started.extend(arguments))  # type: ignore[arg-type]  # no writer
        return started, list(body)


@pytest.fixture
def world() -> World:
    """Return a new world."""
    return World()


def ticket(number: int = 0) -> Pending:
    """Return a ticket."""
    return Pending(Record(bytes([number]), ()))


def test_an_answer_that_waits_for_nothing_is_given_at_once(world: World) -> None:
    """Such as a rejection."""
    world.begin()
    assert (world.given, world.committer.batches) == ([SERVED], [])


@pytest.mark.parametrize(("new", "given"), [(True, COUNTED), (False, DUPLICATE)], ids=["new", "known"])
def test_a_ticket_is_answered_when_it_is_settled(world: World, new: bool, given: Answer) -> None:
    """Nothing is answered before. The application is called once."""
    made = ticket()
    world.app.leaves = [(TICKET, made)]
    world.begin()
    assert (world.given, world.committer.batches) == ([], [[made]])
    made.settle(new)
    assert (world.given, len(world.app.calls)) == ([given], 1)


@pytest.mark.parametrize(("prepared", "word"), [(COUNTED, "counted"), (DUPLICATE, "duplicate")])
def test_the_prepared_answers_are_those_of_the_application(prepared: Answer, word: str) -> None:
    """Falcon would answer with the same status, headers and body."""

    class Resource:
        def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
            answer(resp, 200, word)

    app = falcon.App()
    app.add_route("/", Resource())
    started: list[Any] = []
    body = app(create_environ(method="POST"), lambda *arguments: started.extend(arguments))  # type: ignore[arg-type]  # no writer
    assert (prepared.status, sorted(prepared.headers), prepared.body) == (
        started[0],
        sorted(started[1]),
        b"".join(body),
    )


def test_tickets_are_submitted_together(world: World) -> None:
    """All requests that were begun before a flush are one batch; a flush without a ticket submits none."""
    tickets = [ticket(number) for number in range(3)]
    world.app.leaves = [(TICKET, each) for each in tickets]
    for _ in tickets:
        world.answering.begin({}, world.given.append)
    assert world.committer.batches == []
    world.answering.flush()
    world.answering.flush()
    assert world.committer.batches == [tickets]


def test_a_failed_commit_calls_the_application_again(world: World) -> None:
    """The thread that settles only says so. The second call has the error in the same environment."""
    made, error = ticket(), LedgerError("disk full")
    world.app.leaves = [(TICKET, made)]
    world.begin()
    made.settle(error)
    assert (world.given, len(world.app.calls)) == ([None], 1)
    world.begin()
    assert world.given == [None, REFUSED]
    assert world.app.calls == [{"exporter.test": "1"}, {"exporter.test": "1", FAILED: error}]
    assert len(world.committer.batches) == 1


def test_a_future_calls_the_application_again(world: World) -> None:
    """When it is done, whatever its outcome, and only once."""
    future: Future[None] = Future()
    world.app.leaves = [(PENDING, future)]
    world.begin()
    assert (world.given, may_wait(world.environ)) == ([], True)
    future.set_exception(OSError())
    world.answering.expire()
    assert world.given == [None]
    world.begin()
    assert world.given == [None, SERVED]


def test_a_request_waits_for_futures_only_for_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """WAIT_TIMEOUT is for all waits of a request together; after it, a future that is done does nothing."""
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first, second = Future[None](), Future[None]()
    world.app.leaves = [(PENDING, first), (PENDING, second)]
    world.begin()
    now += WAIT_TIMEOUT - 1
    world.answering.expire()
    assert world.given == []
    first.set_result(None)
    world.begin()
    now += 0.9
    world.answering.expire()
    assert (world.given, may_wait(world.environ)) == ([None], True)
    now += 0.1
    world.answering.expire()
    assert (world.given, may_wait(world.environ)) == ([None, None], False)
    second.set_result(None)
    world.answering.expire()
    assert world.given == [None, None]


def test_each_request_is_resumed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If futures are done while their requests expire in another thread, none is resumed twice or never."""
    monkeypatch.setattr(module, "WAIT_TIMEOUT", 0)
    futures = [Future[None]() for _ in range(2_000)]
    given: SimpleQueue[int] = SimpleQueue()

    def give(number: int) -> Callable[[Answer | None], Any]:
        return lambda _answer: given.put(number)

    over = threading.Event()

    def expire() -> None:
        while not over.is_set():
            world.answering.expire()

    def finish() -> None:
        for future in reversed(futures):
            future.set_result(None)

    with ThreadPoolExecutor(2) as threads:
        expiring = threads.submit(expire)
        finishing = threads.submit(finish)
        world.app.leaves = [(PENDING, future) for future in futures]
        for number in range(len(futures)):
            world.answering.begin({}, give(number))
        finishing.result(TIMEOUT)
        until(lambda: given.qsize() >= len(futures))
        over.set()
        expiring.result(TIMEOUT)
    assert sorted(given.get_nowait() for _ in range(given.qsize())) == list(range(len(futures)))


def test_expire_reaches_the_committer(world: World) -> None:
    """One call per second serves both."""
    world.answering.expire()
    assert world.committer.expired == 1


def test_an_exception_of_the_application_is_the_caller_s(world: World) -> None:
    """The listener answers it; nothing is given or submitted."""
    world.app.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        world.begin()
    assert (world.given, world.committer.batches) == ([], [])


# As a plain WSGI application


def settle(world: World, outcome: bool | LedgerError) -> None:
    """Wait for a batch, and settle its tickets."""
    until(lambda: world.committer.batches)
    for each in world.committer.batches.pop():
        each.settle(outcome)


@pytest.mark.parametrize(
    ("outcome", "given"),
    [(True, COUNTED), (False, DUPLICATE), (LedgerError("disk full"), REFUSED)],
    ids=["new", "known", "error"],
)
def test_a_plain_server_waits_for_the_commit(world: World, outcome: bool | LedgerError, given: Answer) -> None:
    """Its thread gets the same answer, and makes all calls of the application."""
    world.app.leaves = [(TICKET, ticket())]
    with ThreadPoolExecutor(1) as threads:
        called = threads.submit(world.call)
        settle(world, outcome)
        assert called.result(TIMEOUT) == ([given.status, list(given.headers)], [given.body])
    assert len(world.app.threads) == 1


def test_a_plain_server_waits_for_a_future(world: World) -> None:
    """The application is called again in the same thread."""
    future: Future[None] = Future()
    world.app.leaves = [(PENDING, future)]
    with ThreadPoolExecutor(1) as threads:
        called = threads.submit(world.call)
        until(lambda: world.app.calls)
        future.set_result(None)
        assert called.result(TIMEOUT) == ([SERVED.status, list(SERVED.headers)], [SERVED.body])
    assert (len(world.app.calls), len(world.app.threads)) == (2, 1)


def test_a_plain_server_does_not_wait_forever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A future that is never done is given up at the deadline."""
    monkeypatch.setattr(module, "WAIT_TIMEOUT", 0)
    world.app.leaves = [(PENDING, Future[None]())]
    assert world.call() == ([SERVED.status, list(SERVED.headers)], [SERVED.body])
    assert world.committer.expired > 0


def test_threads_of_a_plain_server_lose_no_ticket(world: World) -> None:
    """Each of many threads at once gets its answer."""
    world.app.leaves = [(TICKET, ticket()) for _ in range(400)]
    over, new = threading.Event(), True

    def settle_all() -> None:
        while not over.is_set() or world.committer.batches:
            while world.committer.batches:
                for each in world.committer.batches.pop():
                    each.settle(new)

    with ThreadPoolExecutor(9) as threads:
        settling = threads.submit(settle_all)
        called = [threads.submit(world.answering, {}, lambda *_: None) for _ in range(400)]  # type: ignore[arg-type]  # no writer
        try:
            answers = [each.result(TIMEOUT) for each in called]
        finally:
            over.set()
        settling.result(TIMEOUT)
    assert answers == [[COUNTED.body]] * 400
