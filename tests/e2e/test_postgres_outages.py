"""An exporter with a PostgreSQL ledger while the server is down: nothing is lost, and counting resumes."""

from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest

from exporter.ledger.url import PostgresUrl
from tests.support.crowd import all_at_once
from tests.support.postgres import PASSWORD, QUOTED, shared_server
from tests.support.raw_http import http, refused
from tests.support.running import HASTY, changes, exporter, failure, failures_of, until

SERIES: Final = "rcptto/5xx/5.1.1"


@pytest.fixture
def url() -> str:
    """Return the URL of a new database on the shared server."""
    return shared_server().create_new()


def test_a_stopped_server_is_answered_503_until_it_is_back(tmp_path: Path, url: str) -> None:
    """While the server is down: 503 with Retry-After, not ready, the last totals. Then counting resumes."""
    with exporter(tmp_path, "--storage.url", url) as replica:
        assert replica.post(failure(1)).status == 200
        assert replica.failures() == {SERIES: 1}
        shared_server().stop()
        try:
            rejected = replica.post(failure(2))
            assert (rejected.status, rejected.headers["Retry-After"]) == (503, "5")
            assert replica.failures() == {SERIES: 1}
            assert replica.get("/-/ready").status == 503
        finally:
            shared_server().start()
        until(lambda: replica.get("/-/ready").status == 200)
        assert [replica.post(failure(number)).status for number in (1, 2)] == [200, 200]
        assert replica.failures() == {SERIES: 2}
        assert [line for line in replica.lines if QUOTED in line or PASSWORD in line or "Traceback" in line] == []


def test_a_server_that_hangs_is_answered_503_until_it_answers(tmp_path: Path, url: str) -> None:
    """While all its processes are suspended: 503 after COMMIT_TIMEOUT, not ready, the last totals.

    What was queued is dropped. The commit that was late answers nobody. Afterwards each failure is counted once.
    """
    numbers = range(2, 42)
    requests = [http(body=urlencode(failure(n)).encode(), headers=("Connection: close",)) for n in numbers]
    with exporter(tmp_path, "--storage.url", url, program=HASTY) as replica, replica.client() as client:
        assert client.post(failure(1)).status == 200
        assert replica.failures() == {SERIES: 1}
        before = replica.samples()
        with shared_server().suspended():
            first = client.post(failure(2))
            assert (first.status, first.headers["Retry-After"], first.text) == (503, "5", "unavailable\n")
            assert {answer.status for answer in all_at_once(replica.public, requests)} == {503}
            readiness = replica.get("/-/ready")
            assert (readiness.status, "did not finish a commit in 2 seconds" in readiness.text) == (503, True)
            assert replica.get("/-/healthy").status == 200
            during = replica.samples()
            assert (during["smtpeter_exporter_ledger_writable"], failures_of(during)) == (0, {SERIES: 1})
            assert changes(before, during) == {name: 1 + len(numbers) for name in refused("unavailable")}
        until(lambda: replica.get("/-/ready").status == 200)
        assert client.request("GET", "/other").status == 404  # not the answer to an earlier request
        before = replica.samples()
        assert {answer.status for answer in all_at_once(replica.public, requests)} == {200}
        assert replica.failures() == {SERIES: 1 + len(numbers)}
        assert {name for name in changes(before, replica.samples()) if "refused" in name} == set()
        events = [(line["level"], line["msg"]) for line in replica.log() if line["msg"].startswith("ledger ")]
        broken, working = "ledger not writable; answering 503 until it is", "ledger writable again"
        assert [event for event in events if event[0] != "warning"] == [("error", broken), ("info", working)]
        assert [line for line in replica.lines if "Traceback" in line] == []


def test_a_server_without_fsync_is_ready_with_a_warning(tmp_path: Path, url: str) -> None:
    """While a crash of the server can lose failures, readiness is 200, and its text and the log say so."""
    with exporter(tmp_path, "--storage.url", url) as replica:
        start = f"ready\nwarning: ledger {PostgresUrl(url)}: a crash can lose failures that were answered 200: "
        until(lambda: replica.get("/-/ready").text == f"{start}fsync is off\n")
        shared_server().execute("ALTER TABLE smtpeter_total SET UNLOGGED", url.rpartition("/")[2])
        unlogged = "fsync is off; the table smtpeter_total is unlogged"
        until(lambda: replica.get("/-/ready").text == f"{start}{unlogged}\n")
        assert replica.get("/-/ready").status == 200
        assert replica.post(failure(1)).status == 200
    lines = [line for line in replica.log() if line["msg"] == "ledger is not durable"]
    assert [line["level"] for line in lines] == ["warning", "warning"]
    assert [line["why"].rpartition("200: ")[2] for line in lines] == ["fsync is off", unlogged]


def test_totals_are_exposed_if_the_server_stops_before_the_first_scrape(tmp_path: Path, url: str) -> None:
    """The totals that were read at the start are exposed. Zeros would look like a reset, followed by a spike."""
    with exporter(tmp_path, "--storage.url", url) as replica:
        assert replica.post(failure(1)).status == 200
    with exporter(tmp_path, "--storage.url", url) as replica:
        shared_server().stop()
        try:
            assert replica.failures() == {SERIES: 1}
            until(lambda: any("level=warning" in line and "error=" in line for line in replica.lines))
        finally:
            shared_server().start()
