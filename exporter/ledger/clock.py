"""Decide whether the clock of a ledger can be trusted to date identities and to prune them.

A clock that is wrong only for a moment would otherwise prune identities, and failures would count twice. So the clock
is compared with the time since the machine started, which nobody sets. Not trusted is a clock

- that has not yet run evenly for EVEN_PERIOD, as that of a new ledger;
- that jumped by more than MAX_JUMP, from then on until it has run evenly for EVEN_PERIOD;
- that was behind the time in the ledger when the exporter started, or so far ahead of it that all identities of a
  loop would be too old.

A restart does not shorten the pause: the ledger stores how long the clock has run evenly. This module knows no threads
and does no I/O; one thread calls it.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from exporter.ledger.contract import AHEAD, DAY, KEEP_IDENTITIES, UNDATED, ClockState

log = logging.getLogger(__name__)

EVEN_PERIOD: Final = 24 * 3_600.0
"""Seconds for which a clock must run evenly before it is trusted."""
MAX_JUMP: Final = float(DAY)
"""Seconds by which a clock may drift or be corrected and is still even."""
STORE_INTERVAL: Final = 60.0
"""Seconds after which the state must be stored again."""


def uptime() -> float:
    """Return the seconds since the machine started; where the system counts them, including those asleep."""
    # Not every system has CLOCK_BOOTTIME. Without it, a long sleep looks like a jump, which only delays pruning.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Moment(NamedTuple):
    """What the clock shows.

    ``latest`` is the latest time that the clock has shown since it began to run evenly, or that the ledger had then.
    """

    now: float
    latest: float
    trusted: bool

    @property
    def day(self) -> int:
        """The day to store with an identity: never one before the truth."""
        return int(self.latest // DAY) if self.trusted else UNDATED


class Clock:
    """Watches ``wall``, the clock of a ledger that has stored the state ``stored``.

    ``keep`` is the number of seconds for which the identities are kept that are kept for the shortest time. ``uptime``
    returns a number of seconds that increases evenly.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        stored: ClockState,
        *,
        keep: float = KEEP_IDENTITIES,
        uptime: Callable[[], float] = uptime,
    ) -> None:
        self._wall, self._uptime = wall, uptime
        self._read_at = self._stored_at = uptime()
        now = wall()
        self._offset = now - self._read_at
        self._latest = max(now, stored.at)
        # An earlier version stores the time of its start instead, and nobody watched the clock since.
        self._even = stored.even if stored.even <= EVEN_PERIOD else 0.0
        self._reported = False
        if now < stored.at - AHEAD:
            self._distrust(f"{_days(stored.at - now)} before the last time in the ledger", now)
        elif self._even and now > stored.at + keep:
            self._distrust(f"{_days(now - stored.at)} after the last time in the ledger", now)
        elif self._even < EVEN_PERIOD and now > stored.at + MAX_JUMP:
            self._even = 0.0  # nothing is wrong, but nobody knows whether it ran evenly meanwhile

    @property
    def state(self) -> ClockState:
        """What the ledger should store, as of the last look."""
        return ClockState(self._latest, self._even)

    @property
    def store(self) -> bool:
        """Whether the state should be stored now: a minute has passed, or the clock has jumped."""
        return self._read_at >= self._stored_at + STORE_INTERVAL

    def stored(self) -> None:
        """Note that the ledger has stored the state."""
        self._stored_at = self._read_at

    def look(self) -> Moment:
        """Read the clock. Do so before each use of the time: it may have jumped since."""
        read_at = self._uptime()
        now = self._wall()
        passed, self._read_at = read_at - self._read_at, read_at
        jump = now - read_at - self._offset
        if abs(jump) > MAX_JUMP:
            self._offset += jump
            self._stored_at = float("-inf")  # a restart must not find it trusted
            self._distrust(f"jumped {_days(jump)} {'ahead' if jump > 0 else 'back'}", now)
        elif self._even < EVEN_PERIOD:
            self._even = min(self._even + passed, EVEN_PERIOD)
            if self._even == EVEN_PERIOD:
                self._reported = False
                log.info("clock has run evenly for 24 hours; pruning old identities")
        self._latest = max(self._latest, now)
        return Moment(now, self._latest, trusted=self._even == EVEN_PERIOD)

    def _distrust(self, reason: str, now: float) -> None:
        if not self._reported:  # one line for each pause, not one for each jump
            log.warning(
                "clock not trusted; not pruning identities until it has run evenly for 24 hours",
                extra={"reason": reason},
            )
        self._reported = True
        self._even, self._latest = 0.0, now


def _days(seconds: float) -> str:
    return f"{abs(seconds) / DAY:,.1f} days"
