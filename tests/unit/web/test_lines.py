"""A line of the status page: its link to the documentation, and time spans in words."""

import pytest

from exporter.web.lines import Line, State, ago


@pytest.mark.parametrize(
    ("state", "docs", "expected"),
    [
        (State.NOT_YET, "", "page.md#the-line"),
        (State.PROBLEM, "runbooks/x.md", "runbooks/x.md"),
        (State.UNKNOWN, "", "page.md#the-line"),
        (State.DONE, "", ""),
        (State.OK, "runbooks/x.md", ""),
    ],
)
def test_a_line_links_to_its_heading(state: State, docs: str, expected: str) -> None:
    """Without a page of its own, a line links to the heading of its title; lines that are well have no link."""
    assert Line(state, "x", docs=docs).titled("The line") == Line(state, "x", docs=expected, title="The line")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (0.9, "just now"),
        (1, "1 second ago"),
        (59.9, "59 seconds ago"),
        (60, "1 minute ago"),
        (3_599, "59 minutes ago"),
        (3_600, "1 hour ago"),
        (86_399, "23 hours ago"),
        (86_400, "1 day ago"),
        (30 * 86_400, "30 days ago"),
    ],
)
def test_ago(seconds: float, words: str) -> None:
    """A time span is given in the largest unit that fits, rounded down."""
    assert ago(seconds) == words
