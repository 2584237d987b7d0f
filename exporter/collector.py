"""Totals to metric families: what Prometheus sees of the ledger."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.errors import LedgerError
from exporter.labels import Labels
from exporter.ledger import Ledger, Total

log = logging.getLogger(__name__)

FAMILIES: Final = {
    "failures": ("Failed deliveries that SMTPeter reported, each counted once.", Labels._fields),
}
"""The families of series in the ledger: name (``smtpeter_NAME_total`` when exposed), help, names of labels."""


class LedgerCollector(Collector):
    """Expose a ledger's totals, a series that is still held at 0 as 0.

    When the ledger can't be read, the last totals that could be are exposed: a counter must not vanish in the very
    hour in which it is looked at.
    """

    def __init__(self, ledger: Ledger, *, label_sets: Callable[[], int], trouble: Callable[[], str | None]) -> None:
        self._ledger = ledger
        self._label_sets = label_sets
        self._trouble = trouble
        self._last: tuple[list[Total], int] = ([], 0)

    def describe(self) -> Iterable[Metric]:
        """The families without samples: registering asks for the names only."""
        return self._families([], 0)

    def collect(self) -> Iterable[Metric]:
        """The families as of the last commit. May be called by several threads at once."""
        try:
            self._last = (self._ledger.totals(), self._ledger.size())
        except LedgerError as error:
            log.debug("the ledger can't be read, exposing the totals last read", extra={"error": str(error)})
        return self._families(*self._last)

    def _families(self, totals: list[Total], size: int) -> Iterable[Metric]:
        counters = {
            name: CounterMetricFamily(f"smtpeter_{name}", text, labels=labels)
            for name, (text, labels) in FAMILIES.items()
        }
        for total in totals:
            family, *values = total.series
            if family in counters:  # else a later version's, which this one knows nothing of
                counters[family].add_metric(values, 0 if total.held else total.value)
        yield from counters.values()
        yield _gauge(
            "smtpeter_last_failure_timestamp_seconds",
            "When a failure was last counted, in seconds since the epoch; 0 when there was none yet.",
            max((total.raised_at for total in totals), default=0.0),
        )
        yield _gauge(
            "smtpeter_exporter_ledger_writable",
            "1 when failures can be recorded, 0 when they are answered 503 until they can.",
            self._trouble() is None,
        )
        yield _gauge("smtpeter_exporter_ledger_size_bytes", "Size of the ledger on disk.", size)
        yield _gauge(
            "smtpeter_exporter_label_sets",
            "Label sets of smtpeter_failures_total in use; past 500 they are counted as other.",
            self._label_sets(),
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))
