"""Facts for the status page in many situations, and a strict reader of the page."""

import re
from html.parser import HTMLParser
from typing import Any, Final

from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LOOPS
from exporter.classification.reason import REASONS
from exporter.ledger.contract import Total
from exporter.metrics.activity import Misdirected
from exporter.metrics.collector import Snapshot
from exporter.metrics.recent import (
    AFTER_DELIVERY_BY_PROVIDER,
    BY_REASON_PROVIDER,
    DELIVERIES_BY_PROVIDER,
    SPAN,
    LastDay,
)
from exporter.refusals import REFUSAL_REASONS
from exporter.web.facts import Facts

NOW: Final = 1_795_000_000.0
START: Final = NOW - 3 * 3_600
URL: Final = "https://mail.example.com/smtpeter"
DOCS_URL: Final = "https://git.example.com/docs"
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
    "misdirected": (),
    "loops": (FAILURES,),
    "requests": {},
    "counts": {},
    "recent": LastDay(START, {}, {}),
    "engine": "SQLite",
    "shared": False,
    "ledger": Snapshot([], 12_288, START),
    "problem": None,
    "only_failures": False,
    "birth_hold": 60.0,
    "keys": (),
}
"""A configured exporter to which nothing has happened yet, without a verification file."""


def facts(**changed: object) -> Facts:
    """Return the facts of a new exporter, with changes."""
    return Facts(**(NEW | changed))


def totals(at: float, *, new: bool = False) -> list[Total]:
    """Return the totals of a ledger that last counted a failure at that time; ``new`` holds one series at 0."""
    return [Total(SERIES, 7, held=new, raised_at=at), Total(("failures_by_reason", "x"), 7, held=False, raised_at=1.0)]


def last_day(
    failures: dict[tuple[str, str], int],
    deliveries: dict[str, int] | None = None,
    after_delivery: dict[str, int] | None = None,
    *,
    since: float = START,
) -> LastDay:
    """Return failures by reason and provider, deliveries and failures after delivery by provider."""
    counts: dict[tuple[str, ...], int] = {(BY_REASON_PROVIDER, *names): number for names, number in failures.items()}
    counts |= {(DELIVERIES_BY_PROVIDER, name): number for name, number in (deliveries or {}).items()}
    counts |= {(AFTER_DELIVERY_BY_PROVIDER, name): number for name, number in (after_delivery or {}).items()}
    return LastDay(since, counts, {family: since for family, *_ in counts})


USED: Final = Snapshot(totals(NOW - 90), 48_300_000, NOW - 8)
"""A ledger that has counted failures."""

TWO: Final = (FAILURES, DELIVERIES)
DELIVERED: Final = Total(("deliveries",), 9, held=False, raised_at=NOW - 50)

