"""The status page of a running exporter: which requests change which line."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Final

import pytest

from exporter import __version__
from exporter.classification.loops import LOOPS
from exporter.metrics.activity import Misdirected
from exporter.metrics.collector import Snapshot
from exporter.web.checks import parts, steps
from exporter.web.lines import State
from exporter.web.loops import loop_lines
from exporter.web.page import POLICY
from tests.support.documentation import PAGES, anchors
from tests.support.events import ALL_LOOPS, event
from tests.support.guarded import REQUIRED
from tests.support.postgres import postgres
from tests.support.running import FORM, TIMEOUT, Exporter, Prometheus, exporter, failure, until
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, headers_for, key, record
from tests.support.status_page import DOCS_URL, NOW, URL, USED, Reading, facts

HOST: Final = "mail.example.com"
SCRAPER: Final = {"X_Prometheus_Scrape_Timeout_Seconds": "10"}


def read(running: Exporter) -> Reading:
    """Return the page of an exporter; each time on it must be recent."""
    answer = running.get("/")
    assert answer.status == 200
    reading = Reading(answer.text)
    for one in reading.times:
        at = datetime.fromisoformat(one["datetime"])
        assert -1 <= time.time() - at.timestamp() < 4 * TIMEOUT
        assert one["title"] == f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return reading


def expected(title: str, **changed: object) -> list[str]:
    """Return what the page shows of a line in this situation; tests/unit/web/test_checks.py tests the lines."""
    given = facts(**{"docs_url": DOCS_URL, **changed})
    (line,) = [line for line in [*steps(given), *loop_lines(given), *parts(given)] if line.title == title]
    when = "" if line.at is None else " AGO"
    requested = "" if line.requested is None else " The last request arrived AGO."
    todo = f"To do: {line.todo} More" if line.todo else "More"
    texts = [line.state, f"{line.text}{when}.{requested}", *([todo] if line.docs else [])]
    return [text.replace("`", "") for text in texts]


REQUESTED: Final = expected("Failures", ledger=USED, requests={"failures": NOW})


class Running:
    """An exporter that requires signatures, its directory of verification files, and the requests it gets."""

    def __init__(self, exporter: Exporter, directory: Path) -> None:
        self.exporter = exporter
        self.directory = directory
        self._number = 0

    def page(self) -> Reading:
        """Return its page."""
        return read(self.exporter)

    def post(self, *, account: str = ACCOUNT, host: str = HOST) -> int:
        """Post a new signed failure, with the Host that a proxy passes on; return the status."""
        self._number += 1
        body = "&".join(f"{name}={value}" for name, value in failure(self._number).items()).encode()
        headers = headers_for(HOST, "/smtpeter/failures", body, FORM, account=account)
        with self.exporter.client() as client:
            return client.request("POST", "/smtpeter/failures", body, {**headers, "Host": host}).status

    def ask(self, method: str, path: str, host: str = HOST) -> int:
        """Send a request without a signature; return the status."""
        with self.exporter.client() as client:
            return client.request(method, path, headers={"Host": host}).status


@contextmanager
def running_exporter(directory: Path) -> Iterator[Running]:
    """Run a new exporter with a public URL; it may not log an internal error."""
    files = directory / "verification"
    files.mkdir()
    flags = (
        *REQUIRED,
        *("--metrics.birth-hold", "60s", "--webhook.public-url", URL),
        *("--webhook.verification-dir", str(files), "--web.docs-url", f"{DOCS_URL}/"),
    )
    with NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        with exporter(directory, *flags, "--signature.nameserver", name_server.address) as started:
            yield Running(started, files)
            assert [line for line in started.log() if line["level"] == "error"] == []


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Yield an exporter to which nothing has happened."""
    with running_exporter(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield an exporter that has accepted and rejected requests, for tests that don't depend on the exact state."""
    with running_exporter(tmp_path_factory.mktemp("used")) as running:
        assert running.post() == 200
        assert running.post(account="environment-4321") == 403
        assert running.ask("GET", "/smtpeter/jane.doe1@example.org") == 404
        yield running


def test_a_new_exporter(running: Running) -> None:
    """Nothing is done yet, each step says what to do, and nothing is wrong."""
    reading = running.page()
    assert reading.headings == [
        *("h1 smtpeter-exporter", "h2 Does it work?"),
        *("h3 Public URL", "h3 Verification file", "h3 Signed requests", "h3 Failures", "h3 Scrapes"),
        *(
            "h2 Failures in the last 24 hours",
            "h2 Rejected in the last hour",
            "h2 Ledger and keys",
            "h3 Ledger",
            "h3 Keys",
            "h2 More",
        ),
    ]
    assert reading.verdict == "not-yet"
    assert f" Version {__version__}, started AGO." in reading.paragraphs[0]
    assert re.search(r" \d\d:\d\d:\d\d UTC", reading.paragraphs[0])
    size = re.sub(r"[0-9.]+ kB", "12 kB", reading.items["Ledger"].pop())
    assert [*reading.items.pop("Ledger"), size] == expected("Ledger")
    assert reading.items == {title: expected(title) for title in reading.items}
    assert len(reading.items) == 6


def test_a_test_request(running: Running) -> None:
    """A request without a signature shows that the URL is reached, and is listed with its reason."""
    assert running.ask("POST", "/smtpeter/failures") == 403
    reading = running.page()
    assert reading.states() == ["done", *["not yet"] * 4]
    assert reading.items["Public URL"] == expected("Public URL", last={"public_url": NOW})
    assert reading.items["unsigned"][0] == "once"
    assert running.ask("GET", "/smtpeter/failures", "MAIL.example.com:443") == 405
    assert running.ask("POST", "/smtpeter/failures") == 403
    again = running.page()
    assert [(title, texts[0]) for title, texts in again.items.items()][5:7] == [
        ("unsigned", "2 times"),
        ("method", "once"),
    ]


def test_requests_for_another_url(running: Running) -> None:
    """A request with another host or path than the public URL's does not show that the URL is reached."""
    for host, path in (("127.0.0.1", "/smtpeter/x"), (HOST, "/x"), (HOST, "/smtpeter"), ("", "/smtpeter/x")):
        assert running.ask("GET", path, host) == 404
        assert running.page().items["Public URL"] == expected("Public URL", last={"request": NOW})


@pytest.mark.parametrize("host", [HOST, "127.0.0.1"], ids=["passed on", "rewritten by a proxy"])
def test_a_signed_request(running: Running, host: str) -> None:
    """It shows that URL, verification and signature are right; it is counted, and its key is cached."""
    assert running.post(host=host) == 200
    reading = running.page()
    counted = {"requests": {"failures": NOW}, "counts": {"failures": NOW}}
    seen = {"last": {"signed": NOW}, "keys": [(1.0, False)], **counted}
    for title in ("Public URL", "Verification file", "Signed requests", "Failures", "Keys"):
        assert reading.items[title] == expected(title, **seen)
    assert reading.states() == [*["done"] * 4, "not yet"]
    assert reading.verdict == "not-yet"


def test_a_rejected_signed_request(running: Running) -> None:
    """If no signed request is accepted, that is a problem with a reason and a runbook; an accepted one ends it."""
    assert running.post(account="environment-4321") == 403
    reading = running.page()
    assert reading.verdict == "problem"
    assert reading.items["Signed requests"] == expected("Signed requests", refusals={"account": 1})
    assert f"{DOCS_URL}/runbooks/SMTPeterSignatureRefusals.md" in reading.links
    assert reading.items["account"][0] == "once"
    assert running.post() == 200
    accepted = expected("Signed requests", refusals={"account": 1}, last={"signed": NOW})
    assert running.page().items["Signed requests"] == accepted


def test_a_verification_file(running: Running) -> None:
    """The page notices a file that appears, that is fetched, and that cannot be served."""
    name = "smtpeter-abc.txt"
    (running.directory / "readme.txt").write_text("x")
    (running.directory / name).write_text("x")
    not_fetched = expected("Verification file", verification_files=1)
    assert running.page().items["Verification file"] == not_fetched
    assert running.ask("GET", "/smtpeter/smtpeter-other.txt") == 404
    assert running.page().items["Verification file"] == not_fetched
    assert running.ask("GET", f"/smtpeter/{name}") == 200
    fetched = expected("Verification file", verification_files=1, last={"file": NOW})
    assert running.page().items["Verification file"] == fetched
    (running.directory / "smtpeter-large.txt").write_text("x" * 5_000)
    state, text, _ = running.page().items["Verification file"]
    assert (state, "smtpeter-large.txt" in text) == ("problem", True)
    running.directory.rename(running.directory.with_suffix(".moved"))
    state, text, _ = running.page().items["Verification file"]
    assert (state, f"{running.directory}: " in text) == ("problem", True)


def test_scrapes(running: Running) -> None:
    """A request with Prometheus's header is a scrape; another reader of the metrics may be anyone."""
    running.exporter.samples()
    assert running.page().items["Scrapes"] == expected("Scrapes", last={"read": NOW})
    assert running.exporter.get("/metrics", **SCRAPER).status == 200
    assert running.page().items["Scrapes"] == expected("Scrapes", last={"scrape": NOW})


def test_a_real_prometheus(used: Running, prometheus: Prometheus) -> None:
    """A scrape by Prometheus completes the setup."""
    prometheus.add("page", used.exporter.private)
    until(lambda: used.page().states()[-1] == "done")
    assert used.page().verdict == "done"


def test_new_series(running: Running) -> None:
    """While the last scrape saw series that are held at 0, the page explains it."""
    assert running.post() == 200
    assert len(running.page().paragraphs) == 4
    running.exporter.samples()
    assert len(running.page().paragraphs) == 5
    notice = running.page().paragraphs[2]
    assert notice.startswith("5 ")
    assert " 60 " in notice
    assert f"{DOCS_URL}/page.md#new-series" in running.page().links


def test_all_loops(tmp_path: Path) -> None:
    """Each loop has a line; failures and deliveries are in the table, and a misdirected webhook is named."""
    with exporter(tmp_path, *ALL_LOOPS) as running:
        url = {"loops": tuple(LOOPS.values()), "public_url": "", "docs_url": ""}
        reading = read(running)
        assert list(reading.items)[5:8] == ["Deliveries", "Bounces", "Abuses"]
        assert [reading.items[title][0] for title in ("Deliveries", "Bounces", "Abuses")] == ["not yet"] * 3
        for number, loop in enumerate(("failures", "deliveries", "deliveries", "bounces")):
            assert running.post(event(loop, number), f"/{loop}").status == 200
        assert running.post(event("abuses", 9), "/failures").status == 400
        reading = read(running)
        seen = {"requests": dict.fromkeys(LOOPS, NOW), "counts": dict.fromkeys(LOOPS, NOW)}
        for title in ("Failures", "Deliveries", "Bounces"):
            assert reading.items[title] == expected(title, **url, **seen)
        misdirected = [Misdirected("abuse", "failures")]
        wrong = expected("Abuses", **url, misdirected=misdirected)
        assert reading.items["Abuses"] == [*wrong[:2], wrong[2].removesuffix(" More")]
        assert reading.items["other_loop"][0] == "once"
        assert reading.verdict == "problem"
        assert reading.rows == [
            ["Reason", "All", "other"],
            ["recipient_unknown", "1", "1"],
            ["All failures", "1", "1"],
            ["Deliveries", "2", "2"],
            ["Failure ratio", "33.3%", "33.3%"],
        ]
        html = running.get("/").text.replace("@media", "")
        assert [word for word in ("@", "jane", "m0", "fbl", "mx.example") if word in html] == []


def test_nothing_personal_is_shown(used: Running) -> None:
    """The page contains no address, id, account or key name, and nothing that a client sent."""
    html = used.exporter.get("/").text.replace("@media", "")
    assert [word for word in ("@", "jane", "environment", "domainkey", "m1", "user unknown") if word in html] == []


def test_links_lead_somewhere(used: Running) -> None:
    """Links to this exporter are answered; links to the documentation name an existing page and heading."""
    links = used.page().links
    own = [link for link in links if not link.startswith(DOCS_URL)]
    assert {link: used.exporter.get(f"/{link}").status for link in own} == {
        "metrics": 200,
        "-/healthy": 200,
        "-/ready": 200,
    }
    for link in set(links) - set(own):
        file, _, anchor = link.removeprefix(DOCS_URL).partition("#")
        assert f"docs{file}" in PAGES, link
        assert not anchor or anchor in anchors(f"docs{file}"), link


def test_headers(used: Running) -> None:
    """The page is served with the policy for its own style."""
    assert used.exporter.get("/").headers["Content-Security-Policy"] == POLICY


def test_after_a_restart(tmp_path: Path) -> None:
    """The last failure is known from the ledger; other events may have happened before the restart."""
    counted = expected("Failures", ledger=USED)
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
        assert read(running).items["Failures"] == REQUESTED
    with exporter(tmp_path) as running:
        reading = read(running)
        assert reading.states() == ["not yet", "cannot tell", "cannot tell", "done", "not yet"]
        assert reading.items["Failures"] == counted
        assert reading.rows == []
        assert list(reading.items)[5:] == ["Ledger"]
        # Without web.docs-url, the page has no links to the documentation.
        assert reading.links == ["metrics", "-/healthy", "-/ready"]


def test_without_signatures(tmp_path: Path) -> None:
    """The answer that the page announces for curl is the real one, and the page warns about the mode."""
    with exporter(tmp_path, "--webhook.public-url", URL) as running:
        todo = read(running).items["Public URL"][2]
        with running.client() as client:
            answer = client.request("POST", "/smtpeter/failures", headers={"Host": HOST})
        assert (answer.status, answer.text) == (415, "content_type\n")
        assert [word for word in ("415", "content_type", f"{URL}/failures") if word not in todo] == []
        reading = read(running)
        assert reading.items["Public URL"][0] == "done"
        assert reading.items["Signed requests"][0] == "cannot tell"
        assert "signature.mode" in reading.items["Signed requests"][1]


@contextmanager
def moved(file: Path) -> Iterator[None]:
    """Move the file away for a while."""
    elsewhere = file.with_suffix(".moved")
    file.rename(elsewhere)
    yield
    elsewhere.rename(file)


def test_a_ledger_that_is_not_writable(tmp_path: Path) -> None:
    """The page shows the cause and the last failure; when the ledger is back, all is well again."""
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
        with moved(running.ledger):
            until(lambda: running.get("/-/ready").status == 503)
            assert running.post(failure(2)).status == 503
            reading = read(running)
            why = running.get("/-/ready").text.removeprefix("not ready: ").strip()
            assert reading.verdict == "problem"
            lost = expected("Failures", ledger=USED, problem=why, requests={"failures": NOW})
            assert reading.items["Failures"] == [*lost[:2], lost[2].removesuffix(" More")]
            assert reading.items["Ledger"] == expected("Ledger", problem=why)[:2]
            assert reading.items["unavailable"][0] == "once"
        until(lambda: read(running).items["Ledger"][0] == State.OK)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """Bytes in directory names that are not UTF-8 are escaped, on the page and by ``/-/ready``."""
    directory = tmp_path / os.fsdecode(b"odd-\xff")
    directory.mkdir()
    (directory / "smtpeter-x.txt").symlink_to("/etc/passwd")
    with exporter(directory, "--webhook.verification-dir", str(directory)) as running:
        with moved(running.ledger):
            until(lambda: running.get("/-/ready").status == 503)
            assert f"{tmp_path}/odd-\\udcff/ledger.db" in running.get("/-/ready").text
            reading = read(running)
        assert f"{tmp_path}/odd-\\udcff" in reading.items["Verification file"][1]
        assert f"{tmp_path}/odd-\\udcff/ledger.db" in reading.items["Ledger"][1]
        until(lambda: running.get("/-/ready").status == 200)


def test_a_ledger_that_hangs(tmp_path: Path) -> None:
    """With a frozen PostgreSQL, and a scrape that waits for it, the page is answered at once."""
    with postgres() as database, exporter(tmp_path, "--storage.url", database.url()) as running:
        assert running.post(failure(1)).status == 200
        assert gethostname() in read(running).paragraphs[2]  # the notice that other replicas may exist
        os.kill(database.pid, signal.SIGSTOP)
        for child in children(database.pid):
            os.kill(child, signal.SIGSTOP)
        try:
            scrape = threading.Thread(target=running.samples)
            scrape.start()
            reading = read(running)
            assert scrape.is_alive()
            assert reading.items["Failures"] == REQUESTED
            assert running.post(failure(2)).status == 503
            state, text = read(running).items["Ledger"]
            assert (state, text.startswith("PostgreSQL")) == ("problem", True)
            scrape.join(TIMEOUT)
        finally:
            for child in [database.pid, *children(database.pid)]:
                os.kill(child, signal.SIGCONT)
        until(lambda: read(running).items["Ledger"][0] == State.OK)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_size_of_the_ledger(tmp_path: Path) -> None:
    """The size is that of the last scrape."""
    with exporter(tmp_path) as running:
        size = running.samples()["smtpeter_exporter_ledger_size_bytes"]
        snapshot = Snapshot([], int(size), NOW)
        assert read(running).items["Ledger"] == expected("Ledger", ledger=snapshot)
