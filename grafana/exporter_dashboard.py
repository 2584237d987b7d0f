"""The dashboard SMTPeter / Exporter: whether the exporter works and SMTPeter's requests reach it."""

from collections.abc import Mapping
from typing import Any, Final

import frame
from grafana_foundation_sdk.models import dashboard
from panels import Board, Query, Text, bars, fixed, lines, stat, steps
from queries import counted, only, own, quantile, seen_counted

from exporter.refusals import reasons_of

NOTHING: Final = "No data: is the exporter down?"
MANY_SETS: Final = 500
SIGNED: Final = {
    "account": "orange",
    "date": "light-orange",
    "digest": "dark-orange",
    "key_revoked": "semi-dark-orange",
    "key_unknown": "dark-red",
    "key_unusable": "super-light-orange",
    "signature": "yellow",
    "uncovered": "light-yellow",
    "url": "dark-yellow",
}
"""A color for each reason to reject a request that SMTPeter probably signed."""
assert SIGNED.keys() == reasons_of("signed"), "each reason of the kind signed needs a color, and no other does"
REFUSALS: Final = {
    **dict.fromkeys(sorted(reasons_of("noise", "unsigned")), "#8e8e8e"),
    **dict.fromkeys(sorted(reasons_of("outage")), "red"),
    **dict.fromkeys(sorted(reasons_of("dns")), "light-red"),
    **SIGNED,
}
"""Grey for noise, red for outages and DNS, and one color each for the reasons that the operator can probably fix."""
DASHED: Final = {"custom.lineStyle": {"fill": "dash", "dash": [6, 4]}, "custom.lineWidth": 1, "custom.fillOpacity": 0}


def build(limits: Mapping[str, Any]) -> dashboard.Dashboard:
    """Return the dashboard. ``limits`` is the content of deploy/prometheus/thresholds.toml."""
    board = Board()
    board.line(4, (7, _up()), (5, _writable()), (4, _signatures()), (3, _version()), (5, _started()))
    board.line(8, (9, _intake()), (9, _refused()), (6, _repaired()))
    board.line(8, (8, _requests()), (8, _commits()), (8, _batches()))
    board.row("Ledger and labels")
    board.line(8, (6, _ledger()), (6, _label_sets()), (6, _deciders()), (6, _unclassified(limits)))
    board.row("Signature keys")
    board.line(7, (8, _keys()), (8, _key_age()), (8, _lookups()))
    board.row("Process")
    board.line(7, (8, _memory()), (8, _processor()), (8, _files()))
    return frame.framed(
        "Exporter",
        "Whether the exporter works, and whether SMTPeter's requests reach it.",
        board,
        docs=limits["links"]["docs"],
    )


def _yes_no(yes: str, no: str, *, bad: str = "red") -> dict[str, Any]:
    """Return the properties that show 1 and 0 as words."""
    return {
        "mappings": [
            {
                "type": "value",
                "options": {"1": {"text": yes, "color": "green"}, "0": {"text": no, "color": bad}},
            }
        ]
    }


def _up() -> dashboard.Panel:
    text = Text(
        "Exporters up",
        "Each exporter of the last week that is still a scrape target, and whether Prometheus can scrape it.",
        "No exporter found in the last week",
    )
    return stat(
        text,
        Query(own("up"), "{{instance}}"),
        mode="value_and_name",
        background=True,
        overrides={"/./": _yes_no("up", "DOWN")},
    )


def _writable() -> dashboard.Panel:
    text = Text(
        "Ledger writable",
        "Whether failures can be recorded. If not, they are answered 503, and /-/ready says why.",
        NOTHING,
    )
    query = Query(only("smtpeter_exporter_ledger_writable"), "{{instance}}")
    return stat(text, query, mode="value_and_name", overrides={"/./": _yes_no("writable", "NOT WRITABLE")})


def _signatures() -> dashboard.Panel:
    text = Text(
        "Signatures",
        "Whether requests must carry SMTPeter's signature. If this is off, anyone who can reach the public listener "
        "can submit fake failures.",
        NOTHING,
    )
    query = Query(f"min({only('smtpeter_exporter_signature_required')})", "signatures")
    return stat(text, query, size=22, overrides={"/./": _yes_no("required", "off", bad="orange")})


