"""Lint rules for dashboards. Most are rules of Grafana's dashboard-linter, with the same names."""

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Final

import pytest

from tests.support.grafana import NAMES, Part, load, panels, places, queries, selectors

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
Problems = Iterator[tuple[str, str]]
"""The panels or other parts that break a rule, and what is wrong."""


def variables(dashboard: Part) -> dict[str, Part]:
    """Return the variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def template_datasource(dashboard: Part) -> Problems:
    """Check that a variable selects the data source."""
    variable = variables(dashboard).get("datasource", {})
    if (variable.get("type"), variable.get("query")) != ("datasource", "prometheus"):
        yield "datasource", "no variable for the data source"


def template_job(dashboard: Part) -> Problems:
    """Check that a variable selects any number of jobs, and all by default."""
    variable = variables(dashboard).get("job", {})
    wanted = {"type": "query", "label": "Job", "multi": True, "includeAll": True, "allValue": ".+"}
    if any(variable.get(key) != value for key, value in wanted.items()):
        yield "job", f"expected {wanted}"


def template_on_time_change_reload(dashboard: Part) -> Problems:
    """Check that the values of variables are queried again after a change of the range, from the selected source."""
    for name, variable in variables(dashboard).items():
        if variable["type"] == "query" and (variable["refresh"] != 2 or variable["datasource"] != SOURCE):
            yield name, "not refreshed, or from another data source"


def template_described(dashboard: Part) -> Problems:
    """Check that each variable has a label and a description."""
    for name, variable in variables(dashboard).items():
        if not variable.get("label") or len(variable.get("description", "")) < 10:
            yield name, "no label or description"


def template_used(dashboard: Part) -> Problems:
    """Check that each variable is used."""
    text = str({key: value for key, value in dashboard.items() if key != "templating"})
    for name in variables(dashboard):
        if not re.search(rf"\$\{{?{name}\b", text):
            yield name, "not used"


def panel_datasource(dashboard: Part) -> Problems:
    """Check that panels, queries and annotations use the selected data source."""
    for panel in panels(dashboard):
        if any(part["datasource"] != SOURCE for part in (panel, *panel["targets"])):
            yield panel["title"], "another data source"
    for annotation in dashboard["annotations"]["list"]:
        if annotation["datasource"] != SOURCE:
            yield annotation["name"], "another data source"


def panel_title_description(dashboard: Part) -> Problems:
    """Check that each panel has a unique title and a description of at least one sentence."""
    titles = [panel["title"] for panel in panels(dashboard)]
    for panel in panels(dashboard):
        if not panel["title"] or titles.count(panel["title"]) > 1:
            yield panel["title"], "title missing or not unique"
        if not re.fullmatch(r"[A-Z“].{20,}\.", panel.get("description", "")):
            yield panel["title"], "no description"


def panel_units(dashboard: Part) -> Problems:
    """Check that each panel has a unit."""
    for panel in panels(dashboard):
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield panel["title"], "no unit"


def panel_nothing(dashboard: Part) -> Problems:
    """Check that each panel has a text for the case of no data."""
    for panel in panels(dashboard):
        if not panel["fieldConfig"]["defaults"].get("noValue"):
            yield panel["title"], "no text for no data"


def panel_interval(dashboard: Part) -> Problems:
    """Check that each panel has a minimum interval."""
    for panel in panels(dashboard):
        if panel.get("interval") not in {"1m", "5m"}:
            yield panel["title"], "no interval"


def panel_legend(dashboard: Part) -> Problems:
    """Check that graphs have a visible legend that names their series."""
    for panel in panels(dashboard):
        if panel["type"] == "timeseries":
            legend, names = panel["options"]["legend"], {target["legendFormat"] for target in panel["targets"]}
            if not legend["showLegend"] or "__auto" in names or len(names) != len(panel["targets"]):
                yield panel["title"], "series without different names"


def panel_no_targets(dashboard: Part) -> Problems:
    """Check that each panel has different queries, and that all but graphs use instant queries."""
    for panel in panels(dashboard):
        expressions = [target["expr"] for target in panel["targets"]]
        if not expressions or len(set(expressions)) != len(expressions):
            yield panel["title"], "no query, or the same query twice"
        if {target["instant"] for target in panel["targets"]} != {panel["type"] != "timeseries"}:
            yield panel["title"], "instant query in a graph, or range query elsewhere"


def target_promql(dashboard: Part) -> Problems:
    """Check that each query is valid PromQL."""
    for query in queries(dashboard):
        try:
            selectors(query.expression)
        except ValueError as error:
            yield query.panel, str(error)


def target_job(dashboard: Part) -> Problems:
    """Check that each selector is limited to the selected jobs."""
    for query in queries(dashboard):
        if any("job=~$job" not in selector.matchers for selector in selectors(query.expression)):
            yield query.panel, "not limited to the selected jobs"


def target_counter_agg(dashboard: Part) -> Problems:
    """Check that counters are queried for their increase."""
    for query in queries(dashboard):
        for selector in selectors(query.expression):
            if re.search("_(total|bucket|sum|count)$", selector.metric) and not selector.window:
                yield query.panel, selector.metric


def target_rate_interval(dashboard: Part) -> Problems:
    """Check that increases are queried over $__rate_interval, which has enough samples."""
    for query in queries(dashboard):
        for selector in selectors(query.expression):
            if re.search("_(total|bucket|sum|count)$", selector.metric) and selector.window != "$__rate_interval":
                yield query.panel, f"{selector.metric}[{selector.window}]"


def target_replicas(dashboard: Part) -> Problems:
    """Check that failures come from the recorded totals: a sum over replicas would count them several times."""
    for query in queries(dashboard):
        for selector in selectors(query.expression):
            if selector.metric.startswith("smtpeter_failures"):
                yield query.panel, selector.metric


def uneditable_dashboard(dashboard: Part) -> Problems:
    """Check that the dashboard cannot be edited, because it comes from a file."""
    if dashboard["editable"]:
        yield "dashboard", "editable"


def dashboard_frame(dashboard: Part) -> Problems:
    """Check range, refresh, time zone and crosshair, and that links keep the range and the variables."""
    frame = {key: dashboard[key] for key in ("refresh", "time", "timezone", "tags", "graphTooltip")}
    wanted = {
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "tags": ["smtpeter"],
        "graphTooltip": 1,
    }
    if frame != wanted or "id" in dashboard or "__inputs" in dashboard:
        yield "dashboard", str(frame)
    to_dashboards = [link for link in dashboard["links"] if link["type"] == "dashboards"]
    if [(link["tags"], link["keepTime"], link["includeVars"]) for link in to_dashboards] != [
        (["smtpeter"], True, True)
    ]:
        yield "links", "no link to the other dashboard"


def dashboard_annotations(dashboard: Part) -> Problems:
    """Check that alerts and restarts are annotated."""
    annotations = {one["name"]: one["expr"] for one in dashboard["annotations"]["list"]}
    if [*annotations] != ["Alerts", "Restarts"]:
        yield "annotations", str([*annotations])
    for name, expression in annotations.items():
        if any("job=~$job" not in selector.matchers for selector in selectors(expression)):
            yield name, "not limited to the selected jobs"


def grid(dashboard: Part) -> Problems:
    """Check that nothing overlaps, is off the grid or too narrow to read."""
    boxes = [(place.get("title", ""), place["gridPos"]) for place in places(dashboard)]
    for title, box in boxes:
        if box["x"] < 0 or box["x"] + box["w"] > 24 or box["w"] < 3:
            yield title, str(box)
    for (first, a), (second, b) in combinations(boxes, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        if not (beside or below):
            yield first, f"overlaps {second}"


Rule = Callable[[Part], Problems]
RULES: Final[tuple[Rule, ...]] = (
    template_datasource,
    template_job,
    template_on_time_change_reload,
    template_described,
    template_used,
    panel_datasource,
    panel_title_description,
    panel_units,
    panel_nothing,
    panel_interval,
    panel_legend,
    panel_no_targets,
    target_promql,
    target_job,
    target_counter_agg,
    target_rate_interval,
    target_replicas,
    uneditable_dashboard,
    dashboard_frame,
    dashboard_annotations,
    grid,
)

# Rules and panels for which they do not hold, and why.
EXCLUSIONS: Final = {
    (
        "target_rate_interval",
        "Rejected requests by reason",
    ): "a second selector chooses what occurred in the whole range",
    ("target_rate_interval", "Reasons by deciding step"): "a second selector chooses what occurred in the whole range",
    ("target_rate_interval", "Unclassified share"): "the alert looks at a day, and so does the panel",
}
# dashboard-linter also has rules for Loki, for a variable for the instance, and for Grafana's own alert rules. They do
# not apply: these dashboards use none of these, and totals belong to an account, not to an instance.


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules_hold(rule: Rule) -> None:
    """The rule holds for both dashboards, except for the exclusions, each of which is needed."""
    found = [(where, what) for name in NAMES for where, what in rule(load(name))]
    excluded = {where for name, where in EXCLUSIONS if name == rule.__name__}
    assert [(where, what) for where, what in found if where not in excluded] == []
    assert excluded == {where for where, _ in found}


BREAKS: Final[dict[str, Callable[[Part, Part], object]]] = {
    "template_datasource": lambda board, _: board["templating"]["list"].pop(0),
    "template_job": lambda board, _: board["templating"]["list"][1].update(allValue=".*"),
    "template_on_time_change_reload": lambda board, _: board["templating"]["list"][1].update(refresh=1),
    "template_described": lambda board, _: board["templating"]["list"][1].pop("description"),
    "template_used": lambda board, _: board["templating"]["list"].append(
        {"name": "other", "type": "query", "label": "Other", "description": "Not used at all"}
    ),
    "panel_datasource": lambda _, panel: panel["targets"][0].update(datasource={"type": "prometheus", "uid": "P1809"}),
    "panel_title_description": lambda _, panel: panel.update(description=""),
    "panel_units": lambda _, panel: panel["fieldConfig"]["defaults"].pop("unit"),
    "panel_nothing": lambda _, panel: panel["fieldConfig"]["defaults"].pop("noValue"),
    "panel_interval": lambda _, panel: panel.pop("interval"),
    "panel_legend": lambda _, panel: panel["options"]["legend"].update(showLegend=False),
    "panel_no_targets": lambda _, panel: panel["targets"].clear(),
    "target_promql": lambda _, panel: panel["targets"][0].update(expr="sum(up"),
    "target_job": lambda _, panel: panel["targets"][0].update(expr="sum(up)"),
    "target_counter_agg": lambda _, panel: panel["targets"][0].update(expr="smtpeter_exporter_refused_total"),
    "target_rate_interval": lambda _, panel: panel["targets"][0].update(
        expr="rate(smtpeter_exporter_refused_total[5m])"
    ),
    "target_replicas": lambda _, panel: panel["targets"][0].update(expr="increase(smtpeter_failures_total[$__range])"),
    "uneditable_dashboard": lambda board, _: board.update(editable=True),
    "dashboard_frame": lambda board, _: board.update(refresh=""),
    "dashboard_annotations": lambda board, _: board["annotations"]["list"].pop(),
    "grid": lambda _, panel: panel["gridPos"].update(y=0),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules_find_mistakes(rule: Rule) -> None:
    """The rule finds a mistake in a dashboard."""
    dashboard = load("failures")
    assert list(rule(dashboard)) == []
    BREAKS[rule.__name__](dashboard, next(panel for panel in panels(dashboard) if panel["type"] == "timeseries"))
    assert len(list(rule(dashboard))) >= 1
