"""Trouble with disk, ledger, settings and network: what the process does at the start, at run time and at its end."""

import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import pytest

from exporter.classification.series import Record
from exporter.ledger.committer import MAINTENANCE_INTERVAL
from exporter.ledger.sqlite import SqliteLedger
from tests.support.running import (
    FORM,
    TIMEOUT,
    Exporter,
    changes,
    command,
    connect,
    environment,
    exporter,
    failure,
    throughout,
    until,
)

UNAVAILABLE: Final = 'smtpeter_exporter_refused_total{reason="unavailable"}'


@contextmanager
def disk_full(running: Exporter) -> Iterator[None]:
    """No write to any file succeeds."""
    running.limit_files(0)
    yield
    running.limit_files(resource.RLIM_INFINITY)


@contextmanager
def ledger_moved(running: Exporter) -> Iterator[None]:
    """The ledger lies elsewhere."""
    elsewhere = running.ledger.with_suffix(".moved")
    running.ledger.rename(elsewhere)
    yield
    elsewhere.rename(running.ledger)


@contextmanager
def folder_moved(running: Exporter) -> Iterator[None]:
    """The folder with the ledger lies elsewhere, as when a volume is detached."""
    folder = running.ledger.parent
    elsewhere = folder.with_suffix(".moved")
    folder.rename(elsewhere)
    yield
    elsewhere.rename(folder)


@contextmanager
def ledger_locked(running: Exporter) -> Iterator[None]:
    """Another program is in the middle of writing to the ledger."""
    with closing(sqlite3.connect(running.ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


NOT_READY: Final = "not ready: ledger /"
TROUBLES: Final = [disk_full, ledger_moved, folder_moved, ledger_locked]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_heals_by_itself(tmp_path: Path, trouble: Callable[[Exporter], AbstractContextManager[None]]) -> None:
    """While the ledger can't be written: 503 with Retry-After, not ready, the old totals; all is well when it ends."""
    folder = tmp_path / "state"
    folder.mkdir()
    with exporter(folder) as running:
        assert running.post(failure(1)).status == 200
        before = running.samples()
        with trouble(running):
            answer = running.post(failure(2))
            assert (answer.status, answer.headers["Retry-After"], answer.text) == (503, "5", "unavailable\n")
            readiness = running.get("/-/ready")
            assert (readiness.status, readiness.text[: len(NOT_READY)]) == (503, NOT_READY)
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
    events = [(line["level"], line["msg"]) for line in running.log()]
    assert events == [
        ("warning", "signature.mode is off: whoever reaches the public listener can invent failures"),
        ("info", "ready"),
        ("error", "the ledger can't be written; failures are answered 503 until it can"),
        ("info", "the ledger can be written again"),
        ("info", "stopping"),
        ("info", "stopped"),
    ]
    with exporter(folder) as running:
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}


def test_stays_red_while_the_disk_is_full(tmp_path: Path) -> None:
    """That the ledger can still be read does not turn readiness green."""
    with exporter(tmp_path) as running:
        with disk_full(running):
            assert running.post(failure(1)).status == 503
            throughout(lambda: running.get("/-/ready").status == 503, MAINTENANCE_INTERVAL + 0.5)
        until(lambda: running.get("/-/ready").status == 200)


def test_notices_by_itself(tmp_path: Path) -> None:
    """A ledger that is gone turns readiness red before the first failure is refused."""
    with exporter(tmp_path) as running:
        with ledger_moved(running):
            until(lambda: running.get("/-/ready").status == 503)
        until(lambda: running.get("/-/ready").status == 200)


@pytest.mark.parametrize("trouble", [disk_full, ledger_locked])
def test_stops_in_trouble(tmp_path: Path, trouble: Callable[[Exporter], AbstractContextManager[None]]) -> None:
    """SIGTERM ends the process in good order even while the ledger can't be written, and nothing answered is lost."""
    with exporter(tmp_path, measured=False) as running:
        assert running.post(failure(1)).status == 200
        with trouble(running):
            assert running.post(failure(2)).status == 503
            assert running.stop() == 0
    assert [line for line in running.lines if not line.startswith("ts=")] == []
    with exporter(tmp_path) as running:
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}


