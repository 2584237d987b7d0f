"""The status page as text: the same lines as the HTML, for a terminal.

``python -m tests.unit.web.test_text`` rewrites the golden file.
"""

import re
from dataclasses import replace
from typing import Final

import pytest

from exporter.web.facts import Facts
from exporter.web.page import page
from exporter.web.text import text
from tests.support.status_page import DOCS_URL, SETTING_UP, SITUATIONS, WORKING, WORST, Reading, facts
from tests.support.tree import ROOT

GOLDEN: Final = ROOT / "tests/unit/web/page.txt"
ALL: Final = [SETTING_UP, WORKING, WORST, *(given for cases in SITUATIONS.values() for given in cases.values())]


def words(shown: str) -> str:
    """Return a text without marks, and with AGO for each time span."""
    spans = r"\d+ (?:second|minute|hour|day)s? ago"
    return re.sub(spans, "AGO", " ".join(shown.replace("`", "").split()))


def test_golden_file() -> None:
    """With a fixed clock, the text equals the golden file."""
    assert text(WORKING) == GOLDEN.read_text("utf-8")


@pytest.mark.parametrize("given", ALL)
def test_the_text_has_all_that_the_html_has(given: Facts) -> None:
    """Each heading, state, line, notice and cell of the page is in the text."""
    reading, shown = Reading(page(given)), words(text(given))
    listed = [part for parts in reading.items.values() for part in parts]
    cells = [cell for row in reading.rows for cell in row]
    verdict = reading.paragraphs[1][2:]
    sentences = [one for paragraph in reading.paragraphs[2:] for one in re.split(r"(?<=[.]) ", paragraph)]
    states = [part for part in listed if part in {"done", "OK", "not yet", "problem", "cannot tell"}]
    wanted = [*reading.items, *states, *set(listed).difference(states), *cells, verdict, *sentences]
    assert [part for part in wanted if words(part) not in shown] == []


def test_links_to_the_documentation_are_urls() -> None:
    """Lines that have a link in the HTML have its URL in the text."""
    given = replace(WORST, docs_url=DOCS_URL)
    links = set(re.findall(r"More: (\S+)", text(given)))
    assert links <= set(Reading(page(given)).links)
    assert f"{DOCS_URL}/page.md#scrapes" in links
    assert "More:" not in text(WORST)


def test_lines_do_not_end_in_spaces() -> None:
    """The text ends in one newline, and has no trailing spaces and no tabs."""
    for given in ALL:
        shown = text(given)
        assert re.findall(r"[ \t]\n|\t|\n\n\n|\n\n$", shown) == []
        assert shown.endswith("\n")


def test_headings_of_what_is_off_are_missing() -> None:
    """Without other loops and signatures, there is no section about them."""
    assert "Other loops\n" not in text(facts())
    assert "Ledger\n  Ledger: OK\n" in text(facts(signature_required=False))


if __name__ == "__main__":
    GOLDEN.write_text(text(WORKING), "utf-8")
