"""SMTPeter / Exporter: does the exporter work, and do SMTPeter's calls get in."""

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
"""A colour for each reason to reject a request that SMTPeter signed."""
assert SIGNED.keys() == reasons_of("signed"), "each reason of the kind signed needs a colour, and no other"
REFUSALS: Final = {
    **dict.fromkeys(sorted(reasons_of("noise", "unsigned")), "#8e8e8e"),
    **dict.fromkeys(sorted(reasons_of("outage")), "red"),
    **dict.fromkeys(sorted(reasons_of("dns")), "light-red"),
    **SIGNED,
}
"""Grey for noise, red for outages and DNS, colours of their own for what the operator can most likely fix."""
DASHED: Final = {"custom.lineStyle": {"fill": "dash", "dash": [6, 4]}, "custom.lineWidth": 1, "custom.fillOpacity": 0}


def build(limits: Mapping[str, Any]) -> dashboard.Dashboard:
    """The dashboard; ``limits`` are those of deploy/prometheus/thresholds.toml."""
    board = Board()
    board.line(4, (7, _up()), (5, _writable()), (4, _signatures()), (3, _version()), (5, _started()))
    board.line(8, (12, _intake()), (12, _refused()))
    board.line(8, (8, _requests()), (8, _commits()), (8, _batches()))
    board.row("Ledger and labels")
    board.line(8, (6, _ledger()), (6, _label_sets()), (6, _deciders()), (6, _unclassified(limits)))
    board.row("Keys of SMTPeter's signatures")
    board.line(7, (8, _keys()), (8, _key_age()), (8, _lookups()))
    board.row("Process")
    board.line(7, (8, _memory()), (8, _processor()), (8, _files()))
    return frame.framed(
        "Exporter",
        "Whether the exporter works, and whether SMTPeter's calls get in.",
        board,
        docs=limits["links"]["docs"],
    )


def _yes_no(yes: str, no: str, *, bad: str = "red") -> dict[str, Any]:
    """1 and 0 in words."""
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
        "Exporters that answer",
        "Each exporter of the last week that is still a target, and whether it answers Prometheus.",
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
        "Whether failures can be recorded. While they can't, calls are answered 503, and /-/ready says why.",
        NOTHING,
    )
    query = Query(only("smtpeter_exporter_ledger_writable"), "{{instance}}")
    return stat(text, query, mode="value_and_name", overrides={"/./": _yes_no("writable", "NOT WRITABLE")})


def _signatures() -> dashboard.Panel:
    text = Text(
        "Signatures",
        "Whether only calls that SMTPeter signed are counted. Where they are off, anyone who finds the URL can invent "
        "failures.",
        NOTHING,
    )
    query = Query(f"min({only('smtpeter_exporter_signature_required')})", "signatures")
    return stat(text, query, size=22, overrides={"/./": _yes_no("required", "off", bad="orange")})


def _version() -> dashboard.Panel:
    text = Text("Version", "Versions that run: more than one while a new one is rolled out.", NOTHING)
    query = Query(f"count by (version) ({only('smtpeter_exporter_build_info')})", "{{version}}")
    return stat(text, query, mode="name", size=22)


def _started() -> dashboard.Panel:
    text = Text("Running for", "How long ago each process was started.", NOTHING)
    query = Query(f"time() - {own('process_start_time_seconds')}", "{{instance}}")
    return stat(text, query, unit="s", mode="value_and_name", colors=steps("orange", (600, "text")))


def _intake() -> dashboard.Panel:
    text = Text(
        "Calls answered 200",
        "Failures that were counted, and those that came again after they had been counted (duplicates).",
        NOTHING,
    )
    all_calls = counted("smtpeter_exporter_request_duration_seconds_count")
    again = counted("smtpeter_exporter_duplicates_total")
    return bars(
        text,
        Query(f"clamp_min({all_calls} - {again}, 0)", "counted"),
        Query(again, "duplicates"),
        overrides={"counted": {"color": fixed("green")}, "duplicates": {"color": fixed("yellow")}},
    )


def _refused() -> dashboard.Panel:
    text = Text(
        "Refused calls by reason",
        "Requests on the public listener that were not counted. Grey is what strangers do, red are faults of this "
        "side, orange and yellow are about signatures: likely SMTPeter's own calls. The reference lists all reasons.",
        "No call was refused in this range",
    )
    query = Query(seen_counted("smtpeter_exporter_refused_total", by="reason"), "{{reason}}")
    return bars(text, query, overrides={reason: {"color": fixed(color)} for reason, color in REFUSALS.items()})


def _quantiles(text: Text, histogram: str) -> dashboard.Panel:
    return lines(
        text,
        Query(quantile(0.5, histogram), "half within"),
        Query(quantile(0.99, histogram), "99 % within"),
        unit="s",
        interval="5m",
        overrides={"half within": {"color": fixed("green")}, "99 % within": {"color": fixed("orange")}},
    )


