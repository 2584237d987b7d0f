"""The page of the private listener: what a real exporter says of itself, and that it is good HTML.

``python -m tests.e2e.test_page`` writes the golden file anew.
"""

import base64
import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from socket import gethostname
from typing import Final

import pytest

from exporter import __version__
from exporter.metrics.collector import Snapshot
from exporter.refusals import REFUSAL_REASONS
from exporter.web.checks import Facts
from exporter.web.page import ago, page
from tests.e2e.test_outages import ledger_moved
from tests.support.postgres import postgres
from tests.support.running import FORM, TIMEOUT, Exporter, Prometheus, exporter, failure, until
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, headers_for, key, record
from tests.support.tree import ROOT
from tests.unit.web.test_checks import CASES, NOW, URL, WEBHOOK, facts, slugs, totals

GOLDEN: Final = ROOT / "tests/unit/web/page.html"
HOST: Final = "mail.example.com"
SCRAPER: Final = {"X_Prometheus_Scrape_Timeout_Seconds": "10"}
WEB: Final = "https://git.example.com/docs"

SETTING_UP: Final = facts(
    since=NOW - 1_500,
    verification_files=1,
    verification_problem=None,
    last={"request": NOW - 65, "call": NOW - 65, "file": NOW - 250, "signed": NOW - 65},
    refusals={"unsigned": 2},
    ledger=Snapshot([], 12_288, NOW - 1_500),
    keys=[(250.0, False)],
)
"""Half-way: SMTPeter has verified the URL and checked it; what the golden file shows, and docs/page.png with links."""

HOSTILE: Final = "</style></p><script>alert('&')</script>\"&lt;"
WORST: Final = facts(
    version=HOSTILE,
    machine=HOSTILE,
    shared=True,
    engine=HOSTILE,
    problem=f"ledger {'x' * 300}: {HOSTILE}",
    verification_files=1,
    verification_problem=f"/{'y' * 300}: {HOSTILE}",
    ledger=Snapshot(totals(NOW - 90, new=True), 1, NOW - 8),
    last={"request": NOW - 5, "scrape": NOW - 900},
    refusals={reason: 1_234_567 - number for number, reason in enumerate(REFUSAL_REASONS)},
    keys=[(40_000.0, True), (1.0, False)],
)
"""All that can be long is long, and nothing is well."""


class Reading(HTMLParser):
    """A document, read strictly and as it is read out: each tag is closed in its order, nothing stands unescaped.

    ``items`` has the texts of each list item below its heading, ``paragraphs`` those outside of lists; times are AGO in
    them, and kept in ``times`` with their attributes.
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
        self.title = self.style = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        assert re.findall(r"&(?!(?:amp|lt|gt|quot|#x27);)", html) == []
        assert html.startswith('<!DOCTYPE html>\n<html lang="en">\n')

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        given = {name: value for name, value in attrs if value is not None}
        assert len(given) == len(attrs), "an attribute twice, or without a value"
        self.tags.add(tag)
        self.attributes |= given.keys()
        if tag == "a":
            self.links.append(given["href"])
        if tag == "time":
            self.times.append(given)
        if tag != "meta":
            self._open.append((tag, given))
            self._texts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Close what is open, and note what it had to say."""
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
        """Note the text."""
        if self._texts:
            self._texts[-1] += data


def read(running: Exporter) -> Reading:
    """The page of an exporter; each time on it is one of the last minutes."""
    answer = running.get("/")
    assert answer.status == 200
    reading = Reading(answer.text)
    for one in reading.times:
        at = datetime.fromisoformat(one["datetime"])
        assert -1 <= time.time() - at.timestamp() < 4 * TIMEOUT
        assert one["title"] == f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return reading


def states(reading: Reading) -> list[str]:
    """How it stands with the five steps, in order."""
    return [said[0] for said in list(reading.items.values())[:5]]


# What a real exporter says.


