"""The parts of ``make chaos``: each finds nothing where all is well, and finds a loss and a double."""

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

import pytest

from bench.disk import Create, Disk, DiskEvent, Remove, Sync, Truncate, Write
from bench.full_disk import fill_again_and_again
from bench.hangs import hang_database, hang_disk
from bench.kills import Verdict, kill_again_and_again
from bench.power_cuts import LEDGER, Recording, cut_power, record_run, records_of
from bench.write_trace import Answer
from exporter.ledger.sqlite import SqliteLedger
from tests.support.postgres import shared_server
from tests.support.records import NOW, count
from tests.support.running import server
from tests.support.sqlite import ask

SENT: Final = 120
EXACT: Final = Verdict(0, 0)

# The disk.

FILE: Final = "d/file"
NEW: Final = (Create(FILE), Sync("d"))
OLD: Final = bytes(1_024)
DATA: Final = b"1" * 1_024


def outcomes(*events: DiskEvent) -> set[bytes | None]:
    """Return all contents of the file that were seen after many power cuts, None if the file was missing."""
    disk = Disk()
    for event in events:
        disk.apply(event)
    chance = Random(1)
    return {disk.cut(chance).get(FILE) for _ in range(500)}


def test_what_is_flushed_stays() -> None:
    """After a flush of the file and of its name, a power cut changes nothing."""
    assert outcomes(*NEW, Write(FILE, 0, DATA), Write(FILE, 512, b"22"), Truncate(FILE, 513), Sync(FILE)) == {
        b"1" * 512 + b"2"
    }


def test_what_is_not_flushed_may_be_missing() -> None:
    """Each sector of a write, and each write, is kept or not; so is the new name of a file, and its removal."""
    half = bytes(512)
    assert outcomes(*NEW, Write(FILE, 0, OLD), Sync(FILE), Write(FILE, 0, DATA)) == {
        *(OLD, DATA, DATA[:512] + half, half + DATA[:512])
    }
    assert outcomes(*NEW, Write(FILE, 0, b"1"), Write(FILE, 2, b"2")) == {b"", b"1", b"\0\0" + b"2", b"1\0" + b"2"}
    assert outcomes(*NEW, Write(FILE, 0, b"1"), Sync(FILE), Truncate(FILE, 0)) == {b"1", b""}
    assert outcomes(Create(FILE), Write(FILE, 0, b"1"), Sync(FILE)) == {None, b"1"}
    assert outcomes(*NEW, Write(FILE, 0, b"1"), Sync(FILE), Remove(FILE)) == {None, b"1"}


# Power cuts.


def cut_after(directory: Path, stored: range, change: Callable[[Path], object]) -> Verdict:
    """Cut the power after a ledger with these failures is on the disk, changed, and all SENT are answered 200."""
    ledger = directory / LEDGER
    with closing(SqliteLedger(ledger, now=NOW)) as made:
        count(made, records_of(stored))
    change(ledger)
    path = str(ledger)
    on_disk: list[DiskEvent] = [Create(path), Write(path, 0, ledger.read_bytes()), Sync(path), Sync(str(directory))]
    return cut_power(Recording(path, [*on_disk, *map(Answer, range(SENT))], SENT), 20, seed=1).verdict


def damage(ledger: Path) -> None:
    """Overwrite a page in the middle."""
    content = bytearray(ledger.read_bytes())
    content[4_096:5_120] = b"x" * 1_024
    ledger.write_bytes(content)


def test_a_right_ledger_is_exact(tmp_path: Path) -> None:
    """A ledger with all failures, each counted once, has lost nothing."""
    assert cut_after(tmp_path, range(SENT), bool) == EXACT


@pytest.mark.parametrize(
    ("stored", "change"),
    [
        (range(1, SENT), bool),
        (range(SENT), damage),
        (range(SENT), lambda ledger: ask(ledger, "UPDATE total SET count = count - 1")),
    ],
    ids=["one missing", "damaged", "total too low"],
)
def test_a_loss_is_found(tmp_path: Path, stored: range, change: Callable[[Path], object]) -> None:
    """A ledger without an answered failure, in its identities or in its totals, or a damaged one, is a loss."""
    verdict = cut_after(tmp_path, stored, change)
    assert verdict.lost > 0
    assert verdict.twice == 0


