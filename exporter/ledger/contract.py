"""The contract that every ledger keeps: failures are counted exactly once, and counts are durable.

A ledger stores the *identities* of the failures that it counted in the last 30 days, and a *total* for each series. It
stores hashes, label values and sums, never an address.

- **Exactly once.** ``record`` takes a batch. For each record with an unknown identity it stores the identity and
  increments each of the record's series by one. Other records change nothing. If two records of a batch have the same
  identity, the first counts.
- **Durable.** When ``record`` returns, the whole batch is on disk, written in one transaction, and survives a power
  cut. When it raises, the batch was usually not counted, but the commit may have succeeded before the error. Recording
  the same batch again is correct in both cases.
- **Monotonic.** A total never decreases and a series never disappears, neither when ``prune`` runs nor when a later
  version of this package opens the ledger.
- **Births.** A series that ``record`` creates with ``held=True`` is held: it is exposed as 0. ``release`` ends the hold
  of the series that were held long enough. The end of a hold is on disk before a scrape can see the total, and is
  permanent. Opening a ledger restarts the hold of the series that are still held, because Prometheus may not have
  scraped them.
- **Shared.** If an engine lets several processes open a ledger, these guarantees hold for all of them together.
- **Clock.** The caller dates identities and prunes only by a time that it trusts; see ``clock.py``. An identity that is
  counted while the clock is not trusted has the day UNDATED. If an identity has a later day than that of ``now``,
  ``prune`` changes it to that of ``now``, so no wrong time keeps an identity permanently.
- **Threads.** One thread calls ``record``, ``release``, ``prune`` and ``check``. Any thread may call ``totals`` and
  ``size`` at the same time, and does not wait for the writer. ``close`` is the last call, from any thread.
- **Copies.** ``identities``, ``import_identities`` and ``import_totals`` serve ``ledger copy``, on one thread, while no
  exporter uses the ledger.
- **Cost.** The cost of a call does not depend on the number of failures ever recorded, except for lookups in a B-tree.
- **Errors.** Every error of the store is raised as LedgerError with one line that an operator can act on. The next
  call starts from scratch, so a ledger recovers as soon as the cause is gone.

Times are arguments, in seconds since the epoch. They come from ``clock``, which is the same for all processes that
share a ledger. Otherwise one process with a wrong clock would prune identities too early, for all of them.
"""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from exporter.classification.series import Record, Series

DAY: Final = 86_400
"""Seconds per day. An identity is stored with the day (since the epoch) on which it was counted."""
KEEP_IDENTITIES: Final = 30 * DAY
"""Seconds for which a failure that is reported again is recognized."""
UNDATED: Final = 2**31 - 1
"""The day of an identity that was counted while the clock was not trusted."""
AHEAD: Final = 60.0
"""Seconds by which a time in the ledger may be ahead of a right clock, because clocks are adjusted."""


def parse_series(text: str) -> Series:
    """Return the series that a ledger stores as a JSON array of strings. Raise ValueError for any other text."""
    series = json.loads(text)
    if not isinstance(series, list) or not series or not all(isinstance(part, str) for part in series):
        raise ValueError(f"{text[:40]!r} is not a series")
    return tuple(series)


class StoredIdentity(NamedTuple):
    """An identity in a ledger, and the day since the epoch on which it was counted."""

    identity: bytes
    day: int


class ClockState(NamedTuple):
    """The latest time of the ledger's clock, and for how many seconds it had run evenly by then. See ``clock.py``."""

    at: float
    even: float


class Total(NamedTuple):
    """A series, its sum, whether it is held at 0, and when it was last incremented.

    If ``raised_at`` is more than AHEAD seconds ahead of the clock, it is wrong, and the next increment corrects it.
    """

    series: Series
    value: int
    held: bool
    raised_at: float


COPY_MARKER: Final[Series] = ("copying",)
"""The only total of a ledger that is the target of an unfinished copy. No exporter may count there."""


class Ledger(Protocol):
    """A store of identities and totals, with the guarantees of this module's docstring.

    All methods but ``clock`` and ``warning`` may raise LedgerError.
    """

    def record(self, batch: Sequence[Record], *, now: float, held: bool, day: int | None = None) -> list[bool]:
        """Count the new failures of the batch, with that day or the day of ``now``.

        Return for each record whether it was new.
        """

    def release(self, *, now: float, hold: float) -> None:
        """Expose the totals of the series that have been held for ``hold`` seconds."""

    def prune(self, *, now: float) -> int:
        """Delete some of the identities older than KEEP_IDENTITIES, few enough to be quick. Return how many.

        Call it only with a time that is trusted. It is also the new day of some of the identities with a later day.
        """

    def clock(self) -> float:
        """Return the time that all processes with this ledger share. Does no I/O and never raises."""

    def warning(self) -> str:
        """Return why a crash can lose failures that were counted; empty if it can't. Does no I/O and never raises."""

    def clock_state(self) -> ClockState:
        """Return the state that was stored last; zeros if none was."""

    def check(self, *, now: float, write: bool, state: ClockState | None = None) -> None:
        """Raise LedgerError unless the ledger exists and, if ``write`` is true, is writable.

        A write also stores the state of the clock if it is given. If the clock is that of a server, a write reads it.
        """

    def totals(self) -> list[Total]:
        """Return all series with their totals as of the last commit."""

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        """Return the first ``limit`` identities greater than ``after``, sorted."""

    def import_identities(self, identities: Sequence[StoredIdentity]) -> None:
        """Store these identities without counting anything."""

    def import_totals(self, totals: Sequence[Total]) -> None:
        """Store these totals in one transaction. Raise LedgerError if there are any others than COPY_MARKER."""

    def size(self) -> int:
        """Return the size on disk in bytes."""

    def close(self) -> None:
        """Release all resources. No other call may follow."""
