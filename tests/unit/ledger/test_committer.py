"""The committer commits what waits together, answers each thread its own, and outlives all that goes wrong."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.errors import LedgerError
from exporter.ledger import committer as module
from exporter.ledger.committer import Committer
from exporter.ledger.contract import Ledger
from exporter.ledger.sqlite import SqliteLedger
from exporter.metrics.telemetry import Telemetry
from tests.ledger.test_contract import BOUNCE, NOW, failure, failures
from tests.support.fakes import TIMEOUT, Chore, FakeLedger
from tests.support.running import until

BROKEN: Final = "the ledger can't be written; failures are answered 503 until it can"
HEALED: Final = "the ledger can be written again"
FULL: Final = "ledger x: database or disk is full: free some space"


def run_chores(every: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set how often chores are done."""
    monkeypatch.setattr(module, "MAINTENANCE_INTERVAL", every)


@pytest.fixture
def ledger() -> FakeLedger:
    """A ledger in memory."""
    return FakeLedger()


@contextmanager
def running(ledger: Ledger, telemetry: Telemetry | None = None, *, hold: float = 60.0) -> Iterator[Committer]:
    """A committer over ``ledger`` whose clock stands still."""
    committer = Committer(ledger, committed=(telemetry or Telemetry()).committed, hold=hold)
    committer.start()
    try:
        yield committer
    finally:
        committer.stop()


@pytest.fixture
def committer(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Committer]:
    """A committer over ``ledger`` that has done its chores, and does them no more."""
    run_chores(3600, monkeypatch)
    with running(ledger) as committer:
        chores(ledger)
        yield committer
        ledger.gate.set()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as requests can come at the same time."""
    with ThreadPoolExecutor(64) as pool:
        yield pool


def chores(ledger: FakeLedger) -> list[Chore]:
    """The chores of one round, as soon as they have been done."""
    return [ledger.chores.get(timeout=TIMEOUT) for _ in range(3)]


def hold_up(
    ledger: FakeLedger, committer: Committer, threads: ThreadPoolExecutor, numbers: Sequence[int]
) -> list[Future[bool]]:
    """Send failures from a thread each; back when the first is in the ledger, before the gate, and the others wait."""
    ledger.inside.clear()
    ledger.gate.clear()
    first = threads.submit(committer.record, failure(numbers[0]))
    assert ledger.inside.wait(TIMEOUT)
    others = [threads.submit(committer.record, failure(number)) for number in numbers[1:]]
    until(lambda: committer._waiting.qsize() == len(others))
    return [first, *others]


def refusal(call: Callable[[], object]) -> str:
    """The whole text of the LedgerError that ``call`` raises."""
    with pytest.raises(LedgerError) as caught:
        call()
    return str(caught.value)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of what the committer has logged."""
    return [(entry.levelname, entry.getMessage()) for entry in caplog.records if entry.name == module.__name__]


# Batches and answers


def test_one_failure(committer: Committer, ledger: FakeLedger) -> None:
    """A single failure is a batch of its own, new the first time and known the second."""
    assert [committer.record(failure(1)), committer.record(failure(1))] == [True, False]
    assert ledger.batches == [failures([1]), failures([1])]


@pytest.mark.parametrize(("hold", "held"), [(60.0, True), (0.0, False)], ids=["60s", "off"])
def test_ledger_is_told_time_and_hold(ledger: FakeLedger, hold: float, held: bool) -> None:
    """Failures are recorded at the clock's time; series are born held unless the hold is off."""
    with running(ledger, hold=hold) as committer:
        committer.record(failure(1))
    assert ledger.told == [(NOW, held)]


def test_those_who_wait_share_a_batch(committer: Committer, ledger: FakeLedger, threads: ThreadPoolExecutor) -> None:
    """All that came while a commit was under way go into the next one together."""
    pending = hold_up(ledger, committer, threads, range(40))
    ledger.gate.set()
    assert [each.result(TIMEOUT) for each in pending] == [True] * 40
    assert [len(batch) for batch in ledger.batches] == [1, 39]
    assert sorted(ledger.batches[1]) == sorted(failures(range(1, 40)))


