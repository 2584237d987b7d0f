"""The recording rules that dashboards and alerts use."""

from typing import Any, Final

import ratios

Rule = dict[str, Any]

_BY_REASON: Final = "job:smtpeter_failures_by_reason_total:max"
_BY_STATUS: Final = "job:smtpeter_failures_total:max"
_LAST_FAILURE: Final = "job:smtpeter_last_failure_timestamp_seconds:max"
_REASON_15M: Final = "job_reason:smtpeter_failures:increase15m"
_PROVIDER_15M: Final = "job_provider:smtpeter_failures:increase15m"
_ALL_6H: Final = "job:smtpeter_failures:increase6h"
_PROVIDER_RISE: Final = "job_provider:smtpeter_failures_rise:ratio15m"
_ALL_1W: Final = "job:smtpeter_failures:increase1w"
_STATUS_1W: Final = "job_extended:smtpeter_failures:increase1w"
_REFUSED_15M: Final = "job_reason:smtpeter_exporter_refused:increase15m"
_BY_PROVIDER: Final = "job:smtpeter_failures_by_provider_total:max"


def groups(replica: str, missing: float) -> list[dict[str, Any]]:
    """Return the groups of recording rules; ``replica`` lists the labels that distinguish replicas.

    ``missing`` is the number of failures without any delivery that shows that deliveries are missing.
    """
    return [
        {"name": "smtpeter", "rules": _rules(replica, missing)},
        # Rules over a week cost the most and change the least.
        {"name": "smtpeter-weeks", "interval": "2m", "rules": _weeks()},
    ]


def _weeks() -> list[Rule]:
    return [
        *(_record(*named) for window in ratios.LONG for named in ratios.ratios(window)),
        # Ends an hour ago, because the last hour is compared with it.
        _record(_STATUS_1W, f"sum without (state, code_class) (increase({_BY_STATUS}[1w] offset 1h))"),
        # Keep this rule last: if it has a value, the one before has one too. SMTPeterNewStatus relies on that.
        _record(_ALL_1W, f"sum without (reason) (increase({_BY_REASON}[1w]))"),
    ]


def _rules(replica: str, missing: float) -> list[Rule]:
    """Return the rules, each after the rules it uses."""
    return [
        *(
            _record(f"job:{counter}:max", _TOTAL.format(counter=counter, replica=replica))
            for counter in (
                "smtpeter_failures_total",
                "smtpeter_failures_by_reason_total",
                "smtpeter_failures_by_provider_total",
                "smtpeter_failures_by_tag_total",
                "smtpeter_failures_by_reason_provider_total",
                "smtpeter_failures_after_delivery_by_provider_total",
                "smtpeter_failures_after_delivery_by_tag_total",
                "smtpeter_deliveries_total",
                "smtpeter_deliveries_by_provider_total",
                "smtpeter_deliveries_by_tag_total",
                "smtpeter_bounces_total",
                "smtpeter_bounces_by_reason_total",
                "smtpeter_complaints_total",
            )
        ),
        # Over a week, so that it survives a new ledger and an exporter that is down.
        _record(_LAST_FAILURE, f"max without ({replica}) (max_over_time(smtpeter_last_failure_timestamp_seconds[1w]))"),
        _record(_PROVIDER_15M, f"sum without (code_class) (increase({_BY_PROVIDER}[15m]))"),
        _record(f"{_PROVIDER_15M}_expected", _expected(_PROVIDER_15M, "15m", history="1h")),
        _record(_PROVIDER_RISE, _RISE),
        # After the providers' shares, so that an alert about this rise names the provider of the same rise.
        _record(_REASON_15M, f"increase({_BY_REASON}[15m])"),
        _record(f"{_REASON_15M}_expected", _expected(_REASON_15M, "15m", history="1h")),
        _record(_ALL_6H, f"sum without (reason) (increase({_BY_REASON}[6h]))"),
        _record(f"{_ALL_6H}_expected", _expected(_ALL_6H, "6h", history="1d")),
        _record(_REFUSED_15M, f"sum without ({replica}) (increase(smtpeter_exporter_refused_total[15m]))"),
        _record(f"{_REFUSED_15M}_expected", f"avg_over_time({_REFUSED_15M}[1d] offset 15m) or {_REFUSED_15M} * 0"),
        *(_record(*named) for named in ratios.coverage(replica, missing)),
        *(_record(*named) for window in ratios.SHORT for named in ratios.ratios(window)),
    ]


def _record(name: str, expression: str) -> Rule:
    return {"record": name, "expr": expression}


_TOTAL: Final = """\
# Replicas on one ledger expose the same totals as of their last scrape, so the largest is the right one. A replica
# that disappears may have been scraped last. Without max_over_time, the maximum would then fall a little, and
# increase() would take that for a counter reset and count the whole total again.
max without ({replica}) (max_over_time({counter}[5m]))
"""

_RISE: Final = f"""\
# Each provider's share of the failures above the usual number.
clamp_min({_PROVIDER_15M} - ({_PROVIDER_15M}_expected or {_PROVIDER_15M} * 0), 0)
/ ignoring (provider) group_left
sum without (provider) (clamp_min({_PROVIDER_15M} - ({_PROVIDER_15M}_expected or {_PROVIDER_15M} * 0), 0))
"""


def _expected(series: str, window: str, *, history: str) -> str:
    """Return the usual value of ``series``, an increase over ``window``; it is empty until there is ``history``."""
    return f"""\
# The largest of these values, over whatever samples exist, so a short history is enough. An hour's 80th percentile,
# not its mean: a daily mailing that fails within minutes fills only a quarter of the hour, and is still usual.
max without (of) (
    label_replace(avg_over_time({series}[1d] offset {window}), "of", "the last day", "", "")
  or
    label_replace(quantile_over_time(0.8, {series}[1h] offset 23h30m), "of", "the same hour yesterday", "", "")
  or
    label_replace(quantile_over_time(0.8, {series}[1h] offset 167h30m), "of", "the same hour a week ago", "", "")
  or
    # On the first day there is no such hour yet, and traffic rises in the morning, so use the last hour.
    label_replace(
      avg_over_time({series}[1h] offset {window}) unless avg_over_time({series}[1h] offset 23h30m),
      "of", "the last hour", "", ""
    )
)
and present_over_time({series}[1d] offset {history})
"""