class Running:
    """An exporter that wants signatures, its folder for verification files, and the name server that it asks."""

    def __init__(self, exporter: Exporter, folder: Path) -> None:
        self.exporter = exporter
        self.folder = folder
        self._number = 0

    def page(self) -> Reading:
        """Its page."""
        return read(self.exporter)

    def call(self, *, account: str = ACCOUNT, host: str = HOST) -> int:
        """Send a new failure as SMTPeter would, by way of a proxy that passes this Host on; the status."""
        self._number += 1
        body = "&".join(f"{name}={value}" for name, value in failure(self._number).items()).encode()
        headers = headers_for(HOST, "/smtpeter/failures", body, FORM, account=account)
        with self.exporter.client() as client:
            return client.request("POST", "/smtpeter/failures", body, {**headers, "Host": host}).status

    def ask(self, method: str, path: str, host: str) -> int:
        """Send a request without a signature; the status."""
        with self.exporter.client() as client:
            return client.request(method, path, headers={"Host": host}).status


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """One that has just been set up, with a public URL; it must not log a fault."""
    folder = tmp_path / "verification"
    folder.mkdir()
    flags = (
        *("--signature.mode", "required", "--signature.account", ACCOUNT, "--metrics.birth-hold", "60s"),
        *("--webhook.public-url", URL, "--webhook.verification-dir", str(folder), "--web.docs-url", f"{WEB}/"),
    )
    with NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        with exporter(tmp_path, *flags, "--signature.nameserver", name_server.address) as started:
            yield Running(started, folder)
            assert [line for line in started.log() if "fault" in line.get("msg", "")] == []


CURL: Final = f"To do: On a machine elsewhere, curl -i -X POST {URL}/failures should show 403 and the word unsigned."
ADD: Final = "add this exporter to scrape_configs in prometheus.yml, and reload Prometheus."


def test_a_fresh_start(running: Running) -> None:
    """Nothing is done yet, each step says what to do, and nothing is wrong."""
    reading = running.page()
    assert reading.headings == [
        *("h1 smtpeter-exporter", "h2 Does it work?"),
        *("h3 Public URL", "h3 Verification file", "h3 Signed calls", "h3 Failures", "h3 Scrapes"),
        *("h2 Refused in the last hour", "h2 Ledger and keys", "h3 Ledger", "h3 Keys", "h2 More"),
    ]
    assert reading.title == "0 of 5 steps are done. Next: Public URL. smtpeter-exporter"
    intro, said, refused = reading.paragraphs
    assert re.fullmatch(
        r"Counts the e-mail deliveries that SMTPeter reports as failed, for Prometheus\. "
        rf"Version {re.escape(__version__)}, started AGO; this is how it stood at \d\d:\d\d:\d\d UTC\.",
        intro,
    )
    assert (said, refused) == ("0 of 5 steps are done. Next: Public URL.", "No request was refused.")
    size = reading.items["Ledger"].pop()
    assert re.fullmatch(r"SQLite, writable; [0-9.]+ kB when it was last looked at AGO\.", size)
    assert reading.items == {
        "Public URL": ["not yet", "No request has come in since the start AGO.", f"{CURL} More"],
        "Verification file": [
            "not yet",
            "The folder has no smtpeter-….txt.",
            "To do: Put the file there that SMTPeter hands out when you add the URL in its dashboard. More",
        ],
        "Signed calls": [
            "not yet",
            "None was accepted since the start AGO.",
            f"To do: {WEBHOOK} More",
        ],
        "Failures": [
            "not yet",
            "None was counted yet.",
            "To do: Wait for a delivery that fails, or mail an address that does not exist, through SMTPeter. More",
        ],
        "Scrapes": [
            "not yet",
            "Nobody has read /metrics since the start AGO.",
            f"To do: A{ADD[1:]} More",
        ],
        "Ledger": ["well"],
        "Keys": ["not yet", "None is held; SMTPeter's key is looked up in DNS when it calls.", "More"],
    }


