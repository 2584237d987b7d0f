"""Rules for dashboards, most of them those of Grafana's dashboard-linter, under its names."""

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Final

import pytest

from tests.support.grafana import NAMES, Part, load, panels, places, queries, selectors

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
Problems = Iterator[tuple[str, str]]
"""Of a rule: which panel or part, and what is wrong."""


def variables(dashboard: Part) -> dict[str, Part]:
    """The variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def template_datasource(dashboard: Part) -> Problems:
    """The data source is chosen by a variable."""
    variable = variables(dashboard).get("datasource", {})
    if (variable.get("type"), variable.get("query")) != ("datasource", "prometheus"):
        yield "datasource", "no variable for the Prometheus"


def template_job(dashboard: Part) -> Problems:
    """The job is chosen by a variable: any number of them, all at first."""
    variable = variables(dashboard).get("job", {})
    wanted = {"type": "query", "label": "Job", "multi": True, "includeAll": True, "allValue": ".+"}
    if any(variable.get(key) != value for key, value in wanted.items()):
        yield "job", f"expected {wanted}"


def template_on_time_change_reload(dashboard: Part) -> Problems:
    """What there is to choose from is asked anew for another range, of the chosen data source."""
    for name, variable in variables(dashboard).items():
        if variable["type"] == "query" and (variable["refresh"] != 2 or variable["datasource"] != SOURCE):
            yield name, "not asked anew, or of another data source"


def template_described(dashboard: Part) -> Problems:
    """Each variable has a label and says what it is."""
    for name, variable in variables(dashboard).items():
        if not variable.get("label") or len(variable.get("description", "")) < 10:
            yield name, "without label or description"


def template_used(dashboard: Part) -> Problems:
    """Each variable is used."""
    text = str({key: value for key, value in dashboard.items() if key != "templating"})
    for name in variables(dashboard):
        if not re.search(rf"\$\{{?{name}\b", text):
            yield name, "not used"


def panel_datasource(dashboard: Part) -> Problems:
    """Panels, queries and annotations ask the chosen data source, never one by its own id."""
    for panel in panels(dashboard):
        if any(part["datasource"] != SOURCE for part in (panel, *panel["targets"])):
            yield panel["title"], "another data source"
    for annotation in dashboard["annotations"]["list"]:
        if annotation["datasource"] != SOURCE:
            yield annotation["name"], "another data source"


def panel_title_description(dashboard: Part) -> Problems:
    """Each panel has a title of its own, and says what it answers, in a sentence."""
    titles = [panel["title"] for panel in panels(dashboard)]
    for panel in panels(dashboard):
        if not panel["title"] or titles.count(panel["title"]) > 1:
            yield panel["title"], "not a title of its own"
        if not re.fullmatch(r"[A-Z“].{20,}\.", panel.get("description", "")):
            yield panel["title"], "no description"


def panel_units(dashboard: Part) -> Problems:
    """Each panel has a unit."""
    for panel in panels(dashboard):
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield panel["title"], "no unit"


def panel_nothing(dashboard: Part) -> Problems:
    """Each panel says what it means that there is nothing to show."""
    for panel in panels(dashboard):
        if not panel["fieldConfig"]["defaults"].get("noValue"):
            yield panel["title"], "no text for nothing"


def panel_interval(dashboard: Part) -> Problems:
    """Each panel has a smallest interval."""
    for panel in panels(dashboard):
        if panel.get("interval") not in {"1m", "5m"}:
            yield panel["title"], "no interval"


def panel_legend(dashboard: Part) -> Problems:
    """Graphs name their series, in a legend that is shown."""
    for panel in panels(dashboard):
        if panel["type"] == "timeseries":
            legend, names = panel["options"]["legend"], {target["legendFormat"] for target in panel["targets"]}
            if not legend["showLegend"] or "__auto" in names or len(names) != len(panel["targets"]):
                yield panel["title"], "series without a name of their own"


def panel_no_targets(dashboard: Part) -> Problems:
    """Each panel asks something, no query twice, and stats, gauges and tables only once for the range."""
    for panel in panels(dashboard):
        expressions = [target["expr"] for target in panel["targets"]]
        if not expressions or len(set(expressions)) != len(expressions):
            yield panel["title"], "nothing asked, or one thing twice"
        if {target["instant"] for target in panel["targets"]} != {panel["type"] != "timeseries"}:
            yield panel["title"], "asked for the wrong kind of answer"


def target_promql(dashboard: Part) -> Problems:
    """Each query is PromQL."""
    for query in queries(dashboard):
        try:
            selectors(query.expression)
        except ValueError as error:
            yield query.panel, str(error)


def target_job(dashboard: Part) -> Problems:
    """Each selector of each query is of the chosen jobs."""
    for query in queries(dashboard):
        if any("job=~$job" not in selector.matchers for selector in selectors(query.expression)):
            yield query.panel, "not of the chosen jobs"


def target_counter_agg(dashboard: Part) -> Problems:
    """Counters are asked for what they rose by."""
    for query in queries(dashboard):
        for selector in selectors(query.expression):
            if re.search("_(total|bucket|sum|count)$", selector.metric) and not selector.window:
                yield query.panel, selector.metric


def target_rate_interval(dashboard: Part) -> Problems:
    """What an exporter's counters rose by is asked over $__rate_interval, so that there are samples enough."""
    for query in queries(dashboard):
        for selector in selectors(query.expression):
            if re.search("_(total|bucket|sum|count)$", selector.metric) and selector.window != "$__rate_interval":
                yield query.panel, f"{selector.metric}[{selector.window}]"


