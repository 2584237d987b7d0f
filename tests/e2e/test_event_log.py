"""``log.events``: a running exporter logs a line for each new event of each loop, and nothing personal."""

from pathlib import Path

import pytest

from exporter.classification.loops import LOOPS
from tests.support.events import ALL_LOOPS, event
from tests.support.log_lines import read_line
from tests.support.running import exporter


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_each_new_event_has_a_line(tmp_path: Path, form: str) -> None:
    """A duplicate has none. No line has an at sign, or a word of the events."""
    flags = (*ALL_LOOPS, "--log.events", "masked", "--log.format", form)
    with exporter(tmp_path, *flags) as running:
        for loop in (*LOOPS, *LOOPS):
            assert running.post(event(loop, 1), f"/{loop}").status == 200
    lines = [read_line(line, as_json=form == "json") for line in running.lines]
    events = [line for line in lines if line["msg"] == "event"]
    assert [(line["loop"], line["level"], line["provider"]) for line in events] == [
        ("failures", "info", "other"),
        ("deliveries", "info", "other"),
        ("bounces", "info", "other"),
        ("abuses", "info", "ziggo"),
    ]
    assert len({line["id_hash"] for line in events}) == 1
    shown = "\n".join(running.lines)
    assert [word for word in ("@", "jane", "example.org", "User unknown", "m1") if word in shown] == []


def test_events_are_not_logged_by_default(tmp_path: Path) -> None:
    """An event then has a line at debug only."""
    with exporter(tmp_path) as running:
        assert running.post(event("failures", 1)).status == 200
    assert [line for line in running.lines if "msg=event" in line] == []
