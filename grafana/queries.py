"""How the dashboards ask: selectors, and the few shapes of queries that come again and again."""

from typing import Final

BY_STATUS: Final = "job:smtpeter_failures_total:max"
BY_REASON: Final = "job:smtpeter_failures_by_reason_total:max"
BY_PROVIDER: Final = "job:smtpeter_failures_by_provider_total:max"
BY_TAG: Final = "job:smtpeter_failures_by_tag_total:max"
LAST_FAILURE: Final = "job:smtpeter_last_failure_timestamp_seconds:max"
REASON_15M: Final = "job_reason:smtpeter_failures:increase15m"
PROVIDER_15M: Final = "job_provider:smtpeter_failures:increase15m"
"""The true totals over all replicas, and what is made of them: see deploy/prometheus/rules.yaml."""

JOB: Final = 'job=~"$job"'
REASON: Final = f'{JOB},reason=~"$reason"'
"""What is chosen at the top of the dashboard."""


def only(metric: str, where: str = JOB) -> str:
    """Those series of a metric that are of the chosen jobs."""
    return f"{metric}{{{where}}}"


def own(metric: str) -> str:
    """Series of a metric that others have, too, of targets that were exporters of the chosen jobs in the last week."""
    return f"({only(metric)} and on (job, instance) last_over_time({only('smtpeter_exporter_build_info')}[1w]))"


def in_range(metric: str, where: str = JOB, *, by: str = "", ago: str = "", at: str = "") -> str:
    """Failures in the range of the dashboard; ``ago`` moves it back, ``at`` is an @ modifier."""
    offset = f" offset {ago}" if ago else ""
    return f"sum{_by(by)}(increase({only(metric, where)}[$__range]{offset}{at}))"


def per_bar(metric: str, where: str = JOB, *, by: str = "", ago: str = "") -> str:
    """Failures between one point and the next, exactly; ``ago`` is a duration of weeks.

    increase() would do for many, but of few it shows each as 1.25, and loses those that fall between the last sample of
    one bar and the first of the next. Totals never go back, so their difference is right. A series that is new has none
    yet and counts by increase(), from the 0 it is born with.
    """
    series, then = only(metric, where), f" offset {ago}" if ago else ""
    return (
        f"sum{_by(by)}(\n"
        f"  clamp_min({series}{then} - {series} offset {ago}${{__interval}}, 0)\n"
        f"  or round(increase({series}[${{__interval}}]{then}))\n)"
    )


def seen_per_bar(metric: str, where: str = JOB, *, by: str, most: int | None = None) -> str:
    """The same, of what occurred in the range at all, or of the ``most`` frequent.

    Points without failures stay: bars are as wide as the nearest two points are apart.
    """
    seen = in_range(metric, where, by=by, at=" @ end()") + " > 0"
    return f"{per_bar(metric, where, by=by)}\nand on ({by}) ({f'topk({most}, {seen})' if most else seen})"


def counted(metric: str, *, by: str = "") -> str:
    """What an exporter's own counter, which begins anew with each process, counted between two points, nearly."""
    return f"sum{_by(by)}(round(increase({only(metric)}[$__rate_interval])))"


def seen_counted(metric: str, *, by: str) -> str:
    """The same, of what occurred in the range at all."""
    seen = f"sum{_by(by)}(increase({only(metric)}[$__range] @ end())) > 0"
    return f"{counted(metric, by=by)}\nand on ({by}) ({seen})"


def quantile(share: float, histogram: str) -> str:
    """A quantile of a histogram's observations, over all instances; nothing, and not NaN, where there were none."""
    return f"histogram_quantile({share}, sum by (le) (rate({only(histogram + '_bucket')}[$__rate_interval]))) >= 0"


def with_meaning(expression: str) -> str:
    """The same with the label ``meaning`` besides ``extended``, for a table to put words in its place."""
    return f'label_replace(\n  {expression},\n  "meaning", "$1", "extended", "(.*)"\n)'


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else " "