def target_replicas(dashboard: Part) -> Problems:
    """Failures are taken of the recorded totals: a sum over instances would count those of replicas twice."""
    for query in queries(dashboard):
        for selector in selectors(query.expression):
            if selector.metric.startswith("smtpeter_failures"):
                yield query.panel, selector.metric


def uneditable_dashboard(dashboard: Part) -> Problems:
    """What comes from files is not to be changed by hand."""
    if dashboard["editable"]:
        yield "dashboard", "can be changed"


def dashboard_frame(dashboard: Part) -> Problems:
    """Range, refresh, time zone and crosshair are those that one expects, and links keep range and choices."""
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
    """Alerts and restarts are marked."""
    annotations = {one["name"]: one["expr"] for one in dashboard["annotations"]["list"]}
    if [*annotations] != ["Alerts", "Restarts"]:
        yield "annotations", str([*annotations])
    for name, expression in annotations.items():
        if any("job=~$job" not in selector.matchers for selector in selectors(expression)):
            yield name, "not of the chosen jobs"


def grid(dashboard: Part) -> Problems:
    """Nothing overlaps, nothing stands outside, and nothing is too narrow to be read."""
    boxes = [(place.get("title", ""), place["gridPos"]) for place in places(dashboard)]
    for title, box in boxes:
        if box["x"] < 0 or box["x"] + box["w"] > 24 or box["w"] < 3:
            yield title, str(box)
    for (one, a), (other, b) in combinations(boxes, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        if not (beside or below):
            yield one, f"overlaps {other}"


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

# Rule and panel, and why the rule does not hold there.
EXCLUSIONS: Final = {
    (
        "target_rate_interval",
        "Rejected requests by reason",
    ): "a second selector chooses what occurred in the whole range",
    ("target_rate_interval", "Reasons by deciding step"): "a second selector chooses what occurred in the whole range",
    ("target_rate_interval", "Unclassified share"): "the alert looks at a day, and so does the panel",
}
# Of dashboard-linter's rules those are not here that are for what these dashboards don't have: Loki, a variable for the
# instance (totals are an account's, and replicas show the same), and Grafana's own alert rules.


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules_hold(rule: Rule) -> None:
    """The rule holds on both dashboards, but for exclusions, each of which is needed."""
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
def test_rules_can_be_broken(rule: Rule) -> None:
    """A dashboard that breaks the rule is found."""
    dashboard = load("failures")
    assert list(rule(dashboard)) == []
    BREAKS[rule.__name__](dashboard, next(panel for panel in panels(dashboard) if panel["type"] == "timeseries"))
    assert len(list(rule(dashboard))) >= 1
