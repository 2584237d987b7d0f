"""The contract that every ledger keeps: events are counted exactly once, and counts are durable.

A ledger stores the *identities* of the events that it counted lately, and a *total* for each series. It stores hashes,
label values and sums, never an address. Deliveries are many times as numerous as the events of all other loops, so
their identities are stored apart, with less detail, and for a shorter time.

- **Exactly once.** ``record`` takes a batch, which may mix loops. For each record with an unknown identity it stores
  the identity and increments each of the record's series by one. Other records change nothing. If two records of a
  batch have the same identity, the first counts. The caller makes sure that events of different loops have different
  identities.
- **Durable.** When ``record`` returns, the whole batch is on disk, written in one transaction, and survives a power
  cut. When it raises, the batch was usually not counted, but the commit may have succeeded before the error. Recording
  the same batch again is correct in both cases.
- **Monotonic.** A total never decreases and a series never disappears, neither when ``prune`` runs nor when a later
  version of this package opens the ledger.
- **Births.** A series that ``record`` creates with ``held=True`` is held: it is exposed as 0. ``release`` ends the hold
  of the series that were held long enough. The end of a hold is on disk before a scrape can see the total, and is
  permanent. Opening a ledger restarts the hold of the series that are still held, because Prometheus may not have
  scraped them.
- **Shared.** If an engine lets several processes open a ledger, these guarantees hold for all of them together, also
  while some of them are still of the version before and a later one has migrated the ledger.
- **Clock.** The caller dates identities and prunes only by a time that it trusts; see ``clock.py``. An identity that is
  counted while the clock is not trusted has the day UNDATED. If an identity has a later day than that of ``now``,
  ``prune`` changes it to that of ``now``, so no wrong time keeps an identity permanently.
- **Threads.** One thread calls ``record``, ``release``, ``prune`` and ``check``. Any thread may call ``totals`` and
  ``size`` at the same time, and does not wait for the writer. ``close`` is the last call, from any thread.
- **Copies.** ``identities``, ``coverage`` and the methods that begin with ``import`` serve ``ledger copy``, on one
  thread, while no exporter uses the ledger.
- **Cost.** The cost of a call does not depend on the number of events ever recorded, except for lookups in a B-tree.
  A pass of pruning through all identities takes hours, and a call of ``prune`` milliseconds, because requests wait.
- **Errors.** Every error of the store is raised as LedgerError with one line that an operator can act on. The next
  call starts from scratch, so a ledger recovers as soon as the cause is gone.
- **Space.** LedgerFull means that the disk or a quota is full. When ``short_of_space`` says so, the caller should
  record only failures: the rest of the space, and what pruning frees, is for them.

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
"""Seconds for which an event that is reported again is recognized, unless it is a delivery."""
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
    """An identity in a ledger, the day since the epoch on which it was counted, and what its Record had.

    ``loop`` and ``message`` are 0 and None for identities that a ledger has from before it stored them.
    """

    identity: bytes
    day: int
    loop: int = 0
    message: bytes | None = None


class Coverage(NamedTuple):
    """What a ledger knows about its own completeness.

    ``began`` is when a process first opened it with this schema, in seconds since the epoch. Older identities have no
    ``message``, nor have those of an exporter of the version before that still counted in it. ``reconciled`` are the
    days since the epoch that were compared with SMTPeter's log files, as pairs of loop number and day, sorted.
    """

    began: float
    reconciled: tuple[tuple[int, int], ...] = ()


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

    All methods but ``clock``, ``warning`` and ``short_of_space`` may raise LedgerError.
    """

    def record(self, batch: Sequence[Record], *, now: float, held: bool, day: int | None = None) -> list[bool]:
        """Count the new events of the batch, with that day or the day of ``now``.

        Return for each record whether it was new.
        """

    def release(self, *, now: float, hold: float) -> None:
        """Expose the totals of the series that have been held for ``hold`` seconds."""

    def prune(self, *, now: float, keep_deliveries: float = KEEP_IDENTITIES) -> int:
        """Delete some of the identities that are too old, few enough to be quick. Return how many.

        Those of deliveries are kept for ``keep_deliveries`` seconds, all others for KEEP_IDENTITIES. Call it once per
        second, so that it keeps up with 1,000 deliveries per second, and only with a time that is trusted. Its day also
        becomes the day of some of the identities with a later one.
        """

    def clock(self) -> float:
        """Return the time that all processes with this ledger share. Does no I/O and never raises."""

    def warning(self) -> str:
        """Return why a crash can lose events that were counted; empty if it can't. Does no I/O and never raises."""

    def short_of_space(self) -> str:
        """Return why only failures should be recorded; empty if there is enough space. Does no I/O and never raises.

        The answer is as of the last ``check``.
        """

    def clock_state(self) -> ClockState:
        """Return the state that was stored last; zeros if none was."""

    def check(self, *, now: float, write: bool, state: ClockState | None = None) -> None:
        """Raise LedgerError unless the ledger exists and, if ``write`` is true, is writable.

        A write also stores the state of the clock if it is given. If the clock is that of a server, a write reads it.
        """

    def totals(self) -> list[Total]:
        """Return all series with their totals as of the last commit."""

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        """Return the first ``limit`` identities of all loops that are greater than ``after``, sorted."""

    def import_identities(self, identities: Sequence[StoredIdentity]) -> None:
        """Store these identities without counting anything."""

    def coverage(self) -> Coverage:
        """Return when the ledger began, and which days were compared with SMTPeter's log files."""

    def import_coverage(self, coverage: Coverage) -> None:
        """Replace what ``coverage`` returns."""

    def import_totals(self, totals: Sequence[Total]) -> None:
        """Store these totals in one transaction. Raise LedgerError if there are any others than COPY_MARKER."""

    def size(self) -> int:
        """Return the size on disk in bytes."""

    def close(self) -> None:
        """Release all resources. No other call may follow."""
