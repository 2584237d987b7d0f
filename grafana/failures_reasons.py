"""What fails, since when, and whether it is more than usual."""

from collections.abc import Mapping
from typing import Any, Final

from grafana_foundation_sdk.models import dashboard
from panels import NO_FAILURES, Board, Query, Text, bars, docs_link, fixed, lines, link, table
from queries import BY_REASON, REASON, REASON_15M, in_range, only, per_bar, seen_per_bar

# One colour for a reason everywhere, and shades of one for those that call for the same action: what hurts the sender's
# reputation is red and orange, recipients that can't be reached blue, servers and ways to them green, this side purple.
COLORS: Final[Mapping[str, str]] = {
    "blocked": "dark-red",
    "authentication": "light-red",
    "policy": "dark-orange",
    "rate_limited": "orange",
    "content": "light-orange",
    "recipient_unknown": "dark-blue",
    "mailbox_unavailable": "semi-dark-blue",
    "mailbox_full": "light-blue",
    "domain_invalid": "super-light-blue",
    "suppressed": "#6ed0e0",
    "connection": "dark-green",
    "routing": "semi-dark-green",
    "remote_system": "green",
    "expired": "light-green",
    "protocol": "super-light-green",
    "message_too_large": "dark-yellow",
    "sender_rejected": "dark-purple",
    "security": "semi-dark-purple",
    "platform": "light-purple",
    "unclassified": "#8e8e8e",
}

COLUMNS: Final = {
    "Value #A": "15 min",
    "Value #B": "usual",
    "Value #C": "× usual",
    "Value #D": "range",
    "Value #E": "week ago",
}

WIDTHS: Final[dict[str, Mapping[str, Any]]] = {
    "15 min": {"custom.width": 70},
    "usual": {"custom.width": 65},
    "× usual": {
        "custom.width": 75,
        "unit": "suffix: ×",
        "decimals": 1,
        "custom.cellOptions": {"type": "color-text"},
        "thresholds": {
            "mode": "absolute",
            "steps": [
                {"color": "text", "value": None},
                {"color": "orange", "value": 3},
                {"color": "red", "value": 6},
            ],
        },
    },
    "range": {"custom.width": 80},
    "week ago": {"custom.width": 85},
}


def add(board: Board, limits: Mapping[str, Any]) -> None:
    """Put it on the board; ``limits`` are those of deploy/prometheus/thresholds.toml."""
    docs = limits["links"]["docs"]
    board.line(9, (12, _last_week()), (12, _by_reason(docs)))
    board.line(9, (12, _reasons(docs)), (12, _against_usual(limits)))


def _last_week() -> dashboard.Panel:
    text = Text(
        "Failures, now and a week ago",
        "Failures over time (bars), and those of the same time a week ago (dashed line).",
        "No data",
    )
    return bars(
        text,
        Query(per_bar(BY_REASON, REASON), "now"),
        Query(per_bar(BY_REASON, REASON, ago="1w"), "a week ago"),
        stacked=False,
        overrides={
            "now": {"color": fixed("blue")},
            "a week ago": {
                "color": fixed("text"),
                "custom.drawStyle": "line",
                "custom.lineInterpolation": "stepBefore",
                "custom.lineStyle": {"fill": "dash", "dash": [6, 4]},
                "custom.lineWidth": 1,
                "custom.fillOpacity": 0,
                "custom.showPoints": "never",
            },
        },
    )


def _by_reason(docs: str) -> dashboard.Panel:
    text = Text(
        "Failures by reason",
        "What went wrong, over time. Red and orange: it costs the sender's reputation. Blue: recipients that can't be "
        "reached. Green: servers, and the way to them. Purple: this side.",
        NO_FAILURES,
    )
    query = Query(seen_per_bar(BY_REASON, REASON, by="reason"), "{{reason}}")
    page = docs_link(docs, "What it means, and what to do", "reasons/${__field.labels.reason}.md")
    return bars(text, query, totals=False, overrides=_colors("{}") | {"/./": page})


def _colors(name: str) -> dict[str, Mapping[str, Any]]:
    """Each reason in its colour."""
    return {name.format(reason): {"color": fixed(color)} for reason, color in COLORS.items()}


def _reasons(docs: str) -> dashboard.Panel:
    click = "tells what it means and what to do, or shows" if docs else "shows"
    text = Text(
        "Reasons",
        "Each reason: failures of the last 15 minutes, how many are usual in such a time, how many times that is "
        f"(usual counts as at least 1), in this range, and in the same range a week ago. A click on a reason {click} "
        "that reason alone.",
        "No data",
    )
    page = docs_link(docs, "What it means, and what to do", "reasons/${__value.text}.md")
    now, usual = (f"sum by (reason) ({only(series, REASON)})" for series in (REASON_15M, f"{REASON_15M}_expected"))
    return table(
        text,
        Query(now),
        Query(usual),
        Query(f"{now} / clamp_min({usual}, 1)"),
        Query(in_range(BY_REASON, REASON, by="reason")),
        Query(in_range(BY_REASON, REASON, by="reason", ago="1w")),
        columns={"reason": "reason", **COLUMNS},
        sort="× usual",
        overrides={
            "reason": {
                "custom.minWidth": 150,
                "links": [
                    *page.get("links", []),
                    link(
                        "This reason alone",
                        "/d/smtpeter-failures?${__url_time_range}&${datasource:queryparam}&${job:queryparam}"
                        "&var-reason=${__value.text}",
                    ),
                ],
            },
        }
        | WIDTHS,
    )


def _against_usual(limits: Mapping[str, Any]) -> dashboard.Panel:
    text = Text(
        "Spikes: 15 minutes against the limit of alerts",
        "The three reasons that were furthest above what is usual: failures of the last 15 minutes at each moment "
        "(line), and from how many on an alert warns (dashed), as deploy/prometheus/thresholds.toml says.",
        "No failures in this range, or no rules",
    )
    series, usual = only(REASON_15M, REASON), only(f"{REASON_15M}_expected", REASON)
    most = (
        f"topk(3, max_over_time((sum by (reason) ({series})"
        f" / clamp_min(sum by (reason) ({usual}), 1))[$__range:$__interval] @ end()) > 0)"
    )
    judged = "|".join(limits["reputation"]["reasons"])
    sooner = _limit(limits["reputation"]["warning"], f'reason=~"{judged}"')
    others = _limit(limits["spike"]["warning"], f'reason!~"{judged}"')
    query = (
        "# One query, so that lines and limits are of the same reasons.\n(\n"
        f"  sum by (reason) ({series})\n"
        f'  or label_replace(sum by (reason) (\n    {sooner}\n    or {others}\n  ), "line", ": alert above", "", "")\n'
        f")\nand on (reason) {most}"
    )
    dashed = {
        "custom.lineStyle": {"fill": "dash", "dash": [6, 4]},
        "custom.lineWidth": 1,
        "custom.fillOpacity": 0,
    }
    return lines(
        text,
        Query(query, "{{reason}}{{line}}"),
        overrides=_colors("/^{}(:|$)/") | {"/: alert above$/": dashed},
    )


def _limit(warning: Mapping[str, Any], where: str) -> str:
    """From how many failures in 15 minutes on an alert warns: the formula of the alerts."""
    usual = only(f"{REASON_15M}_expected", f"{REASON},{where}")
    return (
        f"ceil(clamp_min({warning['factor']} * {usual} + {warning['deviations']} * sqrt({usual}), {warning['floor']}))"
    )
