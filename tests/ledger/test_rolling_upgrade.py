"""Exporters of the version before go on counting in a PostgreSQL ledger that a later one migrates."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from exporter.ledger import postgres_session
from exporter.ledger.contract import DAY, Total
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.url import PostgresUrl
from tests.support.postgres import shared_server
from tests.support.records import BOUNCE, DELIVERED, NOW, count, deliveries, error_of, event, failures
from tests.support.running import TIMEOUT
from tests.support.schema_1 import CREATE, EarlierExporter

pytestmark = pytest.mark.server

ROUNDS = 10
"""As many that a connection prepares its statements, which a migration then changes."""


@pytest.fixture
def url() -> str:
    """Return the URL of a ledger with schema 1 and no failures."""
    url = shared_server().create_new()
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    return url


@pytest.fixture
def earlier(url: str) -> Iterator[EarlierExporter]:
    """Yield an exporter with schema 1 that has counted the failures up to 99."""
    exporter = EarlierExporter(url)
    for start in range(0, 10 * ROUNDS, 10):
        assert exporter.record(failures(range(start, start + 10)), now=NOW) == [True] * 10
        assert exporter.maintain(now=NOW) == 0
    yield exporter
    exporter.close()


def test_an_earlier_version_goes_on(url: str, earlier: EarlierExporter) -> None:
    """After the migration it counts, deduplicates and prunes failures, and both versions see the same counts."""
    with closing(PostgresLedger(PostgresUrl(url), now=NOW)) as later:
        assert later.totals() == [Total(BOUNCE, 100, held=False, raised_at=NOW)]
        assert earlier.record(failures(range(95, 105)), now=NOW) == [False] * 5 + [True] * 5
        assert count(later, failures(range(100, 108))) == [False] * 5 + [True] * 3
        assert count(later, deliveries(range(1_000, 1_010))) == [True] * 10
        assert earlier.record(failures(range(105, 109)), now=NOW) == [False] * 3 + [True]
        assert earlier.totals(latest=NOW) == {BOUNCE: 109, DELIVERED: 10}
        assert {total.series: total.value for total in later.totals()} == {BOUNCE: 109, DELIVERED: 10}
        assert {(one.loop, one.message) for one in later.identities(b"", 1_000)} == {(0, None), (1, None)}
        assert 0 < earlier.size() < later.size()
        assert earlier.maintain(now=NOW + 31 * DAY) == 109
        assert count(later, deliveries(range(1_000, 1_010))) == [False] * 10


def test_both_versions_record_the_same_failures_at_once(url: str, earlier: EarlierExporter) -> None:
    """Each failure counts once, whichever version is first, in batches that overlap and are in any order."""
    with closing(PostgresLedger(PostgresUrl(url), now=NOW)) as later, ThreadPoolExecutor(2) as pool:
        together = threading.Barrier(2)

        def with_earlier() -> int:
            new = 0
            for start in range(0, 2_000, 50):
                together.wait(TIMEOUT)
                new += sum(earlier.record(failures(range(start + 49, start - 1, -1)), now=NOW))
            return new

        def with_later() -> int:
            new = 0
            for start in range(0, 2_000, 50):
                together.wait(TIMEOUT)
                batch = [*failures(range(start, start + 50)), *deliveries([start + 100_000])]
                new += sum(count(later, batch)[:50])
            return new

        each = [pool.submit(with_earlier), pool.submit(with_later)]
        assert sum(future.result(TIMEOUT) for future in each) == 1_900
        assert {total.series: total.value for total in later.totals()} == {BOUNCE: 2_000, DELIVERED: 40}


def test_an_earlier_version_counts_during_the_migration(url: str, earlier: EarlierExporter) -> None:
    """An exporter that counts while later ones start is neither interrupted nor doubled."""
    over = threading.Event()

    def record() -> int:
        number = 1_000
        while not over.is_set():
            assert earlier.record(failures([number]), now=NOW) == [True]
            number += 1
        return number - 1_000

    with ThreadPoolExecutor(1) as pool:
        recording = pool.submit(record)
        try:
            laters = [PostgresLedger(PostgresUrl(url), now=NOW) for _ in range(3)]
        finally:
            over.set()
        counted = recording.result(TIMEOUT)
    assert laters[0].totals() == [Total(BOUNCE, 100 + counted, held=False, raised_at=NOW)]
    for later in laters:
        later.close()


def test_a_migration_does_not_wait_for_a_backup(
    url: str, earlier: EarlierExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives up soon, because others wait behind it, and names the cause. Nothing is migrated until it can be."""
    monkeypatch.setattr(postgres_session, "MIGRATION_LOCK_TIMEOUT", 1)
    with psycopg.connect(url) as backup:
        backup.execute("LOCK TABLE smtpeter_identity IN ACCESS SHARE MODE")  # as pg_dump
        error = str(error_of(lambda: PostgresLedger(PostgresUrl(url), now=NOW)))
        assert "such as a backup" in error
        assert earlier.record(failures([500]), now=NOW) == [True]
    with closing(PostgresLedger(PostgresUrl(url), now=NOW)) as later:
        assert count(later, [event(500), event(501)]) == [False, True]
