"""A ledger in memory that a test can block, observe and make fail."""

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

from exporter.classification.series import Record
from exporter.errors import LedgerFull
from exporter.ledger.contract import KEEP_IDENTITIES, ClockState, Coverage, StoredIdentity, Total

NOW: Final = 1_800_000_000.0
"""The first time of its clock."""
TIMEOUT: Final = 30.0
"""Seconds after which a test fails that waits for another thread."""


class Call(NamedTuple):
    """A call of maintenance, with its arguments in order."""

    name: str
    arguments: tuple[float | bool, ...]


class FakeLedger:
    """A ledger in memory: see ``ledger.contract.Ledger`` for its methods.

    ``batches`` are the batches that were recorded, and ``arguments`` the values of ``now``, ``held`` and ``day`` for
    each. ``now`` is the time of its clock, and ``states`` are the states of the clock that were stored. While ``gate``
    is not set, ``record`` sets ``inside`` and waits. ``short`` is why space is short, and with ``full`` there is space
    only for failures. ``error`` is raised by ``record`` and by ``check`` with ``write``,
    ``release_error`` by ``release``. Each call of maintenance is put in ``maintenance`` before it is carried out.
    """

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.arguments: list[tuple[float, bool, int | None]] = []
        self.now = NOW
        self.states: list[ClockState] = []
        self.known: set[bytes] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.error: Exception | None = None
        self.release_error: Exception | None = None
        self.warning_text = ""
        self.short = ""
        self.full = False
        self.maintenance: SimpleQueue[Call] = SimpleQueue()

    def record(self, batch: Sequence[Record], *, now: float, held: bool, day: int | None = None) -> list[bool]:
        """Count each identity once, as soon as the gate is open."""
        self.inside.set()
        assert self.gate.wait(TIMEOUT)
        if self.error:
            raise self.error
        if self.full and any(record.loop for record in batch):
            raise LedgerFull("the disk is full")
        self.batches.append(list(batch))
        self.arguments.append((now, held, day))
        outcomes = []
        for record in batch:
            outcomes.append(record.identity not in self.known)
            self.known.add(record.identity)
        return outcomes

    def clock(self) -> float:
        """Return ``now``."""
        return self.now

    def clock_state(self) -> ClockState:
        """Return zeros: nothing was stored."""
        return ClockState(0, 0)

    def release(self, *, now: float, hold: float) -> None:
        """Do nothing, or raise ``release_error``."""
        self.maintenance.put(Call("release", (now, hold)))
        if self.release_error:
            raise self.release_error

    def prune(self, *, now: float, keep_deliveries: float = KEEP_IDENTITIES) -> int:
        """Do nothing."""
        self.maintenance.put(Call("prune", (now, keep_deliveries)))
        return 0

    def short_of_space(self) -> str:
        """Return ``short``."""
        return self.short

    def warning(self) -> str:
        """Return ``warning_text``."""
        return self.warning_text

    def check(self, *, now: float, write: bool, state: ClockState | None = None) -> None:
        """Do nothing, or raise ``error`` if ``write`` is true."""
        if write and state:
            self.states.append(state)
        self.maintenance.put(Call("check", (now, write)))
        if self.error and write:
            raise self.error

    def totals(self) -> list[Total]:
        """Return no totals."""
        return []

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        """Raise NotImplementedError: this ledger can't be copied."""
        raise NotImplementedError

    def import_identities(self, identities: Sequence[StoredIdentity]) -> None:
        """Raise NotImplementedError: this ledger can't be copied."""
        raise NotImplementedError

    def coverage(self) -> Coverage:
        """Raise NotImplementedError: this ledger can't be copied."""
        raise NotImplementedError

    def import_coverage(self, coverage: Coverage) -> None:
        """Raise NotImplementedError: this ledger can't be copied."""
        raise NotImplementedError

    def import_totals(self, totals: Sequence[Total]) -> None:
        """Raise NotImplementedError: this ledger can't be copied."""
        raise NotImplementedError

    def size(self) -> int:
        """Return 0."""
        return 0

    def close(self) -> None:
        """Do nothing."""
