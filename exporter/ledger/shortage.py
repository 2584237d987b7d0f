"""Decide whether only failures are recorded, because space is short: they are what the exporter is for.

Deliveries are about fifty times as many as failures, so without this they would fill the disk.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

FULL_PAUSE: Final = 60.0
"""Seconds for which only failures are recorded after the disk was full."""


class Shortage:
    """Whether space is short. ``short_of_space`` is that method of the ledger. Only one thread calls the methods.

    ``why`` is why only failures are recorded, as of the last look; empty if all events are.
    """

    def __init__(self, short_of_space: Callable[[], str]) -> None:
        self._short_of_space = short_of_space
        self._full_until = -math.inf
        self.why = ""

    def look(self) -> bool:
        """Return whether only failures may be recorded now. Log when that begins and ends."""
        before, full = self.why, time.monotonic() < self._full_until
        self.why = self._short_of_space() or ("the disk was full" if full else "")
        if self.why and not before:
            log.warning(
                "space is short; counting only failures, and answering 503 to other events", extra={"why": self.why}
            )
        elif before and not self.why:
            log.info("space is no longer short; counting all events")
        return bool(self.why)

    def full(self) -> None:
        """Note that the disk is full."""
        self._full_until = time.monotonic() + FULL_PAUSE
        self.look()
