"""Group commit: one thread writes all waiting failures in one transaction, then wakes the requests that wait for it.

A disk manages a few hundred commits per second, but a busy exporter receives thousands of failures per second. So
failures that wait at the same time share a commit. The committing thread also maintains the ledger once per second: it
checks whether the ledger works, releases held series, and prunes. Once a minute it also writes, so that a disk that
fails is noticed although no failure arrives.

Threads and what they own:

committing thread
    All calls of ``record``, ``release``, ``prune`` and ``check`` on the ledger, and all of ``clock``; the callback
    ``committed``; a ticket from the moment it leaves the queue until its lock is released.
request thread
    Its ticket, which it reuses for its next request. After COMMIT_TIMEOUT it abandons the ticket to the committing
    thread and creates a new one.
any thread
    May read ``problem``. Only the two kinds of threads above set it, while holding ``_problem_lock``.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from exporter.classification.series import Record
from exporter.errors import LedgerError
from exporter.ledger.clock import Clock
from exporter.ledger.contract import Ledger

log = logging.getLogger(__name__)

BATCH_DELAY: Final = 0.004
"""Seconds to wait for more failures before a commit, if the previous batch had more than one."""
COMMIT_TIMEOUT: Final = 10.0
"""Seconds that a request waits for its commit before it is answered 503."""
STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the last commit when the exporter stops."""
MAINTENANCE_INTERVAL: Final = 1.0
"""Seconds between two rounds of maintenance."""


class _Ticket:
    """A waiting failure: its record, and its outcome once ``done`` is released."""

    __slots__ = ("done", "outcome", "record")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.record: Record
        self.outcome: bool | LedgerError


class Committer:
    """Records failures from many threads in ``ledger``, one batch at a time.

    ``clock`` watches the ledger's clock. ``committed`` is called after each commit, in the committing thread, with the
    duration in seconds and, for each failure of the batch, whether it was new. ``hold`` is the number of seconds for
    which a new series is exposed as 0; with 0, series are not held. ``batch_delay`` overrides BATCH_DELAY.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Clock,
        committed: Callable[[float, Sequence[bool]], None],
        hold: float,
        batch_delay: float = BATCH_DELAY,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._committed = committed
        self._hold = hold
        self._batch_delay = batch_delay
        self._local = threading.local()
        self._waiting: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._run, name="committer", daemon=True)
        self._problem: str | None = None
        self._problem_lock = threading.Lock()

    @property
    def problem(self) -> str | None:
        """Return why the ledger is not writable, or None if it is."""
        return self._problem

    @property
    def warning(self) -> str:
        """Return why a crash can lose failures although they are committed; empty if it can't."""
        return self._ledger.warning()

    def start(self) -> None:
        """Start the committing thread."""
        self._writer.start()

    def stop(self) -> bool:
        """Commit the waiting failures and end the committing thread.

        Call this only when no thread will call ``record`` again. Return False if the thread does not
        end in time because the ledger hangs; it then still uses the ledger.
        """
        self._waiting.put(None)
        self._writer.join(STOP_TIMEOUT)
        return not self._writer.is_alive()

    def record(self, record: Record) -> bool:
        """Wait until the record is on disk. Return True if it is new, False if it was counted before.

        Raise LedgerError if the ledger could not write it, or did not confirm it in time. The failure may be counted
        nevertheless. Recording it again is safe: it is counted once.
        """
        ticket: _Ticket | None = getattr(self._local, "ticket", None)
        if ticket is None:
            ticket = self._local.ticket = _Ticket()
        ticket.record = record
        self._waiting.put(ticket)
        if not ticket.done.acquire(timeout=COMMIT_TIMEOUT):
            del self._local.ticket  # the committing thread may still use it
            error = LedgerError(f"the ledger did not finish a commit in {COMMIT_TIMEOUT:.0f} seconds")
            self._set_problem(error)  # the committing thread hangs, and can't do it
            raise error
        if isinstance(ticket.outcome, LedgerError):
            raise LedgerError(str(ticket.outcome)) from ticket.outcome
        return ticket.outcome

    def _run(self) -> None:
        maintenance_at = time.monotonic()
        busy = stopping = False
        while not (stopping and self._waiting.empty()):
            try:
                batch = self._next_batch(max(0.0, maintenance_at - time.monotonic()), wait=busy)
            except Empty:
                batch = []
            tickets = [ticket for ticket in batch if ticket]
            stopping = stopping or len(tickets) < len(batch)
            busy = len(tickets) > 1
            if tickets:
                self._commit(tickets)
            if time.monotonic() >= maintenance_at:
                self._maintain()
                maintenance_at = time.monotonic() + MAINTENANCE_INTERVAL

    def _next_batch(self, timeout: float, *, wait: bool) -> list[_Ticket | None]:
        batch = [self._waiting.get(timeout=timeout)]
        if wait and self._batch_delay:
            time.sleep(self._batch_delay)
        batch.extend(self._waiting.get() for _ in range(self._waiting.qsize()))
        return batch

    def _commit(self, tickets: list[_Ticket]) -> None:
        began = time.perf_counter()
        outcomes: list[bool | LedgerError]
        try:
            moment = self._clock.look()
            new = self._ledger.record(
                [ticket.record for ticket in tickets], now=moment.now, held=self._hold > 0, day=moment.day
            )
        except LedgerError as error:
            self._set_problem(error)
            outcomes = [error] * len(tickets)
        except Exception as error:  # without this thread no request would ever be answered again
            log.exception("internal error while recording; please report it")
            internal = LedgerError(f"internal error while recording: {error!r}")
            self._set_problem(internal)
            outcomes = [internal] * len(tickets)
        else:
            self._set_problem(None)
            self._committed(time.perf_counter() - began, new)
            outcomes = [*new]
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.outcome = outcome
            ticket.done.release()

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
                self._ledger.prune(now=moment.latest)
        except LedgerError as error:
            self._set_problem(error)
        except Exception:
            log.exception("internal error during maintenance; please report it")
        else:
            self._set_problem(None)

    def _set_problem(self, error: LedgerError | None) -> None:
        """Store the problem, and log when it begins and ends, not each failed attempt."""
        problem = None if error is None else str(error)
        with self._problem_lock:
            before, self._problem = self._problem, problem
        if problem and not before:
            log.error("ledger not writable; answering 503 until it is", extra={"error": problem})
        elif before and not problem:
            log.info("ledger writable again")
