"""The SQLite ledger: its database, crashes, full disks and concurrent readers."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.classification.classifier import identity_of
from exporter.classification.labels import labels_of
from exporter.classification.report import Report
from exporter.classification.series import Record, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import DAY, ClockState, Total
from exporter.ledger.sqlite import _IDENTITIES, SqliteLedger
from tests.support.confinement import confined, namespace
from tests.support.records import (
    BOUNCE,
    COMPLAINED,
    DEFER,
    DELIVERED,
    HOLD,
    NOW,
    RETURNED,
    count,
    deliveries,
    error_of,
    event,
    events,
    failure,
    failures,
    prune_all,
)
from tests.support.running import TIMEOUT
from tests.support.sqlite import ask, filled, kill, line, start
from tests.support.texts import Texts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the ledger."""
    return tmp_path.resolve() / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    """Yield a new ledger at ``path``."""
    ledger = SqliteLedger(path, now=NOW)
    yield ledger
    ledger.close()


# The database


def test_tables_are_strict(path: Path) -> None:
    """All tables are STRICT, and those with a key have no rowid."""
    filled(path)
    assert ask(path, "SELECT name, wr, strict FROM pragma_table_list WHERE name NOT LIKE 'sqlite%' ORDER BY name") == [
        ("delivery", 1, 1),
        ("fact", 1, 1),
        ("identity", 1, 1),
        ("opened", 0, 1),
        ("reconciled", 1, 1),
        ("total", 1, 1),
    ]


def test_the_clock_is_that_of_the_machine(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock returns the time of the machine, in seconds since the epoch."""
    monkeypatch.setattr("time.time", lambda: NOW + 0.5)
    assert ledger.clock() == NOW + 0.5


@pytest.mark.parametrize(
    ("rows", "state"), [(1, ClockState(NOW - 9, 0)), (2, ClockState(NOW - 9, NOW - 9))], ids=["upgraded", "and back"]
)
def test_the_time_of_an_earlier_version_is_that_of_its_start(path: Path, rows: int, state: ClockState) -> None:
    """An earlier version stores when it opened the ledger, in each row. How long its clock ran evenly is unknown."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        if rows == 2:
            ledger.check(now=NOW, write=True, state=ClockState(NOW - DAY, 60))
    ask(path, f"UPDATE opened SET at = {NOW - 9}")
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert ledger.clock_state() == state


SERIES: Final = [BOUNCE, DEFER, ("failures_by_tag", 'q"\0\ud800'), ("failures_by_tag", "other")]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 200), max_size=4), st.sampled_from([1, 50, 100_000]), st.integers())
def test_batches_are_counted_as_by_a_dictionary(sizes: list[int], different: int, seed: int) -> None:
    """Batches of any size agree with a model, whether all of their failures are new, some or none.

    The fewer different failures there are, the more are repeated, in the same batch or in a later one. A record may
    repeat a series, which is then incremented once.
    """
    rng = Random(seed)
    known: set[bytes] = set()
    counts: Counter[Series] = Counter()
    with TemporaryDirectory() as directory, closing(SqliteLedger(Path(directory, "ledger.db"), now=NOW)) as ledger:
        for size in sizes:
            batch = [failure(rng.randrange(different), *rng.choices(SERIES, k=rng.randrange(4))) for _ in range(size)]
            expected = []
            for record in batch:
                expected.append(record.identity not in known)
                known.add(record.identity)
                counts.update(set(record.series) if expected[-1] else ())
            assert ledger.record(batch, now=NOW, held=False) == expected
        assert {total.series: total.value for total in ledger.totals()} == counts


def test_the_file_is_small(path: Path) -> None:
    """A closed ledger of 20,000 failures takes less than 60 bytes per failure, with their messages."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        for begin in range(0, 80_000, 200):
            count(ledger, [event(number) for number in range(begin, begin + 200, 4)])
    assert 16 < path.stat().st_size / 20_000 < 60


def test_deliveries_take_less_space_than_failures(path: Path) -> None:
    """A closed ledger of 20,000 deliveries takes less than 45 bytes per delivery."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        for begin in range(0, 20_000, 50):
            count(ledger, deliveries(range(begin, begin + 50)))
    assert 16 < path.stat().st_size / 20_000 < 45


