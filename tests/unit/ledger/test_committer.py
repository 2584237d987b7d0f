"""The committer: batches, the outcome of each ticket, stopping, errors, hanging ledgers, and maintenance."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from exporter.classification.loops import DELIVERIES
from exporter.classification.series import Record
from exporter.errors import LedgerError, LedgerFull
from exporter.ledger import committer as module
from exporter.ledger.clock import EVEN_PERIOD, Clock
from exporter.ledger.committer import COMMIT_TIMEOUT, Commit, Committer, Ticket
from exporter.ledger.contract import DAY, UNDATED, ClockState, Ledger
from exporter.ledger.shortage import FULL_PAUSE
from exporter.ledger.sqlite import SqliteLedger
from tests.support.fakes import TIMEOUT, Call, FakeLedger
from tests.support.records import BOUNCE, NOW, error_of, failure, failures, identity
from tests.support.running import until
from tests.support.texts import Texts
from tests.support.tickets import Pending, record, submit

BROKEN: Final = "ledger not writable; answering 503 until it is"
WORKING: Final = "ledger writable again"
KEEP: Final = 4.0 * DAY
FULL: Final = "ledger x: database or disk is full: free some space"


def set_interval(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the interval of maintenance."""
    monkeypatch.setattr(module, "MAINTENANCE_INTERVAL", seconds)


@pytest.fixture
def ledger() -> FakeLedger:
    """Return a ledger in memory."""
    return FakeLedger()


@contextmanager
def running(
    ledger: Ledger,
    committed: Callable[[Commit], None] = lambda _commit: None,
    *,
    hold: float = 60.0,
    uptime: Callable[[], float] = lambda: 0.0,
    trusted: bool = True,
) -> Iterator[Committer]:
    """Run a committer on the ledger, whose clock is trusted at first unless ``trusted`` is false."""
    stored = ClockState(ledger.clock(), EVEN_PERIOD) if trusted else ClockState(0, 0)
    clock = Clock(ledger.clock, stored, uptime=uptime)
    committer = Committer(ledger, clock=clock, committed=committed, hold=hold, keep_deliveries=KEEP)
    committer.start()
    try:
        yield committer
    finally:
        committer.stop()


@pytest.fixture
def committer(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Committer]:
    """Yield a committer that has done its first round of maintenance, and does no other."""
    set_interval(3600, monkeypatch)
    with running(ledger) as committer:
        next_round(ledger)
        yield committer
        ledger.gate.set()


def next_call(ledger: FakeLedger) -> Call:
    """Wait for the next call of maintenance, and return it."""
    return ledger.maintenance.get(timeout=TIMEOUT)


def next_round(ledger: FakeLedger) -> list[Call]:
    """Wait for the next three calls of maintenance, which are a round, and return them."""
    return [next_call(ledger) for _ in range(3)]


def block(ledger: FakeLedger, committer: Committer, numbers: Sequence[int]) -> list[Pending]:
    """Submit each failure alone. Return when the first one is at the gate of the ledger and the others are queued."""
    ledger.inside.clear()
    ledger.gate.clear()
    first = submit(committer, [failure(numbers[0])])
    assert ledger.inside.wait(TIMEOUT)
    return [*first, *(ticket for number in numbers[1:] for ticket in submit(committer, [failure(number)]))]


