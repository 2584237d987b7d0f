"""PromQL for the dashboards: selectors, and the query patterns that several panels use."""

from typing import Final

BY_STATUS: Final = "job:smtpeter_failures_total:max"
BY_REASON: Final = "job:smtpeter_failures_by_reason_total:max"
BY_PROVIDER: Final = "job:smtpeter_failures_by_provider_total:max"
BY_TAG: Final = "job:smtpeter_failures_by_tag_total:max"
LAST_FAILURE: Final = "job:smtpeter_last_failure_timestamp_seconds:max"
REASON_15M: Final = "job_reason:smtpeter_failures:increase15m"
PROVIDER_15M: Final = "job_provider:smtpeter_failures:increase15m"
"""Series that deploy/prometheus/rules.yaml records: the true totals over all replicas, and increases of them."""

JOB: Final = 'job=~"$job"'
REASON: Final = f'{JOB},reason=~"$reason"'
"""Matchers for the selection at the top of the dashboard."""


def only(metric: str, where: str = JOB) -> str:
    """Return a selector for a metric, by default for its series of the selected jobs."""
    return f"{metric}{{{where}}}"


def own(metric: str) -> str:
    """Return series of a metric that other programs expose too, limited to exporters of the selected jobs.

    A target counts as an exporter if it was one in the last week, so that one that is down is included.
    """
    return f"({only(metric)} and on (job, instance) last_over_time({only('smtpeter_exporter_build_info')}[1w]))"


def in_range(metric: str, where: str = JOB, *, by: str = "", ago: str = "", at: str = "") -> str:
    """Return the failures in the dashboard's range. ``ago`` shifts the range back, ``at`` is an @ modifier."""
    offset = f" offset {ago}" if ago else ""
    return f"sum{_by(by)}(increase({only(metric, where)}[$__range]{offset}{at}))"


def per_bar(metric: str, where: str = JOB, *, by: str = "", ago: str = "") -> str:
    """Return the exact number of failures between one point and the next. ``ago`` is a duration in weeks.

    increase() extrapolates: it would show a single failure as 1.25, and lose one that falls between the last sample of
    a bar and the first of the next. Totals never decrease, so their difference is exact. A new series has no earlier
    value to subtract; it uses increase(), which counts from the 0 at which the series starts.
    """
    series, then = only(metric, where), f" offset {ago}" if ago else ""
    return (
        f"sum{_by(by)}(\n"
        f"  clamp_min({series}{then} - {series} offset {ago}${{__interval}}, 0)\n"
        f"  or round(increase({series}[${{__interval}}]{then}))\n)"
    )


def seen_per_bar(metric: str, where: str = JOB, *, by: str, most: int | None = None) -> str:
    """Return ``per_bar`` for the values of ``by`` that occur in the range, or only for the ``most`` frequent ones.

    Points without failures are kept, because Grafana makes bars as wide as the smallest distance between two points.
    """
    seen = in_range(metric, where, by=by, at=" @ end()") + " > 0"
    return f"{per_bar(metric, where, by=by)}\nand on ({by}) ({f'topk({most}, {seen})' if most else seen})"


def counted(metric: str, *, by: str = "") -> str:
    """Return the approximate increase between two points of a counter that restarts at 0 with each process."""
    return f"sum{_by(by)}(round(increase({only(metric)}[$__rate_interval])))"


def seen_counted(metric: str, *, by: str) -> str:
    """Return ``counted`` for the values of ``by`` that occur in the range."""
    seen = f"sum{_by(by)}(increase({only(metric)}[$__range] @ end())) > 0"
    return f"{counted(metric, by=by)}\nand on ({by}) ({seen})"


def quantile(share: float, histogram: str) -> str:
    """Return a quantile of a histogram over all instances. Without observations there is no value, rather than NaN."""
    return f"histogram_quantile({share}, sum by (le) (rate({only(histogram + '_bucket')}[$__rate_interval]))) >= 0"


def with_meaning(expression: str) -> str:
    """Return the expression with a label ``meaning``, a copy of ``extended`` that a table replaces by words."""
    return f'label_replace(\n  {expression},\n  "meaning", "$1", "extended", "(.*)"\n)'


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else " "