def _version() -> dashboard.Panel:
    text = Text("Version", "The versions that are running. During a rollout there is more than one.", NOTHING)
    query = Query(f"count by (version) ({only('smtpeter_exporter_build_info')})", "{{version}}")
    return stat(text, query, mode="name", size=22)


def _started() -> dashboard.Panel:
    text = Text("Uptime", "Time since each process started.", NOTHING)
    query = Query(f"time() - {own('process_start_time_seconds')}", "{{instance}}")
    return stat(text, query, unit="s", mode="value_and_name", colors=steps("orange", (600, "text")))


def _intake() -> dashboard.Panel:
    text = Text(
        "Requests answered 200",
        "Requests that were answered 200, by loop (bars), and duplicates among them (line): SMTPeter reported these "
        "events again after they had been counted.",
        NOTHING,
    )
    return bars(
        text,
        Query(counted("smtpeter_exporter_accepted_total", by="loop"), "{{loop}}"),
        Query(counted("smtpeter_exporter_duplicates_total"), "duplicates"),
        overrides={
            "failures": {"color": fixed("red")},
            "deliveries": {"color": fixed("green")},
            "bounces": {"color": fixed("blue")},
            "abuses": {"color": fixed("purple")},
            "duplicates": {
                "color": fixed("yellow"),
                "custom.drawStyle": "line",
                "custom.lineWidth": 2,
                "custom.fillOpacity": 0,
                "custom.stacking": {"mode": "none", "group": "A"},
            },
        },
    )


def _refused() -> dashboard.Panel:
    text = Text(
        "Rejected requests by reason",
        "Requests on the public listener that were not counted. Grey: noise, such as scanners. Red: the exporter, its "
        "ledger or DNS fails. Orange and yellow: problems with requests that SMTPeter probably signed. "
        "docs/reference.md lists all reasons.",
        "No request was rejected in this range",
    )
    query = Query(seen_counted("smtpeter_exporter_refused_total", by="reason"), "{{reason}}")
    return bars(text, query, overrides={reason: {"color": fixed(color)} for reason, color in REFUSALS.items()})


def _repaired() -> dashboard.Panel:
    text = Text(
        "Failures with invalid details",
        "Failures that were counted although a detail of the report was invalid, by what was wrong. If there are many, "
        "SMTPeter may have changed what it sends. docs/reference.md explains each word.",
        NOTHING,
    )
    return bars(text, Query(counted("smtpeter_exporter_repaired_total", by="what"), "{{what}}"))


def _quantiles(text: Text, histogram: str) -> dashboard.Panel:
    return lines(
        text,
        Query(quantile(0.5, histogram), "median"),
        Query(quantile(0.99, histogram), "99th percentile"),
        unit="s",
        interval="5m",
        overrides={"median": {"color": fixed("green")}, "99th percentile": {"color": fixed("orange")}},
    )


def _requests() -> dashboard.Panel:
    text = Text(
        "Response time (200)",
        "Time from the first byte that was read until the failure is on disk, for requests answered 200.",
        "No request was answered 200 in this range",
    )
    return _quantiles(text, "smtpeter_exporter_request_duration_seconds")


def _commits() -> dashboard.Panel:
    text = Text(
        "Commit duration",
        "Time to write a batch to the ledger, including the wait for the disk.",
        "No commit in this range",
    )
    return _quantiles(text, "smtpeter_exporter_commit_duration_seconds")


def _batches() -> dashboard.Panel:
    text = Text(
        "Commits",
        "Commits per minute (left axis), and the mean number of failures in one commit (right axis). Under load, many "
        "failures share a commit.",
        "No commit in this range",
    )
    sizes, count = "smtpeter_exporter_commit_batch_size_sum", "smtpeter_exporter_commit_batch_size_count"
    rates = [f"sum(rate({only(metric)}[$__rate_interval]))" for metric in (sizes, count)]
    return lines(
        text,
        Query(f"60 * {rates[1]}", "commits per minute"),
        Query(f"{rates[0]} / ({rates[1]} > 0)", "failures per commit"),
        interval="5m",
        overrides={"failures per commit": {"custom.axisPlacement": "right", "custom.fillOpacity": 0}},
    )


def _ledger() -> dashboard.Panel:
    text = Text(
        "Ledger size",
        "Size of the ledger on disk. It keeps about 35 bytes per failure, for 30 days.",
        NOTHING,
    )
    return lines(text, Query(only("smtpeter_exporter_ledger_size_bytes"), "{{instance}}"), unit="bytes")


