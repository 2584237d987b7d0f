"""Pruning in slices: it reaches all identities, keeps up with deliveries, and a call stays short."""

import os
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from exporter.classification.series import Record
from exporter.ledger import sqlite_pruning
from exporter.ledger.contract import DAY
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.sqlite_pruning import SLICE
from tests.support.records import BOUNCE, NOW, count, deliveries, failures, prune_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a ledger that does not exist yet."""
    return tmp_path / "ledger.db"


def test_the_file_stops_growing(path: Path) -> None:
    """With as many deliveries each day, kept for three days, the file is as large after twelve days as after five."""
    sizes = []
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        for part in range(12 * 40):
            now = NOW + part * DAY / 40
            count(ledger, deliveries(range(part * 100, part * 100 + 100)), now=now)
            ledger.prune(now=now, keep_deliveries=3 * DAY)
            if part % 40 == 39:
                sizes += ledger._file.writer.execute("PRAGMA page_count").fetchone()
    assert max(sizes) < 1.05 * sizes[4]
    assert sizes[0] < 0.4 * sizes[4]


@pytest.mark.parametrize("table", ["identity", "delivery"])
def test_a_pass_takes_at_most_six_hours(path: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """In a large table a call examines a share of all hashes, so that a pass has a limited number of calls."""
    monkeypatch.setattr(sqlite_pruning, "SLICE", 1)
    monkeypatch.setattr(sqlite_pruning, "_STEP", 2**128 // 50 + 1)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, (deliveries if table == "delivery" else failures)(range(1_000)))
        deleted = [ledger.prune(now=NOW + 32 * DAY) for _ in range(51)]  # it may begin in the middle of a step
    assert sum(deleted) == 1_000
    assert max(deleted) < 40
    assert sqlite_pruning.PASS == 6 * 3_600


@pytest.mark.parametrize(
    "begin", [bytes(16), b"\0" * 15 + b"\1", b"\x80" * 16, b"\xff" * 15 + b"\xfe", b"\xff" * 16], ids=bytes.hex
)
def test_pruning_reaches_all_identities_from_any_start(
    path: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    """From any start, pruning reaches every identity, also the smallest and the largest, within two passes."""
    monkeypatch.setattr(os, "urandom", lambda size: begin[:size])
    ends = [Record(end, (BOUNCE,)) for end in (bytes(16), b"\0" * 15 + b"\1", b"\xff" * 15 + b"\xfe", b"\xff" * 16)]
    more = [b"\0" * 15 + b"\2", b"\xff" * 15 + b"\xfd"]
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        for records in (ends + failures(range(1, 3 * SLICE)), [Record(end, (), 1) for end in more]):
            count(ledger, records)
        assert prune_all(ledger, NOW + 32 * DAY, slices=6) == 3 * SLICE + 3 + 2
        assert count(ledger, ends) == [True] * 4


def test_short_lived_processes_prune_everything(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few dozen processes that prune one slice each reach almost all identities: each starts at another one."""
    monkeypatch.setattr(os, "urandom", Random(7).randbytes)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, failures(range(3 * SLICE)))
    deleted = 0
    for _ in range(40):
        with closing(SqliteLedger(path, now=NOW)) as ledger:
            deleted += ledger.prune(now=NOW + 32 * DAY)
    assert deleted > 0.9 * 3 * SLICE
