"""Facts to lines: what is said of each step, in each case, and what to do."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.ledger.contract import Total
from exporter.metrics.collector import Snapshot
from exporter.refusals import REFUSAL_REASONS
from exporter.web.checks import Facts, Line, State, held, parts, steps, verdict
from tests.support.tree import ROOT

NOW: Final = 1_795_000_000.0
START: Final = NOW - 3 * 3_600
URL: Final = "https://mail.example.com/smtpeter"
DOCS: Final = ROOT / "docs"
SERIES: Final = ("failures", "rcptto", "5xx", "5.1.1")

NEW: Final[dict[str, Any]] = {
    "now": NOW,
    "since": START,
    "version": "1.2.3",
    "machine": "exporter-1",
    "docs_url": "",
    "public_url": URL,
    "signature_required": True,
    "verification_files": 0,
    "verification_problem": None,
    "last": {},
    "refusals": {},
    "engine": "SQLite",
    "shared": False,
    "ledger": Snapshot([], 12_288, START),
    "problem": None,
    "birth_hold": 60.0,
    "keys": (),
}
"""Set up but for the file, and nothing has come yet."""


def facts(**changed: object) -> Facts:
    """Those of a new exporter, but for what is changed."""
    return Facts(**(NEW | changed))


def totals(at: float, *, new: bool = False) -> list[Total]:
    """Totals of a ledger in which a failure was last counted then."""
    return [Total(SERIES, 7, held=new, raised_at=at), Total(("failures_by_reason", "x"), 7, held=False, raised_at=1.0)]


USED: Final = Snapshot(totals(NOW - 90), 48_300_000, NOW - 8)
CURL: Final = f"On a machine elsewhere, `curl -i -X POST {URL}/failures` should show "
WEBHOOK: Final = (
    "In SMTPeter's dashboard, add a webhook of the type failures with the URL, verify it, and press check now."
)
HAND_OUT: Final = "Put the file there that SMTPeter hands out when you add the URL in its dashboard."
SCRAPE: Final = "dd this exporter to `scrape_configs` in `prometheus.yml`, and reload Prometheus."
LEDGER: Final = "runbooks/SMTPeterLedgerNotWritable.md"
OPEN: Final = "Signatures are not checked, for `signature.mode` is off: whoever reaches the URL can invent failures"

CASES: Final[dict[str, dict[str, tuple[Facts, Line]]]] = {
    "Public URL": {
        "not set": (
            facts(public_url=""),
            Line(
                State.NOT_YET,
                "`webhook.public-url` is not set",
                todo="Set it to the URL that SMTPeter is to call, without `/failures`: then no call counts that was "
                "signed for another one.",
                docs="page.md#public-url",
            ),
        ),
        "nothing came": (
            facts(),
            Line(
                State.NOT_YET,
                "No request has come in since the start",
                START,
                f"{CURL}403 and the word `unsigned`.",
                "page.md#public-url",
            ),
        ),
        "nothing came, signatures off": (
            facts(signature_required=False),
            Line(
                State.NOT_YET,
                "No request has come in since the start",
                START,
                f"{CURL}415 and the word `content_type`.",
                "page.md#public-url",
            ),
        ),
        "nothing came, but failures were counted before": (
            facts(ledger=USED),
            Line(
                State.UNKNOWN,
                "No request has come in since the start",
                START,
                f"{CURL}403 and the word `unsigned`.",
                "page.md#public-url",
            ),
        ),
        "another host": (
            facts(last={"request": NOW - 5}),
            Line(
                State.UNKNOWN,
                f"Requests come in, but none had the host and path of {URL}; the last one came",
                NOW - 5,
                f"{CURL}403 and the word `unsigned`. If it does, the proxy rewrites host or path, which does no harm.",
                "page.md#public-url",
            ),
        ),
        "a request": (
            facts(last={"request": NOW - 5, "call": NOW - 50}),
            Line(State.DONE, f"Requests for {URL} come in, the last one", NOW - 50),
        ),
        "a signed call, behind a proxy that rewrites": (
            facts(last={"request": NOW - 5, "signed": NOW - 60}),
            Line(State.DONE, f"Requests for {URL} come in, the last one", NOW - 60),
        ),
    },
    "Verification file": {
        "no folder": (
            facts(verification_files=None),
            Line(
                State.NOT_YET,
                "`webhook.verification-dir` is not set",
                todo="Set it to a folder, and put the file there that SMTPeter hands out when you add the URL.",
                docs="page.md#verification-file",
            ),
        ),
        "no folder, but calls": (
            facts(verification_files=None, last={"signed": NOW - 5}),
            Line(
                State.DONE,
                "`webhook.verification-dir` is not set; SMTPeter calls, so most likely it has verified the URL",
            ),
        ),
        "no file": (
            facts(),
            Line(State.NOT_YET, "The folder has no `smtpeter-….txt`", todo=HAND_OUT, docs="page.md#verification-file"),
        ),
        "no file, but failures were counted before": (
            facts(ledger=USED),
            Line(State.UNKNOWN, "The folder has no `smtpeter-….txt`", todo=HAND_OUT, docs="page.md#verification-file"),
        ),
        "no file, but calls": (
            facts(last={"signed": NOW - 5}),
            Line(
                State.DONE, "The folder has no `smtpeter-….txt`; SMTPeter calls, so most likely it has verified the URL"
            ),
        ),
        "a file": (
            facts(verification_files=1),
            Line(
                State.NOT_YET,
                "1 file is there, but nobody has fetched it since the start",
                START,
                "Let SMTPeter verify the URL, in its dashboard.",
                "page.md#verification-file",
            ),
        ),
        "files, and calls": (
            facts(verification_files=2, last={"signed": NOW - 5}),
            Line(State.DONE, "2 files are there; SMTPeter calls, so most likely it has verified the URL"),
        ),
        "fetched": (
            facts(verification_files=1, last={"file": NOW - 5}),
            Line(State.DONE, "1 file is there, last fetched", NOW - 5),
        ),
        "fetched, and gone": (
            facts(last={"file": NOW - 5}),
            Line(State.NOT_YET, "The folder has no `smtpeter-….txt`", todo=HAND_OUT, docs="page.md#verification-file"),
        ),
        "unreadable": (
            facts(verification_files=1, verification_problem="/x: Permission denied", last={"file": NOW - 5}),
            Line(
                State.TROUBLE,
                "Not all can be served: /x: Permission denied",
                todo="Let the folder and the files in it be readable for the exporter's user.",
                docs="page.md#verification-file",
            ),
        ),
    },
    "Signed calls": {
        "off": (
            facts(signature_required=False),
            Line(
                State.UNKNOWN,
                OPEN,
                todo="Leave it out and set `signature.account`, unless this is a trial on a machine of your own.",
                docs="page.md#signed-calls",
            ),
        ),
        "none": (
            facts(refusals={"unsigned": 3}),
            Line(State.NOT_YET, "None was accepted since the start", START, WEBHOOK, "page.md#signed-calls"),
        ),
        "none, but failures were counted before": (
            facts(ledger=USED),
            Line(State.UNKNOWN, "None was accepted since the start", START, WEBHOOK, "page.md#signed-calls"),
        ),
        "one": (
            facts(last={"signed": NOW - 30 * 86_400}),
            Line(State.DONE, "The last one that was accepted came", NOW - 30 * 86_400),
        ),
        "one refused": (
            facts(refusals={"date": 1, "unsigned": 3}),
            Line(
                State.TROUBLE,
                "In the last hour no signed call was accepted, and 1 was refused",
                todo="See the reasons below.",
                docs="runbooks/SMTPeterSignatureRefusals.md",
            ),
        ),
        "refused, and none accepted for an hour": (
            facts(last={"signed": NOW - 3_600}, refusals={"url": 1_200, "date": 34}),
            Line(
                State.TROUBLE,
                "In the last hour no signed call was accepted, and 1,234 were refused",
                todo="See the reasons below.",
                docs="runbooks/SMTPeterSignatureRefusals.md",
            ),
        ),
        "refused, but others accepted": (
            facts(last={"signed": NOW - 3_599}, refusals={"url": 1_234}),
            Line(State.DONE, "1,234 were refused in the last hour. The last one that was accepted came", NOW - 3_599),
        ),
    },
    "Failures": {
        "none": (
            facts(),
            Line(
                State.NOT_YET,
                "None was counted yet",
                todo="Wait for a delivery that fails, or mail an address that does not exist, through SMTPeter.",
                docs="page.md#failures",
            ),
        ),
        "none, signatures off": (
            facts(signature_required=False),
            Line(
                State.NOT_YET,
                "None was counted yet",
                todo="Post one with `smtpeter-exporter send`, or wait for a delivery that fails.",
                docs="page.md#failures",
            ),
        ),
        "in the ledger": (facts(ledger=USED), Line(State.DONE, "The last one was counted", NOW - 90)),
        "since the last look": (
            facts(ledger=USED, last={"counted": NOW - 3}),
            Line(State.DONE, "The last one was counted", NOW - 3),
        ),
        "in trouble": (
            facts(ledger=USED, problem="gone"),
            Line(
                State.TROUBLE,
                "They are answered 503, for the ledger can't be written; the last one was counted",
                NOW - 90,
                "Mend the ledger, see below; it goes on by itself.",
                LEDGER,
            ),
        ),
        "in trouble from the start": (
            facts(problem="gone"),
            Line(
                State.TROUBLE,
                "They are answered 503, for the ledger can't be written; none was counted yet",
                todo="Mend the ledger, see below; it goes on by itself.",
                docs=LEDGER,
            ),
        ),
    },
    "Scrapes": {
        "none": (
            facts(ledger=USED),
            Line(State.NOT_YET, "Nobody has read `/metrics` since the start", START, f"A{SCRAPE}", "page.md#scrapes"),
        ),
        "by hand": (
            facts(last={"read": NOW - 4}),
            Line(
                State.UNKNOWN,
                "`/metrics` was read, but not by Prometheus; the last time",
                NOW - 4,
                f"If another collector than Prometheus reads it, all is well. Else: a{SCRAPE}",
                "page.md#scrapes",
            ),
        ),
        "one": (
            facts(last={"read": NOW - 4, "scrape": NOW - 300}),
            Line(State.DONE, "Prometheus reads `/metrics`, the last time", NOW - 300),
        ),
        "long ago": (
            facts(last={"read": NOW - 4, "scrape": NOW - 301}),
            Line(
                State.TROUBLE,
                "Prometheus has stopped reading `/metrics`; the last time was",
                NOW - 301,
                "See this exporter on Prometheus's page of targets. What is not scraped is forgotten after five "
                "minutes.",
                "page.md#scrapes",
            ),
        ),
    },
    "Ledger": {
        "well": (facts(), Line(State.WELL, "SQLite, writable; 12 kB when it was last looked at", START)),
        "large": (
            facts(engine="PostgreSQL", ledger=USED),
            Line(State.WELL, "PostgreSQL, writable; 48 MB when it was last looked at", NOW - 8),
        ),
        "never looked at": (facts(ledger=Snapshot([], 0, 0.0)), Line(State.WELL, "SQLite, writable")),
        "trouble": (
            facts(problem="ledger /x: gone"),
            Line(State.TROUBLE, "SQLite, can't be written: ledger /x: gone", docs=LEDGER),
        ),
    },
    "Keys": {
        "none": (
            facts(),
            Line(State.NOT_YET, "None is held; SMTPeter's key is looked up in DNS when it calls", docs="page.md#keys"),
        ),
        "one": (facts(keys=[(60.0, False)]), Line(State.WELL, "1 key is held; it was looked up", NOW - 60)),
        "two": (
            facts(keys=[(60.0, False), (90.0, False)]),
            Line(State.WELL, "2 keys are held; the oldest was looked up", NOW - 90),
        ),
        "stale": (
            facts(keys=[(4_000.0, True)]),
            Line(
                State.TROUBLE,
                "1 key is held, past its time because DNS gives no answer; it was looked up",
                NOW - 4_000,
                "Mend DNS before twelve hours are over, and do not restart the exporter meanwhile.",
                "runbooks/SMTPeterKeysUnavailable.md",
            ),
        ),
        "one of two stale": (
            facts(keys=[(60.0, False), (4_000.0, True)]),
            Line(
                State.TROUBLE,
                "2 keys are held, 1 of them past its time because DNS gives no answer; the oldest was looked up",
                NOW - 4_000,
                "Mend DNS before twelve hours are over, and do not restart the exporter meanwhile.",
                "runbooks/SMTPeterKeysUnavailable.md",
            ),
        ),
    },
}


def each_case() -> list[Any]:
    """All cases as parameters."""
    return [pytest.param(title, *case, id=f"{title}: {name}") for title in CASES for name, case in CASES[title].items()]


@pytest.mark.parametrize(("title", "given", "line"), each_case())
def test_what_is_said_of_each_thing(title: str, given: Facts, line: Line) -> None:
    """State, words, time, advice and page are those of the case."""
    (said,) = [one for one in [*steps(given), *parts(given)] if one.title == title]
    assert said == line._replace(title=title)


def test_lines_stand_in_the_order_of_setting_up() -> None:
    """Five steps, then the ledger, and the keys where signatures are checked."""
    titles = ["Public URL", "Verification file", "Signed calls", "Failures", "Scrapes"]
    assert [line.title for line in steps(facts())] == titles
    assert [line.title for line in parts(facts())] == ["Ledger", "Keys"]
    assert [line.title for line in parts(facts(signature_required=False))] == ["Ledger"]


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_more_is_to_be_read_where_a_line_says() -> None:
    """Each line that is neither done nor well names a page of the documentation, and a heading that is there."""
    for title, cases in CASES.items():
        for name, (_, line) in cases.items():
            assert bool(line.docs) == (line.state not in {State.DONE, State.WELL}), (title, name)
            page, _, anchor = line.docs.partition("#")
            assert not anchor or anchor in slugs(DOCS / page), (title, name)
            assert (DOCS / page).exists(), (title, name)


DONE: Final = {
    "ledger": USED,
    "last": dict.fromkeys(("request", "call", "file", "signed", "counted", "read", "scrape"), NOW - 1),
    "verification_files": 1,
}


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        (facts(), State.NOT_YET, "0 of 5 steps are done. Next: Public URL."),
        (facts(ledger=USED), State.UNKNOWN, "1 of 5 steps is done. Next: Public URL."),
        (facts(last={"signed": NOW}), State.NOT_YET, "3 of 5 steps are done. Next: Failures."),
        (
            facts(**DONE),
            State.DONE,
            "It works: SMTPeter's calls come in, failures are counted, and Prometheus reads the counts.",
        ),
        (facts(**DONE, problem="x"), State.TROUBLE, "There is trouble: Failures, Ledger."),
        (facts(**DONE, keys=[(1.0, True)]), State.TROUBLE, "There is trouble: Keys."),
        (facts(refusals={"url": 1}), State.TROUBLE, "There is trouble: Signed calls."),
    ],
)
def test_the_answer_in_a_sentence(given: Facts, state: State, words: str) -> None:
    """Trouble goes before what is not done yet, and that before all else."""
    assert verdict(given) == (state, words)


@pytest.mark.parametrize(("looked", "count"), [(0, 1), (60, 1), (61, 0)])
def test_new_series_are_told_of_while_that_can_be_known(looked: float, count: int) -> None:
    """A look at the ledger from before the hold time says nothing of what is held now."""
    assert held(facts(ledger=Snapshot(totals(NOW, new=True), 0, NOW - looked))) == count


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (4_096, "4.1 kB"), (12_288, "12 kB"), (1_500_000, "1.5 MB"), (5e9, "5.0 GB")],
)
def test_sizes_are_round(size: int, words: str) -> None:
    """Two figures or three, and a unit."""
    (ledger,) = parts(facts(signature_required=False, ledger=Snapshot([], size, NOW)))
    assert ledger.text == f"SQLite, writable; {words} when it was last looked at"


@pytest.mark.parametrize("reason", REFUSAL_REASONS)
def test_a_refused_signature_is_a_problem(reason: str) -> None:
    """A reason that only a request with a signature can have is a problem of signed calls, any other is not."""
    signed = (
        *("signature_malformed", "algorithm", "uncovered", "date", "account", "key_domain", "digest"),
        *("key_unknown", "key_revoked", "key_unusable", "key_unavailable", "url", "signature"),
    )
    line = next(line for line in steps(facts(refusals={reason: 1})) if line.title == "Signed calls")
    assert (line.state == State.TROUBLE) == (reason in signed)


def test_each_reason_says_what_to_do() -> None:
    """Of each there is a phrase of what was refused, and a sentence of advice."""
    for _, what, todo in REFUSAL_REASONS.values():
        assert re.fullmatch(r"[a-z].*[^.]", what)
        assert re.fullmatch(r"[A-Z].*\.", todo)