@pytest.mark.parametrize(
    "change",
    ["UPDATE total SET count = count + 1", "DELETE FROM identity WHERE hash IN (SELECT min(hash) FROM identity)"],
    ids=["total too high", "identity missing"],
)
def test_a_double_is_found(tmp_path: Path, change: str) -> None:
    """A total that is too high is a double, and so is a failure that is counted although its identity is missing."""
    assert cut_after(tmp_path, range(SENT), lambda ledger: ask(ledger, change)).twice > 0


def test_power_cuts_of_a_real_run(tmp_path: Path) -> None:
    """A run of the exporter survives all cuts; if its flushes had no effect, or one was missing, it would not."""
    server("strace")
    recording = record_run(tmp_path, 300)
    cuts = cut_power(recording, 60, seed=1)
    assert (cuts.verdict, cuts.problems, cuts.during_checkpoints > 0) == (EXACT, [], True)
    unflushed = [event for event in recording.events if not isinstance(event, Sync)]
    assert cut_power(recording._replace(events=unflushed), 30, seed=1).verdict.lost > 0


# Kills, hangs and full disks.

BROKEN: Final = """
import contextlib, runpy, sqlite3
from exporter.ledger.sqlite import SqliteLedger as Ledger
{}
runpy.run_module("exporter", run_name="__main__")
"""
LOSES: Final = """
record = Ledger.record
Ledger.record = lambda self, batch, **how: [True, *record(self, batch[1:], **how)]
"""
FORGETS: Final = """
def forget_and_open(self, path, **how):
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM identity")
        other.commit()
    open_ledger(self, path, **how)

open_ledger, Ledger.__init__ = Ledger.__init__, forget_and_open
"""


def test_a_killed_exporter_is_exact(tmp_path: Path) -> None:
    """Killed three times, the exporter loses nothing and counts nothing twice."""
    kills = kill_again_and_again(tmp_path, 3, seed=1)
    assert (set(kills.verdicts), len(kills.verdicts)) == ({EXACT}, 4)
    assert kills.sent > 0


def test_a_lossy_exporter_is_found(tmp_path: Path) -> None:
    """An exporter that does not record the first failure of each batch loses failures."""
    kills = kill_again_and_again(tmp_path, 1, seed=1, program=(sys.executable, "-c", BROKEN.format(LOSES)))
    assert max(verdict.lost for verdict in kills.verdicts) > 0


def test_a_forgetful_exporter_is_found(tmp_path: Path) -> None:
    """An exporter that forgets identities when it starts counts failures twice."""
    kills = kill_again_and_again(tmp_path, 1, seed=1, program=(sys.executable, "-c", BROKEN.format(FORGETS)))
    assert max(verdict.twice for verdict in kills.verdicts) > 0


@pytest.mark.parametrize(("kind", "rejects"), [("space", True), ("inodes", False)])
def test_a_full_disk_loses_nothing(kind: str, rejects: bool) -> None:
    """On a real file system without space the exporter answers 503; without inodes it goes on. Nothing is lost."""
    fills = fill_again_and_again(kind, 2, seed=1)
    if fills is None:
        pytest.skip("needs unshare, and the right to mount a tmpfs")
    assert (set(fills.verdicts), fills.problems, fills.rejected > 0) == ({EXACT}, [], rejects)


@pytest.mark.parametrize("engine", ["SQLite", "PostgreSQL"])
def test_a_ledger_that_hangs_loses_nothing(engine: str) -> None:
    """While the file system or the server hangs for 2 s, scrapes are answered; nothing is lost."""
    hangs = hang_disk(1, seed=1) if engine == "SQLite" else hang_database(shared_server(), 1, seed=1)
    if hangs is None:
        pytest.skip("needs fsfreeze, and the right to mount an ext4")
    assert (hangs.verdicts, hangs.problems, hangs.sent > 0) == ([EXACT], [], True)
