"""Facts for the status page in many situations, and a strict reader of the page."""

import re
from html.parser import HTMLParser
from typing import Any, Final

from exporter.ledger.contract import Total
from exporter.metrics.collector import Snapshot
from exporter.refusals import REFUSAL_REASONS
from exporter.web.checks import Facts

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
    "loops": (),
    "engine": "SQLite",
    "shared": False,
    "ledger": Snapshot([], 12_288, START),
    "problem": None,
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


USED: Final = Snapshot(totals(NOW - 90), 48_300_000, NOW - 8)
"""A ledger that has counted failures."""

SITUATIONS: Final[dict[str, dict[str, Facts]]] = {
    "Public URL": {
        "not set": facts(public_url=""),
        "no request": facts(),
        "no request, signatures off": facts(signature_required=False),
        "no request since the restart": facts(ledger=USED),
        "requests for another host": facts(last={"request": NOW - 5}),
        "a request": facts(last={"request": NOW - 5, "public_url": NOW - 50}),
        "a signed request through a rewriting proxy": facts(last={"request": NOW - 5, "signed": NOW - 60}),
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
    },
    "Failures": {
        "none": facts(),
        "none, signatures off": facts(signature_required=False),
        "in the ledger": facts(ledger=USED),
        "since the last snapshot": facts(ledger=USED, last={"counted": NOW - 3}),
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
    verification_files=1,
    last={"request": NOW - 65, "public_url": NOW - 65, "file": NOW - 250, "signed": NOW - 65},
    refusals={"unsigned": 2},
    ledger=Snapshot([], 12_288, NOW - 1_500),
    keys=[(250.0, False)],
)
"""Half-way through the setup, as in tests/unit/web/page.html, and with links in docs/page.png."""

MARKUP: Final = "</style></p><script>alert('&')</script>\"&lt;"
WORST: Final = facts(
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
    replaced by AGO there, and kept in ``times`` with its attributes. ``verdict`` is the class of the overall state.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.items: dict[str, list[str]] = {}
        self.paragraphs: list[str] = []
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
        elif self._open and "aria-hidden" not in given:
            self._texts[-1] += text if tag in {"time", "code", "a"} else raw

    def handle_data(self, data: str) -> None:
        """Add to the text of the open tag."""
        if self._texts:
            self._texts[-1] += data

    def states(self) -> list[str]:
        """Return the states of the five steps, in order."""
        return [texts[0] for texts in list(self.items.values())[:5]]
