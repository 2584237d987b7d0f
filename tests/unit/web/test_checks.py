"""The status page's lines: the state, time and documentation of each, and its text in tests/texts.yaml."""

from typing import Final

import pytest

from exporter.classification.loops import DELIVERIES
from exporter.metrics.collector import Snapshot
from exporter.refusals import REFUSAL_REASONS
from exporter.web.checks import held, parts, steps, verdict
from exporter.web.facts import Facts
from exporter.web.lines import Line, State
from exporter.web.loops import loop_lines
from tests.support.documentation import PAGES, anchors
from tests.support.status_page import NOW, SITUATIONS, START, TWO, USED, facts, totals
from tests.support.texts import Texts

URL_DOCS: Final = "page.md#public-url"
FILE_DOCS: Final = "page.md#verification-file"
SIGNED_DOCS: Final = "page.md#signed-requests"
SIGNATURES: Final = "runbooks/SMTPeterSignatureRefusals.md"
LEDGER: Final = "runbooks/SMTPeterLedgerNotWritable.md"
LOOPS_DOCS: Final = "page.md#other-loops"
KEYS: Final = "runbooks/SMTPeterKeysUnavailable.md"

EXPECTED: Final[dict[str, dict[str, tuple[State, float | None, str]]]] = {
    "Public URL": {
        "not set": (State.NOT_YET, None, URL_DOCS),
        "no request": (State.NOT_YET, START, URL_DOCS),
        "no request, signatures off": (State.NOT_YET, START, URL_DOCS),
        "no request since the restart": (State.UNKNOWN, START, URL_DOCS),
        "requests for another host": (State.UNKNOWN, NOW - 5, URL_DOCS),
        "a request": (State.DONE, NOW - 50, ""),
        "a signed request through a rewriting proxy": (State.DONE, NOW - 60, ""),
        "no request, only deliveries": (State.NOT_YET, START, URL_DOCS),
        "not set, only deliveries": (State.NOT_YET, None, URL_DOCS),
    },
    "Verification file": {
        "no directory": (State.NOT_YET, None, FILE_DOCS),
        "no directory, signed requests": (State.DONE, None, ""),
        "no file": (State.NOT_YET, None, FILE_DOCS),
        "no file since the restart": (State.UNKNOWN, None, FILE_DOCS),
        "no file, signed requests": (State.DONE, None, ""),
        "a file": (State.NOT_YET, START, FILE_DOCS),
        "files, signed requests": (State.DONE, None, ""),
        "fetched": (State.DONE, NOW - 5, ""),
        "fetched, then removed": (State.NOT_YET, None, FILE_DOCS),
        "no directory, two loops": (State.NOT_YET, None, FILE_DOCS),
        "no file, two loops": (State.NOT_YET, None, FILE_DOCS),
        "a file, two loops": (State.NOT_YET, START, FILE_DOCS),
        "two files, two loops": (State.NOT_YET, START, FILE_DOCS),
        "fetched, two loops": (State.DONE, NOW - 5, ""),
        "unreadable": (State.PROBLEM, None, FILE_DOCS),
    },
    "Signed requests": {
        "off": (State.UNKNOWN, None, SIGNED_DOCS),
        "none": (State.NOT_YET, START, SIGNED_DOCS),
        "none, URL not set": (State.NOT_YET, START, SIGNED_DOCS),
        "none since the restart": (State.UNKNOWN, START, SIGNED_DOCS),
        "accepted": (State.DONE, NOW - 30 * 86_400, ""),
        "one rejected": (State.PROBLEM, None, SIGNATURES),
        "rejected, none accepted for an hour": (State.PROBLEM, None, SIGNATURES),
        "rejected, others accepted": (State.DONE, NOW - 3_599, ""),
        "none, only deliveries": (State.NOT_YET, START, SIGNED_DOCS),
    },
    "Failures": {
        "none": (State.NOT_YET, None, "page.md#failures"),
        "none, signatures off": (State.NOT_YET, None, "page.md#failures"),
        "in the ledger": (State.DONE, NOW - 90, ""),
        "since the last snapshot": (State.DONE, NOW - 3, ""),
        "requested and counted": (State.DONE, NOW - 3, ""),
        "requested": (State.NOT_YET, None, "page.md#failures"),
        "ledger not writable": (State.PROBLEM, NOW - 90, LEDGER),
        "ledger not writable from the start": (State.PROBLEM, None, LEDGER),
    },
    "Scrapes": {
        "none": (State.NOT_YET, START, "page.md#scrapes"),
        "read by something else": (State.UNKNOWN, NOW - 4, "page.md#scrapes"),
        "recent": (State.DONE, NOW - 300, ""),
        "too long ago": (State.PROBLEM, NOW - 301, "page.md#scrapes"),
    },
    "Ledger": {
        "OK": (State.OK, START, ""),
        "large": (State.OK, NOW - 8, ""),
        "no snapshot": (State.OK, None, ""),
        "not writable": (State.PROBLEM, None, LEDGER),
        "short of space": (State.PROBLEM, START, "page.md#ledger"),
        "short of space, two loops": (State.PROBLEM, NOW - 8, "page.md#ledger"),
    },
    "Deliveries": {
        "none": (State.NOT_YET, None, LOOPS_DOCS),
        "none, URL not set": (State.NOT_YET, None, LOOPS_DOCS),
        "counted": (State.OK, NOW - 9, ""),
        "in the ledger": (State.OK, NOW - 50, ""),
        "requests, none counted": (State.UNKNOWN, None, LOOPS_DOCS),
        "silent for a day": (State.OK, NOW - 86_400, ""),
        "silent for longer": (State.UNKNOWN, NOW - 86_401, LOOPS_DOCS),
        "silent for a week": (State.PROBLEM, NOW - 604_801, LOOPS_DOCS),
        "silent, but no failures either": (State.OK, NOW - 604_801, ""),
        "misdirected": (State.PROBLEM, None, LOOPS_DOCS),
        "ledger not writable": (State.PROBLEM, NOW - 9, LOOPS_DOCS),
        "short of space": (State.PROBLEM, NOW - 9, LOOPS_DOCS),
    },
    "Bounces": {
        "none": (State.NOT_YET, None, LOOPS_DOCS),
        "counted": (State.OK, NOW - 9, ""),
        "counted long ago": (State.OK, NOW - 10**6, ""),
    },
    "Abuses": {
        "none": (State.NOT_YET, None, LOOPS_DOCS),
        "counted": (State.OK, NOW - 9, ""),
    },
    "Keys": {
        "none": (State.NOT_YET, None, "page.md#keys"),
        "one": (State.OK, NOW - 60, ""),
        "two": (State.OK, NOW - 90, ""),
        "expired": (State.PROBLEM, NOW - 4_000, KEYS),
        "one of two expired": (State.PROBLEM, NOW - 4_000, KEYS),
        "two of three expired": (State.PROBLEM, NOW - 5_000, KEYS),
    },
}


