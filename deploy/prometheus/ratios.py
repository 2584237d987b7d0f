"""The recording rules for ratios: failures and hard bounces among finished deliveries, and complaints among deliveries.

A delivery is finished when the message was delivered or has failed. A failure with the state ``bounce`` was a delivery
first, so finished = deliveries + failures - failures after delivery.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

SHORT: Final = ("15m", "1h", "6h")
LONG: Final = ("1d", "1w")
_STEPS: Final = {"15m": "15s", "1h": "1m", "6h": "6m", "1d": "24m", "1w": "168m"}
"""A sixtieth of each window."""
_HARD: Final = '{reason=~"recipient_unknown|domain_invalid"}'

_DELIVERIES: Final = "job:smtpeter_deliveries_total:max"
_LAST: Final = 'smtpeter_last_event_timestamp_seconds{loop="deliveries"}'
_IMMEDIATE: Final = 'job:smtpeter_failures_total:max{state!="bounce"}'
"""Failures after delivery continue for days after a mailing, so only the others show that mail is being sent."""
_AGE: Final = "job:smtpeter_delivery_age_seconds:min"
_AGE_LIMIT: Final = "job:smtpeter_delivery_age_seconds:limit"
_BEFORE_LIMIT: Final = "job:smtpeter_failures_immediate:before_limit"
_AFTER_LIMIT: Final = "job:smtpeter_failures_immediate:after_limit"
_ON: Final = "job:smtpeter_deliveries:on"

Named = tuple[str, str]
"""The name of a recorded series, and its expression."""


class _Level(NamedTuple):
    """The totals from which ratios of one level are computed, and their labels that the level does not have."""

    name: str
    deliveries: str
    failures: str
    after_delivery: str
    dropped: str


_JOB: Final = _Level(
    "job",
    _DELIVERIES,
    "job:smtpeter_failures_by_reason_total:max",
    "job:smtpeter_failures_after_delivery_by_provider_total:max",
    "reason, provider",
)
_PROVIDER: Final = _Level(
    "job_provider",
    "job:smtpeter_deliveries_by_provider_total:max",
    "job:smtpeter_failures_by_provider_total:max",
    "job:smtpeter_failures_after_delivery_by_provider_total:max",
    "code_class",
)
_TAG: Final = _Level(
    "job_tag",
    "job:smtpeter_deliveries_by_tag_total:max",
    "job:smtpeter_failures_by_tag_total:max",
    "job:smtpeter_failures_after_delivery_by_tag_total:max",
    "",
)


def coverage(replica: str, missing: float) -> list[Named]:
    """Return the series that show whether deliveries are counted; ``replica`` lists the labels of replicas.

    Deliveries are missing once ``missing`` failures have occurred although deliveries stay away for unusually long.
    """
    return [
        (_AGE, _age(replica)),
        (_AGE_LIMIT, _AGE_LIMIT_RULE),
        (_BEFORE_LIMIT, _BEFORE_LIMIT_RULE),
        (_AFTER_LIMIT, _after_limit(missing)),
        (_ON, _on(replica)),
    ]


def ratios(window: str) -> Iterator[Named]:
    """Yield the ratios over a window, each after the series that it uses.

    A ratio exists only if the deliveries loop was on, and Prometheus scraped it, at 57 of 60 moments of the window, and
    if deliveries were not missing at any of them.
    """
    by_job, by_provider, by_tag = (f"{level.name}:smtpeter_finished:increase{window}" for level in _LEVELS)
    for level in _LEVELS:
        yield f"{level.name}:smtpeter_finished:increase{window}", _finished(level, window)
    name = f"smtpeter_failures:ratio_increase{window}"
    failed = {level: f"increase({level.failures}[{window}])" for level in _LEVELS}
    yield f"job:{name}", f"sum without (reason) ({failed[_JOB]}) / {by_job}"
    yield f"job_reason:{name}", f"{failed[_JOB]} / ignoring (reason) group_left {by_job}"
    yield f"job_provider:{name}", _or_0(f"sum without (code_class) ({failed[_PROVIDER]})", by_provider)
    yield f"job_tag:{name}", _or_0(failed[_TAG], by_tag)
    if window not in LONG:  # hard bounces and complaints are judged by the day and by the week
        return
    name = f"smtpeter_hard_bounces:ratio_increase{window}"
    hard = f"sum without (reason) (increase(job:smtpeter_failures_by_reason%s_total:max{_HARD}[{window}]))"
    yield f"job:{name}", f"{hard % ''} / {by_job}"
    yield f"job_provider:{name}", _or_0(hard % "_provider", by_provider)
    name = f"smtpeter_complaints:ratio_increase{window}"
    complaints = f"increase(job:smtpeter_complaints_total:max[{window}])"
    # Not every provider reports complaints, so a provider that never did has no ratio instead of 0.
    yield f"job:{name}", f"sum without (provider) ({complaints}) / {_delivered(_JOB, window)} and {by_job}"
    yield (
        f"job_provider:{name}",
        f"{complaints} / {_delivered(_PROVIDER, window)} and ignoring (provider) {by_job}",
    )


def _or_0(failed: str, finished: str) -> str:
    """Return the ratio; where nothing failed, there may be no series of failures, and the ratio is 0."""
    return f"({failed} or 0 * {finished}) / {finished}"


def _delivered(level: _Level, window: str) -> str:
    return f"(increase({level.deliveries}[{window}]) >= 0.5)"


def _finished(level: _Level, window: str) -> str:
    dropped = f"of, {level.dropped}" if level.dropped else "of"
    own = level.name.partition("_")[2]
    matching = f" ignoring ({own})" if own else ""
    return f"""\
