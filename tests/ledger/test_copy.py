"""Copies between ledgers of any engines: complete, resumable, and never over existing counts."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger import copy as module
from exporter.ledger.contract import COPY_MARKER, DAY, Coverage, Ledger, StoredIdentity, Total
from exporter.ledger.copy import copy
from exporter.ledger.factory import open_ledger
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.url import PostgresUrl
from tests.support.engines import ALL_ENGINES, ENGINES
from tests.support.postgres import shared_server
from tests.support.records import (
    BOUNCE,
    COMPLAINED,
    DEFER,
    DELIVERED,
    NOW,
    RETURNED,
    error_of,
    events,
    failures,
    identity,
)
from tests.support.records import failure as record
from tests.support.running import environment, exporter, failure
from tests.support.texts import Texts

PAIRS: Final = [
    pytest.param(source, target, marks=[] if source == target == "sqlite" else pytest.mark.server)
    for source in ENGINES
    for target in ENGINES
]
MARKED: Final = Total(COPY_MARKER, 0, held=False, raised_at=0)
Open = Callable[[str, str], Ledger]


def ignore(_line: str) -> None:
    """Discard a line of progress."""


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens a ledger of an engine under a name. All are closed after the test."""
    with ExitStack() as stack:

        def open_one(engine: str, name: str) -> Ledger:
            (tmp_path / name).mkdir(exist_ok=True)
            ledger = ENGINES[engine](tmp_path / name, NOW)
            stack.callback(ledger.close)
            return ledger

        yield open_one


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_SIZE", 7)


COVERAGE: Final = Coverage(NOW - 5 * DAY, ((0, 20_000), (3, 20_001)))


def filled(ledger: Ledger) -> Ledger:
    """Record 100 failures of two days and two series, one of which is held."""
    ledger.record(failures(range(60)), now=NOW, held=False)
    ledger.record([record(number, DEFER) for number in range(60, 100)], now=NOW + DAY, held=True)
    ledger.import_coverage(COVERAGE)
    return ledger


def filled_by_all_loops(ledger: Ledger) -> Ledger:
    """Record 100 events of all loops, 25 of each."""
    ledger.record(events(range(100)), now=NOW, held=False)
    return ledger


class Interrupted(Exception):
    """The copy is interrupted."""