SITUATIONS: Final[dict[str, dict[str, Facts]]] = {
    "Public URL": {
        "not set": facts(public_url=""),
        "no request": facts(),
        "no request, signatures off": facts(signature_required=False),
        "no request since the restart": facts(ledger=USED),
        "requests for another host": facts(last={"request": NOW - 5}),
        "a request": facts(last={"request": NOW - 5, "public_url": NOW - 50}),
        "a signed request through a rewriting proxy": facts(last={"request": NOW - 5, "signed": NOW - 60}),
        "no request, only deliveries": facts(loops=(DELIVERIES,)),
        "not set, only deliveries": facts(loops=(DELIVERIES,), public_url=""),
    },
    "Verification file": {
        "no directory": facts(verification_files=None),
        "no directory, signed requests": facts(verification_files=None, last={"signed": NOW - 5}),
        "no file": facts(),
        "no file since the restart": facts(ledger=USED),
        "no file, signed requests": facts(last={"signed": NOW - 5}),
        "a file": facts(verification_files=1),
        "files, signed requests": facts(verification_files=2, last={"signed": NOW - 5}),
        "fetched": facts(verification_files=1, last={"file": NOW - 5}),
        "fetched, then removed": facts(last={"file": NOW - 5}),
        "no directory, two loops": facts(verification_files=None, loops=TWO),
        "no file, two loops": facts(loops=TWO),
        "a file, two loops": facts(verification_files=1, loops=TWO),
        "two files, two loops": facts(verification_files=2, loops=TWO),
        "fetched, two loops": facts(verification_files=1, loops=TWO, last={"file": NOW - 5}),
        "unreadable": facts(verification_files=1, verification_problem="/x: Permission denied", last={"file": NOW - 5}),
    },
    "Signed requests": {
        "off": facts(signature_required=False),
        "none": facts(refusals={"unsigned": 3}),
        "none, URL not set": facts(public_url=""),
        "none since the restart": facts(ledger=USED),
        "accepted": facts(last={"signed": NOW - 30 * 86_400}),
        "one rejected": facts(refusals={"date": 1, "unsigned": 3}),
        "rejected, none accepted for an hour": facts(last={"signed": NOW - 3_600}, refusals={"url": 1_200, "date": 34}),
        "rejected, others accepted": facts(last={"signed": NOW - 3_599}, refusals={"url": 1_234}),
        "none, only deliveries": facts(loops=(DELIVERIES,)),
    },
    "Failures": {
        "none": facts(),
        "none, signatures off": facts(signature_required=False),
        "in the ledger": facts(ledger=USED),
        "since the last snapshot": facts(ledger=USED, counts={"failures": NOW - 3}),
        "requested and counted": facts(counts={"failures": NOW - 3}, requests={"failures": NOW - 2}),
        "requested": facts(requests={"failures": NOW - 2}),
        "ledger not writable": facts(ledger=USED, problem="gone"),
        "ledger not writable from the start": facts(problem="gone"),
    },
    "Scrapes": {
        "none": facts(ledger=USED),
        "read by something else": facts(last={"read": NOW - 4}),
        "recent": facts(last={"read": NOW - 4, "scrape": NOW - 300}),
        "too long ago": facts(last={"read": NOW - 4, "scrape": NOW - 301}),
    },
    "Ledger": {
        "OK": facts(),
        "large": facts(engine="PostgreSQL", ledger=USED),
        "no snapshot": facts(ledger=Snapshot([], 0, 0.0)),
        "not writable": facts(problem="ledger /x: gone"),
        "short of space": facts(only_failures=True),
        "short of space, two loops": facts(only_failures=True, ledger=USED, loops=TWO),
    },
    "Deliveries": {
        "none": facts(loops=TWO),
        "none, URL not set": facts(loops=TWO, public_url=""),
        "counted": facts(loops=TWO, counts={"deliveries": NOW - 9}, requests={"deliveries": NOW - 8}),
        "in the ledger": facts(loops=TWO, ledger=Snapshot([*USED.totals, DELIVERED], 9, NOW - 8)),
        "requests, none counted": facts(loops=TWO, requests={"deliveries": NOW - 8}),
        "silent for a day": facts(loops=TWO, counts={"failures": NOW - 9, "deliveries": NOW - 86_400}),
        "silent for longer": facts(loops=TWO, counts={"failures": NOW - 9, "deliveries": NOW - 86_401}),
        "silent for a week": facts(loops=TWO, counts={"failures": NOW - 86_400, "deliveries": NOW - 604_801}),
        "silent, but no failures either": facts(
            loops=TWO, counts={"failures": NOW - 86_401, "deliveries": NOW - 604_801}
        ),
        "misdirected": facts(
            loops=TWO, misdirected=[Misdirected("click", "deliveries"), Misdirected("delivery", "failures")]
        ),
        "ledger not writable": facts(loops=TWO, problem="gone", counts={"deliveries": NOW - 9}),
        "short of space": facts(loops=TWO, only_failures=True, counts={"deliveries": NOW - 9}),
    },
    "Bounces": {
        "none": facts(loops=(FAILURES, BOUNCES)),
        "counted": facts(loops=(FAILURES, BOUNCES), counts={"bounces": NOW - 9, "failures": NOW - 9}),
        "counted long ago": facts(loops=(FAILURES, BOUNCES), counts={"bounces": NOW - 10**6, "failures": NOW - 9}),
    },
    "Abuses": {
        "none": facts(loops=(FAILURES, ABUSES)),
        "counted": facts(loops=(FAILURES, ABUSES), counts={"abuses": NOW - 9}, requests={"abuses": NOW - 9}),
    },
    "Keys": {
        "none": facts(),
        "one": facts(keys=[(60.0, False)]),
        "two": facts(keys=[(60.0, False), (90.0, False)]),
        "expired": facts(keys=[(4_000.0, True)]),
        "one of two expired": facts(keys=[(60.0, False), (4_000.0, True)]),
        "two of three expired": facts(keys=[(60.0, False), (4_000.0, True), (5_000.0, True)]),
    },
}
"""For each line of the page, by its title, the facts that change it."""

SETTING_UP: Final = facts(
    since=NOW - 1_500,
    recent=LastDay(NOW - 1_500, {}, {}),
    verification_files=1,
    last={"request": NOW - 65, "public_url": NOW - 65, "file": NOW - 250, "signed": NOW - 65},
    refusals={"unsigned": 2},
    ledger=Snapshot([], 12_288, NOW - 1_500),
    keys=[(250.0, False)],
)
"""Half-way through the setup, as in tests/unit/web/page.html, and with links in docs/page.png."""