def _label_sets() -> dashboard.Panel:
    text = Text(
        "Label sets",
        "Combinations of state, code class and status in use. At the limit of 500, failures with a new combination are "
        "counted as other; overflow is their number.",
        NOTHING,
    )
    return lines(
        text,
        Query(f"max({only('smtpeter_exporter_label_sets')})", "in use"),
        Query(counted("smtpeter_exporter_label_overflow_total"), "overflow"),
        Query(f"vector({MANY_SETS})", "limit"),
        overrides={
            "in use": {"color": fixed("blue")},
            "overflow": {"color": fixed("red"), "custom.drawStyle": "bars", "custom.fillOpacity": 80},
            "limit": {"color": fixed("text"), **DASHED},
        },
    )


def _deciders() -> dashboard.Panel:
    text = Text(
        "Reasons by deciding step",
        "Failures by the step that determined their reason. docs/reasons/README.md explains the steps.",
        "No failure was counted in this range",
    )
    query = Query(seen_counted("smtpeter_exporter_reason_decisions_total", by="decided_by"), "{{decided_by}}")
    return bars(text, query, overrides={"unclassified": {"color": fixed("#8e8e8e")}})


def _unclassified(limits: Mapping[str, Any]) -> dashboard.Panel:
    text = Text(
        "Unclassified share",
        "Failures of the last day that have the reason unclassified, as a share of all. Above the dashed line, an "
        "alert can fire.",
        "No failure in the last day",
    )
    unclassified, every = (
        f"sum(increase({only('smtpeter_exporter_reason_decisions_total', where)}[1d]))"
        for where in ('job=~"$job",decided_by="unclassified"', 'job=~"$job"')
    )
    return lines(
        text,
        Query(f"{unclassified} / ({every} > 0)", "unclassified"),
        Query(f"vector({limits['unclassified']['share']})", "alert above"),
        unit="percentunit",
        overrides={"unclassified": {"color": fixed("#8e8e8e")}, "alert above": {"color": fixed("text"), **DASHED}},
    )


def _keys() -> dashboard.Panel:
    text = Text(
        "Cached keys",
        "Cached public keys of SMTPeter. A stale key has expired, but stays in use because DNS does not answer.",
        NOTHING,
    )
    query = Query(f"sum by (state) ({only('smtpeter_exporter_keys')})", "{{state}}")
    return lines(
        text, query, at_least=4, overrides={"fresh": {"color": fixed("green")}, "stale": {"color": fixed("red")}}
    )


def _key_age() -> dashboard.Panel:
    text = Text("Age of the oldest key", "Time since DNS last returned the oldest cached key.", NOTHING)
    return lines(text, Query(only("smtpeter_exporter_key_age_seconds"), "{{instance}}"), unit="s")


def _lookups() -> dashboard.Panel:
    text = Text(
        "Key lookups",
        "DNS lookups of keys, by result. Failed: DNS did not answer. Unknown: the key does not exist.",
        "No lookup in this range",
    )
    colors = {"found": "green", "failed": "red", "unknown": "orange", "revoked": "yellow", "unusable": "purple"}
    query = Query(counted("smtpeter_exporter_key_lookups_total", by="result"), "{{result}}")
    return bars(text, query, overrides={name: {"color": fixed(color)} for name, color in colors.items()})


def _memory() -> dashboard.Panel:
    text = Text("Memory", "Resident memory of each process.", NOTHING)
    return lines(text, Query(own("process_resident_memory_bytes"), "{{instance}}"), unit="bytes")


def _processor() -> dashboard.Panel:
    text = Text("CPU", "Share of one CPU core that each process uses.", NOTHING)
    rate = f"rate({only('process_cpu_seconds_total')}[$__rate_interval])"
    query = f"{rate}\nand on (job, instance) {only('smtpeter_exporter_build_info')}"
    return lines(text, Query(query, "{{instance}}"), unit="percentunit")


def _files() -> dashboard.Panel:
    text = Text(
        "Open files",
        "Open files and connections of each process, and the limit.",
        NOTHING,
    )
    return lines(
        text,
        Query(own("process_open_fds"), "{{instance}}"),
        Query(f"min({own('process_max_fds')})", "limit"),
        overrides={"limit": {"color": fixed("text"), **DASHED}},
    )
