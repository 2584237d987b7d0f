"""Group commit: one thread writes all waiting events in one transaction, then settles their tickets.

A disk manages a few hundred commits per second, but a busy exporter receives thousands of events per second. So events
that wait at the same time share a commit. The committing thread also maintains the ledger once per second: it
checks whether the ledger works, releases held series, and prunes. Once a minute it also writes, so that a disk that
fails is noticed although no event arrives.

When space runs out, failures are recorded for longest; see ``shortage.py``.

Threads and what they own:

committing thread
    All calls of ``record``, ``release``, ``prune`` and ``check`` on the ledger, and all of ``clock``; the callback
    ``committed``.
any thread
    May call ``submit`` and ``expire``, and read ``problem``.

A ticket is settled by the thread that takes it: the committing thread after the commit, or the one that calls
``expire`` if that takes too long. Only one of them can take it, from the queue or, while it holds ``_lock``, from
``_writing``. The lock also guards ``problem``.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from exporter.classification.classifier import Event
from exporter.classification.loops import FAILURES
from exporter.errors import LedgerError, LedgerFull
from exporter.ledger.clock import Clock
from exporter.ledger.contract import KEEP_IDENTITIES, Ledger
from exporter.ledger.shortage import Shortage

log = logging.getLogger(__name__)

COMMIT_TIMEOUT: Final = 10.0
"""Seconds after which a request is answered 503 because its commit has not finished."""
SUSPENSION: Final = 3.0
"""Seconds between two calls of ``expire`` that show that the whole process was suspended."""
STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the last commit when the exporter stops."""
MAINTENANCE_INTERVAL: Final = 1.0
"""Seconds between two rounds of maintenance."""


class Ticket:
    """An event that waits for its commit.

    ``began`` is when its request began, by time.perf_counter. ``settle`` is called once: with True if the event is
    new, with False if it was counted before, or with a LedgerError if it was not recorded in time. It must be quick,
    and must not raise.
    """

    __slots__ = ("began", "event", "settle")

    def __init__(self, event: Event, began: float) -> None:
        self.event = event
        self.began = began
        self.settle: Callable[[bool | LedgerError], None]


class Commit(NamedTuple):
    """A commit that succeeded: its duration in seconds, its tickets, and for each of them whether its event is new.

    ``in_time`` are the tickets of the requests that are answered 200. The others were answered 503 before.
    """

    seconds: float
    tickets: Sequence[Ticket]
    new: Sequence[bool]
    in_time: Sequence[Ticket]


