"""Failures and deliveries of the last 24 hours, for the table of the status page.

Kept in memory, in bounded space, and lost when the process ends: only what this process counted.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final, NamedTuple

from exporter.classification.series import Series
from exporter.ledger.committer import Commit

SPAN: Final = 86_400
"""Seconds for which events are kept."""
BUCKET: Final = 600
"""Seconds of one bucket. Events are forgotten bucket by bucket."""
BY_REASON_PROVIDER: Final = "failures_by_reason_provider"
AFTER_DELIVERY_BY_PROVIDER: Final = "failures_after_delivery_by_provider"
DELIVERIES_BY_PROVIDER: Final = "deliveries_by_provider"
_KEPT: Final = frozenset({BY_REASON_PROVIDER, AFTER_DELIVERY_BY_PROVIDER, DELIVERIES_BY_PROVIDER})


class LastDay(NamedTuple):
    """The number of events by series of the three families above, since a time in seconds since the epoch.

    ``first`` is the time by which the first of them was counted, to the bucket, by family.
    """

    since: float
    counts: Mapping[Series, int]
    first: Mapping[str, float]


class Recent:
    """Counts the new events of commits. One thread calls ``committed``, any thread ``look``.

    ``clock`` returns seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._since = clock()
        self._buckets: list[tuple[int, Counter[Series]]] = [(-1, Counter())] * (SPAN // BUCKET)
        self._lock = threading.Lock()

    def committed(self, commit: Commit) -> None:
        """Count the new events of a commit."""
        # Counting all series at once is faster than looking at each of them.
        new = zip(commit.tickets, commit.new, strict=True)
        counted = Counter(chain.from_iterable(ticket.event.record.series for ticket, is_new in new if is_new))
        kept = {series: number for series, number in counted.items() if series[0] in _KEPT}
        number = int(self._clock() // BUCKET)
        place = number % len(self._buckets)
        with self._lock:
            if self._buckets[place][0] != number:
                self._buckets[place] = (number, Counter())
            self._buckets[place][1].update(kept)

    def look(self) -> LastDay:
        """Return what was counted in the last 24 hours, or since this object was created."""
        now = int(self._clock() // BUCKET)
        begin = now - len(self._buckets) + 1
        with self._lock:
            buckets = sorted((number, counts.copy()) for number, counts in self._buckets if begin <= number <= now)
        total: Counter[Series] = Counter()
        first: dict[str, float] = {}
        for number, counts in buckets:
            total.update(counts)
            for family, *_ in counts:
                first.setdefault(family, float(number * BUCKET))
        return LastDay(max(self._since, begin * BUCKET), total, first)
