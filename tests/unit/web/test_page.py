"""The status page as HTML: valid, escaped, without scripts, with or without links.

``python -m tests.unit.web.test_page`` rewrites the golden file.
"""

import base64
import hashlib
import re
from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest

from exporter.metrics.activity import Misdirected
from exporter.refusals import REFUSAL_REASONS
from exporter.web.facts import Facts
from exporter.web.page import POLICY, page
from exporter.web.table import table
from tests.support.status_page import DOCS_URL, MARKUP, SETTING_UP, SITUATIONS, WORKING, WORST, Reading, facts
from tests.support.texts import Texts
from tests.support.tree import ROOT

GOLDEN: Final = ROOT / "tests/unit/web/page.html"
OWN_LINKS: Final = ["metrics", "-/healthy", "-/ready"]


def linked(given: Facts) -> Facts:
    """Return the facts with a documentation URL."""
    return replace(given, docs_url=DOCS_URL)


def plain(markdown: str) -> str:
    """Return the text as it is read."""
    return markdown.replace("`", "")


def test_golden_file() -> None:
    """With a fixed clock, the page equals the golden file."""
    assert page(SETTING_UP) == GOLDEN.read_text("utf-8")


def test_links_to_the_documentation_are_optional() -> None:
    """Without a documentation URL the links to it are missing, and nothing else changes."""
    with_links, without = page(linked(WORST)), page(WORST)
    assert Reading(without).links == OWN_LINKS
    assert Reading(with_links).links == [
        *(f"{DOCS_URL}/page.md#public-url", f"{DOCS_URL}/page.md#verification-file"),
        f"{DOCS_URL}/runbooks/SMTPeterSignatureRefusals.md",
        f"{DOCS_URL}/runbooks/SMTPeterLedgerNotWritable.md",
        f"{DOCS_URL}/page.md#scrapes",
        f"{DOCS_URL}/page.md#new-series",
        *[f"{DOCS_URL}/page.md#other-loops"] * 3,
        f"{DOCS_URL}/page.md#failures-in-the-last-24-hours",
        f"{DOCS_URL}/page.md#rejected-in-the-last-hour",
        f"{DOCS_URL}/runbooks/SMTPeterLedgerNotWritable.md",
        f"{DOCS_URL}/runbooks/SMTPeterKeysUnavailable.md",
        *OWN_LINKS,
        f"{DOCS_URL}/page.md",
    ]
    unlinked = re.sub(r'<li><a href="[^"]+">Documentation</a>.*\n', "", with_links)
    unlinked = re.sub(r'<p class="(todo|notice)"><a [^>]+>[^<]+</a></p>\n', "", unlinked)
    assert re.sub(r" <a [^>]+>More</a>", "", unlinked) == without


ALL: Final = [
    SETTING_UP,
    WORKING,
    WORST,
    *(given for situations in SITUATIONS.values() for given in situations.values()),
]


@pytest.mark.parametrize("given", [*ALL, *map(linked, ALL)])
def test_html_is_valid(given: Facts) -> None:
    """The page parses strictly, its headings do not skip levels, and none of its tags loads or runs anything."""
    reading = Reading(page(given))
    assert reading.tags <= set(
        "html head meta title style body header main footer h1 h2 h3 p div span ol ul li a code time "
        "table caption thead tbody tfoot tr th td".split()
    )
    assert reading.attributes <= set(
        "lang charset name content class href aria-label aria-hidden title datetime role tabindex scope".split()
    )
    levels = [int(heading[1]) for heading in reading.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert [(one, next_) for one, next_ in pairwise(levels) if next_ > one + 1] == []


def test_foreign_text_is_escaped() -> None:
    """A version, a path, a host name or an error with markup in it is shown literally."""
    reading = Reading(page(WORST))
    assert f" {MARKUP}, started AGO" in reading.paragraphs[0]
    assert f" {MARKUP}." in reading.paragraphs[3]
    assert reading.items["Verification file"][1].endswith(f": {MARKUP}.")
    assert reading.items["Ledger"][1].startswith(f"{MARKUP}, ")
    assert reading.items["Ledger"][1].endswith(f": {MARKUP}.")


def test_each_rejection_is_explained() -> None:
    """Each reason has its count, what was rejected and what to do, in the given order."""
    reading = Reading(page(replace(WORST, misdirected=())))
    assert {reason: texts for reason, texts in reading.items.items() if reason in REFUSAL_REASONS} == {
        reason: [
            f"{1_234_567 - number:,} times",
            f"{plain(what)[0].upper()}{plain(what)[1:]}.",
            f"To do: {plain(todo)}",
        ]
        for number, (reason, (_, what, todo)) in enumerate(REFUSAL_REASONS.items())
    }


def test_a_webhook_that_points_to_the_wrong_url_is_named(texts: Texts) -> None:
    """The rejected events of other webhooks say which webhooks these are."""
    clicks = [Misdirected("click", "failures")]
    several = [Misdirected("delivery", "bounces"), Misdirected("open", "failures")]
    for misdirected in (clicks, several):
        texts.check(Reading(page(facts(refusals={"other_loop": 3}, misdirected=misdirected))).items["other_loop"])


def test_the_table_is_that_of_the_facts() -> None:
    """It has a heading for each column, a row for each reason, and the sums."""
    found = table(WORKING)
    assert found
    rows = [["Reason", *found.columns], *([heading, *cells] for heading, cells in (*found.rows, *found.sums))]
    assert Reading(page(WORKING)).rows == [[plain(cell) for cell in row] for row in rows]
    assert Reading(page(facts())).rows == []


@pytest.mark.parametrize("given", [SETTING_UP, WORST])
def test_each_state_has_its_color(given: Facts) -> None:
    """The class of each state, and of the verdict, is one that the style knows."""
    html = page(given)
    classes = set(re.findall(r'class="(?:state|verdict) ([\w-]+)"', html))
    assert classes == {name for name in classes if f".{name}" in Reading(html).style}
    assert Reading(html).verdict in classes


def test_policy_allows_only_the_own_style() -> None:
    """The Content-Security-Policy names the page's style by its hash and allows nothing else."""
    style = Reading(page(SETTING_UP)).style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ) == POLICY


if __name__ == "__main__":
    GOLDEN.write_text(page(SETTING_UP), "utf-8")
