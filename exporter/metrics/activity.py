"""Recent activity for the status page: the last time of each kind of event, and the rejected requests of an hour.

Kept in memory, in constant space, and lost when the process ends.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

Event = Literal["request", "public_url", "file", "signed", "counted", "read", "scrape"]
"""A kind of event:

- ``request``: a request on the public listener;
- ``public_url``: a request with the host and path of the public URL;
- ``file``: a request for a verification file;
- ``signed``: a request with a valid signature;
- ``counted``: a new failure;
- ``scrape``: a request for ``/metrics`` from Prometheus, according to its headers;
- ``read``: any other request for ``/metrics``.
"""

MINUTES: Final = 60
"""Number of minutes for which rejected requests are kept, including the current one."""


class Activity:
    """Records events. Thread-safe. All times are in seconds since the epoch, as ``clock`` returns them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.since: Final = clock()
        self._last: dict[Event, float] = {}
        self._loops: dict[str, float] = {}
        self._refusals: list[tuple[int, Counter[str]]] = [(-1, Counter())] * MINUTES
        self._lock = threading.Lock()

    def saw(self, event: Event) -> None:
        """Record that an event happens now."""
        self._last[event] = self._clock()

    def last(self) -> dict[Event, float]:
        """Return the last time of each kind of event that has happened."""
        return dict(self._last)

    def refused(self, reason: str, loop: str = "") -> None:
        """Record that a request is rejected now, for one of :data:`exporter.refusals.REFUSAL_REASONS`.

        ``loop`` is the type of an event of another webhook, one of :data:`exporter.classification.report.OTHER_LOOPS`.
        """
        minute = int(self._clock() // 60)
        with self._lock:
            if loop:
                self._loops[loop] = self._clock()
            if self._refusals[minute % MINUTES][0] != minute:
                self._refusals[minute % MINUTES] = (minute, Counter())
            self._refusals[minute % MINUTES][1][reason] += 1

    def loops(self) -> list[str]:
        """Return the types of events of other webhooks that were rejected in the last hour."""
        since = self._clock() - MINUTES * 60
        with self._lock:
            return sorted(loop for loop, at in self._loops.items() if at > since)

    def refusals(self) -> dict[str, int]:
        """Return the number of rejected requests of the last hour by reason, highest first."""
        minute = int(self._clock() // 60)
        total: Counter[str] = Counter()
        with self._lock:
            for begin, counts in self._refusals:
                if minute - MINUTES < begin <= minute:
                    total.update(counts)
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
