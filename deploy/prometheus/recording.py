"""The recording rules: what dashboards show and alerts compare."""

from typing import Any, Final

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


def groups(replica: str) -> list[dict[str, Any]]:
    """The groups of recording rules; ``replica`` are the labels that tell replicas apart."""
    return [
        {"name": "smtpeter", "rules": _rules(replica)},
        # What looks back a week costs most, and changes least.
        {"name": "smtpeter-weeks", "interval": "2m", "rules": _weeks()},
    ]


def _weeks() -> list[Rule]:
    return [
        # Up to an hour ago: what the last hour brings is compared with it.
        _record(_STATUS_1W, f"sum without (state, code_class) (increase({_BY_STATUS}[1w] offset 1h))"),
        # Last, so that where it is, the one before is, too: SMTPeterNewStatus relies on that.
        _record(_ALL_1W, f"sum without (reason) (increase({_BY_REASON}[1w]))"),
    ]


def _rules(replica: str) -> list[Rule]:
    """Each after those it needs."""
    return [
        *(
            _record(f"job:{counter}:max", _TOTAL.format(counter=counter, replica=replica))
            for counter in (
                "smtpeter_failures_total",
                "smtpeter_failures_by_reason_total",
                "smtpeter_failures_by_provider_total",
                "smtpeter_failures_by_tag_total",
            )
        ),
        # Over a week, so that it outlives a ledger that begins anew, and an exporter that is down.
        _record(_LAST_FAILURE, f"max without ({replica}) (max_over_time(smtpeter_last_failure_timestamp_seconds[1w]))"),
        _record(_PROVIDER_15M, f"sum without (code_class) (increase({_BY_PROVIDER}[15m]))"),
        _record(f"{_PROVIDER_15M}_expected", _expected(_PROVIDER_15M, "15m", history="1h")),
        _record(_PROVIDER_RISE, _RISE),
        # After the share of each provider, so that an alert about this rise names the provider of this one, too.
        _record(_REASON_15M, f"increase({_BY_REASON}[15m])"),
        _record(f"{_REASON_15M}_expected", _expected(_REASON_15M, "15m", history="1h")),
        _record(_ALL_6H, f"sum without (reason) (increase({_BY_REASON}[6h]))"),
        _record(f"{_ALL_6H}_expected", _expected(_ALL_6H, "6h", history="1d")),
        _record(_REFUSED_15M, f"sum without ({replica}) (increase(smtpeter_exporter_refused_total[15m]))"),
        _record(f"{_REFUSED_15M}_expected", f"avg_over_time({_REFUSED_15M}[1d] offset 15m) or {_REFUSED_15M} * 0"),
    ]


def _record(name: str, expression: str) -> Rule:
    return {"record": name, "expr": expression}


_TOTAL: Final = """\
# Replicas on one ledger show the same totals, each as of its last scrape, so the largest is the true one. A replica
# that goes may have been scraped later than those that stay: without its last minutes the maximum would go back by
# a little, which increase() takes for a reset, and counts the whole total as new.
max without ({replica}) (max_over_time({counter}[5m]))
"""

_RISE: Final = f"""\
# Of all that is above what is usual, the part at each provider.
clamp_min({_PROVIDER_15M} - ({_PROVIDER_15M}_expected or {_PROVIDER_15M} * 0), 0)
/ ignoring (provider) group_left
sum without (provider) (clamp_min({_PROVIDER_15M} - ({_PROVIDER_15M}_expected or {_PROVIDER_15M} * 0), 0))
"""


def _expected(series: str, window: str, *, history: str) -> str:
    """What is usual for ``series``, an increase over ``window``; nothing before there are ``history`` of samples."""
    return f"""\
# The largest of what is known of, each over the samples that there are, so a short history will do. Of an hour not
# the mean: a mailing that fails within minutes each day fills a quarter of it, and is usual all the same.
max without (of) (
    label_replace(avg_over_time({series}[1d] offset {window}), "of", "the last day", "", "")
  or
    label_replace(quantile_over_time(0.8, {series}[1h] offset 23h30m), "of", "the same hour yesterday", "", "")
  or
    label_replace(quantile_over_time(0.8, {series}[1h] offset 167h30m), "of", "the same hour a week ago", "", "")
  or
    # On the first day there is no such hour yet, and the mornings rise from the night: look at the last hour instead.
    label_replace(
      avg_over_time({series}[1h] offset {window}) unless avg_over_time({series}[1h] offset 23h30m),
      "of", "the last hour", "", ""
    )
)
and present_over_time({series}[1d] offset {history})
"""
