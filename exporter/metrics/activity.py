"""Recent activity for the status page: the last time of each kind of event, and the rejected requests of an hour.

Kept in memory, in constant space, and lost when the process ends.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

Event = Literal["request", "public_url", "file", "signed", "read", "scrape"]
"""A kind of event:

- ``request``: a request on the public listener;
- ``public_url``: a request with the host and path of the public URL;
- ``file``: a request for a verification file;
- ``signed``: a request with a valid signature;
- ``scrape``: a request for ``/metrics`` from Prometheus, according to its headers;
- ``read``: any other request for ``/metrics``.
"""

MINUTES: Final = 60
"""Number of minutes for which rejected requests are kept, including the current one."""


class Misdirected(NamedTuple):
    """A webhook of the wrong type: the ``type`` of its events, and the name of the loop whose URL it calls."""

    type: str
    called: str


class Activity:
    """Records events. Thread-safe. All times are in seconds since the epoch, as ``clock`` returns them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.since: Final = clock()
        self._last: dict[Event, float] = {}
        self._requests: dict[str, float] = {}
        self._counted: dict[str, float] = {}
        self._misdirected: dict[Misdirected, float] = {}
        self._refusals: list[tuple[int, Counter[str]]] = [(-1, Counter())] * MINUTES
        self._lock = threading.Lock()

    def saw(self, event: Event) -> None:
        """Record that an event happens now."""
        self._last[event] = self._clock()

    def last(self) -> dict[Event, float]:
        """Return the last time of each kind of event that has happened."""
        return dict(self._last)

    def requested(self, loop: str) -> None:
        """Record that a request of SMTPeter for that loop arrives now."""
        self._requests[loop] = self._clock()

    def counted(self, loop: str) -> None:
        """Record that a new event of that loop is counted now."""
        self._counted[loop] = self._clock()

    def requests(self) -> dict[str, float]:
        """Return the time of the last request by loop."""
        return dict(self._requests)

    def counts(self) -> dict[str, float]:
        """Return by loop the time at which this process last counted an event."""
        return dict(self._counted)

    def refused(self, reason: str, misdirected: Misdirected | None = None) -> None:
        """Record that a request is rejected now, for one of :data:`exporter.refusals.REFUSAL_REASONS`."""
        minute = int(self._clock() // 60)
        with self._lock:
            if misdirected:
                self._misdirected[misdirected] = self._clock()
            if self._refusals[minute % MINUTES][0] != minute:
                self._refusals[minute % MINUTES] = (minute, Counter())
            self._refusals[minute % MINUTES][1][reason] += 1

    def misdirected(self) -> list[Misdirected]:
        """Return the webhooks of a wrong type whose events were rejected in the last hour."""
        since = self._clock() - MINUTES * 60
        with self._lock:
            return sorted(webhook for webhook, at in self._misdirected.items() if at > since)

    def refusals(self) -> dict[str, int]:
        """Return the number of rejected requests of the last hour by reason, highest first."""
        minute = int(self._clock() // 60)
        total: Counter[str] = Counter()
        with self._lock:
            for begin, counts in self._refusals:
                if minute - MINUTES < begin <= minute:
                    total.update(counts)
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
