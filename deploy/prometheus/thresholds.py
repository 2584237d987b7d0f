"""Read and check thresholds.toml."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from exporter.classification.reason import REASONS

Thresholds = Mapping[str, Any]
Shape = Mapping[str, Any]
"""By key: a nested shape, or a function that raises ValueError, with what was expected, if it rejects the value."""


def _number(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError("a number of 0 or more")


def _duration(value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"([0-9]+[smhd])+", value):
        raise ValueError("a duration such as 5m")


def _url(value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"(https?://[^\s\"{}<>]+[^\s\"{}<>/])?", value):
        raise ValueError('a URL such as https://grafana.example.com, without / at its end, or "" for none')


def _pattern(value: object) -> None:
    if not isinstance(value, str) or not value or re.search(r"[\"\\\n]", value):
        raise ValueError("a regular expression without quotes and backslashes")


def _list(what: str, fits: Callable[[str], object]) -> Callable[[object], None]:
    def read(value: object) -> None:
        if not isinstance(value, list) or not value or not all(isinstance(one, str) and fits(one) for one in value):
            raise ValueError(f"a list of {what}")

    return read


_LIMITS: Final = {"floor": _number, "factor": _number, "deviations": _number}
_TIMED: Final = _LIMITS | {"for": _duration}
_SHAPE: Final = {
    "links": {"grafana": _url, "docs": _url},
    "exporters": {
        "job": _pattern,
        "replica_labels": _list("names of labels", lambda text: re.fullmatch(r"[a-zA-Z_]\w*", text, re.ASCII)),
    },
    "spike": {"warning": _TIMED, "critical": _TIMED},
    "reputation": {
        "reasons": _list(f"reasons, of {', '.join(REASONS)}", REASONS.__contains__),
        "warning": _TIMED,
        "critical": _TIMED,
    },
    "elevated": {"warning": _TIMED},
    "new_status": {"failures": _number},
    "silence": {"failures": _number},
    "deliveries_missing": {"failures": _number},
    "unclassified": {"share": _number, "failures": _number},
    "refusals": {"few": _number, "warning": _LIMITS, "critical": {"in_15m": _number, "in_6h": _number}},
    "down": {"exporter": _duration, "replica": _duration, "ledger": _duration},
}


def read(file: Path) -> Thresholds:
    """Return the thresholds in the file. Raise ValueError with the key, its value and what was expected."""
    try:
        values = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: {error}: expected TOML") from error
    _check(values, _SHAPE, "")
    return values


def _check(values: object, shape: Shape, table: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{table} = {values!r}: expected a table")  # noqa: TRY004 -- the user's value, not ours
    for key in sorted(shape.keys() | values.keys()):
        name = f"{table}.{key}" if table else key
        if key not in shape:
            raise ValueError(f"{name}: unknown; expected one of {', '.join(shape)}")
        if key not in values:
            raise ValueError(f"{name}: missing")
        expected = shape[key]
        if isinstance(expected, Mapping):
            _check(values[key], expected, name)
            continue
        try:
            expected(values[key])
        except ValueError as error:
            raise ValueError(f"{name} = {values[key]!r}: expected {error}") from error