WORKING: Final = facts(
    since=NOW - 5 * SPAN,
    verification_files=4,
    loops=tuple(LOOPS.values()),
    last=dict.fromkeys(("request", "public_url", "file", "signed", "read", "scrape"), NOW - 15),
    requests={"failures": NOW - 90, "deliveries": NOW - 15, "bounces": NOW - 95},
    counts={"failures": NOW - 90, "deliveries": NOW - 15, "bounces": NOW - 100},
    recent=last_day(
        {
            ("recipient_unknown", "gmail"): 41,
            ("recipient_unknown", "microsoft"): 12,
            ("recipient_unknown", "other"): 60,
            ("blocked", "microsoft"): 1_250,
            ("rate_limited", "yahoo"): 3,
        },
        {"gmail": 21_000, "microsoft": 11_820, "yahoo": 4_700, "ziggo": 900, "other": 16_200},
        {"gmail": 4, "other": 20},
        since=NOW - SPAN,
    ),
    ledger=USED,
    keys=[(250.0, False)],
)
"""All loops are on, and all but one are used; tests/unit/web/page.txt is this page as text."""

MARKUP: Final = "</style></p><script>alert('&')</script>\"&lt;"
WORST: Final = facts(
    loops=tuple(LOOPS.values()),
    misdirected=[Misdirected(loop.type, "failures") for loop in LOOPS.values() if loop is not FAILURES],
    requests=dict.fromkeys(LOOPS, NOW - 1),
    counts=dict.fromkeys(LOOPS, NOW - 1),
    only_failures=True,
    recent=last_day(
        {
            (reason, f"a_provider_with_the_name_{number}"): 1_234_567 + number
            for reason in REASONS
            for number in range(20)
        },
        {f"a_provider_with_the_name_{number}": 12_345_678 + number for number in range(30)},
    ),
    version=MARKUP,
    machine=MARKUP,
    shared=True,
    engine=MARKUP,
    problem=f"ledger {'x' * 300}: {MARKUP}",
    verification_files=1,
    verification_problem=f"/{'y' * 300}: {MARKUP}",
    ledger=Snapshot(totals(NOW - 90, new=True), 1, NOW - 8),
    last={"request": NOW - 5, "scrape": NOW - 900},
    refusals={reason: 1_234_567 - number for number, reason in enumerate(REFUSAL_REASONS)},
    keys=[(40_000.0, True), (1.0, False)],
)
"""Every text as long as it can be, and a problem on every line that can have one."""


class Reading(HTMLParser):
    """The page, parsed strictly: each tag must be closed in order, and each special character escaped.

    ``items`` has the texts of each list item by its heading, ``paragraphs`` the texts outside lists. Each time is
    replaced by AGO there, and kept in ``times`` with its attributes. ``rows`` are the cells of the table by row.
    ``verdict`` is the class of the overall state.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.items: dict[str, list[str]] = {}
        self.paragraphs: list[str] = []
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.times: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.title = self.style = self.verdict = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        assert re.findall(r"&(?!(?:amp|lt|gt|quot|#x27);)", html) == []
        assert html.startswith('<!DOCTYPE html>\n<html lang="en">\n')

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the tag."""
        given = {name: value for name, value in attrs if value is not None}
        assert len(given) == len(attrs), "a repeated attribute, or one without a value"
        self.tags.add(tag)
        self.attributes |= given.keys()
        if tag == "a":
            self.links.append(given["href"])
        if tag == "time":
            self.times.append(given)
        if given.get("class", "").startswith("verdict "):
            self.verdict = given["class"].removeprefix("verdict ")
        if tag == "tr":
            self.rows.append([])
        if tag != "meta":
            self._open.append((tag, given))
            self._texts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Close the open tag, and record its text."""
        opened, given = self._open.pop()
        assert opened == tag
        raw = self._texts.pop()
        text = "AGO" if tag == "time" else " ".join(raw.split())
        listed = any(around == "li" for around, _ in self._open)
        if tag in {"title", "style"}:
            setattr(self, tag, raw)
        elif tag in {"h1", "h2", "h3"}:
            self.headings.append(f"{tag} {text}")
            if listed:
                self.items[text] = []
        elif tag == "p" or given.get("class", "").startswith("state"):
            (self.items[self.headings[-1][3:]] if listed else self.paragraphs).append(text)
        elif tag in {"th", "td"}:
            self.rows[-1].append(text)
        elif self._open and "aria-hidden" not in given:
            self._texts[-1] += text if tag in {"time", "code", "a"} else raw

    def handle_data(self, data: str) -> None:
        """Add to the text of the open tag."""
        if self._texts:
            self._texts[-1] += data

    def states(self) -> list[str]:
        """Return the states of the five steps, in order."""
        return [texts[0] for texts in list(self.items.values())[:5]]