def expire(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the committer look at its tickets COMMIT_TIMEOUT later."""
    now = time.perf_counter() + COMMIT_TIMEOUT
    with monkeypatch.context() as later:
        later.setattr(time, "perf_counter", lambda: now)
        committer.expire()  # shows that the process was not suspended
        committer.expire()


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return levels and events that the committer has logged."""
    return [(entry.levelname, entry.getMessage()) for entry in caplog.records if entry.name == module.__name__]


# Batches and outcomes


def test_a_single_failure_is_a_batch(committer: Committer, ledger: FakeLedger) -> None:
    """A single failure is a batch of its own: new the first time, a duplicate the second time."""
    assert [record(committer, failure(1)), record(committer, failure(1))] == [True, False]
    assert ledger.batches == [failures([1]), failures([1])]


@pytest.mark.parametrize(("hold", "held"), [(60.0, True), (0.0, False)], ids=["60s", "off"])
def test_failures_are_recorded_with_time_and_hold(ledger: FakeLedger, hold: float, held: bool) -> None:
    """Failures are recorded at the time of the ledger's clock. New series are held unless the hold is 0."""
    with running(ledger, hold=hold) as committer:
        record(committer, failure(1))
    assert ledger.arguments == [(NOW, held, NOW // DAY)]


def test_failures_are_recorded_in_the_batch_in_which_they_are_submitted(
    committer: Committer, ledger: FakeLedger
) -> None:
    """A batch is committed as it was submitted, and each ticket gets the outcome of its own failure."""
    ledger.known = {failure(number).identity for number in range(0, 40, 3)}
    tickets = submit(committer, failures(range(40)))
    assert [ticket.outcome() for ticket in tickets] == [number % 3 > 0 for number in range(40)]
    assert ledger.batches == [failures(range(40))]


def test_waiting_failures_share_a_batch(committer: Committer, ledger: FakeLedger) -> None:
    """All failures that are submitted during a commit are in the next batch together, in their order."""
    tickets = block(ledger, committer, range(40))
    ledger.gate.set()
    assert [ticket.outcome() for ticket in tickets] == [True] * 40
    assert ledger.batches == [failures([0]), failures(range(1, 40))]


def test_threads_get_the_right_outcome_every_time(committer: Committer, ledger: FakeLedger) -> None:
    """Threads that submit many failures in turn never get the outcome of another failure."""
    ledger.known = {failure(number).identity for number in range(0, 2000, 2)}

    def send(numbers: range) -> list[bool]:
        return [record(committer, failure(number)) for number in numbers]

    sent = [range(begin, 2000, 16) for begin in range(16)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(send, sent))
    assert answers == [[number % 2 == 1 for number in numbers] for numbers in sent]
    assert sorted(one for batch in ledger.batches for one in batch) == sorted(failures(range(2000)))


def test_the_same_failure_many_times_at_once_is_counted_once(tmp_path: Path) -> None:
    """If 64 tickets for the same failure wait for a real ledger, in one batch or several, it is new for the first."""
    with closing(SqliteLedger(tmp_path / "ledger.db", now=NOW)) as ledger, running(ledger) as committer:
        for number in range(10):
            tickets = submit(committer, [failure(number)] * 32) + submit(committer, [failure(number)] * 32)
            assert [ticket.outcome() for ticket in tickets] == [True] + [False] * 63
        assert [total[:3] for total in ledger.totals()] == [(BOUNCE, 10, True)]


def test_a_commit_is_reported_before_its_tickets_are_settled(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback gets the tickets and which failures are new, so that the metrics are right when clients ask."""
    set_interval(3600, monkeypatch)
    commits: list[tuple[list[Ticket], list[bool], list[Ticket], list[int]]] = []

    def committed(commit: Commit) -> None:
        settled = [ticket.outcomes.qsize() for ticket in commit.tickets if isinstance(ticket, Pending)]
        commits.append(([*commit.tickets], [*commit.new], [*commit.in_time], settled))

    ledger.known = {failure(3).identity}
    with running(ledger, committed) as committer:
        tickets = submit(committer, failures([2, 3]))
        assert [ticket.outcome() for ticket in tickets] == [True, False]
    assert commits == [([*tickets], [True, False], [*tickets], [0, 0])]


# Stopping


def test_stop_commits_what_waits(ledger: FakeLedger) -> None:
    """Failures that wait when the committer is stopped are still committed before it has stopped."""
    with running(ledger) as committer, ThreadPoolExecutor(1) as threads:
        tickets = block(ledger, committer, range(10))
        stopped = threads.submit(committer.stop)
        until(lambda: committer._stopping)
        assert not stopped.done()
        ledger.gate.set()
        assert stopped.result(TIMEOUT) is True
        assert [ticket.outcomes.get_nowait() for ticket in tickets] == [True] * 10
    assert ledger.batches == [failures([0]), failures(range(1, 10))]


def test_stop_does_not_wait_forever(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the ledger hangs, ``stop`` says so after STOP_TIMEOUT."""
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.05)
    with running(ledger) as committer:
        block(ledger, committer, [1])
        assert committer.stop() is False
        ledger.gate.set()


def test_stop_ends_the_thread(ledger: FakeLedger) -> None:
    """A stopped committer leaves no thread behind, and can be stopped again."""
    before = threading.enumerate()
    with running(ledger) as committer:
        assert [thread.name for thread in threading.enumerate() if thread not in before] == ["committer"]
        committer.stop()
        assert [thread for thread in threading.enumerate() if thread not in before] == []


# Errors


def test_an_error_reaches_all_tickets_of_a_batch(committer: Committer, ledger: FakeLedger) -> None:
    """If a batch can't be written, every ticket of it gets the reason. Later the same failures are still new."""
    tickets = block(ledger, committer, range(20))
    ledger.error = LedgerError(FULL)
    ledger.gate.set()
    assert [ticket.error() for ticket in tickets] == [FULL] * 20
    ledger.error = None
    assert [record(committer, failure(number)) for number in range(20)] == [True] * 20


def test_a_problem_is_logged_when_it_begins_and_ends(
    committer: Committer, ledger: FakeLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """``problem`` is the latest reason as long as it lasts. The log has one line for its begin and one for its end."""
    caplog.set_level(logging.INFO)
    assert committer.problem is None
    record(committer, failure(0))
    seen: list[str | None] = []
    for reason in ("first", "first", "second"):
        ledger.error = LedgerError(reason)
        error_of(lambda: record(committer, failure(1)))
        seen.append(committer.problem)
    assert seen == ["first", "first", "second"]
    assert logged(caplog) == [("ERROR", BROKEN)]
    [entry] = caplog.records
    assert vars(entry)["error"] == "first"
    ledger.error = None
    assert [record(committer, failure(1)), record(committer, failure(2))] == [True, True]
    assert committer.problem is None
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", WORKING)]


def test_an_internal_error_is_explained(committer: Committer, ledger: FakeLedger, texts: Texts) -> None:
    """The error, which /-/ready shows, says that it is the exporter's own, and which one."""
    ledger.error = RuntimeError("oops")
    with pytest.raises(LedgerError) as caught:
        record(committer, failure(0))
    texts.check(caught.value)


@pytest.mark.parametrize("bug", [RuntimeError("oops"), ValueError("no"), AssertionError()], ids=repr)
def test_an_internal_error_does_not_end_the_thread(
    committer: Committer, ledger: FakeLedger, caplog: pytest.LogCaptureFixture, bug: Exception
) -> None:
    """An internal error reaches all waiting tickets, the log and ``problem``. The next failure is counted."""
    tickets = block(ledger, committer, range(5))
    ledger.error = bug
    ledger.gate.set()
    [message] = {ticket.error() for ticket in tickets}
    assert message.endswith(repr(bug))
    line = ("ERROR", "internal error while recording; please report it")
    assert logged(caplog) == [line, ("ERROR", BROKEN), line]
    assert committer.problem == message
    assert [entry.exc_info[1] for entry in caplog.records if entry.exc_info] == [bug, bug]
    ledger.error = None
    assert [record(committer, failure(number)) for number in range(5)] == [True] * 5


# A ledger that hangs


def test_nothing_expires_before_the_timeout(committer: Committer, ledger: FakeLedger) -> None:
    """A commit may take up to COMMIT_TIMEOUT: until then nothing is settled, and there is no problem."""
    tickets = block(ledger, committer, range(3))
    committer.expire()
    assert [ticket.outcomes.qsize() for ticket in tickets] == [0, 0, 0]
    assert committer.problem is None
    ledger.gate.set()
    assert [ticket.outcome() for ticket in tickets] == [True] * 3


def test_a_ticket_does_not_wait_forever(
    committer: Committer, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, texts: Texts
) -> None:
    """If the ledger hangs, all tickets get an error, and what was queued is never recorded."""
    tickets = block(ledger, committer, range(4))
    expire(committer, monkeypatch)
    [hanging] = {ticket.error() for ticket in tickets}
    texts.check(hanging)
    assert committer.problem == hanging
    ledger.gate.set()
    assert record(committer, failure(9)) is True
    assert ledger.batches == [failures([0]), failures([9])]
    assert [ticket.outcomes.qsize() for ticket in tickets] == [0] * 4  # the late commit settles nothing
    assert committer.problem is None


def test_an_old_ticket_expires_although_its_commit_is_young(committer: Committer, ledger: FakeLedger) -> None:
    """The time that a request waited for a lookup or for earlier commits counts, too. The others can still succeed."""
    ledger.gate.clear()
    began = time.perf_counter() - COMMIT_TIMEOUT
    young, old, new = Pending(failure(1)), Pending(failure(2), began=began), Pending(failure(3))
    committer.submit([young, old, new])
    assert ledger.inside.wait(TIMEOUT)
    until(lambda: committer._writing)
    (queued,) = submit(committer, [failure(4)])
    committer.expire()
    assert old.error() == committer.problem
    ledger.known = {failure(3).identity}
    ledger.gate.set()
    assert [young.outcome(), new.outcome(), queued.outcome()] == [True, False, True]
    assert old.outcomes.qsize() == 0


def test_nothing_expires_because_the_process_was_suspended(
    committer: Committer, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nobody asked for long, nothing had time to finish: only what still hangs a second later expires."""
    committer.expire()
    (ticket,) = block(ledger, committer, [1])
    now = time.perf_counter() + COMMIT_TIMEOUT
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    committer.expire()
    assert (committer.problem, ticket.outcomes.qsize()) == (None, 0)
    committer.expire()
    assert ticket.error() == committer.problem


def test_a_failing_answer_does_not_end_the_thread(committer: Committer, caplog: pytest.LogCaptureFixture) -> None:
    """If an answer can't be given, the other requests get theirs."""
    bug = RuntimeError("oops")

    def fail(_outcome: object) -> None:
        raise bug

    broken, good = Pending(failure(1)), Pending(failure(2))
    broken.settle = fail
    committer.submit([broken, good])
    assert [good.outcome(), record(committer, failure(3))] == [True, True]
    assert logged(caplog) == [("ERROR", "internal error while answering; please report it")]
    assert [entry.exc_info[1] for entry in caplog.records if entry.exc_info] == [bug]


def test_a_late_commit_is_reported_as_such(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failures are counted, but their requests were not answered 200."""
    set_interval(3600, monkeypatch)
    commits: list[tuple[list[bool], int]] = []
    with running(ledger, lambda commit: commits.append(([*commit.new], len(commit.in_time)))) as committer:
        (ticket,) = block(ledger, committer, [1])
        expire(committer, monkeypatch)
        assert ticket.error() == committer.problem
        ledger.gate.set()
        assert record(committer, failure(1)) is False
    assert commits == [([True], 0), ([False], 1)]


def test_a_ledger_that_hangs_is_logged_once(
    committer: Committer, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many tickets expire, the log has one line, and another one when it is over."""
    caplog.set_level(logging.INFO)
    tickets = block(ledger, committer, range(64))
    for _ in range(3):
        expire(committer, monkeypatch)
        tickets += submit(committer, [failure(100)])
    expire(committer, monkeypatch)
    assert len({ticket.error() for ticket in tickets}) == 1
    assert logged(caplog) == [("ERROR", BROKEN)]
    ledger.gate.set()
    assert record(committer, failure(0)) is False
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", WORKING)]


def test_nothing_expires_before_the_start(ledger: FakeLedger) -> None:
    """The listener may ask before the committing thread has run."""
    committer = Committer(ledger, clock=Clock(ledger.clock, ClockState(0, 0)), committed=lambda _commit: None, hold=0)
    committer.expire()
    assert committer.problem is None


def test_an_idle_ledger_is_no_problem(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long no failure arrives, each round of maintenance shows that the ledger does not hang."""
    set_interval(0.005, monkeypatch)
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    with running(ledger) as committer:
        next_round(ledger)
        now = COMMIT_TIMEOUT
        until(lambda: committer._looked == now)
        committer.expire()
        assert committer.problem is None


def test_maintenance_that_hangs_is_a_problem(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem is noticed although no failure waits, and ends when the ledger answers again."""
    set_interval(0.005, monkeypatch)
    entered, leave = threading.Event(), threading.Event()

    def hang(**_: object) -> None:
        entered.set()
        assert leave.wait(TIMEOUT)

    monkeypatch.setattr(ledger, "release", hang)
    with running(ledger) as committer:
        assert entered.wait(TIMEOUT)
        committer.expire()
        before = committer.problem
        expire(committer, monkeypatch)
        assert (before, committer.problem is None) == (None, False)
        leave.set()
        until(lambda: committer.problem is None)


def test_each_ticket_is_settled_once_whoever_is_first(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a commit ends while another thread lets tickets expire, none is settled twice and none is forgotten."""
    set_interval(0.001, monkeypatch)
    monkeypatch.setattr(module, "COMMIT_TIMEOUT", 0)
    over = threading.Event()
    with running(ledger) as committer, ThreadPoolExecutor(1) as threads:

        def expire_always() -> None:
            while not over.is_set():
                committer.expire()

        expiring = threads.submit(expire_always)
        try:
            tickets = [
                ticket for start in range(0, 3000, 3) for ticket in submit(committer, failures(range(start, start + 3)))
            ]
            outcomes = [ticket.outcome() for ticket in tickets]
        finally:
            over.set()
        expiring.result(TIMEOUT)
    assert [ticket.outcomes.qsize() for ticket in tickets] == [0] * 3000
    counted = {one.identity for batch in ledger.batches for one in batch}
    confirmed = {
        ticket.event.record.identity for ticket, outcome in zip(tickets, outcomes, strict=True) if outcome is True
    }
    assert confirmed <= counted


def test_an_internal_error_after_a_commit_does_not_end_the_thread(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the callback fails, the tickets are settled nevertheless, because their failures are counted."""
    set_interval(3600, monkeypatch)
    bug = RuntimeError("oops")

    def fail(_commit: Commit) -> None:
        raise bug

    with running(ledger, fail) as committer:
        assert [record(committer, failure(number)) for number in (1, 1)] == [True, False]
    assert logged(caplog) == [("ERROR", "internal error after a commit; please report it")] * 2
    assert [entry.exc_info[1] for entry in caplog.records if entry.exc_info] == [bug, bug]


# Maintenance


def test_maintenance_begins_at_the_start(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round comes at once: check the ledger without a write, release series, prune a slice."""
    set_interval(3600, monkeypatch)
    with running(ledger, hold=45.0):
        assert next_round(ledger) == [
            Call("check", (NOW, False)),
            Call("release", (NOW, 45.0)),
            Call("prune", (NOW, KEEP)),
        ]


def test_maintenance_continues_without_failures(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next rounds come without a failure."""
    set_interval(0.005, monkeypatch)
    with running(ledger):
        rounds = [next_round(ledger) for _ in range(5)]
    assert rounds == [[Call("check", (NOW, False)), Call("release", (NOW, 60.0)), Call("prune", (NOW, KEEP))]] * 5


def test_maintenance_continues_under_load(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures that arrive without a pause don't prevent maintenance."""
    set_interval(0.005, monkeypatch)
    over = threading.Event()
    with running(ledger) as committer, ThreadPoolExecutor(4) as threads:

        def send() -> None:
            while not over.is_set():
                record(committer, failure(1))

        senders = [threads.submit(send) for _ in range(4)]
        try:
            rounds = [next_round(ledger) for _ in range(10)]
        finally:
            over.set()
        for sender in senders:
            sender.result(TIMEOUT)
    assert rounds == [[Call("check", (NOW, False)), Call("release", (NOW, 60.0)), Call("prune", (NOW, KEEP))]] * 10


def test_a_problem_ends_without_failures(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During a problem, and only then, each round tries a write, and so notices when the ledger is writable again."""
    caplog.set_level(logging.INFO)
    set_interval(0.005, monkeypatch)
    with running(ledger) as committer:
        assert [call.name for call in next_round(ledger)] == ["check", "release", "prune"]
        ledger.error = LedgerError(FULL)
        assert str(error_of(lambda: record(committer, failure(1)))) == FULL
        assert committer.problem == FULL
        until(lambda: next_call(ledger) == Call("check", (NOW, True)))
        assert [next_call(ledger) for _ in range(3)] == [Call("check", (NOW, True))] * 3
        assert committer.problem == FULL
        ledger.error = None
        until(lambda: committer.problem is None)
        until(lambda: next_call(ledger) == Call("check", (NOW, False)))
        assert record(committer, failure(1)) is True
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", WORKING)]


def test_maintenance_notices_a_problem(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that disappears while no failure arrives is a problem from the next round on, logged once."""
    caplog.set_level(logging.INFO)
    set_interval(0.005, monkeypatch)
    with running(ledger) as committer:
        ledger.release_error = LedgerError("ledger x: the file is gone")
        until(lambda: committer.problem == "ledger x: the file is gone")
        for _ in range(10):
            next_call(ledger)
        ledger.release_error = None
        until(lambda: committer.problem is None)
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", WORKING)]


def test_a_disk_that_dies_while_idle_is_noticed(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minute one round writes, although no failure arrives. If that fails, the ledger is not writable."""
    set_interval(0.005, monkeypatch)
    up = 0.0
    with running(ledger, uptime=lambda: up) as committer:
        assert [next_round(ledger)[0] for _ in range(5)] == [Call("check", (NOW, False))] * 5
        up = 59.0
        assert [next_round(ledger)[0] for _ in range(5)] == [Call("check", (NOW, False))] * 5
        up = 60.0
        until(lambda: next_round(ledger)[0] == Call("check", (NOW, True)))
        assert [next_round(ledger)[0] for _ in range(5)] == [Call("check", (NOW, False))] * 5
        ledger.error = LedgerError("ledger x: disk I/O error")
        assert [next_round(ledger)[0] for _ in range(5)] == [Call("check", (NOW, False))] * 5
        assert committer.problem is None
        up = 120.0
        until(lambda: committer.problem == "ledger x: disk I/O error")
        ledger.error = None
        until(lambda: committer.problem is None)


def test_nothing_is_pruned_while_the_clock_is_not_trusted(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment of a jump on, no round prunes, and failures are counted without a day. The rest goes on."""
    set_interval(0.005, monkeypatch)
    with running(ledger) as committer:
        assert [call.name for call in next_round(ledger)] == ["check", "release", "prune"]
        ledger.now = later = NOW + 31 * DAY
        record(committer, failure(1))
        until(lambda: next_call(ledger) == Call("check", (later, True)))  # stores the pause
        unpruned = [Call("release", (later, 60.0)), Call("check", (later, False))]
        assert [next_call(ledger) for _ in range(6)] == unpruned * 3
    assert ledger.arguments == [(later, True, UNDATED)]
    assert ledger.states[-1] == ClockState(later, 0)


def test_a_new_ledger_is_not_pruned_at_first(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock is not trusted yet: failures are counted without a day."""
    set_interval(0.005, monkeypatch)
    with running(ledger, trusted=False) as committer:
        record(committer, failure(1))
        assert [next_call(ledger).name for _ in range(6)] == ["check", "release"] * 3
    assert ledger.arguments == [(NOW, True, UNDATED)]


def test_an_internal_error_in_maintenance_does_not_end_the_thread(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An internal error in maintenance is logged with its traceback. Failures are still counted, and rounds go on."""
    set_interval(0.005, monkeypatch)
    bug: Any = RuntimeError("oops")
    ledger.release_error = bug
    with running(ledger) as committer:
        until(lambda: ("ERROR", "internal error during maintenance; please report it") in logged(caplog))
        assert record(committer, failure(1)) is True
        ledger.release_error = None
        until(lambda: next_call(ledger).name == "prune")
        assert committer.problem is None
    assert {entry.exc_info[1] for entry in caplog.records if entry.exc_info} == {bug}


def test_a_lost_file_is_a_problem_until_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a real ledger: maintenance notices both that its file was moved away and that it is back."""
    set_interval(0.005, monkeypatch)
    path = tmp_path.resolve() / "ledger.db"
    with closing(SqliteLedger(path, now=NOW)) as ledger, running(ledger) as committer:
        assert record(committer, failure(1)) is True
        path.rename(tmp_path / "away")
        until(lambda: committer.problem is not None)
        assert str(error_of(lambda: record(committer, failure(2)))) == committer.problem
        (tmp_path / "away").rename(path)
        until(lambda: committer.problem is None)
        assert [record(committer, failure(1)), record(committer, failure(2))] == [False, True]


class SlowMaintenance(FakeLedger):
    """A ledger whose maintenance waits while ``maintained`` is not set, and then sets ``maintaining``."""

    def __init__(self) -> None:
        super().__init__()
        self.maintaining, self.maintained = threading.Event(), threading.Event()

    def check(self, *, now: float, write: bool, state: ClockState | None = None) -> None:
        """Do nothing, once that is allowed."""
        super().check(now=now, write=write, state=state)
        self.maintaining.set()
        assert self.maintained.wait(TIMEOUT)


def test_a_late_commit_ends_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was submitted while a commit was late is not answered 503 once that commit has ended."""
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: now))
    ledger = SlowMaintenance()
    ledger.gate.clear()
    state = Clock(ledger.clock, ClockState(ledger.clock(), EVEN_PERIOD))
    committer = Committer(ledger, clock=state, committed=lambda _commit: None, hold=0)
    (first,) = submit(committer, [failure(1)])
    committer.start()
    try:
        assert ledger.inside.wait(TIMEOUT)
        now = COMMIT_TIMEOUT
        committer.expire()
        assert first.error()
        (second,) = submit(committer, [failure(2)])
        ledger.gate.set()
        assert ledger.maintaining.wait(TIMEOUT)  # after the late commit
        committer.expire()
        assert (committer.problem, second.outcomes.qsize()) == (None, 0)
        ledger.maintained.set()
        assert second.outcome() is True
    finally:
        ledger.maintained.set()
        assert committer.stop()


# Full disks


def delivery(number: int) -> Record:
    """Return the record of a delivery."""
    return Record(identity(number), (("deliveries",),), DELIVERIES.number)


def test_failures_are_counted_although_the_disk_is_full(committer: Committer, ledger: FakeLedger) -> None:
    """If a batch does not fit, its failures are recorded alone; the other events are answered 503."""
    ledger.full = True
    tickets = submit(committer, [delivery(1), failure(2), delivery(3), failure(4)])
    assert [ticket.outcome() for ticket in (tickets[1], tickets[3])] == [True, True]
    assert [ticket.error() for ticket in (tickets[0], tickets[2])] == ["the disk is full"] * 2
    assert ledger.batches == [failures([2, 4])]
    assert (committer.problem, committer.only_failures) == (None, True)
    assert committer.warning == "only failures are counted: the disk was full"


def test_the_commit_of_a_full_disk_has_only_the_failures(ledger: FakeLedger) -> None:
    """What was answered 503 is neither counted nor a duplicate."""
    commits: list[Commit] = []
    ledger.full = True
    with running(ledger, commits.append) as committer:
        kept, _ = tickets = submit(committer, [failure(1), delivery(2)])
        assert [kept.outcome(), tickets[1].error()] == [True, "the disk is full"]
    assert [(commit.tickets, commit.new, commit.in_time) for commit in commits] == [([kept], [True], [kept])]


def test_after_a_full_disk_only_failures_are_tried_for_a_while(
    committer: Committer, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each batch would be written twice. After the pause, all events are counted again."""
    ledger.full = True
    error_of(lambda: record(committer, delivery(1)))
    ledger.full = False
    error = error_of(lambda: record(committer, delivery(1)))
    assert (str(error), record(committer, failure(2))) == ("space is short, so only failures are recorded", True)
    later = time.monotonic() + FULL_PAUSE
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert [record(committer, delivery(1)), record(committer, delivery(1))] == [True, False]
    assert committer.only_failures is False


def test_deliveries_alone_on_a_full_disk_are_no_problem_for_failures(committer: Committer, ledger: FakeLedger) -> None:
    """That deliveries do not fit does not mean that failures can't be recorded."""
    ledger.full = True
    assert str(error_of(lambda: record(committer, delivery(1)))) == "the disk is full"
    assert committer.problem is None


def test_only_failures_are_counted_while_space_is_short(committer: Committer, ledger: FakeLedger) -> None:
    """The ledger says when, before the disk is full."""
    ledger.short, ledger.warning_text = "free: 3 MB", "fsync is off"
    tickets = submit(committer, [failure(1), delivery(2)])
    assert (tickets[0].outcome(), tickets[1].error()) == (True, "space is short, so only failures are recorded")
    assert committer.warning == "fsync is off; only failures are counted: free: 3 MB"
    ledger.short = ""
    assert record(committer, delivery(2)) is True
    assert committer.warning == "fsync is off"


def test_a_disk_that_is_full_for_failures_is_a_problem(committer: Committer, ledger: FakeLedger) -> None:
    """All tickets get the error."""
    ledger.error = LedgerFull(FULL)
    tickets = submit(committer, [failure(1), delivery(2)])
    assert [ticket.error() for ticket in tickets] == [FULL, FULL]
    assert committer.problem == FULL