def test_each_thread_gets_its_own_answer(committer: Committer, ledger: FakeLedger, threads: ThreadPoolExecutor) -> None:
    """In one batch of new and known failures every thread is told about the one that it sent."""
    ledger.known = {failure(number).identity for number in range(0, 40, 3)}
    pending = hold_up(ledger, committer, threads, range(40))
    ledger.gate.set()
    assert [each.result(TIMEOUT) for each in pending] == [number % 3 > 0 for number in range(40)]


def test_threads_are_answered_rightly_again_and_again(
    committer: Committer, ledger: FakeLedger, threads: ThreadPoolExecutor
) -> None:
    """Threads that send one failure after the other never get the answer to another one."""
    ledger.known = {failure(number).identity for number in range(0, 2000, 2)}

    def send(numbers: range) -> list[bool]:
        return [committer.record(failure(number)) for number in numbers]

    sent = [range(begin, 2000, 16) for begin in range(16)]
    answers = [each.result(TIMEOUT) for each in [threads.submit(send, numbers) for numbers in sent]]
    assert answers == [[number % 2 == 1 for number in numbers] for numbers in sent]
    assert sorted(record for batch in ledger.batches for record in batch) == sorted(failures(range(2000)))


def test_same_failure_from_all_threads_counts_once(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    """Of 64 threads that send the same failure at the same moment to a real ledger one is told that it is new."""
    barrier = threading.Barrier(64)
    with closing(SqliteLedger(tmp_path / "ledger.db", now=NOW)) as ledger, running(ledger) as committer:

        def send(number: int) -> bool:
            barrier.wait(TIMEOUT)
            return committer.record(failure(number))

        for number in range(10):
            pending = [threads.submit(send, number) for _ in range(64)]
            assert sorted(each.result(TIMEOUT) for each in pending) == [False] * 63 + [True]
        assert [total[:3] for total in ledger.totals()] == [(BOUNCE, 10, True)]


def test_commits_are_measured(ledger: FakeLedger, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number and size of the batches and the duplicates in them are in the exporter's own metrics."""
    run_chores(3600, monkeypatch)
    telemetry = Telemetry()
    ledger.known = {failure(3).identity}
    with running(ledger, telemetry) as committer:
        pending = hold_up(ledger, committer, threads, range(5))
        ledger.gate.set()
        assert [each.result(TIMEOUT) for each in pending] == [True, True, True, False, True]
    names = ("commit_batch_size_count", "commit_batch_size_sum", "commit_duration_seconds_count", "duplicates_total")
    assert [telemetry.registry.get_sample_value(f"smtpeter_exporter_{name}") for name in names] == [2, 5, 2, 1]


# Stopping


def test_stop_writes_what_waits(ledger: FakeLedger, threads: ThreadPoolExecutor) -> None:
    """Whoever waits when the committer is stopped is still answered, and only then has it stopped."""
    with running(ledger) as committer:
        pending = hold_up(ledger, committer, threads, range(10))
        stopped = threads.submit(committer.stop)
        until(lambda: committer._waiting.qsize() == 10)  # nine that wait, and the stop
        assert not stopped.done()
        ledger.gate.set()
        stopped.result(TIMEOUT)
        assert [each.result(TIMEOUT) for each in pending] == [True] * 10
    assert sorted(record for batch in ledger.batches for record in batch) == sorted(failures(range(10)))


def test_stop_ends_the_thread(ledger: FakeLedger) -> None:
    """A stopped committer leaves no thread behind, and stopping it again is no fault."""
    before = threading.enumerate()
    with running(ledger) as committer:
        assert [thread.name for thread in threading.enumerate() if thread not in before] == ["committer"]
        committer.stop()
        assert [thread for thread in threading.enumerate() if thread not in before] == []


# What goes wrong


def test_error_reaches_all_who_wait(committer: Committer, ledger: FakeLedger, threads: ThreadPoolExecutor) -> None:
    """When a batch can't be written every thread of it is told why; the same failures are new once it can."""
    pending = hold_up(ledger, committer, threads, range(20))
    ledger.fault = LedgerError(FULL)
    ledger.gate.set()
    assert [str(each.exception(TIMEOUT)) for each in pending] == [FULL] * 20
    assert {type(each.exception()) for each in pending} == {LedgerError}
    assert len({id(each.exception()) for each in pending}) == 20  # each its own, for a traceback is written into it
    ledger.fault = None
    assert [committer.record(failure(number)) for number in range(20)] == [True] * 20


def test_trouble_is_told_once_and_ends(
    committer: Committer, ledger: FakeLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """Trouble is known as long as it lasts, with its latest reason, and logged when it begins and when it ends."""
    caplog.set_level(logging.INFO)
    assert committer.problem is None
    committer.record(failure(0))
    seen: list[str | None] = []
    for reason in ("first", "first", "second"):
        ledger.fault = LedgerError(reason)
        refusal(lambda: committer.record(failure(1)))
        seen.append(committer.problem)
    assert seen == ["first", "first", "second"]
    assert logged(caplog) == [("ERROR", BROKEN)]
    [entry] = caplog.records
    assert vars(entry)["error"] == "first"
    ledger.fault = None
    assert [committer.record(failure(1)), committer.record(failure(2))] == [True, True]
    assert committer.problem is None
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", HEALED)]


def test_stuck_ledger_is_told_after_a_while(
    committer: Committer, ledger: FakeLedger, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread does not wait for ever: it is told that the ledger is stuck, and its next failure is its next answer."""
    monkeypatch.setattr(module, "COMMIT_TIMEOUT", 0.05)
    ledger.known = {failure(2).identity}
    ledger.gate.clear()
    stuck = "the ledger did not finish a commit in 0 seconds"
    assert refusal(lambda: committer.record(failure(1))) == stuck
    assert committer.problem == stuck
    waiting = threads.submit(committer.record, failure(3))
    assert str(waiting.exception(TIMEOUT)) == stuck
    monkeypatch.setattr(module, "COMMIT_TIMEOUT", TIMEOUT)
    ledger.gate.set()
    assert [committer.record(failure(number)) for number in (2, 1, 3, 4)] == [False, False, False, True]
    assert committer.problem is None


def test_stuck_ledger_is_logged_once(
    committer: Committer,
    ledger: FakeLedger,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However many threads give up at the same moment, the log has one line of it, and one when it is over."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "COMMIT_TIMEOUT", 0.2)
    pending = hold_up(ledger, committer, threads, range(64))
    assert {str(each.exception(TIMEOUT)) for each in pending} == {"the ledger did not finish a commit in 0 seconds"}
    assert logged(caplog) == [("ERROR", BROKEN)]
    monkeypatch.setattr(module, "COMMIT_TIMEOUT", TIMEOUT)
    ledger.gate.set()
    assert committer.record(failure(0)) is False
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", HEALED)]


@pytest.mark.parametrize("fault", [RuntimeError("oops"), ValueError("no"), AssertionError()], ids=repr)
def test_fault_does_not_end_the_thread(
    committer: Committer,
    ledger: FakeLedger,
    threads: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    """A fault in the program is told to all who wait, logged, and shown as trouble; the next failure is counted."""
    pending = hold_up(ledger, committer, threads, range(5))
    ledger.fault = fault
    ledger.gate.set()
    assert [str(each.exception(TIMEOUT)) for each in pending] == [f"fault while recording: {fault!r}"] * 5
    line = ("ERROR", "fault while recording; please report it")
    assert logged(caplog) == [line, ("ERROR", BROKEN), line]
    assert committer.problem == f"fault while recording: {fault!r}"
    assert [entry.exc_info[1] for entry in caplog.records if entry.exc_info] == [fault, fault]
    ledger.fault = None
    assert [committer.record(failure(number)) for number in range(5)] == [True] * 5


# Chores


def test_chores_are_done_at_the_start(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round comes at once: look after the ledger without a write, show what may be shown, prune a slice."""
    run_chores(3600, monkeypatch)
    with running(ledger, hold=45.0):
        assert chores(ledger) == [Chore("check", (NOW, False)), Chore("release", (NOW, 45.0)), Chore("prune", (NOW,))]


def test_chores_go_on_without_failures(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to send anything for the next rounds to come."""
    run_chores(0.005, monkeypatch)
    with running(ledger):
        rounds = [chores(ledger) for _ in range(5)]
    assert rounds == [[Chore("check", (NOW, False)), Chore("release", (NOW, 60.0)), Chore("prune", (NOW,))]] * 5


def test_chores_go_on_under_load(
    ledger: FakeLedger, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures that come without a pause don't keep the chores from being done."""
    run_chores(0.005, monkeypatch)
    over = threading.Event()
    with running(ledger) as committer:

        def send() -> None:
            while not over.is_set():
                committer.record(failure(1))

        senders = [threads.submit(send) for _ in range(4)]
        try:
            rounds = [chores(ledger) for _ in range(10)]
        finally:
            over.set()
        for sender in senders:
            sender.result(TIMEOUT)
    assert rounds == [[Chore("check", (NOW, False)), Chore("release", (NOW, 60.0)), Chore("prune", (NOW,))]] * 10


def test_trouble_ends_without_failures(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In trouble, and only then, each round tries a write, and so finds out when the ledger can be written again."""
    caplog.set_level(logging.INFO)
    run_chores(0.005, monkeypatch)
    with running(ledger) as committer:
        assert [chore.name for chore in chores(ledger)] == ["check", "release", "prune"]
        ledger.fault = LedgerError(FULL)
        assert refusal(lambda: committer.record(failure(1))) == FULL
        assert committer.problem == FULL
        until(lambda: ledger.chores.get(timeout=TIMEOUT) == Chore("check", (NOW, True)))
        assert [ledger.chores.get(timeout=TIMEOUT) for _ in range(3)] == [Chore("check", (NOW, True))] * 3
        assert committer.problem == FULL
        ledger.fault = None
        until(lambda: committer.problem is None)
        until(lambda: ledger.chores.get(timeout=TIMEOUT) == Chore("check", (NOW, False)))
        assert committer.record(failure(1)) is True
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", HEALED)]


def test_trouble_is_found_by_chores(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that is lost while nothing comes in is trouble at the next round, told once, and healed in time."""
    caplog.set_level(logging.INFO)
    run_chores(0.005, monkeypatch)
    with running(ledger) as committer:
        ledger.chore_fault = LedgerError("ledger x: the file is gone")
        until(lambda: committer.problem == "ledger x: the file is gone")
        for _ in range(10):
            ledger.chores.get(timeout=TIMEOUT)
        ledger.chore_fault = None
        until(lambda: committer.problem is None)
    assert logged(caplog) == [("ERROR", BROKEN), ("INFO", HEALED)]


def test_fault_in_chores_does_not_end_the_thread(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in a chore is logged with its traceback; failures are counted and later rounds come all the same."""
    run_chores(0.005, monkeypatch)
    fault: Any = RuntimeError("oops")
    ledger.chore_fault = fault
    with running(ledger) as committer:
        until(lambda: ("ERROR", "fault during maintenance") in logged(caplog))
        assert committer.record(failure(1)) is True
        ledger.chore_fault = None
        until(lambda: ledger.chores.get(timeout=TIMEOUT).name == "prune")
        assert committer.problem is None
    assert {entry.exc_info[1] for entry in caplog.records if entry.exc_info} == {fault}


def test_lost_file_is_trouble_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a real ledger: its file is moved away and back, and nobody but the chores is needed to notice either."""
    run_chores(0.005, monkeypatch)
    path = tmp_path.resolve() / "ledger.db"
    with closing(SqliteLedger(path, now=NOW)) as ledger, running(ledger) as committer:
        assert committer.record(failure(1)) is True
        path.rename(tmp_path / "away")
        gone = f"ledger {path}: the file is gone; put it back, or restart the exporter to begin a new ledger"
        until(lambda: committer.problem == gone)
        assert refusal(lambda: committer.record(failure(2))) == gone
        (tmp_path / "away").rename(path)
        until(lambda: committer.problem is None)
        assert [committer.record(failure(1)), committer.record(failure(2))] == [False, True]
