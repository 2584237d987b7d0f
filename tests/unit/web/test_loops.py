"""Which loops have a line on the status page. test_checks.py has the situations of each line."""

import pytest

from exporter.classification.loops import DELIVERIES, LOOPS
from exporter.web.checks import steps
from exporter.web.facts import Facts
from exporter.web.lines import Line
from exporter.web.loops import loop_lines
from tests.support.status_page import NOW, facts


def line_of(title: str, given: Facts) -> Line:
    """Return the line of the loop with this title."""
    (line,) = [line for line in [*steps(given), *loop_lines(given)] if line.title == title]
    return line


def test_only_loops_that_are_on_have_lines() -> None:
    """Failures have a step, the others a section; without failures, that step is not needed."""
    assert loop_lines(facts()) == []
    assert [line.title for line in loop_lines(facts(loops=tuple(LOOPS.values())))] == [
        "Deliveries",
        "Bounces",
        "Abuses",
    ]
    alone = facts(loops=(DELIVERIES,))
    titles = ["Public URL", "Verification file", "Signed requests", "Scrapes"]
    assert ([line.title for line in steps(alone)], [line.title for line in loop_lines(alone)]) == (
        titles,
        ["Deliveries"],
    )


@pytest.mark.parametrize("title", ["Failures", "Deliveries", "Bounces", "Abuses"])
def test_a_line_of_a_loop_has_its_last_request(title: str) -> None:
    """It is that of the loop, whether its event was counted or not."""
    every = tuple(LOOPS.values())
    at = {name: NOW - number for number, name in enumerate(LOOPS)}
    assert line_of(title, facts(loops=every)).requested is None
    assert line_of(title, facts(loops=every, requests=at)).requested == at[title.lower()]
    assert line_of(title, facts(loops=every, requests=at, counts=at)).requested == at[title.lower()]