def test_the_size_is_that_of_the_files(ledger: SqliteLedger, path: Path) -> None:
    """The size is that of the ledger and its WAL, and 0 if the files are gone."""
    count(ledger, failures(range(100)))
    assert ledger.size() == path.stat().st_size + Path(f"{path}-wal").stat().st_size
    Path(f"{path}-wal").unlink()
    path.unlink()
    assert ledger.size() == 0


def test_no_address_is_stored(path: Path, tmp_path: Path) -> None:
    """Of a report only the label values are in the files, no recipient, neither open nor closed."""
    report = Report("MSGID-4711", "jane.doe@example.org", "rcptto", "550", "5.1.1", "no such user jane.doe")
    record = Record(identity_of(report), (("failures", *labels_of(report.state, report.code, report.extended)),))
    ledger = SqliteLedger(path, now=NOW)
    count(ledger, [record], held=True)
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    ledger.close()
    everything += b"".join(file.read_bytes() for file in tmp_path.iterdir())
    personal = (b"jane", b"example", b"msgid-", b"such user")
    assert [word for word in personal if word in everything.lower()] == []
    assert b"5.1.1" in everything


def test_a_batch_needs_no_temporary_files(path: Path) -> None:
    """A large batch can be recorded where only the directory of the ledger is writable, as in a container."""
    if not (words := confined(path.parent)):
        pytest.skip("needs the privilege to mount")
    filled(path, range(20_000))  # so that each failure of the batch changes another page
    code = "import pathlib, sys, tests.support.sqlite as s; s.filled(pathlib.Path(sys.argv[1]), range(20_000, 20_300))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*words, sys.executable, "-c", code, path], check=True, cwd="/", env=env)
    assert ask(path, "SELECT count(*) FROM identity") == [(20_300,)]


# Crashes


CRASHING: Final = """
ledger = SqliteLedger(Path(sys.argv[1]), now=NOW)
for start in range(0, 1_000_000, 7):
    count(ledger, failures(range(start, start + 7)), held=True)
    ledger.prune(now=NOW)
    say(start + 7)
"""


@pytest.mark.parametrize("commits", [1, 40, 700], ids=str)
def test_a_killed_process_loses_nothing(path: Path, commits: int) -> None:
    """What was recorded before SIGKILL is counted exactly once, with and without a checkpoint in between."""
    process = start(CRASHING, path)
    answered = int([line(process) for _ in range(commits)][-1])
    kill(process)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        [total] = ledger.totals()
        assert total.value >= answered
        assert total.value % 7 == 0
        assert count(ledger, failures(range(total.value + 1))) == [False] * total.value + [True]
        assert ledger.totals() == [Total(BOUNCE, total.value + 1, held=True, raised_at=NOW)]


CRASHING_WITH_ALL_LOOPS: Final = CRASHING.replace("failures", "events").replace("7", "8")


