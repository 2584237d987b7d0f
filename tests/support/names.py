"""The names that documentation, dashboards and rules may use: metrics, alerts, settings and thresholds."""

import re
import tomllib
from typing import Any, Final

import promql_parser
import yaml

from exporter.settings.setting import ENVIRONMENT_PREFIX
from exporter.settings.table import SETTINGS
from tests.support.documentation import PAGES
from tests.support.tree import ROOT


def _rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS: Final = _rules("alerts.yaml")
RECORDED: Final = frozenset(rule["record"] for rule in _rules("rules.yaml"))
THRESHOLDS: Final[dict[str, Any]] = tomllib.loads((ROOT / "deploy/prometheus/thresholds.toml").read_text())
EXPOSED: Final = dict(re.findall(r"^\| `(smtpeter_\w+)` \| (\w+)", PAGES["docs/reference.md"], re.MULTILINE))
"""The type of each of the exporter's metrics, by name."""
SETTING_NAMES: Final = frozenset(setting.name for setting in SETTINGS) | {"config.file"}
VARIABLES: Final = frozenset(setting.variable for setting in SETTINGS) | {f"{ENVIRONMENT_PREFIX}CONFIG_FILE"}


def known_metrics() -> set[str]:
    """Return the metrics that can be queried: the exporter's, the recorded series, and ``up``."""
    parts = {f"{name}_{part}" for name, kind in EXPOSED.items() if kind == "histogram" for part in _PARTS}
    return {name for name, kind in EXPOSED.items() if kind != "histogram"} | parts | {*RECORDED, "up"}


_PARTS: Final = ("bucket", "sum", "count")


def metrics_in(query: str) -> set[str]:
    """Return the metrics in a query. Raise ValueError if it is not valid PromQL."""
    names = set()

    def visit(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.MatrixSelector):
            part = part.vector_selector
        if isinstance(part, promql_parser.VectorSelector):
            names.add(part.name or "")

    promql_parser.walk(promql_parser.parse(query), visit)
    return names


def threshold(name: str) -> object:
    """Return the value of ``table.key`` in thresholds.toml. Raise KeyError if there is none."""
    value: Any = THRESHOLDS
    for key in name.split("."):
        value = value[key]
    return value