def _requests() -> dashboard.Panel:
    text = Text(
        "Time to answer 200",
        "From the first byte read to the failure being safe, as quantiles.",
        "No call in this range",
    )
    return _quantiles(text, "smtpeter_exporter_request_duration_seconds")


def _commits() -> dashboard.Panel:
    text = Text(
        "Time of a commit",
        "Time to write a batch to the ledger, the wait for the disk included.",
        "No commit in this range",
    )
    return _quantiles(text, "smtpeter_exporter_commit_duration_seconds")


def _batches() -> dashboard.Panel:
    text = Text(
        "Commits",
        "Commits per minute (left), and the mean of failures in one (right): under load many share one wait for the "
        "disk.",
        "No commit in this range",
    )
    sizes, count = "smtpeter_exporter_commit_batch_size_sum", "smtpeter_exporter_commit_batch_size_count"
    rates = [f"sum(rate({only(metric)}[$__rate_interval]))" for metric in (sizes, count)]
    return lines(
        text,
        Query(f"60 * {rates[1]}", "commits a minute"),
        Query(f"{rates[0]} / ({rates[1]} > 0)", "failures in one"),
        interval="5m",
        overrides={"failures in one": {"custom.axisPlacement": "right", "custom.fillOpacity": 0}},
    )


def _ledger() -> dashboard.Panel:
    text = Text("Ledger size", "Size of the ledger on disk: some 35 bytes for a failure, kept for 30 days.", NOTHING)
    return lines(text, Query(only("smtpeter_exporter_ledger_size_bytes"), "{{instance}}"), unit="bytes")


def _label_sets() -> dashboard.Panel:
    text = Text(
        "Label sets",
        "Combinations of state, code class and status in use. Past 500, failures are counted as other: overflow tells "
        "how many.",
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
        "How reasons were found",
        "Failures by the step that decided on their reason; docs/reasons tells of the steps.",
        "No failure was counted in this range",
    )
    query = Query(seen_counted("smtpeter_exporter_reason_decisions_total", by="decided_by"), "{{decided_by}}")
    return bars(text, query, overrides={"unclassified": {"color": fixed("#8e8e8e")}})


def _unclassified(limits: Mapping[str, Any]) -> dashboard.Panel:
    text = Text(
        "Share without a known reason",
        "Failures of the last day whose reason is unclassified, as a share of all; and from which share on an alert "
        "tells.",
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
        "Keys held",
        "Public keys of SMTPeter's signatures. Stale ones are used past their time because DNS gives no answer.",
        NOTHING,
    )
    query = Query(f"sum by (state) ({only('smtpeter_exporter_keys')})", "{{state}}")
    return lines(
        text, query, at_least=4, overrides={"fresh": {"color": fixed("green")}, "stale": {"color": fixed("red")}}
    )


def _key_age() -> dashboard.Panel:
    text = Text("Age of the oldest key", "Time since DNS gave the key that was looked up longest ago.", NOTHING)
    return lines(text, Query(only("smtpeter_exporter_key_age_seconds"), "{{instance}}"), unit="s")


def _lookups() -> dashboard.Panel:
    text = Text(
        "Key look-ups",
        "Look-ups of keys in DNS by result: failed means that DNS gave no answer, unknown that it has no such key.",
        "No look-up in this range",
    )
    colors = {"found": "green", "failed": "red", "unknown": "orange", "revoked": "yellow", "unusable": "purple"}
    query = Query(counted("smtpeter_exporter_key_lookups_total", by="result"), "{{result}}")
    return bars(text, query, overrides={name: {"color": fixed(color)} for name, color in colors.items()})


def _memory() -> dashboard.Panel:
    text = Text("Memory", "Memory that each process holds (resident).", NOTHING)
    return lines(text, Query(own("process_resident_memory_bytes"), "{{instance}}"), unit="bytes")


def _processor() -> dashboard.Panel:
    text = Text("Processor", "Share of one processor core that each process uses.", NOTHING)
    rate = f"rate({only('process_cpu_seconds_total')}[$__rate_interval])"
    query = f"{rate}\nand on (job, instance) {only('smtpeter_exporter_build_info')}"
    return lines(text, Query(query, "{{instance}}"), unit="percentunit")


def _files() -> dashboard.Panel:
    text = Text(
        "Open files",
        "Files and connections that each process has open, and how many it may have.",
        NOTHING,
    )
    return lines(
        text,
        Query(own("process_open_fds"), "{{instance}}"),
        Query(f"min({own('process_max_fds')})", "limit"),
        overrides={"limit": {"color": fixed("text"), **DASHED}},
    )
