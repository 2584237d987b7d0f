"""The contract of a ledger: what was counted, exactly once, durable.

A ledger holds two things: the *identities* of the failures it has counted in the last 30 days, and a *total* for each
series it was ever told to raise. It knows hashes, label values and sums; never an address.

- **Once.** ``record`` takes a batch. For each record whose identity the ledger does not hold yet, it keeps the identity
  and raises each of the record's series by one; the others change nothing. A batch may hold an identity twice: the
  first one counts.
- **For ever.** When ``record`` returns, the whole batch is on disk in one transaction and survives a power cut.
  When it raises, nothing of the batch was counted, as far as the ledger can know: a commit whose fate is unknown may
  have been carried out, and recording the same batch again is right in either case.
- **Never back.** A total never decreases, and a series never disappears: not by ``prune``, not by opening the
  ledger with a later version of this package.
- **Births.** A series that ``record`` brings with ``held=True`` is marked as held. ``release`` takes the mark off
  series that have had it for long enough, for good, and on disk before anybody is shown the total. Opening a ledger
  starts the time of the series that are still held anew, for nobody may have scraped them.
- **Shared.** Where an engine lets several processes have a ledger open, all of this holds for them together.
- **Who calls.** One thread calls ``record``, ``release``, ``prune`` and ``check``; any thread may call ``totals`` and
  ``size`` meanwhile, and is not held up by the writer. ``close`` comes last, from anywhere.
- **Copies.** ``identities``, ``keep`` and ``adopt`` are for ``ledger copy``, while no exporter has the ledger.
- **Cost.** No call's cost depends on how many failures were ever recorded (a look-up in a sorted tree apart).
- **Errors.** Whatever goes wrong in the store comes out as LedgerError with a line that the operator can act on; the
  next call starts afresh, so a ledger heals as soon as its cause is gone.

Times are seconds since the epoch, and come in as arguments. What gives them is ``clock``: one that all share who share
the ledger, or one of them whose clock is wrong would forget for all.
"""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from exporter.classification.series import Record, Series

DAY: Final = 86_400
"""Seconds of a day; identities are kept with the day since the epoch on which they were counted."""
KEEP_IDENTITIES: Final = 30 * DAY
"""For how many seconds a failure that comes again is known as already counted."""


def series_of(text: str) -> Series:
    """A series as ledgers keep it, a JSON array of texts. Raises ValueError for anything else."""
    series = json.loads(text)
    if not isinstance(series, list) or not series or not all(isinstance(part, str) for part in series):
        raise ValueError(f"{text[:40]!r} is no series")
    return tuple(series)


class StoredIdentity(NamedTuple):
    """An identity that a ledger holds, and the day since the epoch on which it was counted."""

    identity: bytes
    day: int


class Total(NamedTuple):
    """A series, its sum, whether it is still held at zero, and when it was last raised."""

    series: Series
    value: int
    held: bool
    raised_at: float


COPYING: Final[Series] = ("copying",)
"""Stands alone in the totals of a ledger that a copy was begun to and not ended: no exporter may count there."""


class Ledger(Protocol):
    """See the module's docstring for what every implementation promises. All methods may raise LedgerError."""

    def record(self, batch: Sequence[Record], *, now: float, held: bool) -> list[bool]:
        """Count what is new in the batch; for each record, whether it was new."""

    def release(self, *, now: float, hold: float) -> None:
        """Show the series that have been held for ``hold`` seconds."""

    def prune(self, *, now: float) -> int:
        """Forget identities older than KEEP_IDENTITIES in the next small slice; how many were forgotten."""

    def clock(self) -> float:
        """The time of day, for all who share the ledger; costs nothing, never raises."""

    def check(self, *, now: float, write: bool) -> None:
        """Raise LedgerError unless the ledger is there and, with ``write``, takes a write."""

    def totals(self) -> list[Total]:
        """All series with their sums, as of the last commit."""

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        """The first so many identities past ``after``, in order; for copying, by the thread that records."""

    def keep(self, identities: Sequence[StoredIdentity]) -> None:
        """Hold these identities, too, without counting."""

    def adopt(self, totals: Sequence[Total]) -> None:
        """Have these totals, in one transaction; refused when there are any besides COPYING."""

    def size(self) -> int:
        """Bytes on disk."""

    def close(self) -> None:
        """Release everything; no call may follow."""
