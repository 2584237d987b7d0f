"""The dashboards as the tests see them: panels, what they ask, and what Grafana puts in place of its variables."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import promql_parser

from tests.support.tree import ROOT

NAMES: Final = ("failures", "exporter")

Part = dict[str, Any]
"""A dashboard or a part of one, as JSON has it."""


def load(name: str) -> Part:
    """The dashboard in the file of that name."""
    found: Part = json.loads((ROOT / f"grafana/{name}.json").read_text())
    return found


def places(dashboard: Part) -> Iterator[Part]:
    """What stands on the dashboard, headings and what is folded below them included."""
    for part in dashboard["panels"]:
        yield part
        yield from part.get("panels", ())


def panels(dashboard: Part) -> list[Part]:
    """The panels, without headings."""
    return [part for part in places(dashboard) if part["type"] != "row"]


class Question(NamedTuple):
    """What one query of one panel asks."""

    panel: str
    ref: str
    expression: str


def questions(dashboard: Part) -> list[Question]:
    """All queries of all panels."""
    return [
        Question(panel["title"], target["refId"], target["expr"])
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def filled(expression: str, values: Mapping[str, str]) -> str:
    """The expression with the values of variables in it, as Grafana puts them there."""
    return re.sub(r"\$(?:\{([a-z_]+)\}|([a-z_]+))", lambda match: values[match[1] or match[2]], expression)


class Selector(NamedTuple):
    """A selector of series: its metric, its matchers as written, and what stands in brackets after it."""

    metric: str
    matchers: frozenset[str]
    window: str


_OPERATORS: Final = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_WINDOWS: Final = {"__interval": 3_001, "__rate_interval": 3_002, "__range": 3_003}  # like nothing that is written


def selectors(expression: str) -> list[Selector]:
    """All selectors of an expression, with variables in it. Raises ValueError when it is no PromQL."""
    found: list[Selector] = []
    windows: list[str] = []
    names = {seconds: f"${name}" for name, seconds in _WINDOWS.items()}

    def visit(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.MatrixSelector):  # its selector comes next
            seconds = int(part.range.total_seconds())
            windows.append(names.get(seconds, f"{seconds}s"))
        elif isinstance(part, promql_parser.VectorSelector):
            matchers = (f"{one.name}{_OPERATORS[str(one.op)]}{one.value}" for one in part.matchers.matchers)
            found.append(Selector(part.name or "", frozenset(matchers), windows.pop() if windows else ""))

    values = {name: f"{seconds}s" for name, seconds in _WINDOWS.items()} | {"job": "$job", "reason": "$reason"}
    promql_parser.walk(promql_parser.parse(filled(expression, values)), visit)
    return found