@pytest.mark.parametrize("commits", [1, 40, 500], ids=str)
def test_a_killed_process_loses_nothing_of_any_loop(path: Path, commits: int) -> None:
    """After SIGKILL the batches that mix loops are counted as a whole or not at all, each event once."""
    process = start(CRASHING_WITH_ALL_LOOPS, path)
    answered = int([line(process) for _ in range(commits)][-1])
    kill(process)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        values = {total.series: total.value for total in ledger.totals()}
        assert values == dict.fromkeys((BOUNCE, DELIVERED, RETURNED, COMPLAINED), sum(values.values()) // 4)
        number = sum(values.values())
        assert number >= answered
        assert number % 8 == 0
        assert count(ledger, events(range(number + 4))) == [False] * number + [True] * 4


# Errors


def test_a_failed_batch_counts_nothing(ledger: SqliteLedger) -> None:
    """If the last record of a large batch can't be stored, nothing of the batch is counted, and the next call works."""
    no_identity: Any = "text"
    batch = [*failures(range(100)), Record(no_identity, (BOUNCE,))]
    assert "identity.hash" in str(error_of(lambda: count(ledger, batch)))
    assert ledger.totals() == []
    assert count(ledger, batch[:100]) == [True] * 100


def test_a_failed_release_is_retried(ledger: SqliteLedger, path: Path) -> None:
    """A series whose release failed stays held, and is released when the ledger works again."""
    count(ledger, [failure(1)], held=True)
    path.rename(path.with_name("away"))
    error_of(lambda: ledger.release(now=NOW + 60, hold=HOLD))
    path.with_name("away").rename(path)
    assert ledger.totals() == [Total(BOUNCE, 1, held=True, raised_at=NOW)]
    ledger.release(now=NOW + 60, hold=HOLD)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_a_full_disk_is_an_error_until_it_has_space(path: Path, texts: Texts) -> None:
    """On a full disk a batch counts nothing and totals stay readable. With space again, counting resumes."""
    code = """
import json, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit then fails, as on a full disk
ledger = SqliteLedger(Path(sys.argv[1]), now=NOW)
count(ledger, failures(range(100)))
resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(sys.argv[1] + "-wal").st_size + 700, resource.RLIM_INFINITY))
errors = []
for attempt in (lambda: count(ledger, failures(range(50, 200))), lambda: ledger.check(now=NOW + 1, write=True)):
    try:
        errors.append(attempt())
    except LedgerError as error:
        errors.append(str(error))
during = ledger.totals()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.check(now=NOW, write=True)
outcome = count(ledger, failures(range(50, 200)))
say(json.dumps([errors, [total.value for total in during], outcome, [total.value for total in ledger.totals()]]))
"""
    errors, *outcomes = json.loads(start(code, path).communicate()[0])
    assert outcomes == [[100], [False] * 50 + [True] * 100, [200]]
    for error in errors:
        assert error.startswith(f"ledger {path}: ")
        texts.check(error)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(201))) == [False] * 200 + [True]


def test_a_file_that_can_not_grow_is_an_error_until_it_can(ledger: SqliteLedger) -> None:
    """If SQLite finds no space for a page, the error says what to do. With space again, counting resumes."""
    writer = ledger._file.writer
    count(ledger, failures(range(10)))
    [pages] = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    assert str(error_of(lambda: count(ledger, failures(range(5000))))).endswith("free some space")
    assert ledger.totals() == [Total(BOUNCE, 10, held=False, raised_at=NOW)]
    writer.execute("PRAGMA max_page_count = 1000000")
    assert sum(count(ledger, failures(range(5000)))) == 4990


FULL: Final = """
import json

space = os.statvfs(Path(sys.argv[1]).parent)
ledger = SqliteLedger(Path(sys.argv[1]), now=NOW)
filler = open(Path(sys.argv[1]).with_name("filler"), "wb")

def leave(share):  # this share of the file system
    filler.truncate(0)
    left = os.statvfs(Path(sys.argv[1]).parent).f_bavail - int(space.f_blocks * share)
    os.posix_fallocate(filler.fileno(), 0, max(1, left) * space.f_frsize)

def outcome(numbers, make):
    try:
        ledger.record(make(numbers), now=NOW, held=False)
    except LedgerError as error:
        return type(error).__name__
    return ""

def short():
    ledger.check(now=NOW, write=False)
    return bool(ledger.short_of_space())

found = [short()]
leave(0.04)
found += [short(), outcome(range(3_000), failures)]
leave(0.0)
found += [outcome(range(10_000, 60_000), deliveries), outcome(range(10_000, 60_000), failures)]
leave(0.2)
found += [short(), outcome(range(10_000, 11_000), deliveries), sum(total.value for total in ledger.totals())]
say(json.dumps(found))
"""


