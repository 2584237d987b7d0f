"""The dashboards' files: what the code makes, what Grafana reads, and what the documentation says of them."""

import copy
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from jsonschema import Draft7Validator

from exporter.classification.labels import STATES
from exporter.classification.reason import REASONS
from exporter.classification.status_codes import REGISTRY, VENDOR, meaning
from exporter.metrics.telemetry import Telemetry
from tests.support.grafana import NAMES, Part, load, panels, places, queries, selectors
from tests.support.tree import ROOT

with warnings.catch_warnings():
    # It says to prefer another form, which Grafana reads from files only since 13.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

GRAFANA: Final = ROOT / "grafana"
RULES: Final = ROOT / "deploy/prometheus/rules.yaml"
PAGE: Final = (ROOT / "docs/dashboards.md").read_text()

# What Grafana reads but its types don't have.
BEYOND_THE_TYPES: Final = {
    "AnnotationQuery": "expr step tagKeys textFormat titleFormat",  # the Prometheus data source's own
}
each_dashboard: Final = pytest.mark.parametrize("name", NAMES)


def make(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run what makes the dashboards."""
    return subprocess.run(
        [sys.executable, GRAFANA / "make_dashboards.py", *flags], capture_output=True, text=True, check=False
    )


def test_the_files_are_what_the_code_makes(tmp_path: Path) -> None:
    """The committed files are up to date, ``--check`` says which is not, and limits come from thresholds.toml."""
    assert make("--check").returncode == 0
    thresholds = (ROOT / "deploy/prometheus/thresholds.toml").read_text()
    (tmp_path / "thresholds.toml").write_text(thresholds.replace("floor = 15\n", "floor = 321\n", 1))
    flags = ["--thresholds", str(tmp_path / "thresholds.toml"), "--out", str(tmp_path)]
    assert make(*flags).returncode == 0
    assert ", 321))" in (tmp_path / "failures.json").read_text()
    (tmp_path / "failures.json").write_text("{}")
    checked = make(*flags, "--check")
    assert (checked.returncode, checked.stderr) == (
        1,
        f"{tmp_path / 'failures.json'}: out of date; run make dashboards\n",
    )


@each_dashboard
def test_the_sdk_reads_what_it_wrote(name: str) -> None:
    """Read into the SDK's types and written again, nothing is lost, and nothing new but what is left out on purpose."""
    register_default_plugins()
    before = load(name)
    after = json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(before))))
    assert set(_differences(before, after, "")) <= {
        "templating.auto",
        "templating.auto_count",
        "templating.auto_min",
        "panels.options.footer",
        "panels.panels.options.footer",
        "links.placement",
        "annotations.placement",
    }


def _differences(before: Any, after: Any, where: str) -> Iterator[str]:
    """Where the two are not the same; the places of lists are not told apart."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            inner = f"{where}.{key}".removeprefix(".").replace("list.", "").removesuffix(".list")
            if key in before and key in after:
                yield from _differences(before[key], after[key], inner)
            else:
                yield inner
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from _differences(one, other, where)
    elif before != after:
        yield where


@cache
def validator(file: str, definition: str, *, whole: bool = True) -> Draft7Validator:
    """For one of Grafana's types, or for a part of what has it."""
    schema = json.loads((ROOT / f"tests/support/grafana/{file}.json").read_text())
    for name, extra in BEYOND_THE_TYPES.items():
        if name in schema["definitions"]:
            schema["definitions"][name]["properties"] |= {each: {} for each in extra.split()}
    if not whole:
        schema["definitions"][definition].pop("required", None)
    return Draft7Validator({"$ref": f"#/definitions/{definition}", "definitions": schema["definitions"]})


