"""Expose the totals of the ledger as metric families."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.classification.labels import OTHER
from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, Loop
from exporter.classification.reason import REASONS
from exporter.classification.series import FAMILIES, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import AHEAD, Ledger, Total
from exporter.returned.returned import KINDS

log = logging.getLogger(__name__)

READ_TIMEOUT: Final = 4.0
"""Seconds that a scrape waits for the ledger, for example while its file system hangs."""


def closed_series(loops: Iterable[Loop], tags: Iterable[str]) -> list[Series]:
    """Return the series that are exposed as 0 from the start: each reason, kind and counted tag.

    A series by provider is born when its first event is counted.
    """
    tags = sorted({*tags, OTHER})
    by_loop: dict[str, list[Series]] = {
        FAILURES.name: [
            *(("failures_by_reason", reason) for reason in REASONS),
            *(("failures_by_tag", tag) for tag in tags),
            *(("failures_after_delivery_by_tag", tag) for tag in tags),
        ],
        DELIVERIES.name: [("deliveries",), *(("deliveries_by_tag", tag) for tag in tags)],
        BOUNCES.name: [
            *(("bounces", kind) for kind in KINDS),
            *(("bounces_by_reason", reason) for reason in REASONS),
        ],
        ABUSES.name: [],
    }
    return [series for loop in loops for series in by_loop[loop.name]]


class Snapshot(NamedTuple):
    """What was last read from the ledger: totals, size in bytes, and when, by this host's clock (0: never)."""

    totals: list[Total]
    size: int
    at: float


def latest(times: Iterable[float], *, now: float) -> float:
    """Return the latest of the times, or 0 if there is none. Leave out those from a clock that was ahead."""
    return min(max((time for time in times if time <= now + AHEAD), default=0.0), now)


def last_counted(totals: Iterable[Total], loop: Loop, *, now: float) -> float:
    """Return the time at which an event of that loop was last counted, or 0 if none was."""
    return latest((total.raised_at for total in totals if total.series[0] in loop.families), now=now)


class LedgerCollector(Collector):
    """Exposes a ledger's totals. A held series is exposed as 0, not with its true total.

    If the ledger is not readable, the last totals are exposed: counters must not disappear during an outage.
    """

    def __init__(  # noqa: PLR0913 -- the last three by name
        self,
        ledger: Ledger,
        loops: Sequence[Loop],
        closed: Iterable[Series],
        *,
        label_sets: Callable[[list[Total]], int],
        problem: Callable[[], str | None],
        last: Snapshot = Snapshot([], 0, 0.0),  # noqa: B008 -- nothing changes it
    ) -> None:
        """Expose the families of these loops, and ``closed`` series as 0 if the ledger does not have them yet.

        ``label_sets`` returns the number of label sets in use, given the totals. ``problem`` returns why the ledger is
        not writable, or None. ``last`` is the snapshot to expose if the ledger is not readable at first.
        """
        self._ledger = ledger
        self._loops = loops
        self._closed = dict.fromkeys(closed, 0)
        self._label_sets = label_sets
        self._problem = problem
        self._latest = last
        self._readable = True
        self._lock = threading.Lock()

    @property
    def latest(self) -> Snapshot:
        """The last snapshot; does not block."""
        return self._latest

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples of counters, for the registry."""
        return self._families({}, dict.fromkeys(self._loops, 0.0), 0, 0, writable=False)

    def collect(self) -> Iterable[Metric]:
        """Return the families as of the last commit. Thread-safe."""
        totals, size, _ = self.refresh()
        now = self._ledger.clock()
        return self._families(
            self._closed | {total.series: 0 if total.held else total.value for total in totals},
            {loop: last_counted(totals, loop, now=now) for loop in self._loops},
            size,
            self._label_sets(totals),
            writable=self._problem() is None,
        )

    def refresh(self) -> Snapshot:
        """Read the ledger and return its snapshot, or the last one if the ledger is not readable or does not answer."""
        reading: Future[None] = Future()
        try:
            threading.Thread(target=self._read, args=(reading,), name="scrape", daemon=True).start()
        except RuntimeError as error:  # the system allows no more threads
            reading.set_exception(LedgerError(str(error)))
        try:
            reading.result(READ_TIMEOUT)
        except (LedgerError, TimeoutError) as error:
            if self._readable:
                text = str(error) or f"no answer within {READ_TIMEOUT:.0f} seconds"
                log.warning("ledger not readable; exposing the last totals", extra={"error": text})
            self._readable = False
        return self._latest

    def _read(self, reading: "Future[None]") -> None:
        # One thread at a time, so that a slow scrape does not replace newer totals with older ones.
        if not self._lock.acquire(timeout=READ_TIMEOUT):
            return  # an earlier one hangs
        try:
            self._latest = Snapshot(self._ledger.totals(), self._ledger.size(), time.time())
            self._readable = True
            reading.set_result(None)
        except Exception as error:  # noqa: BLE001 -- result() raises it
            reading.set_exception(error)
        finally:
            self._lock.release()

    def _families(
        self, series: Mapping[Series, int], last: Mapping[Loop, float], size: int, label_sets: int, *, writable: bool
    ) -> Iterable[Metric]:
        counters = {
            name: CounterMetricFamily(f"smtpeter_{name}", FAMILIES[name][0], labels=FAMILIES[name][1])
            for loop in self._loops
            for name in loop.families
        }
        for (family, *values), value in series.items():
            if family in counters:  # the loop may have been on before, and a later version may have added families
                counters[family].add_metric(values, value)
        yield from counters.values()
        if FAILURES in last:
            yield _gauge(
                "smtpeter_last_failure_timestamp_seconds",
                "Time at which a failure was last counted, in seconds since the epoch; 0 if none was.",
                last[FAILURES],
            )
        if others := {loop.name: at for loop, at in last.items() if loop is not FAILURES}:
            times = GaugeMetricFamily(
                "smtpeter_last_event_timestamp_seconds",
                "Time at which an event of that loop was last counted, in seconds since the epoch; 0 if none was.",
                labels=["loop"],
            )
            for name, at in others.items():
                times.add_metric([name], at)
            yield times
        yield _gauge(
            "smtpeter_exporter_ledger_writable",
            "Whether failures can be recorded: 1, or 0 while they are answered 503.",
            writable,
        )
        yield _gauge("smtpeter_exporter_ledger_size_bytes", "Size of the ledger on disk, in bytes.", size)
        yield _gauge(
            "smtpeter_exporter_label_sets",
            "Number of label sets of smtpeter_failures_total in use; new ones past 500 are counted as other.",
            label_sets,
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))