def line_of(title: str, given: Facts) -> Line:
    """Return the line with this title."""
    (line,) = [line for line in [*steps(given), *loop_lines(given), *parts(given)] if line.title == title]
    return line


@pytest.mark.parametrize(
    ("title", "situation"),
    [
        pytest.param(title, situation, id=f"{title}: {situation}")
        for title in SITUATIONS
        for situation in SITUATIONS[title]
    ],
)
def test_line(title: str, situation: str, texts: Texts) -> None:
    """Each situation has its state, time and documentation, and says what was observed and what to do."""
    line = line_of(title, SITUATIONS[title][situation])
    assert (line.state, line.at, line.docs) == EXPECTED[title][situation]
    texts.check(line.text)
    texts.check(line.todo)


def test_lines_are_in_the_order_of_the_setup() -> None:
    """Five steps, then the ledger, and the keys if signatures are required."""
    titles = ["Public URL", "Verification file", "Signed requests", "Failures", "Scrapes"]
    assert [line.title for line in steps(facts())] == titles
    assert [line.title for line in parts(facts())] == ["Ledger", "Keys"]
    assert [line.title for line in parts(facts(signature_required=False))] == ["Ledger"]


@pytest.mark.parametrize("docs", sorted({docs for cases in EXPECTED.values() for _, _, docs in cases.values() if docs}))
def test_documentation_exists(docs: str) -> None:
    """Each page and heading that a line names is in docs/."""
    page, _, anchor = docs.partition("#")
    assert f"docs/{page}" in PAGES
    assert not anchor or anchor in anchors(f"docs/{page}")