def test_space_gets_short_before_the_disk_is_full(tmp_path: Path) -> None:
    """On a real file system: only failures are recorded from a reserve on, and nothing if there is no space at all."""
    if not (words := namespace()):
        pytest.skip("needs the privilege to mount")
    mount = ["sh", "-c", 'mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"', str(tmp_path)]
    process = start(FULL, tmp_path / "ledger.db", prefix=[*words, *mount])
    found = json.loads(process.communicate()[0])
    assert found == [False, True, "", "LedgerFull", "LedgerFull", False, "", 4_000]


def test_any_damage_is_a_ledger_error(path: Path) -> None:
    """Whichever bytes of the file change, opening and using it either works or raises LedgerError."""
    filled(path, range(600))
    intact, dice, rejected = path.read_bytes(), Random(20), 0
    for _ in range(150):
        data = bytearray(intact)
        place = dice.randrange(len(data)) if dice.random() < 0.7 else dice.randrange(100)
        data[place : place + dice.choice([1, 16, 400])] = dice.randbytes(dice.choice([1, 16, 400]))
        path.write_bytes(data)
        Path(f"{path}-wal").unlink(missing_ok=True)
        try:
            with closing(SqliteLedger(path, now=NOW)) as ledger:
                ledger.totals()
                count(ledger, failures(range(500, 700)))
                prune_all(ledger, NOW + 40 * DAY, slices=2)
                ledger.release(now=NOW + HOLD, hold=HOLD)
        except LedgerError:
            rejected += 1
    assert rejected > 50


# Concurrency


def test_other_programs_may_read(ledger: SqliteLedger, path: Path) -> None:
    """A backup in progress and an open read transaction don't block the writer."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        before = other.execute("SELECT count(*) FROM identity").fetchone()
        assert count(ledger, failures(range(100))) == [True] * 100
        assert other.execute("SELECT count(*) FROM identity").fetchone() == before == (0,)
    with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(":memory:")) as copy:
        other.backup(copy, pages=1, progress=lambda *_: count(ledger, []) and None)
        assert copy.execute("SELECT count(*) FROM identity").fetchone() == (100,)


def test_reopening_the_files_restarts_the_holds(ledger: SqliteLedger, path: Path) -> None:
    """A series that is held when the WAL is lost is held for the whole time again, not exposed at once."""
    count(ledger, [failure(1)], held=True)
    Path(f"{path}-wal").unlink()
    ledger.release(now=NOW + 10, hold=HOLD)
    ledger.release(now=NOW + 69, hold=HOLD)
    assert ledger.totals() == [Total(BOUNCE, 1, held=True, raised_at=NOW)]
    ledger.release(now=NOW + 70, hold=HOLD)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_scrapes_continue_while_the_files_are_reopened(ledger: SqliteLedger, path: Path) -> None:
    """While the WAL is lost again and again, scrapes of several threads see no error and no total that decreases."""
    over = threading.Event()

    def scrape() -> list[int]:
        seen = []
        while not over.is_set():
            seen += [total.value for total in ledger.totals()]
        return seen

    with ThreadPoolExecutor(3) as pool:
        scrapes = [pool.submit(scrape) for _ in range(3)]
        try:
            for number in range(30):
                count(ledger, [failure(number)])
                Path(f"{path}-wal").unlink()
                ledger.check(now=NOW, write=False)
        finally:
            over.set()
        for scraped in scrapes:
            seen = scraped.result(TIMEOUT)
            assert seen == sorted(seen)
    assert ledger.totals() == [Total(BOUNCE, 30, held=False, raised_at=NOW)]


# Pruning


def test_identities_are_read_in_the_order_of_the_keys(ledger: SqliteLedger) -> None:
    """A page of identities is read by merging both tables. Nothing is sorted, however many there are."""
    plan = [
        row[3] for row in ledger._file.writer.execute(f"EXPLAIN QUERY PLAN {_IDENTITIES}", {"after": b"", "limit": 1})
    ]
    assert [step for step in plan if "MERGE" in step or "TEMP" in step] == ["MERGE (UNION ALL)"]
    assert len([step for step in plan if step.startswith("SEARCH")]) == 2
