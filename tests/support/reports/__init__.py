"""Reports in files, made after SMTPeter's documentation, each with what it is read as and counts as beside it.

``NAME.http`` holds the header Content-Type, an empty line, and the body; ``NAME.json`` the report, its labels, the
decision on its reason, and the series that it raises when the tags ``newsletter`` and ``may`` are counted.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.classification.report import Report

COUNTED_TAGS: Final = ("newsletter", "may")


class Example(NamedTuple):
    """One report: what is sent, and what is to come of it; ``expected`` is the rest of the JSON file."""

    content_type: str
    body: bytes
    report: Report
    expected: dict[str, Any]


def _load(path: Path) -> Example:
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
    fields = expected.pop("report")
    report = Report(**fields | {"tags": tuple(fields["tags"])})
    return Example(head.decode().removeprefix("Content-Type: "), body, report, expected)


REPORTS: Final = {path.stem: _load(path) for path in sorted(Path(__file__).parent.glob("*.http"))}
