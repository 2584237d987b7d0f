"""Count the requests of a simulation: by their answers, and the events in them by loop and provider."""

import threading
from collections import Counter
from collections.abc import Collection
from typing import Final

from exporter.classification.loops import FAILURES, LOOPS
from exporter.simulator.requests import SimulatedRequest

_OK: Final = 200


class Tally:
    """The number of requests by the status of the answer. Thread-safe. As text, it is the summary for the user."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Counter[int | None] = Counter()
        self._repeats = 0

    def add(self, status: int | None, *, repeated: bool) -> None:
        """Count a request by its answer, None if there is none; ``repeated`` if the same failure was sent before."""
        with self._lock:
            self._statuses[status] += 1
            self._repeats += repeated and status == _OK

    @property
    def requests(self) -> int:
        """Number of requests that were sent."""
        with self._lock:
            return self._statuses.total()

    @property
    def uncounted(self) -> int:
        """Number of requests that were not answered 200."""
        with self._lock:
            return self._statuses.total() - self._statuses[_OK]

    def __str__(self) -> str:
        """Return the summary."""
        with self._lock:
            statuses, repeats = Counter(self._statuses), self._repeats
        requests, good, unanswered = statuses.total(), statuses.pop(_OK, 0), statuses.pop(None, 0)
        kinds = ", ".join(f"{count:,} with {status}" for status, count in sorted(statuses.items()))
        end = f"; {unanswered:,} without an answer" if unanswered else ""
        return (
            f"{requests:,} requests sent: {good:,} answered 200, {repeats:,} of them repeats; "
            f"{statuses.total():,} rejected{kinds and f': {kinds}'}{end}"
        )


class Truth:
    """The number of different events that were answered 200, which an exporter should have counted. Thread-safe.

    An event whose first request was rejected is left out, even if its repeat was accepted. As text, it is a table with
    a row for each provider.
    """

    def __init__(self, loops: Collection[str]) -> None:
        self._loops = [loop for loop in LOOPS if loop in loops]
        self._lock = threading.Lock()
        self._events: Counter[tuple[str, str]] = Counter()
        self._after_delivery: Counter[str] = Counter()

    def add(self, request: SimulatedRequest) -> None:
        """Count the event in a request that was answered 200; a repeat has none that is new."""
        if request.repeated:
            return
        with self._lock:
            self._events[request.loop, request.answer.provider] += 1
            self._after_delivery[request.answer.provider] += request.after_delivery

    def events(self) -> dict[tuple[str, str], int]:
        """Return the number of events by loop and provider."""
        with self._lock:
            return dict(self._events)

    def after_delivery(self) -> dict[str, int]:
        """Return the number of failures of messages that were delivered before, by provider."""
        with self._lock:
            return dict(+self._after_delivery)

    def __str__(self) -> str:
        """Return the table. The column after_delivery has those of the failures that were delivered before."""
        events = self.events()
        columns = {}
        for loop in self._loops:
            columns[loop] = {name: number for (each, name), number in events.items() if each == loop}
            if loop == FAILURES.name:
                columns["after_delivery"] = self.after_delivery()
        names = sorted({name for column in columns.values() for name in column})
        rows = [["provider", *columns]]
        rows += [[name, *(f"{column.get(name, 0):,}" for column in columns.values())] for name in names]
        rows += [["all", *(f"{sum(column.values()):,}" for column in columns.values())]]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = (
            "  ".join(
                [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
            )
            for first, *rest in rows
        )
        return "\n".join(lines)