def test_a_refused_call(running: Running) -> None:
    """A trial without signature shows that the URL is reached, and is listed with what to do about it."""
    assert running.ask("POST", "/smtpeter/failures", HOST) == 403
    reading = running.page()
    assert states(reading) == ["done", *["not yet"] * 4]
    assert reading.items["Public URL"] == ["done", f"Requests for {URL} come in, the last one AGO."]
    assert reading.items["unsigned"] == [
        "once",
        "A call without one of the headers Host, Date, Digest, X-Copernica-ID and Signature.",
        f"To do: {REFUSAL_REASONS['unsigned'].todo}",
    ]
    assert running.ask("GET", "/smtpeter/failures", "MAIL.example.com:443") == 405
    assert running.ask("POST", "/smtpeter/failures", HOST) == 403
    again = running.page()
    assert [(title, said[0]) for title, said in again.items.items()][5:7] == [
        ("unsigned", "2 times"),
        ("method", "once"),
    ]


@pytest.mark.parametrize(
    ("host", "path"), [("127.0.0.1", "/smtpeter/x"), (HOST, "/x"), (HOST, "/smtpeter"), ("", "/smtpeter/x")]
)
def test_a_request_by_another_name(running: Running, host: str, path: str) -> None:
    """A request with another host or path than those of the public URL does not show that the URL is reached."""
    assert running.ask("GET", path, host) == 404
    assert running.page().items["Public URL"] == [
        "cannot tell",
        f"Requests come in, but none had the host and path of {URL}; the last one came AGO.",
        f"{CURL} If it does, the proxy rewrites host or path, which does no harm. More",
    ]


@pytest.mark.parametrize("host", [HOST, "127.0.0.1"], ids=["as called", "rewritten by a proxy"])
def test_a_signed_call(running: Running, host: str) -> None:
    """It shows that URL, verification and signature are right; it is counted, and its key is held."""
    assert running.call(host=host) == 200
    reading = running.page()
    reading.items.pop("Scrapes")
    reading.items.pop("Ledger")
    assert reading.items == {
        "Public URL": ["done", f"Requests for {URL} come in, the last one AGO."],
        "Verification file": [
            "done",
            "The folder has no smtpeter-….txt; SMTPeter calls, so most likely it has verified the URL.",
        ],
        "Signed calls": ["done", "The last one that was accepted came AGO."],
        "Failures": ["done", "The last one was counted AGO."],
        "Keys": ["well", "1 key is held; it was looked up AGO."],
    }
    assert reading.title == "4 of 5 steps are done. Next: Scrapes. smtpeter-exporter"


def test_a_signed_call_that_is_refused(running: Running) -> None:
    """When none is accepted, that is trouble, with the reason and a runbook; one that is accepted ends it."""
    assert running.call(account="environment-4321") == 403
    reading = running.page()
    assert reading.paragraphs[1] == "There is trouble: Signed calls."
    assert reading.items["Signed calls"] == [
        "trouble",
        "In the last hour no signed call was accepted, and 1 was refused.",
        "To do: See the reasons below. More",
    ]
    assert f"{WEB}/runbooks/SMTPeterSignatureRefusals.md" in reading.links
    assert reading.items["account"][0] == "once"
    assert running.call() == 200
    assert running.page().items["Signed calls"] == [
        "done",
        "1 was refused in the last hour. The last one that was accepted came AGO.",
    ]


def test_a_verification_file(running: Running) -> None:
    """It is seen when it is put there, when it is fetched, and when it is out of reach."""
    name = "smtpeter-abc.txt"
    (running.folder / "readme.txt").write_text("x")
    (running.folder / name).write_text("x")
    assert running.page().items["Verification file"] == [
        "not yet",
        "1 file is there, but nobody has fetched it since the start AGO.",
        "To do: Let SMTPeter verify the URL, in its dashboard. More",
    ]
    assert running.ask("GET", "/smtpeter/smtpeter-other.txt", HOST) == 404
    assert running.page().items["Verification file"][0] == "not yet"
    assert running.ask("GET", f"/smtpeter/{name}", HOST) == 200
    assert running.page().items["Verification file"] == ["done", "1 file is there, last fetched AGO."]
    (running.folder / "smtpeter-large.txt").write_text("x" * 5_000)
    assert running.page().items["Verification file"][:2] == [
        "trouble",
        "Not all can be served: smtpeter-large.txt is no regular file of at most 4096 bytes.",
    ]
    running.folder.rename(running.folder.with_suffix(".moved"))
    assert running.page().items["Verification file"][:2] == [
        "trouble",
        f"Not all can be served: {running.folder}: No such file or directory.",
    ]