(
  # Each of the three may be missing: its series begins when it first occurs.
  sum without ({dropped}) (
      label_replace(increase({level.deliveries}[{window}]), "of", "deliveries", "", "")
    or
      label_replace(increase({level.failures}[{window}]), "of", "failures", "", "")
    or
      label_replace(-increase({level.after_delivery}[{window}]), "of", "failures after delivery", "", "")
  )
  # increase() extrapolates, so 0 can show as a fraction.
  >= 0.5
)
and{matching} count_over_time({_ON}[{window}:{_STEPS[window]}]) >= 57
unless{matching} present_over_time({_AFTER_LIMIT}[{window}])
"""


_LEVELS: Final = (_JOB, _PROVIDER, _TAG)


def _age(replica: str) -> str:
    return f"""\
# Time since the last delivery, while the loop is on. There is no value before the very first delivery.
time() - (max without ({replica}, loop) (max_over_time({_LAST}[5m])) > 0)
"""


_AGE_LIMIT_RULE: Final = f"""\
# Twice the longest time without a delivery in the last week, and at least an hour. It changes only while there are
# deliveries: otherwise, a long time without any would soon seem usual.
(
    (
      clamp_min(2 * max_over_time({_AGE}[1w]), 3600) and present_over_time({_AGE}[1d] offset 1w)
      or
      # A history of less than a week may not have a weekend.
      clamp_min(2 * max_over_time({_AGE}[1w]), 3 * 24 * 3600)
    )
    and {_AGE} < 600
)
or
(last_over_time({_AGE_LIMIT}[1w]) and {_AGE})
or
0 * {_AGE} + 3 * 24 * 3600
"""

_BEFORE_LIMIT_RULE: Final = f"""\
# Immediate failures up to the time when the last delivery became too old.
(sum without (state, code_class, extended) ({_IMMEDIATE}) and {_AGE} <= {_AGE_LIMIT})
or
(last_over_time({_BEFORE_LIMIT}[1w]) and {_AGE})
or
(sum without (state, code_class, extended) ({_IMMEDIATE}) and {_AGE})
or
0 * {_AGE}
"""


def _after_limit(missing: float) -> str:
    return f"""\
# Immediate failures since then, if there are enough to show that deliveries are missing.
sum without (state, code_class, extended) ({_IMMEDIATE}) - {_BEFORE_LIMIT} >= {missing}
or
# There has never been a delivery, although the loop has been on for a day.
(
  sum without (state, code_class, extended) (increase({_IMMEDIATE}[1d]))
  and max_over_time({_DELIVERIES}[1d]) == 0
  and present_over_time({_DELIVERIES}[1h] offset 23h)
)
>= {missing}
"""


def _on(replica: str) -> str:
    return f"""\
# 1 from the first delivery on, while the loop is on. A short time without any exporter does not count: neither
# deliveries nor failures are counted then.
  group without ({replica}) (smtpeter_deliveries_total > 0)
or
  group without ({replica}) (max_over_time(smtpeter_deliveries_total[5m]) > 0)
  unless group without ({replica}) (smtpeter_exporter_ledger_writable)
"""
