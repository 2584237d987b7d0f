"""Sample reports in files, made from SMTPeter's documentation, each with the expected result.

``NAME.http`` has the header Content-Type, an empty line and the body. ``NAME.json`` has the loop (by default that of
failures), the parsed report, its labels, the decision on its reason, the kind of a returned message, and the series
that it increments if the tags ``newsletter`` and ``may`` are counted.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.classification.loops import LOOPS, Loop
from exporter.classification.report import Report
from tests.support.tree import ROOT, files

COUNTED_TAGS: Final = ("newsletter", "may")


class Example(NamedTuple):
    """A report as sent, and as parsed. ``expected`` is the rest of the JSON file."""

    content_type: str
    body: bytes
    loop: Loop
    report: Report
    expected: dict[str, Any]


def _load(path: Path) -> Example:
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
    loop, fields = LOOPS[expected.pop("loop", "failures")], expected.pop("report")
    fields["tags"], fields["repaired"] = tuple(fields["tags"]), frozenset(fields.get("repaired", ()))
    report = Report(**fields | {"mime": fields.get("mime", "").encode()})
    return Example(head.decode().removeprefix("Content-Type: "), body, loop, report, expected)


REPORTS: Final = {
    Path(name).stem: _load(ROOT / name) for name in files("tests/support/reports") if name.endswith(".http")
}
