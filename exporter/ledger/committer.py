"""Group commit: request threads wait, one thread writes what has come together, and all are told at once.

A disk takes a few hundred commits a second and a busy exporter thousands of failures, so those that wait at the same
time go to the ledger as one batch. The thread that writes also does the ledger's chores once a second: ending births,
pruning, and finding out whether a ledger that failed works again.
"""

import logging
import threading
import time
from queue import Empty, SimpleQueue
from typing import Final

from exporter.classification.series import Record
from exporter.errors import LedgerError
from exporter.ledger.contract import Ledger
from exporter.metrics.telemetry import Telemetry

log = logging.getLogger(__name__)

GATHER: Final = 0.004
"""Seconds that a batch is left open for more when the one before was of more than one request."""
PATIENCE: Final = 10.0
"""Seconds after which a request that waits for a stuck disk is answered 503."""
STOPPING: Final = 5.0
"""Seconds that the last commit may take when the exporter stops."""
TICK: Final = 1.0
"""Seconds between two rounds of chores."""


class _Ticket:
    """What a request thread and the writer pass between them; each thread keeps its own, locks included."""

    __slots__ = ("done", "outcome", "record")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.record: Record
        self.outcome: bool | LedgerError


class Committer:
    """Record failures in ``ledger`` from many threads, one batch after the other.

    ``hold`` is for how many seconds a new series is shown as 0 (0: not at all); ``gather`` is for how many seconds a
    batch is left open when many come.
    """

    def __init__(
        self,
        ledger: Ledger,
        telemetry: Telemetry,
        *,
        hold: float,
        gather: float = GATHER,
    ) -> None:
        self._ledger = ledger
        self._telemetry = telemetry
        self._hold = hold
        self._gathering = gather
        self._mine = threading.local()
        self._waiting: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._run, name="committer", daemon=True)
        self._trouble: str | None = None
        self._noting = threading.Lock()

    @property
    def trouble(self) -> str | None:
        """Why the ledger can't be written at the moment; None when it can."""
        return self._trouble

    def start(self) -> None:
        """Start the writing thread."""
        self._writer.start()

    def stop(self) -> bool:
        """Write what is still waiting, then end the writing thread. Nobody may call ``record`` any more.

        False when a stuck disk keeps the thread from ending in time: it still has the ledger then.
        """
        self._waiting.put(None)
        self._writer.join(STOPPING)
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
        if not ticket.done.acquire(timeout=PATIENCE):
            del self._mine.ticket  # the writer still has this one
            error = LedgerError(f"the ledger did not finish a commit in {PATIENCE:.0f} seconds")
            self._note(error)  # the writer, which notes all else, is stuck
            raise error
        if isinstance(ticket.outcome, LedgerError):
            raise LedgerError(str(ticket.outcome)) from ticket.outcome
        return ticket.outcome

    def _run(self) -> None:
        chores_at = time.monotonic()
        busy = stopping = False
        while not (stopping and self._waiting.empty()):
            try:
                batch = self._gather(max(0.0, chores_at - time.monotonic()), wait=busy)
            except Empty:
                batch = []
            tickets = [ticket for ticket in batch if ticket]
            stopping = stopping or len(tickets) < len(batch)
            busy = len(tickets) > 1
            if tickets:
                self._commit(tickets)
            if time.monotonic() >= chores_at:
                self._chores()
                chores_at = time.monotonic() + TICK

    def _gather(self, timeout: float, *, wait: bool) -> list[_Ticket | None]:
        batch = [self._waiting.get(timeout=timeout)]
        if wait and self._gathering:
            time.sleep(self._gathering)
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
            self._telemetry.committed(time.perf_counter() - began, new)
            outcomes = [*new]
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.outcome = outcome
            ticket.done.release()

    def _chores(self) -> None:
        try:
            # Only a write tells whether a full disk has room again; while all is well, none is spent on asking.
            self._ledger.check(now=self._ledger.clock(), write=self._trouble is not None)
            self._ledger.release(now=self._ledger.clock(), hold=self._hold)
            self._ledger.prune(now=self._ledger.clock())
        except LedgerError as error:
            self._note(error)
        except Exception:
            log.exception("fault during chores")
        else:
            self._note(None)

    def _note(self, error: LedgerError | None) -> None:
        """Keep and log a change of state, not each failed attempt."""
        trouble = None if error is None else str(error)
        with self._noting:
            before, self._trouble = self._trouble, trouble
        if trouble and not before:
            log.error("the ledger can't be written; failures are answered 503 until it can", extra={"error": trouble})
        elif before and not trouble:
            log.info("the ledger can be written again")
