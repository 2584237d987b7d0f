"""The dashboards as the tests see them: panels, their queries, and the values of variables."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import promql_parser

from tests.support.tree import ROOT

NAMES: Final = ("failures", "exporter")

Part = dict[str, Any]
"""A dashboard or a part of one, as JSON."""


def load(name: str) -> Part:
    """Load a dashboard by the name of its file."""
    found: Part = json.loads((ROOT / f"grafana/{name}.json").read_text())
    return found


def places(dashboard: Part) -> Iterator[Part]:
    """Yield everything on the dashboard, including rows and the panels in collapsed rows."""
    for part in dashboard["panels"]:
        yield part
        yield from part.get("panels", ())


def panels(dashboard: Part) -> list[Part]:
    """Return the panels, without rows."""
    return [part for part in places(dashboard) if part["type"] != "row"]


class Query(NamedTuple):
    """A query of a panel."""

    panel: str
    ref: str
    expression: str


def queries(dashboard: Part) -> list[Query]:
    """Return all queries of all panels."""
    return [
        Query(panel["title"], target["refId"], target["expr"])
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def filled(expression: str, values: Mapping[str, str]) -> str:
    """Return the expression with the values of variables, as Grafana interpolates them."""
    return re.sub(r"\$(?:\{([a-z_]+)\}|([a-z_]+))", lambda match: values[match[1] or match[2]], expression)


class Selector(NamedTuple):
    """A selector of series: its metric, its matchers as written, and its range."""

    metric: str
    matchers: frozenset[str]
    window: str


_OPERATORS: Final = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_WINDOWS: Final = {"__interval": 3_001, "__rate_interval": 3_002, "__range": 3_003}  # seconds that no query uses


def selectors(expression: str) -> list[Selector]:
    """Return all selectors of an expression with variables. Raise ValueError if it is not valid PromQL."""
    found: list[Selector] = []
    windows: list[str] = []
    names = {seconds: f"${name}" for name, seconds in _WINDOWS.items()}

    def visit(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.MatrixSelector):  # visited just before its selector
            seconds = int(part.range.total_seconds())
            windows.append(names.get(seconds, f"{seconds}s"))
        elif isinstance(part, promql_parser.VectorSelector):
            matchers = (f"{each.name}{_OPERATORS[str(each.op)]}{each.value}" for each in part.matchers.matchers)
            found.append(Selector(part.name or "", frozenset(matchers), windows.pop() if windows else ""))

    values = {name: f"{seconds}s" for name, seconds in _WINDOWS.items()} | {"job": "$job", "reason": "$reason"}
    promql_parser.walk(promql_parser.parse(filled(expression, values)), visit)
    return found
