"""Backups of ledgers in use, and restored ledgers, with the commands of docs/how-to/backup.md."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from stat import S_IMODE
from typing import Final

import pytest

from tests.support.documentation import blocks
from tests.support.postgres import program, shared_server
from tests.support.running import Exporter, exporter, failure, server, until

pytestmark = pytest.mark.server

PAGE: Final = "docs/how-to/backup.md"
SERIES: Final = "rcptto/5xx/5.1.1"
LEDGER: Final = "ledger.db"
BACKUP: Final = "smtpeter-exporter.db"
TOOLS: Final = ("sqlite3", "python")
DAILY: Final = 2
"""Index of the script for daily backups among the blocks of the page, after those of the tools."""


def scripts(heading: str) -> list[str]:
    """Return the blocks of commands below a heading of the page."""
    return [block.text for block in blocks(PAGE, "sh", below=heading)]


class Directories:
    """Directories of the test for those that the commands of the page name."""

    def __init__(self, directory: Path) -> None:
        self.state, self.backups, self.elsewhere = directory / "state", directory / "backups", directory / "elsewhere"
        for made in (self.state, self.backups, self.elsewhere):
            made.mkdir()
        self.backup = self.backups / BACKUP

    def run(self, script: str) -> str:
        """Run commands of the page in these directories, and return what they print."""
        server("sqlite3")
        for named, here in (
            ("/var/lib/smtpeter-exporter", self.state),
            ("/var/backups", self.backups),
            ("/opt/smtpeter-exporter/bin/python", sys.executable),
        ):
            script = script.replace(named, str(here))
        done = subprocess.run([server("sh"), "-euc", script], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    """Return the directories of the test."""
    return Directories(tmp_path)


@contextmanager
def counting(directory: Path, *flags: str) -> Iterator[Exporter]:
    """Run an exporter on the ledger in the directory, under the name that the page gives it."""
    with exporter(directory, "--storage.url", f"sqlite:///{directory / LEDGER}", *flags) as running:
        yield running


class Load:
    """Several clients that post failures at the same time; ``answered`` are the numbers of those answered 200."""

    def __init__(self, address: Exporter) -> None:
        self.answered: set[int] = set()
        self._numbers = count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(address,)) for _ in range(8)]

    def __enter__(self) -> set[int]:
        """Start, wait until some are counted, and return the set of those, which grows."""
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answered) > 300)
        return self.answered

    def __exit__(self, *_: object) -> None:
        """Continue for a while, then stop."""
        enough = len(self.answered) + 100
        with suppress(AssertionError):
            until(lambda: len(self.answered) > enough)
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post(self, running: Exporter) -> None:
        with running.client() as client:
            while not self._stop.is_set():
                number = next(self._numbers)
                if client.post(failure(number)).status == 200:
                    self.answered.add(number)


def post_all(running: Exporter, numbers: set[int]) -> None:
    """Post these failures, which are answered 200."""
    with running.client() as client:
        assert {client.post(failure(number)).status for number in numbers} <= {200}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_backup_of_a_ledger_in_use_is_complete(directories: Directories, tool: str) -> None:
    """It has every failure that was answered before it began, exactly once, and other users can't read it."""
    script = scripts("Back up a SQLite ledger")[TOOLS.index(tool)]
    with counting(directories.state) as running:
        with Load(running) as answered:
            before = set(answered)
            directories.run(script)
        assert running.failures() == {SERIES: len(answered)}
    assert S_IMODE(directories.backup.stat().st_mode) == 0o600
    shutil.copy(directories.backup, directories.elsewhere / LEDGER)
    with counting(directories.elsewhere) as restored:
        [held] = restored.failures().values()
        assert len(before) <= held <= len(answered)
        post_all(restored, before)
        assert restored.failures() == {SERIES: held}
        post_all(restored, answered)
        assert restored.failures() == {SERIES: len(answered)}


def test_a_copy_of_the_file_alone_is_not_a_backup(directories: Directories) -> None:
    """While the exporter runs, the newest counts are not in the file itself, as the page warns."""
    with counting(directories.state) as running:
        post_all(running, {1, 2, 3})
        shutil.copy(directories.state / LEDGER, directories.elsewhere)
    with counting(directories.elsewhere) as copied:
        assert copied.failures() == {}


def test_daily_backup(directories: Directories) -> None:
    """The script of the page creates a backup with the date in its name, and removes those older than two weeks."""
    script = scripts("Back up a SQLite ledger")[DAILY]
    assert script.startswith("#!/bin/sh\n")
    with counting(directories.state) as running:
        post_all(running, {1})
        for days in (13, 16):
            old = directories.backups / f"smtpeter-exporter-{days}.db"
            old.touch()
            subprocess.run([server("touch"), f"--date={days} days ago", old], check=True)
        directories.run(script)
        today = directories.run("date +%F").strip()
    found = {path.name: path.stat().st_mode & 0o777 for path in directories.backups.iterdir()}
    assert found.pop(f"smtpeter-exporter-{today}.db") == 0o600
    assert list(found) == ["smtpeter-exporter-13.db"]


def test_a_restored_ledger_counts_from_zero(directories: Directories) -> None:
    """After the restore on the page, series start at 0, old failures are duplicates, and new ones are counted."""
    backup, restore = (scripts(heading)[0] for heading in ("Back up a SQLite ledger", "Restore a SQLite ledger"))
    with counting(directories.state) as running:
        post_all(running, {1, 2, 3})
        directories.run(backup)
        post_all(running, {4})
    (directories.state / LEDGER).write_text("damaged")
    directories.run("".join(line for line in restore.splitlines(keepends=True) if not line.startswith("systemctl ")))
    with counting(directories.state) as running:
        assert running.failures() == {SERIES: 0}
        post_all(running, {1, 2, 3, 5})
        assert running.failures() == {SERIES: 1}
        reasons = {key: value for key, value in running.samples().items() if "_by_reason_total" in key and value}
        assert reasons == {'smtpeter_failures_by_reason_total{reason="recipient_unknown"}': 1}
    [totals] = scripts("Why totals begin at 0")
    assert '["failures", "rcptto", "5xx", "5.1.1"]|3\n' in directories.run(totals)


def test_a_backup_of_postgresql(directories: Directories) -> None:
    """A dump of a PostgreSQL ledger in use has every failure that was answered, and counts from 0 when restored."""
    dump, restore = scripts("A PostgreSQL ledger")
    url = shared_server().create_new()

    def run(script: str) -> None:
        script = script.replace("postgresql://smtpeter@db.example.com/smtpeter", url)
        for name in ("pg_dump", "pg_restore", "psql"):
            script = script.replace(f"{name} ", f"{program(name)} ")
        directories.run(script)

    with counting(directories.elsewhere, "--storage.url", url) as running:
        with Load(running) as answered:
            before = set(answered)
            run(dump)
        assert running.failures() == {SERIES: len(answered)}
    run(restore)
    with counting(directories.elsewhere, "--storage.url", url) as restored:
        assert restored.failures() == {SERIES: 0}
        post_all(restored, before)
        assert restored.failures() == {SERIES: 0}
        post_all(restored, answered | {len(answered) + 1_000_000})
        [counted] = restored.failures().values()
        assert 1 <= counted <= len(answered) - len(before) + 1