class Committer:
    """Records events in ``ledger``, one batch at a time.

    ``clock`` watches the ledger's clock. ``committed`` is called after each commit that succeeds, in the committing
    thread, before its tickets are settled. ``hold`` is the number of seconds for which a new series is exposed as 0;
    with 0, series are not held. ``keep_deliveries`` is the number of seconds for which deliveries are recognized.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Clock,
        committed: Callable[[Commit], None],
        hold: float,
        keep_deliveries: float = KEEP_IDENTITIES,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._committed = committed
        self._hold = hold
        self._keep_deliveries = keep_deliveries
        self._shortage = Shortage(ledger.short_of_space)
        self._waiting: SimpleQueue[Sequence[Ticket]] = SimpleQueue()
        self._writing: list[Ticket] = []
        self._stopping = False
        self._looked = math.inf  # when the committing thread last emptied the queue, or ended a commit
        self._checked = math.inf  # when ``expire`` was called last
        self._lock = threading.Lock()
        self._writer = threading.Thread(target=self._run, name="committer", daemon=True)
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Return why the ledger is not writable, or None if it is."""
        return self._problem

    @property
    def warning(self) -> str:
        """Return why not all is well although failures are recorded; empty if all is.

        A crash can lose failures although they are committed, or space is short, so that only failures are recorded.
        """
        short = f"only failures are counted: {self._shortage.why}" if self._shortage.why else ""
        return "; ".join(filter(None, (self._ledger.warning(), short)))

    @property
    def only_failures(self) -> bool:
        """Return whether only failures are recorded, because space is short."""
        return bool(self._shortage.why)

    def start(self) -> None:
        """Start the committing thread."""
        self._writer.start()

    def stop(self) -> bool:
        """Commit the waiting events and end the committing thread.

        Call this only when no thread will call ``submit`` or ``expire`` again. Return False if the thread does not
        end in time because the ledger hangs; it then still uses the ledger.
        """
        self._stopping = True
        self._waiting.put(())  # wakes the thread
        self._writer.join(STOP_TIMEOUT)
        return not self._writer.is_alive()

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Have the events recorded in one batch, and their tickets settled once it is on disk. Returns at once.

        If a ticket is settled with a LedgerError, its event may be counted nevertheless. Recording it again is safe:
        it is counted once.
        """
        self._waiting.put(tickets)

    def expire(self) -> None:
        """Settle the tickets that are older than COMMIT_TIMEOUT, and all if the ledger hangs. Call once per second.

        What is still in the queue is then never recorded, so that it does not grow while the ledger hangs.
        """
        now = time.perf_counter()
        suspended, self._checked = now > self._checked + SUSPENSION, now
        if suspended:  # nothing had time to finish, so decide the next time
            return
        with self._lock:
            hangs = now >= self._looked + COMMIT_TIMEOUT
            latest = math.inf if hangs else now - COMMIT_TIMEOUT
            late = [ticket for ticket in self._writing if ticket.began <= latest]
            self._writing = [ticket for ticket in self._writing if ticket.began > latest]
        if hangs:
            late += self._queued()
        if not late and not hangs:
            return
        error = LedgerError(f"the ledger did not finish a commit in {COMMIT_TIMEOUT:.0f} seconds")
        self._set_problem(error)  # the committing thread can't do it
        for ticket in late:
            ticket.settle(error)

    def _run(self) -> None:
        maintenance_at = time.monotonic()
        while not self._stopping or not self._waiting.empty():
            tickets = self._next_batch(max(0.0, maintenance_at - time.monotonic()))
            with self._lock:
                self._looked, self._writing = time.perf_counter(), tickets
            if tickets:
                self._commit(tickets)
            if time.monotonic() >= maintenance_at:
                self._maintain()
                maintenance_at = time.monotonic() + MAINTENANCE_INTERVAL

    def _next_batch(self, timeout: float) -> list[Ticket]:
        try:
            first = self._waiting.get(timeout=timeout)
        except Empty:
            return []
        return [*first, *self._queued()]

    def _queued(self) -> list[Ticket]:
        queued: list[Ticket] = []
        with suppress(Empty):  # another thread may take some at the same time
            for _ in range(self._waiting.qsize()):
                queued += self._waiting.get_nowait()
        return queued

    def _commit(self, tickets: Sequence[Ticket]) -> None:
        began = time.perf_counter()
        error: LedgerError | None = None
        new: Sequence[bool] = ()
        try:
            if self._shortage.look():
                tickets = self._turn_away_others(tickets, LedgerFull("space is short, so only failures are recorded"))
            try:
                new = self._record(tickets)
            except LedgerFull as full:
                self._shortage.full()
                number = len(tickets)
                tickets = self._turn_away_others(tickets, full)
                if len(tickets) == number:
                    raise
                new = self._record(tickets)
        except LedgerError as caught:
            error = caught
        except Exception as caught:  # without this thread no request would ever be answered again
            log.exception("internal error while recording; please report it")
            error = LedgerError(f"internal error while recording: {caught!r}")
        if tickets:  # otherwise nothing shows whether the ledger can record failures
            self._set_problem(error)
        in_time = self._take()
        if error is None and tickets:
            self._report(Commit(time.perf_counter() - began, tickets, new, in_time))
        outcomes = dict(zip(tickets, new, strict=False))
        for ticket in in_time:
            self._settle(ticket, error or outcomes[ticket])

    def _record(self, tickets: Sequence[Ticket]) -> Sequence[bool]:
        if not tickets:
            return ()
        moment = self._clock.look()
        batch = [ticket.event.record for ticket in tickets]
        return self._ledger.record(batch, now=moment.now, held=self._hold > 0, day=moment.day)

    def _turn_away_others(self, tickets: Sequence[Ticket], error: LedgerError) -> Sequence[Ticket]:
        """Settle the tickets that are no failures with an error, and return the rest."""
        failures = [ticket for ticket in tickets if ticket.event.loop is FAILURES]
        if len(failures) == len(tickets):
            return tickets
        with self._lock:
            others = [ticket for ticket in self._writing if ticket.event.loop is not FAILURES]
            self._writing = [ticket for ticket in self._writing if ticket.event.loop is FAILURES]
        for ticket in others:
            self._settle(ticket, error)
        return failures

    def _report(self, commit: Commit) -> None:
        try:
            self._committed(commit)
        except Exception:  # the events are counted, so their requests must be answered
            log.exception("internal error after a commit; please report it")

    def _take(self) -> list[Ticket]:
        """Return the tickets of the batch that are not settled yet."""
        with self._lock:
            taken, self._writing = self._writing, []
            self._looked = time.perf_counter()  # if the commit was late, it is over: what came meanwhile need not fail
        return taken

    def _settle(self, ticket: Ticket, outcome: bool | LedgerError) -> None:  # noqa: FBT001 -- a result
        try:
            ticket.settle(outcome)
        except Exception:  # the other requests must be answered
            log.exception("internal error while answering; please report it")

    def _maintain(self) -> None:
        try:
            moment = self._clock.look()
            # Only a write shows that a disk fails, or has space again. As long as all is well, one a minute is enough.
            write = self._problem is not None or self._clock.store
            self._ledger.check(now=moment.now, write=write, state=self._clock.state)
            if write:
                self._clock.stored()
            self._ledger.release(now=moment.now, hold=self._hold)
            if moment.trusted:
                self._ledger.prune(now=moment.latest, keep_deliveries=self._keep_deliveries)
            self._shortage.look()
        except LedgerError as error:
            self._set_problem(error)
        except Exception:
            log.exception("internal error during maintenance; please report it")
        else:
            self._set_problem(None)

    def _set_problem(self, error: LedgerError | None) -> None:
        """Store the problem, and log when it begins and ends, not each failed attempt."""
        problem = None if error is None else str(error)
        with self._lock:
            before, self._problem = self._problem, problem
        if problem and not before:
            log.error("ledger not writable; answering 503 until it is", extra={"error": problem})
        elif before and not problem:
            log.info("ledger writable again")