DONE: Final = {
    "ledger": USED,
    "last": dict.fromkeys(("request", "public_url", "file", "signed", "read", "scrape"), NOW - 1),
    "verification_files": 1,
}


@pytest.mark.parametrize(
    ("given", "state"),
    [
        pytest.param(facts(), State.NOT_YET, id="new"),
        pytest.param(facts(ledger=USED), State.UNKNOWN, id="restarted"),
        pytest.param(facts(last={"signed": NOW}), State.NOT_YET, id="three steps done"),
        pytest.param(facts(**DONE), State.DONE, id="all steps done"),
        pytest.param(facts(**DONE, loops=TWO), State.DONE, id="no delivery yet"),
        pytest.param(facts(**DONE, loops=TWO, counts={"deliveries": NOW}), State.DONE, id="deliveries, too"),
        pytest.param(facts(**DONE, loops=(DELIVERIES,), counts={"deliveries": NOW}), State.DONE, id="only deliveries"),
        pytest.param(facts(**DONE, loops=TWO, counts={"deliveries": 9.0}), State.PROBLEM, id="deliveries stopped"),
        pytest.param(facts(**DONE, only_failures=True), State.PROBLEM, id="short of space"),
        pytest.param(facts(**DONE, problem="x"), State.PROBLEM, id="ledger not writable"),
        pytest.param(facts(**DONE, keys=[(1.0, True)]), State.PROBLEM, id="expired key"),
        pytest.param(facts(refusals={"url": 1}), State.PROBLEM, id="rejected"),
    ],
)
def test_verdict(given: Facts, state: State, texts: Texts) -> None:
    """Problems come first, then the first step that is not done."""
    found, sentence = verdict(given)
    assert found == state
    texts.check(sentence)


@pytest.mark.parametrize(("age", "count"), [(0, 1), (60, 1), (61, 0)])
def test_held_series_are_known_only_from_a_recent_snapshot(age: float, count: int) -> None:
    """A snapshot that is older than the hold time says nothing about the series held now."""
    assert held(facts(ledger=Snapshot(totals(NOW, new=True), 0, NOW - age))) == count


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (4_096, "4.1 kB"), (12_288, "12 kB"), (1_500_000, "1.5 MB"), (5e9, "5.0 GB")],
)
def test_sizes_are_rounded(size: int, words: str) -> None:
    """Sizes have two or three significant digits, and a decimal unit."""
    assert f" {words}" in line_of("Ledger", facts(ledger=Snapshot([], size, NOW))).text


@pytest.mark.parametrize("reason", REFUSAL_REASONS)
def test_a_rejected_signature_is_a_problem(reason: str) -> None:
    """A reason that only a request with a signature can have is a problem of the signed requests; others are not."""
    signed = (
        *("signature_malformed", "algorithm", "uncovered", "date", "account", "key_domain", "digest"),
        *("key_unknown", "key_revoked", "key_unusable", "key_unavailable", "url", "signature"),
    )
    line = line_of("Signed requests", facts(refusals={reason: 1}))
    assert (line.state == State.PROBLEM) == (reason in signed)
