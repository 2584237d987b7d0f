"""The files of the dashboards: they are up to date, valid for Grafana, and described in the documentation."""

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
from exporter.classification.status_codes import REGISTRY, VENDOR_MEANINGS, meaning
from exporter.metrics.telemetry import Telemetry
from tests.support.grafana import NAMES, Part, load, panels, places, queries, selectors
from tests.support.texts import Texts
from tests.support.tree import ROOT, files

with warnings.catch_warnings():
    # It recommends a newer format, which Grafana reads from files only since version 13.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

GRAFANA: Final = ROOT / "grafana"
RULES: Final = ROOT / "deploy/prometheus/rules.yaml"
PAGE: Final = (ROOT / "docs/dashboards.md").read_text()

# Fields that Grafana accepts but that are missing in its types.
BEYOND_THE_TYPES: Final = {
    "AnnotationQuery": "expr step tagKeys textFormat titleFormat",  # of the Prometheus data source
}
each_dashboard: Final = pytest.mark.parametrize("name", NAMES)


def make(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run the generator of the dashboards."""
    return subprocess.run(
        [sys.executable, GRAFANA / "make_dashboards.py", *flags], capture_output=True, text=True, check=False
    )


def test_the_files_are_up_to_date(tmp_path: Path) -> None:
    """The files are up to date, ``--check`` names a file that is not, and limits come from thresholds.toml."""
    assert make("--check").returncode == 0
    thresholds = (ROOT / "deploy/prometheus/thresholds.toml").read_text()
    (tmp_path / "thresholds.toml").write_text(thresholds.replace("floor = 15\n", "floor = 321\n", 1))
    flags = ["--thresholds", str(tmp_path / "thresholds.toml"), "--out", str(tmp_path)]
    assert make(*flags).returncode == 0
    assert ", 321))" in (tmp_path / "failures.json").read_text()
    (tmp_path / "failures.json").write_text("{}")
    checked = make(*flags, "--check")
    assert checked.returncode == 1
    assert checked.stderr.startswith(f"{tmp_path / 'failures.json'}: ")
    assert len(checked.stderr.splitlines()) == 1


@each_dashboard
def test_the_sdk_reads_the_files(name: str) -> None:
    """The SDK reads the files and writes them again unchanged, except for fields that are left out on purpose."""
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
    """Yield the paths at which the two differ, without the indexes of lists."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            inner = f"{where}.{key}".removeprefix(".").replace("list.", "").removesuffix(".list")
            if key in before and key in after:
                yield from _differences(before[key], after[key], inner)
            else:
                yield inner
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for first, second in zip(before, after, strict=True):
            yield from _differences(first, second, where)
    elif before != after:
        yield where


@cache
def validator(file: str, definition: str, *, whole: bool = True) -> Draft7Validator:
    """Return a validator for one of Grafana's types; unless ``whole``, no field is required."""
    schema = json.loads((ROOT / f"tests/support/grafana/{file}.json").read_text())
    for name, extra in BEYOND_THE_TYPES.items():
        if name in schema["definitions"]:
            schema["definitions"][name]["properties"] |= {each: {} for each in extra.split()}
    if not whole:
        schema["definitions"][definition].pop("required", None)
    return Draft7Validator({"$ref": f"#/definitions/{definition}", "definitions": schema["definitions"]})


def invalid(dashboard: Part) -> Iterator[str]:
    """Yield what Grafana's types do not allow, in the dashboard and in the options of each panel."""
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
        for changed in (each for override in config["overrides"] for each in override["properties"]):
            name = changed["id"].removeprefix("custom.")
            file = kind if name != changed["id"] else "dashboard"
            errors = validator(file, "FieldConfig", whole=False).iter_errors({name: changed["value"]})
            yield from (f"{panel['title']}: override {changed['id']}: {error.message}" for error in errors)


@each_dashboard
def test_the_dashboards_are_valid(name: str) -> None:
    """Dashboard, options, field configuration and overrides match the types of @grafana/schema."""
    assert list(invalid(load(name))) == []


@pytest.mark.parametrize(
    ("change", "error"),
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
    ids=["dashboard", "option", "missing", "custom", "override", "unknown"],
)
def test_mistakes_are_found(change: Callable[[Part, Part], object], error: str) -> None:
    """Mistakes in a dashboard, in a panel's options and in an override are found."""
    dashboard = load("failures")
    change(dashboard, next(panel for panel in panels(dashboard) if panel["type"] == "timeseries"))
    found = list(invalid(dashboard))
    assert len(found) == 1
    assert found[0].endswith(error)


def exposed() -> set[str]:
    """Return the exporter's metrics, including those of its process; a histogram has one name."""
    reference = re.findall(r"^\| `(smtpeter_\w+)` \|", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    process = {sample.name for family in Telemetry().registry.collect() for sample in family.samples}
    return {*reference, *(name for name in process if name.startswith("process_"))}


def recorded() -> dict[str, set[str]]:
    """Return the recorded series, each with the exporter's metrics that it is computed from."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    made_of = {rule["record"]: {selector.metric for selector in selectors(rule["expr"])} for rule in rules}
    for _ in made_of:
        made_of = {
            name: {raw for metric in metrics for raw in (made_of[metric] - {name} if metric in made_of else {metric})}
            for name, metrics in made_of.items()
        }
    return made_of


def shown() -> set[str]:
    """Return the metrics in panels; the parts of a histogram have one name."""
    return {
        re.sub(r"^(smtpeter_exporter_\w+)_(bucket|sum|count)$", r"\1", selector.metric)
        for name in NAMES
        for query in queries(load(name))
        for selector in selectors(query.expression)
    }


def test_metrics_in_panels_exist() -> None:
    """Each metric in a panel comes from the exporter, from the rules, or from Prometheus itself."""
    assert shown() - exposed() - recorded().keys() == {"ALERTS", "up"}


def test_metrics_of_the_exporter_are_shown() -> None:
    """Each metric of the exporter is in a panel, directly or through the rules, or docs/dashboards.md says why not."""
    made_of = recorded()
    through_rules = {raw for metric in shown() & made_of.keys() for raw in made_of[metric]}
    _, _, section = PAGE.partition("## Metrics that are not shown")
    not_shown = re.findall(r"^- `(\w+)`: \S", section, re.MULTILINE)
    assert exposed() - shown() - through_rules == set(not_shown)


@each_dashboard
def test_each_panel_is_in_the_documentation(name: str) -> None:
    """docs/dashboards.md lists the panels in their order."""
    _, _, section = PAGE.partition(f"## SMTPeter / {name.title()}\n")
    rows = re.findall(r"^\| \*([^*]+)\* \|", section.partition("\n## ")[0], re.MULTILINE)
    assert rows == [panel["title"] for panel in panels(load(name))]


def test_each_state_is_in_one_stage() -> None:
    """The stages of the SMTP conversation are in order, and each state is in one stage."""
    panel = next(panel for panel in panels(load("failures")) if panel["type"] == "bargauge")
    matchers = [next(iter(selectors(target["expr"]))).matchers for target in panel["targets"]]
    stages = [matcher.removeprefix("state=~") for found in matchers for matcher in found if matcher.startswith("state")]
    assert sorted(state for stage in stages for state in stage.split("|")) == sorted({*STATES, "other", "none"})
    assert [target["legendFormat"] for target in panel["targets"]] == [
        *("1 platform", "2 connection", "3 session", "4 mailfrom", "5 rcptto", "6 message", "7 bounce", "unknown")
    ]


def test_each_reason_has_its_own_color() -> None:
    """Each reason has a different color, which is the same in all panels."""
    by_title = {panel["title"]: panel for panel in panels(load("failures"))}
    colors = _colors(by_title["Failures by reason"], "{}")
    assert len(set(colors.values())) == len(REASONS)
    assert colors == _colors(by_title["Spikes: 15 minutes against the alert threshold"], "/^{}(:|$)/")


def _colors(panel: Part, name: str) -> dict[str, str]:
    found = {each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
    return {reason: found[name.format(reason)]["fixedColor"] for reason in REASONS}


def test_statuses_have_meanings() -> None:
    """The column of meanings has the text of the registry or the vendor for each status."""
    panel = next(panel for panel in panels(load("failures")) if panel["title"] == "Failures by status")
    overrides = {each["matcher"]["options"]: each["properties"] for each in panel["fieldConfig"]["overrides"]}
    mappings = next(each["value"] for each in overrides["meaning"] if each["id"] == "mappings")
    codes = [
        *VENDOR_MEANINGS,
        *(f"{first}.{rest}" for first in "245" for rest in REGISTRY),
        "5.7.x",
        "4.x.x",
        "none",
        "invalid",
    ]
    assert {code: _mapped(code, mappings) for code in codes} == {code: meaning(code) for code in codes}


def _mapped(value: str, mappings: list[Part]) -> str:
    """Return what Grafana shows instead of the value."""
    for mapping in mappings:
        options = mapping["options"]
        if mapping["type"] == "value" and value in options:
            return str(options[value]["text"])
        if mapping["type"] == "regex" and re.search(options["pattern"].strip("/"), value):
            return str(options["result"]["text"])
    return value


def links(part: Part | list[Part]) -> Iterator[tuple[str, str]]:
    """Yield the title and URL of each link of the dashboard, its panels and their values."""
    for inner in part.values() if isinstance(part, dict) else part:
        if isinstance(inner, dict | list):
            yield from links(inner)
    if isinstance(part, dict) and "url" in part and part.get("type", "link") == "link":
        yield part["title"], part["url"]


ONLY_THIS_REASON: Final = (
    "/d/smtpeter-failures?${__url_time_range}&${datasource:queryparam}&${job:queryparam}&var-reason=${__value.text}"
)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    """Generate the dashboards with ``links.docs`` set."""
    directory = tmp_path_factory.mktemp("linked")
    thresholds = (ROOT / "deploy/prometheus/thresholds.toml").read_text()
    (directory / "mine.toml").write_text(thresholds.replace('docs = ""', 'docs = "https://git.example.com/docs"'))
    assert make("--thresholds", str(directory / "mine.toml"), "--out", str(directory)).returncode == 0
    return {name: json.loads((directory / f"{name}.json").read_text()) for name in NAMES}


def test_the_shipped_dashboards_have_no_links_to_the_documentation() -> None:
    """As shipped, the dashboards have no link to the documentation, no variable for it, and no text about it."""
    shipped = {name: load(name) for name in NAMES}
    found = {name: [url for _, url in links(board)] for name, board in shipped.items()}
    assert found == {"failures": [ONLY_THIS_REASON], "exporter": []}
    variables = {name: [each["name"] for each in board["templating"]["list"]] for name, board in shipped.items()}
    assert variables == {"failures": ["datasource", "job", "reason"], "exporter": ["datasource", "job"]}
    assert clicks(shipped["failures"]).keys() == {"Reasons"}


def clicks(dashboard: Part) -> dict[str, str]:
    """Return what the panels' descriptions say about clicks, by title."""
    said = {panel["title"]: re.findall(r"[^.]*\bclick\b[^.]*\.", panel["description"]) for panel in panels(dashboard)}
    return {title: sentence.strip() for title, sentences in said.items() for sentence in sentences}


def test_dashboards_link_to_the_documentation(linked: dict[str, Part], texts: Texts) -> None:
    """With the URL of the documentation set, dashboards and panels link to it, and descriptions mention the links."""
    pages = ["${docs}/reasons/README.md", "${docs}/runbooks/README.md"]
    assert {name: sorted(url for _, url in links(board)) for name, board in linked.items()} == {
        "failures": sorted(
            [
                *pages,
                "${docs}/runbooks/${__field.labels.alertname}.md",
                "${docs}/reasons/${__field.labels.reason}.md",
                "${docs}/reasons/${__value.text}.md",
                "${docs}/reasons/README.md",
                ONLY_THIS_REASON,
            ]
        ),
        "exporter": pages,
    }
    for title, _ in links([*linked.values()]):
        texts.check(title)
    for board in linked.values():
        variable = board["templating"]["list"][-1]
        texts.check(variable.pop("description"))
        assert variable == {
            "name": "docs",
            "type": "constant",
            "label": "Documentation",
            "query": "https://git.example.com/docs",
            "hide": 2,
            "allowCustomValue": True,
            "includeAll": False,
            "multi": False,
            "skipUrlSync": False,
        }
    assert clicks(linked["failures"]).keys() == {"Alerts firing", "Reasons", "Top combinations"}
    for sentence in clicks(linked["failures"]).values():
        texts.check(sentence)


def test_links_to_the_documentation_work(linked: dict[str, Part]) -> None:
    """Links to the documentation lead to existing files, for each reason and each alert."""
    found = {url.removeprefix("${docs}/") for _, url in links([*linked.values()]) if url.startswith("${docs}/")}
    alerts = {Path(name).stem for name in files("docs/runbooks")} - {"README"}
    values = {
        "${__field.labels.reason}": REASONS,
        "${__value.text}": REASONS,
        "${__field.labels.alertname}": alerts,
    }
    pages = {page.replace(name, value) for page in found for name in values for value in values[name] if name in page}
    pages |= {page for page in found if "$" not in page}
    assert len(pages) == len(REASONS) + len(alerts) + 2
    assert [page for page in sorted(pages) if not (ROOT / "docs" / page).exists()] == []


def test_provisioning_and_kustomization_load_the_dashboards() -> None:
    """Provisioning and kustomization name existing files, with the label that Grafana's sidecar looks for."""
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/smtpeter.yaml").read_text())["providers"]
    assert provider["options"]["path"] in (ROOT / "docs/how-to/grafana.md").read_text()
    (generated,) = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"]
    assert generated["files"] == [f"{name}.json" for name in NAMES]
    assert generated["options"]["labels"] == {"grafana_dashboard": "1"}
    # The limit of a config map is 1 MiB.
    assert sum((GRAFANA / name).stat().st_size for name in generated["files"]) < 500_000
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"


def test_panels_have_fixed_ids() -> None:
    """Each panel has its own id, so that links to a panel still work after the files are generated again."""
    for name in NAMES:
        ids = [place["id"] for place in places(load(name))]
        assert ids == sorted(set(ids))