def invalid(dashboard: Part) -> Iterator[str]:
    """What Grafana's types don't allow: in the dashboard, and in the options of each kind of panel."""
    yield from (
        f"{error.json_path}: {error.message}" for error in validator("dashboard", "Dashboard").iter_errors(dashboard)
    )
    for panel in panels(dashboard):
        kind, config = panel["type"], panel["fieldConfig"]
        for error in validator(kind, "Options").iter_errors(panel["options"]):
            yield f"{panel['title']}: {error.json_path}: {error.message}"
        if "custom" in config["defaults"]:
            for error in validator(kind, "FieldConfig").iter_errors(config["defaults"]["custom"]):
                yield f"{panel['title']}: custom: {error.message}"
        for changed in (one for override in config["overrides"] for one in override["properties"]):
            name = changed["id"].removeprefix("custom.")
            file = kind if name != changed["id"] else "dashboard"
            errors = validator(file, "FieldConfig", whole=False).iter_errors({name: changed["value"]})
            yield from (f"{panel['title']}: override {changed['id']}: {error.message}" for error in errors)


@each_dashboard
def test_grafana_s_types_allow_it(name: str) -> None:
    """Dashboard, options, field configuration and overrides are as the types of @grafana/schema say."""
    assert list(invalid(load(name))) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda board, _: board.update(refresh=60), "$.refresh: 60 is not of type 'string'"),
        (
            lambda _, panel: panel["options"].update(legned={}),
            "$: Additional properties are not allowed ('legned' was unexpected)",
        ),
        (lambda _, panel: panel["options"].pop("legend"), "'legend' is a required property"),
        (
            lambda _, panel: panel["fieldConfig"]["defaults"]["custom"].update(drawStyle="bar"),
            "custom: 'bar' is not one of ['bars', 'line', 'points']",
        ),
        (
            lambda _, panel: panel["fieldConfig"]["overrides"][0]["properties"].append(
                {"id": "custom.lineWidth", "value": "2"}
            ),
            "override custom.lineWidth: '2' is not of type 'number'",
        ),
        (
            lambda _, panel: panel["fieldConfig"]["overrides"][0]["properties"].append(
                {"id": "colour", "value": "red"}
            ),
            "override colour: Additional properties are not allowed ('colour' was unexpected)",
        ),
    ],
    ids=["dashboard", "option", "missing", "custom", "override", "unheard of"],
)
def test_what_is_wrong_is_found(change: Callable[[Part, Part], object], told: str) -> None:
    """A dashboard, a panel's option and an override that Grafana would not take are told of."""
    dashboard = load("failures")
    change(dashboard, next(panel for panel in panels(dashboard) if panel["type"] == "timeseries"))
    found = list(invalid(dashboard))
    assert len(found) == 1
    assert found[0].endswith(told)


