"""Backups of ledgers in use, and what is restored from them; by the commands of docs/how-to/backup.md."""

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
from tests.support.postgres import postgres, program
from tests.support.running import Exporter, exporter, failure, server, until

PAGE: Final = "docs/how-to/backup.md"
SERIES: Final = "rcptto/5xx/5.1.1"
LEDGER: Final = "ledger.db"
BACKUP: Final = "smtpeter-exporter.db"
TOOLS: Final = ("sqlite3", "python")
DAILY: Final = 2
"""Which block of the page is the script of each day, after those of the tools."""


def scripts(heading: str) -> list[str]:
    """The blocks of commands that the page has below a heading."""
    return [block.text for block in blocks(PAGE, "sh", below=heading)]


class Places:
    """The folders that commands of the page name, below a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.state, self.backups, self.elsewhere = folder / "state", folder / "backups", folder / "elsewhere"
        for place in (self.state, self.backups, self.elsewhere):
            place.mkdir()
        self.backup = self.backups / BACKUP

    def run(self, script: str) -> str:
        """Run commands of the page here; what they print."""
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
def places(tmp_path: Path) -> Places:
    """The folders of a test."""
    return Places(tmp_path)


@contextmanager
def counting(folder: Path, *flags: str) -> Iterator[Exporter]:
    """Run an exporter on the ledger in the folder, under the name that the page gives it."""
    with exporter(folder, "--storage.url", f"sqlite:///{folder / LEDGER}", *flags) as running:
        yield running


class Load:
    """Failures posted by several clients at the same time; ``answered`` are the numbers of those answered 200."""

    def __init__(self, address: Exporter) -> None:
        self.answered: set[int] = set()
        self._numbers = count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(address,)) for _ in range(8)]

    def __enter__(self) -> set[int]:
        """Begin, and wait for some to be counted; the set of those that are, which grows."""
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answered) > 300)
        return self.answered

    def __exit__(self, *_: object) -> None:
        """Go on for a while, then end."""
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
    """Post these failures."""
    with running.client() as client:
        assert {client.post(failure(number)).status for number in numbers} <= {200}


@pytest.mark.parametrize("tool", TOOLS)
def test_backup_of_a_ledger_in_use_is_whole(places: Places, tool: str) -> None:
    """Each failure answered before it began is in it, and counts once if sent again; others can't read it."""
    script = scripts("Back up a SQLite ledger")[TOOLS.index(tool)]
    with counting(places.state) as running:
        with Load(running) as answered:
            before = set(answered)
            places.run(script)
        assert running.failures() == {SERIES: len(answered)}
    assert S_IMODE(places.backup.stat().st_mode) == 0o600
    shutil.copy(places.backup, places.elsewhere / LEDGER)
    with counting(places.elsewhere) as restored:
        [held] = restored.failures().values()
        assert len(before) <= held <= len(answered)
        post_all(restored, before)
        assert restored.failures() == {SERIES: held}
        post_all(restored, answered)
        assert restored.failures() == {SERIES: len(answered)}


def test_a_copy_of_the_file_alone_is_no_backup(places: Places) -> None:
    """What the page warns of: while the exporter runs, what was counted last is not in the file itself."""
    with counting(places.state) as running:
        post_all(running, {1, 2, 3})
        shutil.copy(places.state / LEDGER, places.elsewhere)
    with counting(places.elsewhere) as copied:
        assert copied.failures() == {}


def test_daily_backup(places: Places) -> None:
    """The script of the page makes one with the date in its name, and removes those older than two weeks."""
    script = scripts("Back up a SQLite ledger")[DAILY]
    assert script.startswith("#!/bin/sh\n")
    with counting(places.state) as running:
        post_all(running, {1})
        for days in (13, 16):
            old = places.backups / f"smtpeter-exporter-{days}.db"
            old.touch()
            subprocess.run([server("touch"), f"--date={days} days ago", old], check=True)
        places.run(script)
        today = places.run("date +%F").strip()
    found = {path.name: path.stat().st_mode & 0o777 for path in places.backups.iterdir()}
    assert found.pop(f"smtpeter-exporter-{today}.db") == 0o600
    assert list(found) == ["smtpeter-exporter-13.db"]


def test_restored_ledger_counts_on_from_zero(places: Places) -> None:
    """Restored as the page says, the series are there at 0, what was counted is known, and what is new counts."""
    backup, restore = (scripts(heading)[0] for heading in ("Back up a SQLite ledger", "Restore a SQLite ledger"))
    with counting(places.state) as running:
        post_all(running, {1, 2, 3})
        places.run(backup)
        post_all(running, {4})
    (places.state / LEDGER).write_text("damaged")
    places.run("".join(line for line in restore.splitlines(keepends=True) if not line.startswith("systemctl ")))
    with counting(places.state) as running:
        assert running.failures() == {SERIES: 0}
        post_all(running, {1, 2, 3, 5})
        assert running.failures() == {SERIES: 1}
        reasons = {key: value for key, value in running.samples().items() if "_by_reason_" in key and value}
        assert reasons == {'smtpeter_failures_by_reason_total{reason="recipient_unknown"}': 1}
    [totals] = scripts("Why totals begin at 0")
    assert '["failures", "rcptto", "5xx", "5.1.1"]|3\n' in places.run(totals)


def test_backup_of_postgresql(places: Places) -> None:
    """A PostgreSQL ledger, dumped while in use, has all that was answered, and restored counts on from 0."""
    dump, restore = scripts("A PostgreSQL ledger")
    with postgres() as database:
        url = database.url()

        def run(script: str) -> None:
            script = script.replace("postgresql://smtpeter@db.example.com/smtpeter", url)
            for name in ("pg_dump", "pg_restore", "psql"):
                script = script.replace(f"{name} ", f"{program(name)} ")
            places.run(script)

        with counting(places.elsewhere, "--storage.url", url) as running:
            with Load(running) as answered:
                before = set(answered)
                run(dump)
            assert running.failures() == {SERIES: len(answered)}
        run(restore)
        with counting(places.elsewhere, "--storage.url", url) as restored:
            assert restored.failures() == {SERIES: 0}
            post_all(restored, before)
            assert restored.failures() == {SERIES: 0}
            post_all(restored, answered | {len(answered) + 1_000_000})
            [counted] = restored.failures().values()
            assert 1 <= counted <= len(answered) - len(before) + 1