class Failing:
    """A ledger that accepts this many pages and then interrupts the copy."""

    def __init__(self, ledger: Ledger, pages: int) -> None:
        self._ledger = ledger
        self._pages = pages

    def __getattr__(self, name: str) -> object:
        """Return the attribute of the ledger."""
        return getattr(self._ledger, name)

    def import_identities(self, identities: list[StoredIdentity]) -> None:
        """Store a page, or fail."""
        if not self._pages:
            raise Interrupted
        self._pages -= 1
        self._ledger.import_identities(identities)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_everything_is_copied(opened: Open, source: str, target: str) -> None:
    """Totals, holds and days are the same, and failures that the source counted are not counted again."""
    first, second = filled(opened(source, "a")), opened(target, "b")
    copy(first, second, say=ignore)
    assert sorted(second.totals()) == sorted(first.totals())
    assert second.identities(b"", 1_000) == first.identities(b"", 1_000)
    assert second.record(failures(range(90, 102)), now=NOW, held=False) == [False] * 10 + [True] * 2
    assert {total.series: total.value for total in second.totals()} == {BOUNCE: 62, DEFER: 40}
    assert second.coverage() == COVERAGE


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_all_loops_are_copied(opened: Open, source: str, target: str) -> None:
    """Identities have their day, loop and message, and no event of any loop is counted again."""
    first, second = filled_by_all_loops(opened(source, "a")), opened(target, "b")
    copy(first, second, say=ignore)
    assert second.identities(b"", 1_000) == first.identities(b"", 1_000)
    assert second.record(events(range(96, 104)), now=NOW, held=False) == [False] * 4 + [True] * 4
    assert {total.series: total.value for total in second.totals()} == dict.fromkeys(
        (BOUNCE, DELIVERED, RETURNED, COMPLAINED), 26
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_an_interrupted_copy_is_resumed(opened: Open, source: str, target: str) -> None:
    """A copy that is interrupted after five pages only has the mark. The next run copies the other pages."""
    first, second = filled(opened(source, "a")), opened(target, "b")
    with pytest.raises(Interrupted):
        copy(first, Failing(second, 5), say=ignore)  # type: ignore[arg-type]  # all that copy uses
    assert second.totals() == [MARKED]
    assert len(second.identities(b"", 1_000)) == 35
    copy(first, Failing(second, 10), say=ignore)  # type: ignore[arg-type]  # all that copy uses
    assert sorted(second.totals()) == sorted(first.totals())
    assert second.identities(b"", 1_000) == first.identities(b"", 1_000)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_complete_copy_is_only_compared(opened: Open, source: str, target: str) -> None:
    """A copy that was interrupted after its last step is compared, and nothing is copied again."""
    first, second = filled(opened(source, "a")), opened(target, "b")
    copy(first, second, say=ignore)
    before = sorted(second.totals())
    copy(first, Failing(second, 0), say=ignore)  # type: ignore[arg-type]  # all that copy uses
    assert sorted(second.totals()) == before
    second.record(failures([1_000]), now=NOW, held=False)
    error_of(lambda: copy(first, second, say=ignore))


@pytest.mark.server
def test_times_are_copied_exactly(opened: Open) -> None:
    """A database that returns numbers with fewer digits, as before PostgreSQL 12, stores the exact times."""
    first = opened("sqlite", "a")
    first.record(failures([1]), now=NOW + 0.123456789, held=False)
    url = shared_server().create("digits")
    shared_server().execute("ALTER DATABASE digits SET extra_float_digits = 0")
    second = PostgresLedger(PostgresUrl(url), now=NOW)
    copy(first, second, say=ignore)
    assert second.totals() == first.totals()
    second.close()


@pytest.mark.parametrize("target", ALL_ENGINES)
def test_counts_are_never_overwritten(opened: Open, target: str, texts: Texts) -> None:
    """A target that has counted failures is an error, at the beginning of a copy and at its end."""
    first, second = filled(opened("sqlite", "a")), opened(target, "b")
    second.record(failures([7]), now=NOW, held=False)
    for attempt in (lambda: copy(first, second, say=ignore), lambda: second.import_totals(first.totals())):
        texts.check(error_of(attempt))
    assert second.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def other_identity(number: int) -> bytes:
    """Return an identity next to that of the failure with this number."""
    known = identity(number)
    return known[:-1] + bytes([known[-1] ^ 1])


@pytest.mark.parametrize("target", ALL_ENGINES)
@pytest.mark.parametrize("number", [1_000, 0, 35, 99])
def test_a_target_with_other_failures_is_an_error(opened: Open, target: str, number: int) -> None:
    """Identities that the source does not have, for example of another copy, are an error wherever they are."""
    first, second = filled(opened("sqlite", "a")), opened(target, "b")
    second.import_totals([MARKED])
    second.import_identities([StoredIdentity(other_identity(number), 1)])
    error_of(lambda: copy(first, second, say=ignore))
    assert second.totals() == [MARKED]


def test_an_empty_source_is_an_error(opened: Open, texts: Texts) -> None:
    """There is nothing to copy, and the target stays empty."""
    first, second = opened("sqlite", "a"), opened("sqlite", "b")
    texts.check(error_of(lambda: copy(first, second, say=ignore)))
    assert second.totals() == []


def test_an_unfinished_copy_is_not_copied(opened: Open, texts: Texts) -> None:
    """The target of an unfinished copy can't be the source of another one."""
    first, second = opened("sqlite", "a"), opened("sqlite", "b")
    first.import_totals([MARKED])
    texts.check(error_of(lambda: copy(first, second, say=ignore)))
    assert second.totals() == []


def test_identities_without_totals_are_an_error(opened: Open, texts: Texts) -> None:
    """A target that has identities but no totals is not empty."""
    first, second = filled(opened("sqlite", "a")), opened("sqlite", "b")
    second.import_identities([StoredIdentity(identity(1), 1)])
    texts.check(error_of(lambda: copy(first, second, say=ignore)))
    assert second.totals() == []


class Counting(Failing):
    """A ledger that counts another failure while it is copied."""

    def totals(self) -> list[Total]:
        """Return the totals, then count."""
        totals = self._ledger.totals()
        self._ledger.record(failures([10_000]), now=NOW, held=False)
        return totals


def test_a_source_that_counts_meanwhile_is_an_error(opened: Open, texts: Texts) -> None:
    """If the source changes during the copy, the copy stays unfinished."""
    first, second = filled(opened("sqlite", "a")), opened("sqlite", "b")
    counting = Counting(first, 0)
    texts.check(error_of(lambda: copy(counting, second, say=ignore)))  # type: ignore[arg-type]  # all that copy uses
    assert second.totals() == [MARKED]


def test_progress_and_summary(opened: Open, monkeypatch: pytest.MonkeyPatch, texts: Texts) -> None:
    """A long copy prints its progress from time to time, and the result is a line with the numbers."""
    monkeypatch.setattr(module, "PROGRESS_INTERVAL", -1.0)
    first, second = filled(opened("sqlite", "a")), opened("sqlite", "b")
    lines: list[str] = []
    texts.check(copy(first, second, say=lines.append))
    assert len(lines) == 15
    for line in (lines[0], lines[-1]):
        texts.check(line)
    texts.check(copy(first, second, say=ignore))
    texts.check(copy(filled_by_all_loops(opened("sqlite", "c")), opened("sqlite", "d"), say=ignore))


def run_copy(*words: str) -> int:
    """Run ``ledger copy`` in another process, and return its exit code."""
    command = [sys.executable, "-m", "exporter", "ledger", "copy", *words]
    return subprocess.run(command, check=False, capture_output=True, env=environment()).returncode


@pytest.mark.server
def test_an_exporter_moves_to_postgresql_and_back(tmp_path: Path) -> None:
    """Stop, copy, start on the other ledger: failures stay counted exactly once, in both directions."""
    url = shared_server().create_new()
    here, there = f"sqlite:///{tmp_path}/ledger.db", f"sqlite:///{tmp_path}/back.db"
    with exporter(tmp_path) as running:
        assert [running.post(failure(number)).status for number in (1, 2)] == [200, 200]
        assert run_copy(here, url) == LedgerBusy.exit_code
    assert run_copy(here, url) == 0
    with exporter(tmp_path, "--storage.url", url) as running:
        assert [running.post(failure(number)).status for number in (2, 3)] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 3}
        assert run_copy(url, there) == LedgerBusy.exit_code
    assert run_copy(url, there) == 0
    with exporter(tmp_path, "--storage.url", there) as running:
        assert [running.post(failure(number)).status for number in (1, 2, 3)] == [200, 200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 3}


@pytest.mark.server
def test_no_exporter_opens_an_unfinished_copy_in_postgresql() -> None:
    """As for SQLite (see test_factory.py), only ``ledger copy`` opens the target of an unfinished copy."""
    url = PostgresUrl(shared_server().create_new())
    ledger = PostgresLedger(url, now=NOW)
    ledger.import_totals([MARKED])
    ledger.close()
    assert type(error_of(lambda: open_ledger(url, now=NOW))) is LedgerError
