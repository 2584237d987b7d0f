"""Totals to metric families: what Prometheus sees of the ledger."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.classification.labels import OTHER
from exporter.classification.reason import REASONS
from exporter.classification.series import FAMILIES, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import Ledger, Total

log = logging.getLogger(__name__)

USUAL_CLASSES: Final = ("4xx", "5xx", "none")
"""The code classes that each provider has a series for from the start; others are rare, and born like any series."""


def closed_series(providers: Iterable[str], tags: Iterable[str]) -> list[Series]:
    """The series that stand at 0 from the start: each reason, provider and counted tag."""
    return [
        *(("failures_by_reason", reason) for reason in REASONS),
        *(("failures_by_provider", provider, code) for provider in sorted(providers) for code in USUAL_CLASSES),
        *(("failures_by_tag", tag) for tag in sorted({*tags, OTHER})),
    ]


class Snapshot(NamedTuple):
    """The ledger at one moment: totals, bytes on disk, and when they were read by this machine's clock (0: never)."""

    totals: list[Total]
    size: int
    at: float


class LedgerCollector(Collector):
    """Expose a ledger's totals, a series that is still held at 0 as 0.

    When the ledger can't be read, the last totals that could be are exposed: a counter must not vanish in the very
    hour in which it is looked at.
    """

    def __init__(
        self,
        ledger: Ledger,
        closed: Iterable[Series],
        *,
        label_sets: Callable[[list[Total]], int],
        problem: Callable[[], str | None],
        last: Snapshot = Snapshot([], 0, 0.0),  # noqa: B008 -- nothing changes it
    ) -> None:
        """``closed`` are exposed as 0 when the ledger lacks them; ``label_sets`` counts those in use, given totals.

        ``last`` is the ledger as read at the start: counters must not go back to 0 if it can't be read again.
        """
        self._ledger = ledger
        self._closed = dict.fromkeys(closed, 0)
        self._label_sets = label_sets
        self._problem = problem
        self._latest = last
        self._readable = True
        self._reading = threading.Lock()

    @property
    def latest(self) -> Snapshot:
        """The last snapshot that could be read; waits for nothing."""
        return self._latest

    def describe(self) -> Iterable[Metric]:
        """The families without samples: registering asks for the names only."""
        return _families({}, 0.0, 0, 0, writable=False)

    def collect(self) -> Iterable[Metric]:
        """The families as of the last commit. May be called by several threads at once."""
        totals, size, _ = self.refresh()
        return _families(
            self._closed | {total.series: 0 if total.held else total.value for total in totals},
            max((total.raised_at for total in totals), default=0.0),
            size,
            self._label_sets(totals),
            writable=self._problem() is None,
        )

    def refresh(self) -> Snapshot:
        """Read the ledger; if that fails, keep the last snapshot."""
        # One at a time, or a slow scrape could leave totals behind that are older than what another one has shown.
        with self._reading:
            try:
                self._latest = Snapshot(self._ledger.totals(), self._ledger.size(), time.time())
                self._readable = True
            except LedgerError as error:
                if self._readable:
                    log.warning("the ledger can't be read, exposing the totals last read", extra={"error": str(error)})
                self._readable = False
            return self._latest


def _families(
    series: Mapping[Series, int], last: float, size: int, label_sets: int, *, writable: bool
) -> Iterable[Metric]:
    counters = {
        name: CounterMetricFamily(f"smtpeter_{name}", text, labels=labels) for name, (text, labels) in FAMILIES.items()
    }
    for (family, *values), value in series.items():
        if family in counters:  # else a later version's, which this one knows nothing of
            counters[family].add_metric(values, value)
    yield from counters.values()
    yield _gauge(
        "smtpeter_last_failure_timestamp_seconds",
        "When a failure was last counted, in seconds since the epoch; 0 when there was none yet.",
        last,
    )
    yield _gauge(
        "smtpeter_exporter_ledger_writable",
        "1 when failures can be recorded, 0 when they are answered 503 until they can.",
        writable,
    )
    yield _gauge("smtpeter_exporter_ledger_size_bytes", "Size of the ledger on disk.", size)
    yield _gauge(
        "smtpeter_exporter_label_sets",
        "Label sets of smtpeter_failures_total in use; past 500 they are counted as other.",
        label_sets,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))