def test_a_scrape(running: Running) -> None:
    """What says that it is Prometheus is believed; whoever else reads the metrics may be anybody."""
    running.exporter.samples()
    assert running.page().items["Scrapes"] == [
        "cannot tell",
        "/metrics was read, but not by Prometheus; the last time AGO.",
        f"To do: If another collector than Prometheus reads it, all is well. Else: {ADD} More",
    ]
    assert running.exporter.get("/metrics", **SCRAPER).status == 200
    assert running.page().items["Scrapes"] == ["done", "Prometheus reads /metrics, the last time AGO."]


def test_a_real_prometheus_is_known(running: Running, prometheus: Prometheus) -> None:
    """A scrape of Prometheus makes the last step done; after a call, that is all."""
    assert running.call() == 200
    prometheus.add("page", running.exporter.private)
    until(lambda: states(running.page())[-1] == "done")
    assert running.page().paragraphs[1] == (
        "It works: SMTPeter's calls come in, failures are counted, and Prometheus reads the counts."
    )


def test_new_series_are_told_of(running: Running) -> None:
    """While the last scrape saw series that are held at 0, the page says why."""
    assert running.call() == 200
    assert len(running.page().paragraphs) == 3
    running.exporter.samples()
    assert running.page().paragraphs[2] == (
        "4 series are new, and shown as 0 for the first 60 seconds, so that Prometheus sees them rise. More"
    )


def test_nothing_personal_is_on_it(running: Running) -> None:
    """No address, id, account or name of a key of what was counted or refused; nor what strangers sent."""
    assert running.call() == 200
    assert running.call(account="environment-4321") == 403
    assert running.ask("GET", "/smtpeter/jane.doe1@example.org", HOST) == 404
    html = running.exporter.get("/").text.replace("@media", "")
    assert [word for word in ("@", "jane", "environment", "domainkey", "m1", "user unknown") if word in html] == []


def test_after_a_restart(tmp_path: Path) -> None:
    """The last failure is known from the ledger; what was not seen since may have been before."""
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
        assert read(running).items["Failures"] == ["done", "The last one was counted AGO."]
    with exporter(tmp_path) as running:
        reading = read(running)
        assert states(reading) == ["not yet", "cannot tell", "cannot tell", "done", "not yet"]
        assert reading.items["Failures"] == ["done", "The last one was counted AGO."]
        assert list(reading.items)[5:] == ["Ledger"]


def test_a_trial_without_signatures(tmp_path: Path) -> None:
    """What curl should show is what it does show, and the page says that anybody can invent failures."""
    with exporter(tmp_path, "--webhook.public-url", URL) as running:
        assert "/failures should show 415 and the word content_type." in read(running).items["Public URL"][2]
        with running.client() as client:
            answer = client.request("POST", "/smtpeter/failures", headers={"Host": HOST})
        assert (answer.status, answer.text) == (415, "content_type\n")
        reading = read(running)
        assert reading.items["Public URL"][0] == "done"
        assert reading.items["Signed calls"] == [
            "cannot tell",
            "Signatures are not checked, for signature.mode is off: whoever reaches the URL can invent failures.",
            "To do: Leave it out and set signature.account, unless this is a trial on a machine of your own.",
        ]


def test_a_ledger_in_trouble(tmp_path: Path) -> None:
    """The page comes up with the reason, the last failure, and how large the ledger was; and it heals."""
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
        with ledger_moved(running):
            until(lambda: running.get("/-/ready").status == 503)
            assert running.post(failure(2)).status == 503
            reading = read(running)
            assert reading.paragraphs[1] == "There is trouble: Failures, Ledger."
            assert reading.items["Failures"] == [
                "trouble",
                "They are answered 503, for the ledger can't be written; the last one was counted AGO.",
                "To do: Mend the ledger, see below; it goes on by itself.",
            ]
            why = running.get("/-/ready").text.removeprefix("not ready: ").strip()
            assert reading.items["Ledger"] == ["trouble", f"SQLite, can't be written: {why}."]
            assert reading.items["unavailable"][0] == "once"
        until(lambda: read(running).items["Ledger"][0] == "well")


