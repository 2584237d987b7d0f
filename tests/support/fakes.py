"""Stand-ins for parts that a test wants to hold up, watch, or make fail."""

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

from exporter.classification.series import Record
from exporter.ledger.contract import StoredIdentity, Total

NOW: Final = 1_800_000_000.0
"""What its clock shows."""
TIMEOUT: Final = 10.0
"""Seconds after which a test gives up waiting for what should have happened long before."""


class Chore(NamedTuple):
    """One call of a chore, with its arguments in order."""

    name: str
    arguments: tuple[float | bool, ...]


class FakeLedger:
    """A ledger in memory: see ``ledger.contract.Ledger`` for the calls.

    ``batches`` are the batches that were recorded, with ``now`` and ``held`` of each in ``told``. While ``gate`` is
    not set ``record`` waits inside, having set ``inside``. ``fault`` is what ``record`` and ``check`` with ``write``
    raise, ``chore_fault`` what ``release`` raises. Every chore is put in ``chores`` before it is done.
    """

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.told: list[tuple[float, bool]] = []
        self.known: set[bytes] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.fault: Exception | None = None
        self.chore_fault: Exception | None = None
        self.chores: SimpleQueue[Chore] = SimpleQueue()

    def record(self, batch: Sequence[Record], *, now: float, held: bool) -> list[bool]:
        """Count each identity once, as soon as the gate is open."""
        self.inside.set()
        assert self.gate.wait(TIMEOUT)
        if self.fault:
            raise self.fault
        self.batches.append(list(batch))
        self.told.append((now, held))
        outcomes = []
        for record in batch:
            outcomes.append(record.identity not in self.known)
            self.known.add(record.identity)
        return outcomes

    def clock(self) -> float:
        """A time that stands still."""
        return NOW

    def release(self, *, now: float, hold: float) -> None:
        """Do nothing."""
        self.chores.put(Chore("release", (now, hold)))
        if self.chore_fault:
            raise self.chore_fault

    def prune(self, *, now: float) -> int:
        """Do nothing."""
        self.chores.put(Chore("prune", (now,)))
        return 0

    def check(self, *, now: float, write: bool) -> None:
        """Fail as ``record`` does, when a write is asked for."""
        self.chores.put(Chore("check", (now, write)))
        if self.fault and write:
            raise self.fault

    def totals(self) -> list[Total]:
        """No totals."""
        return []

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        """No copy is made of it."""
        raise NotImplementedError

    def keep(self, identities: Sequence[StoredIdentity]) -> None:
        """No copy is made to it."""
        raise NotImplementedError

    def adopt(self, totals: Sequence[Total]) -> None:
        """No copy is made to it."""
        raise NotImplementedError

    def size(self) -> int:
        """No size."""
        return 0

    def close(self) -> None:
        """Do nothing."""
