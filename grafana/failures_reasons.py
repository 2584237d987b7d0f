"""Reasons: what fails, since when, and whether it is more than usual."""

from collections.abc import Mapping
from typing import Any, Final

from grafana_foundation_sdk.models import dashboard
from panels import NO_FAILURES, Board, Query, Text, bars, docs_link, fixed, lines, link, table
from queries import BY_REASON, REASON, REASON_15M, in_range, only, per_bar, seen_per_bar

# A reason has the same color in every panel. Reasons that call for the same action have shades of one color: red and
# orange cost the sender's reputation, blue is about recipients, green about their servers and the way to them, purple
# about the sending side.
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
    """Add the panels to the board. ``limits`` is the content of deploy/prometheus/thresholds.toml."""
    docs = limits["links"]["docs"]
    board.line(9, (12, _last_week()), (12, _by_reason(docs)))
    board.line(9, (12, _reasons(docs)), (12, _against_usual(limits)))


def _last_week() -> dashboard.Panel:
    text = Text(
        "Failures, now and a week ago",
        "Failures over time (bars), and at the same time a week ago (dashed line).",
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
        "Failures over time, by what went wrong. Red and orange: costs the sender's reputation. Blue: recipients. "
        "Green: receiving servers, and the way to them. Purple: the sending side.",
        NO_FAILURES,
    )
    query = Query(seen_per_bar(BY_REASON, REASON, by="reason"), "{{reason}}")
    page = docs_link(docs, "What it means, and what to do", "reasons/${__field.labels.reason}.md")
    return bars(text, query, totals=False, overrides=_colors("{}") | {"/./": page})


def _colors(name: str) -> dict[str, Mapping[str, Any]]:
    """Return an override for each reason that gives it its color."""
    return {name.format(reason): {"color": fixed(color)} for reason, color in COLORS.items()}


def _reasons(docs: str) -> dashboard.Panel:
    click = "explains what it means and what to do, or shows" if docs else "shows"
    text = Text(
        "Reasons",
        "For each reason: failures in the last 15 minutes, the usual number for 15 minutes, the first divided by the "
        "second (usual counts as at least 1), failures in this range, and in the same range a week ago. A click on a "
        f"reason {click} only that reason.",
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
                        "Only this reason",
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
        "Spikes: 15 minutes against the alert threshold",
        "The three reasons that rose furthest above their usual level: failures in the last 15 minutes (line), and the "
        "number above which an alert fires (dashed). deploy/prometheus/thresholds.toml sets the thresholds.",
        "No failures in this range, or the rules are not loaded",
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
    """Return the number of failures in 15 minutes above which a warning fires, by the same formula as the alerts."""
    usual = only(f"{REASON_15M}_expected", f"{REASON},{where}")
    return (
        f"ceil(clamp_min({warning['factor']} * {usual} + {warning['deviations']} * sqrt({usual}), {warning['floor']}))"
    )
