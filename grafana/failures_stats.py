"""The numbers at the top: whether something is wrong now."""

from grafana_foundation_sdk.models import dashboard
from panels import ALL_REASONS, Board, Query, Text, docs_link, fixed, stat, steps
from queries import BY_REASON, JOB, LAST_FAILURE, REASON, REASON_15M, in_range, only, own


def add(board: Board, docs: str) -> None:
    """Add the panels to the board. ``docs`` is the URL of the documentation, or empty."""
    board.line(4, (6, _firing(docs)), (4, _now()), (4, _total()), (4, _ratio()), (3, _last()), (3, _up()))


def _firing(docs: str) -> dashboard.Panel:
    click = "A click opens the runbook. " if docs else ""
    text = Text(
        "Alerts firing",
        f"Alerts of the selected jobs. Red: critical. Orange: warning. Blue: info. {click}"
        "If the rules in deploy/prometheus are not loaded, no alert can fire, and this panel says so.",
        "The rules are not loaded",
    )
    severities = " or ".join(
        f"{number} * group by (alertname, reason, extended) ({_firing_of(name)})"
        for number, name in ((3, "critical"), (2, "warning"), (1, "info"))
    )
    return stat(
        text,
        Query(
            f'label_replace({severities}, "alert", "$1", "alertname", "SMTPeter(.*)")',
            "{{alert}} {{reason}}{{extended}}",
        ),
        # LAST_FAILURE is recorded over a week, so it shows that the rules are loaded even if no exporter is up.
        Query(f"0 * group({only(LAST_FAILURE)}) unless on () {_firing_of('.+')}", "none"),
        colors=steps("green", (1, "blue"), (2, "orange"), (3, "red")),
        mode="name",
        background=True,
        stacked=True,
        overrides={"/./": docs_link(docs, "Runbook", "runbooks/${__field.labels.alertname}.md")},
    )


def _firing_of(severity: str) -> str:
    return only("ALERTS", f'alertname=~"SMTPeter.*",alertstate="firing",severity=~"{severity}",{JOB}')


def _now() -> dashboard.Panel:
    text = Text(
        "Last 15 min",
        "Failures in the last 15 minutes, and the usual number: the largest of the mean of the last day, the same hour "
        "yesterday and the same hour a week ago. The usual number needs an hour of history.",
        "no data",
    )
    return stat(
        text,
        Query(f"sum({only(REASON_15M, REASON)})", "now"),
        Query(f"sum({only(REASON_15M + '_expected', REASON)})", "usual"),
        mode="value_and_name",
        overrides={"now": {"thresholds": {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}}},
    )


def _total() -> dashboard.Panel:
    text = Text("In this range", "Failures that SMTPeter reported in this time range, each counted once.", "no data")
    return stat(text, Query(in_range(BY_REASON, REASON)), colors=steps("blue"))


def _ratio() -> dashboard.Panel:
    text = Text(
        "Week on week",
        "Failures in this range divided by failures in the same range a week ago: 1 means as many, 2 means twice as "
        "many. With few failures, the ratio means little.",
        "none a week ago",
    )
    query = f"{in_range(BY_REASON, REASON)} / ({in_range(BY_REASON, REASON, ago='1w')} > 0.5)"
    return stat(text, Query(query), unit="suffix: ×", decimals=1)


def _last() -> dashboard.Panel:
    text = Text("Last failure", f"Time since a failure was last counted. {ALL_REASONS}", "none yet")
    return stat(text, Query(f"time() - max({only(LAST_FAILURE)} > 0)"), unit="s", decimals=0)


def _up() -> dashboard.Panel:
    text = Text(
        "Exporters",
        "How many exporters Prometheus can scrape, and how many it cannot. If none is up, this dashboard gets no new "
        "data: see SMTPeter / Exporter.",
        "none found",
    )
    return stat(
        text,
        Query(f"count({own('up')} == 1)", "up"),
        Query(f"count({own('up')} == 0)", "down"),
        mode="value_and_name",
        overrides={"up": {"color": fixed("green")}, "down": {"color": fixed("red")}},
    )
