"""An exporter with a PostgreSQL ledger while the server is down: nothing is lost, and counting resumes."""

from pathlib import Path
from typing import Final

import pytest

from exporter.ledger.url import PostgresUrl
from tests.support.postgres import PASSWORD, QUOTED, shared_server
from tests.support.running import exporter, failure, until

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