def exposed() -> set[str]:
    """The exporter's metrics, those of the process included; a histogram by its name."""
    reference = re.findall(r"^\| `(smtpeter_\w+)` \|", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    process = {sample.name for family in Telemetry().registry.collect() for sample in family.samples}
    return {*reference, *(name for name in process if name.startswith("process_"))}


def recorded() -> dict[str, set[str]]:
    """The recorded series, and the exporter's metrics that each is made of."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    made_of = {rule["record"]: {one.metric for one in selectors(rule["expr"])} for rule in rules}
    for _ in made_of:
        made_of = {
            name: {raw for metric in metrics for raw in (made_of[metric] - {name} if metric in made_of else {metric})}
            for name, metrics in made_of.items()
        }
    return made_of


def shown() -> set[str]:
    """The metrics that panels ask for; of a histogram's parts its name."""
    return {
        re.sub(r"^(smtpeter_exporter_\w+)_(bucket|sum|count)$", r"\1", selector.metric)
        for name in NAMES
        for query in queries(load(name))
        for selector in selectors(query.expression)
    }


def test_metrics_in_panels_exist() -> None:
    """Each metric that a panel asks for is exposed by the exporter, recorded by the rules, or Prometheus's own."""
    assert shown() - exposed() - recorded().keys() == {"ALERTS", "up"}


def test_metrics_of_the_exporter_are_shown() -> None:
    """Each metric of the exporter is in a panel, itself or recorded, or docs/dashboards.md says why it is not."""
    made_of = recorded()
    through_rules = {raw for metric in shown() & made_of.keys() for raw in made_of[metric]}
    _, _, section = PAGE.partition("## Metrics that are not shown")
    not_shown = re.findall(r"^- `(\w+)`: \S", section, re.MULTILINE)
    assert exposed() - shown() - through_rules == set(not_shown)


@each_dashboard
def test_each_panel_is_in_the_documentation(name: str) -> None:
    """docs/dashboards.md says of each panel what it answers, in the order in which they stand."""
    _, _, section = PAGE.partition(f"## SMTPeter / {name.title()}\n")
    rows = re.findall(r"^\| \*([^*]+)\* \|", section.partition("\n## ")[0], re.MULTILINE)
    assert rows == [panel["title"] for panel in panels(load(name))]


def test_each_state_is_in_one_stage() -> None:
    """The stages of the conversation are in their order, and each state is in one of them."""
    panel = next(panel for panel in panels(load("failures")) if panel["type"] == "bargauge")
    matchers = [next(iter(selectors(target["expr"]))).matchers for target in panel["targets"]]
    stages = [matcher.removeprefix("state=~") for found in matchers for matcher in found if matcher.startswith("state")]
    assert sorted(state for stage in stages for state in stage.split("|")) == sorted({*STATES, "other", "none"})
    assert [target["legendFormat"] for target in panel["targets"]] == [
        *("1 platform", "2 connection", "3 session", "4 mailfrom", "5 rcptto", "6 message", "7 bounce", "unknown")
    ]


def test_each_reason_has_its_colour() -> None:
    """A reason has one colour, no two have the same, and it is that colour in each panel by reason."""
    by_title = {panel["title"]: panel for panel in panels(load("failures"))}
    colors = _colors(by_title["Failures by reason"], "{}")
    assert len(set(colors.values())) == len(REASONS)
    assert colors == _colors(by_title["Spikes: 15 minutes against the alert threshold"], "/^{}(:|$)/")


def _colors(panel: Part, name: str) -> dict[str, str]:
    found = {one["matcher"]["options"]: one["properties"][0]["value"] for one in panel["fieldConfig"]["overrides"]}
    return {reason: found[name.format(reason)]["fixedColor"] for reason in REASONS}


def test_statuses_are_told_in_words() -> None:
    """The column of meanings has for each status that the exporter may show the words of the registry or the vendor."""
    panel = next(panel for panel in panels(load("failures")) if panel["title"] == "Failures by status")
    overrides = {one["matcher"]["options"]: one["properties"] for one in panel["fieldConfig"]["overrides"]}
    mappings = next(one["value"] for one in overrides["meaning"] if one["id"] == "mappings")
    codes = [*VENDOR, *(f"{first}.{rest}" for first in "245" for rest in REGISTRY), "5.7.x", "4.x.x", "none", "invalid"]
    assert {code: _mapped(code, mappings) for code in codes} == {code: meaning(code) for code in codes}


def _mapped(value: str, mappings: list[Part]) -> str:
    """What Grafana puts in place of the value."""
    for mapping in mappings:
        options = mapping["options"]
        if mapping["type"] == "value" and value in options:
            return str(options[value]["text"])
        if mapping["type"] == "regex" and re.search(options["pattern"].strip("/"), value):
            return str(options["result"]["text"])
    return value


def links(part: Part | list[Part]) -> Iterator[tuple[str, str]]:
    """The title and URL of each link: of the dashboard, of its panels, and of their values."""
    for inner in part.values() if isinstance(part, dict) else part:
        if isinstance(inner, dict | list):
            yield from links(inner)
    if isinstance(part, dict) and "url" in part and part.get("type", "link") == "link":
        yield part["title"], part["url"]


ALONE: Final = (
    "Only this reason",
    "/d/smtpeter-failures?${__url_time_range}&${datasource:queryparam}&${job:queryparam}&var-reason=${__value.text}",
)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    """The dashboards as they are made when ``links.docs`` is set."""
    folder = tmp_path_factory.mktemp("linked")
    thresholds = (ROOT / "deploy/prometheus/thresholds.toml").read_text()
    (folder / "mine.toml").write_text(thresholds.replace('docs = ""', 'docs = "https://git.example.com/docs"'))
    assert make("--thresholds", str(folder / "mine.toml"), "--out", str(folder)).returncode == 0
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}


