"""Status codes: which ones occurred, and what they mean."""

from typing import Any

import meanings
from grafana_foundation_sdk.models import dashboard
from panels import ALL_REASONS, NO_FAILURES, Board, Query, Text, docs_link, table
from queries import BY_REASON, BY_STATUS, JOB, in_range, only, with_meaning


def add(board: Board, docs: str) -> None:
    """Add the panels to the board. ``docs`` is the URL of the documentation, or empty."""
    board.row("Status codes")
    board.line(10, (15, _statuses()), (9, _new_statuses()))
    board.line(10, (24, _combinations(docs)))


def _meaning() -> dict[str, Any]:
    return {"custom.minWidth": 180, "mappings": meanings.mappings(), "custom.wrapText": True}


def _statuses() -> dashboard.Panel:
    text = Text(
        "Failures by status",
        "Enhanced status codes (RFC 3463) in this range, what the registry or the vendor says they mean, and how often "
        f"they occurred in the same range a week ago. {ALL_REASONS}",
        NO_FAILURES,
    )
    now, then = (f"{in_range(BY_STATUS, by='extended', ago=ago)} > 0.5" for ago in ("", "1w"))
    return table(
        text,
        Query(with_meaning(f"{now} or 0 * ({then})")),
        Query(with_meaning(f"{then} or 0 * ({now})")),
        columns={"extended": "status", "meaning": "meaning", "Value #A": "failures", "Value #B": "week ago"},
        sort="failures",
        overrides={
            "status": {"custom.width": 80},
            "meaning": _meaning(),
            "failures": {"custom.width": 85},
            "week ago": {"custom.width": 85},
        },
    )


def _new_statuses() -> dashboard.Panel:
    text = Text(
        "New statuses",
        "Enhanced status codes in this range that did not occur in the week before it. Needs a week of history. "
        + ALL_REASONS,
        "No new status, or less than a week of history",
    )
    new = f'{JOB},extended!~"none|other"'
    before = f"sum by (extended) (increase({only(BY_STATUS, new)}[1w] offset $__range)) > 0"
    known = f"group(present_over_time({only(BY_REASON)}[1d] offset 1w))"
    query = f"{in_range(BY_STATUS, new, by='extended')} > 0.5\n  unless on (extended) ({before})\n  and on () {known}"
    return table(
        text,
        Query(with_meaning(query)),
        columns={"extended": "status", "meaning": "meaning", "Value #A": "failures"},
        sort="failures",
        overrides={"status": {"custom.width": 80}, "meaning": _meaning(), "failures": {"custom.width": 85}},
    )


def _combinations(docs: str) -> dashboard.Panel:
    click = "; a click on a status explains how reasons are determined" if docs else ""
    text = Text(
        "Top combinations",
        "The 50 most frequent combinations of state, SMTP code class and enhanced status code in this range, and how "
        f"often they occurred a week ago. The columns can be filtered{click}. {ALL_REASONS}",
        NO_FAILURES,
    )
    by = "state, code_class, extended"
    most = f"topk(50, {in_range(BY_STATUS, by=by)} > 0.5)"
    return table(
        text,
        Query(with_meaning(most)),
        Query(with_meaning(f"{in_range(BY_STATUS, by=by, ago='1w')} and on ({by}) {most} or 0 * {most}")),
        columns={
            "state": "state",
            "code_class": "code",
            "extended": "status",
            "meaning": "meaning",
            "Value #A": "failures",
            "Value #B": "week ago",
        },
        sort="failures",
        overrides={
            "state": {"custom.width": 110},
            "code": {"custom.width": 65},
            "status": {"custom.width": 80, **docs_link(docs, "How a reason is determined", "reasons/README.md")},
            "meaning": _meaning(),
            "failures": {"custom.width": 85},
            "week ago": {"custom.width": 85},
        },
    )