def test_second_on_the_same_ledger(tmp_path: Path) -> None:
    """A second exporter on a ledger in use refuses to start and says who has it; the first is not disturbed."""
    with exporter(tmp_path) as running:
        line = (
            f"smtpeter-exporter: ledger {tmp_path}/ledger.db: another exporter (process {running.pid}) has it; "
            "stop that one, or give this one a storage.url of its own\n"
        )
        assert refusal(tmp_path) == (3, line)
        assert running.post(failure(1)).status == 200
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}


def refusal(
    folder: Path, *flags: str, files: int | None = None, variables: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and words of an exporter that is expected not to start; ``files`` is the limit for their size."""

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (files, files))

    ended = subprocess.run(
        command(folder, *flags),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(measured=files is None) | dict(variables or {}),
        preexec_fn=limit,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def used(ledger: Path) -> None:
    """A ledger that has counted a hundred failures."""
    opened = SqliteLedger(ledger, now=0)
    series = ("failures", "rcptto", "5xx", "5.1.1")
    opened.record([Record(number.to_bytes(16), (series,)) for number in range(100)], now=0, held=False)
    opened.close()


def no_database(ledger: Path) -> None:
    """A file of something else altogether."""
    ledger.write_text("Dear diary, today\n" * 1_000)


def scribbled(ledger: Path) -> None:
    """A ledger with noise in the middle."""
    used(ledger)
    content = bytearray(ledger.read_bytes())
    content[1_024:] = b"\xa5" * (len(content) - 1_024)
    ledger.write_bytes(content)


def cut(ledger: Path) -> None:
    """A ledger of which only the first half is there."""
    used(ledger)
    os.truncate(ledger, ledger.stat().st_size // 2)


def newer(ledger: Path) -> None:
    """A ledger that a later version has migrated."""
    used(ledger)
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA user_version = 99")


def foreign(ledger: Path) -> None:
    """A database of another program."""
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("CREATE TABLE visitor (name TEXT)")


def folder_missing(ledger: Path) -> None:
    """Nowhere to lie."""
    shutil.rmtree(ledger.parent)


def folder_instead(ledger: Path) -> None:
    """A folder where the file should be."""
    ledger.mkdir()


DAMAGED: Final = "it is damaged (*); restore a backup, or move it away"
NEWER: Final = (
    "it was written by a newer version (schema 99, this version knows up to 1); run that version or a later one"
)


BAD_LEDGERS: Final[dict[Callable[[Path], None], str]] = {
    no_database: "it is damaged or no ledger (*); restore a backup, or move it away",
    scribbled: DAMAGED,
    cut: DAMAGED,
    newer: NEWER,
    foreign: "this is an SQLite file of another program; give storage.url another file",
    folder_missing: "the folder */state does not exist; make it first",
    folder_instead: "this is a folder, expected a file",
}


@pytest.mark.parametrize("spoil", BAD_LEDGERS)
def test_does_not_start_on_a_bad_ledger(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A ledger that can't be trusted stops the start with one line and exit code 3, and is left as it was."""
    ledger = tmp_path / "state" / "ledger.db"
    ledger.parent.mkdir()
    spoil(ledger)
    before = ledger.read_bytes() if ledger.is_file() else None
    code, words = refusal(ledger.parent)
    assert (code, words.count("\n")) == (3, 1)
    assert fnmatchcase(words, f"smtpeter-exporter: ledger {ledger}: {BAD_LEDGERS[spoil]}\n"), words
    assert (ledger.read_bytes() if ledger.is_file() else None) == before


@pytest.mark.parametrize("exists", [False, True], ids=["new ledger", "old ledger"])
def test_does_not_start_on_a_full_disk(tmp_path: Path, *, exists: bool) -> None:
    """A disk that is full at the start ends it with one line and exit code 3; the totals are there the next time."""
    if exists:
        used(tmp_path / "ledger.db")
    code, words = refusal(tmp_path, files=0)
    assert (code, words.count("\n")) == (3, 1), words
    assert words.startswith(f"smtpeter-exporter: ledger {tmp_path}/ledger.db: ")
    with exporter(tmp_path) as running:
        assert running.failures() == ({"rcptto/5xx/5.1.1": 100} if exists else {})


@pytest.mark.parametrize("listener", ["webhook", "web"])
def test_does_not_start_on_a_port_in_use(tmp_path: Path, listener: str) -> None:
    """An address that somebody else listens on stops the start with one line and exit code 4."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        line = f"smtpeter-exporter: can't listen on {address}: Address already in use\n"
        assert refusal(tmp_path, f"--{listener}.listen-address", address) == (4, line)


STORAGE: Final = "sqlite:///relative/path, sqlite:////absolute/path or postgresql://host/database"
UNKNOWN: Final = (
    "environment variable SMTPETER_EXPORTER_LOGLEVEL: no such setting; did you mean SMTPETER_EXPORTER_LOG_LEVEL?"
)


@pytest.mark.parametrize(
    ("flags", "variables", "line"),
    [
        (
            ["--storage.url", "mysql://x"],
            {},
            f"storage.url: 'mysql://x' (from --storage.url): expected {STORAGE}",
        ),
        (
            [],
            {"SMTPETER_EXPORTER_LOG_LEVEL": "loud"},
            "log.level: 'loud' (from SMTPETER_EXPORTER_LOG_LEVEL): expected debug, info, warning or error",
        ),
        (
            [],
            {"SMTPETER_EXPORTER_LOGLEVEL": "info"},
            UNKNOWN,
        ),
    ],
    ids=["flag", "variable", "unknown"],
)
def test_does_not_start_on_a_bad_setting(
    tmp_path: Path, flags: list[str], variables: dict[str, str], line: str
) -> None:
    """A mistake in the settings is told in one line, with exit code 2, before the ledger is touched."""
    assert refusal(tmp_path, *flags, variables=variables) == (2, f"smtpeter-exporter: {line}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the process with exit code 0, log that, and leave a ledger that needs no repair."""
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
        assert running.stop(number) == 0
    events = [(line["level"], line["msg"], line.get("signal")) for line in running.log()]
    assert events[2:] == [("info", "stopping", number.name), ("info", "stopped", None)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.db", "ledger.db.lock"]
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        counts = ledger.execute("SELECT count FROM total WHERE series LIKE '[\"failures\",%'").fetchall()
        assert (counts, ledger.execute("SELECT count(*) FROM identity").fetchall()) == ([(1,)], [(1,)])


def test_stops_whoever_stays_connected(tmp_path: Path) -> None:
    """Idle connections and one in the middle of a request keep the process for some seconds at most."""
    with exporter(tmp_path) as running, running.client() as idle, connect(running.public) as half:
        assert idle.post(failure(1)).status == 200
        half.sendall(b"POST /failures HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid=")
        assert running.post(failure(2)).status == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait() == 0


def test_finishes_what_is_in_flight(tmp_path: Path) -> None:
    """After SIGTERM no new connection is taken, but a request that had begun to come in is counted and answered 200."""
    body = b"id=1&recipient=a@b.c"
    head = f"POST /failures HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n"
    with exporter(tmp_path) as running, connect(running.public) as sock:
        sock.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert sock.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"  # so it is being read
        running.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(running.public))
        sock.sendall(body)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert running.wait() == 0
    with exporter(tmp_path) as running:
        assert running.failures() == {"none/none/none": 1}


def refuses_connections(address: str) -> bool:
    """Whether nobody listens at the address."""
    try:
        connect(address).close()
    except ConnectionError:
        return True
    return False
