"""Problems with the ledger of a running exporter: what clients, Prometheus and the log see, and how it recovers."""

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from exporter.ledger.committer import MAINTENANCE_INTERVAL
from tests.support.running import Exporter, changes, exporter, failure, throughout, until

UNAVAILABLE: Final = 'smtpeter_exporter_refused_total{reason="unavailable"}'

Problem = Callable[[Exporter], AbstractContextManager[None]]


@contextmanager
def disk_full(running: Exporter) -> Iterator[None]:
    """Make all writes to files fail."""
    running.limit_files(0)
    yield
    running.limit_files(resource.RLIM_INFINITY)


@contextmanager
def ledger_moved(running: Exporter) -> Iterator[None]:
    """Rename the ledger."""
    elsewhere = running.ledger.with_suffix(".moved")
    running.ledger.rename(elsewhere)
    yield
    elsewhere.rename(running.ledger)


@contextmanager
def directory_moved(running: Exporter) -> Iterator[None]:
    """Rename the directory of the ledger, as if its volume were detached."""
    directory = running.ledger.parent
    elsewhere = directory.with_suffix(".moved")
    directory.rename(elsewhere)
    yield
    elsewhere.rename(directory)


@contextmanager
def ledger_locked(running: Exporter) -> Iterator[None]:
    """Keep a transaction of another program open that writes to the ledger."""
    with closing(sqlite3.connect(running.ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize("problem", [disk_full, ledger_moved, directory_moved, ledger_locked])
def test_recovers_when_the_problem_ends(tmp_path: Path, problem: Problem) -> None:
    """While the ledger is not writable, requests are answered 503; afterwards nothing was lost or counted twice.

    Meanwhile the exporter is not ready and says so, is healthy, still rejects bad reports, and exposes the old totals.
    """
    directory = tmp_path / "state"
    directory.mkdir()
    with exporter(directory) as running:
        assert running.post(failure(1)).status == 200
        before = running.samples()
        with problem(running):
            answer = running.post(failure(2))
            assert (answer.status, answer.headers["Retry-After"], answer.text) == (503, "5", "unavailable\n")
            readiness = running.get("/-/ready")
            assert (readiness.status, str(running.ledger) in readiness.text) == (503, True)
            assert running.get("/-/healthy").status == 200
            assert running.post({"id": "1"}).status == 400
            during = running.samples()
        assert during["smtpeter_exporter_ledger_writable"] == 0
        assert changes(before, during) == {
            UNAVAILABLE: 1,
            'smtpeter_exporter_refused_total{reason="missing_field"}': 1,
        }
        until(lambda: running.get("/-/ready").status == 200)
        assert [running.post(failure(number)).status for number in (1, 2)] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}
        assert running.samples()["smtpeter_exporter_ledger_writable"] == 1
    events = [(line["level"], line["msg"]) for line in running.log()[1:]]  # the first warns that signatures are off
    assert (events[0], events[3:]) == (("info", "ready"), [("info", "stopping"), ("info", "stopped")])
    assert [level for level, _ in events[1:3]] == ["error", "info"], "one line when it begins, and one when it ends"
    with exporter(directory) as running:
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}


def test_is_not_ready_while_the_disk_is_full(tmp_path: Path) -> None:
    """It does not become ready just because the ledger can still be read."""
    with exporter(tmp_path) as running:
        with disk_full(running):
            assert running.post(failure(1)).status == 503
            throughout(lambda: running.get("/-/ready").status == 503, MAINTENANCE_INTERVAL + 0.5)
        until(lambda: running.get("/-/ready").status == 200)


def test_notices_a_missing_ledger_before_the_next_request(tmp_path: Path) -> None:
    """Readiness changes without a request, and again when the ledger is back."""
    with exporter(tmp_path) as running:
        with ledger_moved(running):
            until(lambda: running.get("/-/ready").status == 503)
        until(lambda: running.get("/-/ready").status == 200)


@pytest.mark.parametrize("problem", [disk_full, ledger_locked])
def test_stops_while_the_ledger_is_not_writable(tmp_path: Path, problem: Problem) -> None:
    """SIGTERM ends the process with exit code 0 and without a traceback; no failure that was answered 200 is lost."""
    with exporter(tmp_path, measured=False) as running:
        assert running.post(failure(1)).status == 200
        with problem(running):
            assert running.post(failure(2)).status == 503
            assert running.stop() == 0
    assert [line for line in running.lines if not line.startswith("ts=")] == []
    with exporter(tmp_path) as running:
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}
