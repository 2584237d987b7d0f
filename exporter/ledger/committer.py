"""Group commit: one thread writes all waiting failures in one transaction, then answers them.

A disk takes a few hundred commits a second and a busy exporter thousands of failures, so failures that wait at the same
time share a commit. The thread that writes also maintains the ledger once a second: it ends births, prunes, and finds
out whether a ledger that failed works again.

Which thread owns what:

the committing thread
    Every call of ``record``, ``release``, ``prune`` and ``check`` on the ledger; the callback ``committed``; a ticket
    from the moment it leaves the queue until its lock is released.
a request thread
    Its own ticket, which it uses again for its next request. After COMMIT_TIMEOUT it gives the ticket up to the
    committing thread and makes a new one.
any thread
    ``problem``, which both kinds of threads set under the lock ``_noting``.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from exporter.classification.series import Record
from exporter.errors import LedgerError
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
    """One waiting failure: its record, and its outcome once ``done`` is released."""

    __slots__ = ("done", "outcome", "record")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.record: Record
        self.outcome: bool | LedgerError


class Committer:
    """Record failures in ``ledger`` from many threads, one batch after the other.

    ``committed`` is called after each commit, in the committing thread, with the seconds that it took and for each
    failure of the batch whether it was new. ``hold`` is for how many seconds a new series is exposed as 0 (0: not at
    all), ``batch_delay`` for how many seconds a batch waits for more failures when many arrive.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        committed: Callable[[float, Sequence[bool]], None],
        hold: float,
        batch_delay: float = BATCH_DELAY,
    ) -> None:
        self._ledger = ledger
        self._committed = committed
        self._hold = hold
        self._batch_delay = batch_delay
        self._mine = threading.local()
        self._waiting: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._run, name="committer", daemon=True)
        self._problem: str | None = None
        self._noting = threading.Lock()

    @property
    def problem(self) -> str | None:
        """Return why the ledger is not writable, or None if it is."""
        return self._problem

    def start(self) -> None:
        """Start the writing thread."""
        self._writer.start()

    def stop(self) -> bool:
        """Write what is still waiting, then end the writing thread. Nobody may call ``record`` any more.

        False when a stuck disk keeps the thread from ending in time: it still has the ledger then.
        """
        self._waiting.put(None)
        self._writer.join(STOP_TIMEOUT)
        return not self._writer.is_alive()

    def record(self, record: Record) -> bool:
        """Wait until the record is safe on disk; True when it was new, False when it had been counted before.

        Raises LedgerError when it could not be written, or not in time. It may then have been counted all the same;
        sending it again is right either way.
        """
        ticket: _Ticket | None = getattr(self._mine, "ticket", None)
        if ticket is None:
            ticket = self._mine.ticket = _Ticket()
        ticket.record = record
        self._waiting.put(ticket)
        if not ticket.done.acquire(timeout=COMMIT_TIMEOUT):
            del self._mine.ticket  # the writer still has this one
            error = LedgerError(f"the ledger did not finish a commit in {COMMIT_TIMEOUT:.0f} seconds")
            self._note(error)  # the writer, which notes all else, is stuck
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
            new = self._ledger.record(
                [ticket.record for ticket in tickets], now=self._ledger.clock(), held=self._hold > 0
            )
        except LedgerError as error:
            self._note(error)
            outcomes = [error] * len(tickets)
        except Exception as error:  # the thread must outlive any fault, or nobody is ever answered again
            log.exception("fault while recording; please report it")
            fault = LedgerError(f"fault while recording: {error!r}")
            self._note(fault)
            outcomes = [fault] * len(tickets)
        else:
            self._note(None)
            self._committed(time.perf_counter() - began, new)
            outcomes = [*new]
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.outcome = outcome
            ticket.done.release()

    def _maintain(self) -> None:
        try:
            # Only a write tells whether a full disk has room again; while all is well, none is spent on asking.
            self._ledger.check(now=self._ledger.clock(), write=self._problem is not None)
            self._ledger.release(now=self._ledger.clock(), hold=self._hold)
            self._ledger.prune(now=self._ledger.clock())
        except LedgerError as error:
            self._note(error)
        except Exception:
            log.exception("fault during maintenance")
        else:
            self._note(None)

    def _note(self, error: LedgerError | None) -> None:
        """Keep and log a change of state, not each failed attempt."""
        problem = None if error is None else str(error)
        with self._noting:
            before, self._problem = self._problem, problem
        if problem and not before:
            log.error("the ledger can't be written; failures are answered 503 until it can", extra={"error": problem})
        elif before and not problem:
            log.info("the ledger can be written again")