def test_without_documentation_nothing_links_to_it() -> None:
    """As shipped, the dashboards have no link to the documentation, no variable for it, and no text about one."""
    shipped = {name: load(name) for name in NAMES}
    assert {name: list(links(board)) for name, board in shipped.items()} == {"failures": [ALONE], "exporter": []}
    variables = {name: [one["name"] for one in board["templating"]["list"]] for name, board in shipped.items()}
    assert variables == {"failures": ["datasource", "job", "reason"], "exporter": ["datasource", "job"]}
    assert clicks(shipped["failures"]) == {"Reasons": "A click on a reason shows only that reason."}


def clicks(dashboard: Part) -> dict[str, str]:
    """What the descriptions of panels say that a click does."""
    said = {panel["title"]: re.findall(r"[^.]*\bclick\b[^.]*\.", panel["description"]) for panel in panels(dashboard)}
    return {title: sentence.strip() for title, sentences in said.items() for sentence in sentences}


def test_with_documentation_there_are_links_to_it(linked: dict[str, Part]) -> None:
    """With its URL set there are links on the dashboards and in their panels, and texts tell of them."""
    pages = [("Reasons", "${docs}/reasons/README.md"), ("Runbooks", "${docs}/runbooks/README.md")]
    assert {name: sorted(links(board)) for name, board in linked.items()} == {
        "failures": sorted(
            [
                *pages,
                ("Runbook", "${docs}/runbooks/${__field.labels.alertname}.md"),
                ("What it means, and what to do", "${docs}/reasons/${__field.labels.reason}.md"),
                ("What it means, and what to do", "${docs}/reasons/${__value.text}.md"),
                ("How a reason is determined", "${docs}/reasons/README.md"),
                ALONE,
            ]
        ),
        "exporter": pages,
    }
    for board in linked.values():
        assert board["templating"]["list"][-1] == {
            "name": "docs",
            "type": "constant",
            "label": "Documentation",
            "description": "URL of the project's directory docs/, for links to the documentation.",
            "query": "https://git.example.com/docs",
            "hide": 2,
            "allowCustomValue": True,
            "includeAll": False,
            "multi": False,
            "skipUrlSync": False,
        }
    assert clicks(linked["failures"]) == {
        "Alerts firing": "A click opens the runbook.",
        "Reasons": "A click on a reason explains what it means and what to do, or shows only that reason.",
        "Top combinations": "The columns can be filtered; a click on a status explains how reasons are determined.",
    }


def test_links_lead_to_pages(linked: dict[str, Part]) -> None:
    """Links into the documentation lead to files that exist, whichever reason or alert they are for."""
    found = {url.removeprefix("${docs}/") for _, url in links([*linked.values()]) if url.startswith("${docs}/")}
    alerts = {path.stem for path in (ROOT / "docs/runbooks").glob("SMTPeter*.md")}
    values = {
        "${__field.labels.reason}": REASONS,
        "${__value.text}": REASONS,
        "${__field.labels.alertname}": alerts,
    }
    pages = {page.replace(name, value) for page in found for name in values for value in values[name] if name in page}
    pages |= {page for page in found if "$" not in page}
    assert len(pages) == len(REASONS) + len(alerts) + 2
    assert [page for page in sorted(pages) if not (ROOT / "docs" / page).exists()] == []


def test_files_that_load_them_fit() -> None:
    """Provisioning and kustomization name files that exist, with the label that Grafana's sidecar looks for."""
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/smtpeter.yaml").read_text())["providers"]
    assert provider["options"]["path"] in (ROOT / "docs/how-to/grafana.md").read_text()
    (generated,) = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"]
    assert generated["files"] == [f"{name}.json" for name in NAMES]
    assert generated["options"]["labels"] == {"grafana_dashboard": "1"}
    # A config map may have 1 MiB.
    assert sum((GRAFANA / name).stat().st_size for name in generated["files"]) < 500_000
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"


def test_ids_stay() -> None:
    """Panels have ids of their own, so that links to a panel stay right when the files are made anew."""
    for name in NAMES:
        ids = [place["id"] for place in places(load(name))]
        assert ids == sorted(set(ids))