def test_a_verification_file_among_many_others(tmp_path: Path) -> None:
    """It is seen wherever it stands in the folder, which may be that of a whole site."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "smtpeter-4f1c2d.txt").touch()
    for number in range(3_000):
        (folder / f"{number}.html").touch()
    with exporter(tmp_path, "--webhook.verification-dir", str(folder)) as running:
        assert read(running).items["Verification file"][1].startswith("1 file is there, ")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes in names of folders that are not UTF-8 are shown as such, here and by ``/-/ready``."""
    folder = tmp_path / os.fsdecode(b"odd-\xff")
    folder.mkdir()
    (folder / "smtpeter-x.txt").symlink_to("/etc/passwd")
    with exporter(folder, "--webhook.verification-dir", str(folder)) as running:
        with ledger_moved(running):
            until(lambda: running.get("/-/ready").status == 503)
            assert f"{tmp_path}/odd-\\udcff/ledger.db" in running.get("/-/ready").text
            reading = read(running)
        shown = f"a link out of the folder {tmp_path}/odd-\\udcff."
        assert reading.items["Verification file"][1].endswith(shown)
        assert f"{tmp_path}/odd-\\udcff/ledger.db" in reading.items["Ledger"][1]
        until(lambda: running.get("/-/ready").status == 200)


def test_a_ledger_that_hangs(tmp_path: Path) -> None:
    """With a frozen PostgreSQL, and scrapes that wait for it, the page is there at once; it speaks of this replica."""
    with postgres() as database, exporter(tmp_path, "--storage.url", database.url()) as running:
        assert running.post(failure(1)).status == 200
        notice = (
            f"This page speaks of the exporter on {gethostname()} only. Others may count into the same ledger, and "
            "have pages of their own; the last failure may be theirs."
        )
        assert read(running).paragraphs[2] == notice
        os.kill(database.pid, signal.SIGSTOP)
        for child in children(database.pid):
            os.kill(child, signal.SIGSTOP)
        try:
            scrape = threading.Thread(target=running.samples)
            scrape.start()
            reading = read(running)
            assert scrape.is_alive()
            assert reading.items["Failures"][1] == "The last one was counted AGO."
            assert running.post(failure(2)).status == 503
            assert read(running).items["Ledger"][:2] == [
                "trouble",
                "PostgreSQL, can't be written: the ledger did not finish a commit in 10 seconds.",
            ]
            scrape.join(TIMEOUT)
        finally:
            for child in [database.pid, *children(database.pid)]:
                os.kill(child, signal.SIGCONT)
        until(lambda: read(running).items["Ledger"][0] == "well")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_its_links_lead_somewhere(running: Running) -> None:
    """Those to this exporter are answered; those to the documentation are pages and headings there."""
    assert running.call(account="environment-4321") == 403
    links = running.page().links
    own = [link for link in links if not link.startswith(WEB)]
    assert {link: running.exporter.get(f"/{link}").status for link in own} == {
        "metrics": 200,
        "-/healthy": 200,
        "-/ready": 200,
    }
    for link in set(links) - set(own):
        file, _, anchor = link.removeprefix(WEB).partition("#")
        assert not anchor or anchor in slugs(ROOT / f"docs{file}"), link
        assert (ROOT / f"docs{file}").exists(), link


def test_by_default_it_links_to_no_documentation(tmp_path: Path) -> None:
    """Without ``web.docs-url`` the page links to this exporter alone; what to do stays."""
    with exporter(tmp_path) as running:
        reading = read(running)
    assert reading.links == ["metrics", "-/healthy", "-/ready"]
    assert reading.items["Scrapes"] == [
        "not yet",
        "Nobody has read /metrics since the start AGO.",
        f"To do: A{ADD[1:]}",
    ]


