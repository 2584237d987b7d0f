"""What this exporter has seen lately, for the page: when each kind of event last was, and the refusals of an hour.

In memory, of fixed size, and gone with the process: what must last is the ledger's.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

Event = Literal["request", "call", "file", "signed", "counted", "read", "scrape"]
"""``request``: any on the public listener; ``call``: one with host and path of the public URL; ``file``: a verification
file was fetched; ``signed``: a call's signature fitted; ``counted``: a new failure; ``read``, ``scrape``: ``/metrics``
was fetched, by somebody or by what says that it is Prometheus."""

MINUTES: Final = 60
"""For how many minutes refusals are remembered, the one that has begun included."""


class Activity:
    """Notes from any thread; ``clock`` gives seconds since the epoch, and so are all times."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.since: Final = clock()
        self._last: dict[Event, float] = {}
        self._refusals: list[tuple[int, Counter[str]]] = [(-1, Counter())] * MINUTES
        self._counting = threading.Lock()

    def saw(self, event: Event) -> None:
        """It happened just now."""
        self._last[event] = self._clock()

    def last(self) -> dict[Event, float]:
        """When each kind of event last was; those that never were are left out."""
        return dict(self._last)

    def refused(self, reason: str) -> None:
        """A request was refused just now; reasons are of a closed set, which bounds what is kept."""
        minute = int(self._clock() // 60)
        with self._counting:
            if self._refusals[minute % MINUTES][0] != minute:
                self._refusals[minute % MINUTES] = (minute, Counter())
            self._refusals[minute % MINUTES][1][reason] += 1

    def refusals(self) -> dict[str, int]:
        """How many requests were refused in the last hour, by reason, most first."""
        minute = int(self._clock() // 60)
        total: Counter[str] = Counter()
        with self._counting:
            for then, counts in self._refusals:
                if minute - MINUTES < then <= minute:
                    total.update(counts)
        return dict(sorted(total.items(), key=lambda one: (-one[1], one[0])))