def test_its_headers(running: Running) -> None:
    """Nothing is loaded, run, sent, framed or kept: the one style that it has is named by its hash."""
    answer = running.exporter.get("/")
    style = base64.b64encode(hashlib.sha256(Reading(answer.text).style.encode()).digest()).decode()
    names = ("Content-Type", "Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "Cache-Control")
    assert {name: answer.headers.get(name) for name in names} == {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


# HTML.


def test_the_golden_page() -> None:
    """With a fixed clock the page is, letter for letter, the one in the file."""
    assert page(SETTING_UP) == GOLDEN.read_text("utf-8")


def linked(given: Facts) -> Facts:
    """The same, with a URL of the documentation."""
    return replace(given, docs_url=WEB)


def test_each_link_to_the_documentation_can_be_left_out() -> None:
    """The links of the worst page, with a URL of the documentation and without; nothing else changes."""
    own = ["metrics", "-/healthy", "-/ready"]
    with_, without = page(linked(WORST)), page(WORST)
    assert Reading(without).links == own
    assert Reading(with_).links == [
        *(f"{WEB}/page.md#public-url", f"{WEB}/page.md#verification-file"),
        f"{WEB}/runbooks/SMTPeterSignatureRefusals.md",
        f"{WEB}/runbooks/SMTPeterLedgerNotWritable.md",
        f"{WEB}/page.md#scrapes",
        f"{WEB}/page.md#new-series",
        f"{WEB}/page.md#refused-in-the-last-hour",
        f"{WEB}/runbooks/SMTPeterLedgerNotWritable.md",
        f"{WEB}/runbooks/SMTPeterKeysUnavailable.md",
        *own,
        f"{WEB}/page.md",
    ]
    unlinked = re.sub(r'<li><a href="[^"]+">Documentation</a>.*\n', "", with_)
    unlinked = re.sub(r'<p class="(todo|notice)"><a [^>]+>More( about refusals)?</a></p>\n', "", unlinked)
    assert re.sub(r" <a [^>]+>More</a>", "", unlinked) == without


def all_facts() -> list[Facts]:
    """Those of all cases of lines, and the extremes, without and with a URL of the documentation."""
    found = [SETTING_UP, WORST, *(given for cases in CASES.values() for given, _ in cases.values())]
    return [*found, *map(linked, found)]


def test_it_is_good_html_in_each_case() -> None:
    """It can be read strictly, and is made of few kinds of tags, none of which loads or runs anything."""
    for given in all_facts():
        reading = Reading(page(given))
        assert reading.tags <= set(
            "html head meta title style body header main footer h1 h2 h3 p div span ol ul li a code time".split()
        )
        assert reading.attributes <= set(
            "lang charset name content class href aria-label aria-hidden title datetime".split()
        )
        levels = [int(heading[1]) for heading in reading.headings]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert [(one, next_) for one, next_ in pairwise(levels) if next_ > one + 1] == []


def test_what_comes_from_elsewhere_is_escaped() -> None:
    """Whatever stands in a version, a path, the name of the machine or an error is shown as it is."""
    reading = Reading(page(WORST))
    assert f"Version {HOSTILE}, started AGO" in reading.paragraphs[0]
    assert f"the exporter on {HOSTILE} only" in reading.paragraphs[-1]
    assert reading.items["Verification file"][1].endswith(f": {HOSTILE}.")
    assert reading.items["Ledger"][1].endswith(f": {HOSTILE}.")


def test_each_refusal_is_told_in_words() -> None:
    """Each reason has its count, what it means, and what to do, with the most first."""
    reading = Reading(page(WORST))
    told = {reason: reading.items[reason] for reason in REFUSAL_REASONS}
    plain = {reason: [text.replace("`", "") for text in texts] for reason, texts in REFUSAL_REASONS.items()}
    assert told == {
        reason: [f"{1_234_567 - number:,} times", f"{what[0].upper()}{what[1:]}.", f"To do: {todo}"]
        for number, (reason, (_, what, todo)) in enumerate(plain.items())
    }


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
def test_how_long_ago(seconds: float, words: str) -> None:
    """In the largest unit of which there is one, rounded down."""
    assert ago(seconds) == words


if __name__ == "__main__":
    GOLDEN.write_text(page(SETTING_UP), "utf-8")
