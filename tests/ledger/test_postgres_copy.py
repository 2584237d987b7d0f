"""What a copy reads from a PostgreSQL ledger and writes to one; test_copy.py copies whole ledgers."""

from collections.abc import Iterator

import psycopg
import pytest

from exporter.ledger.contract import Coverage, StoredIdentity
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.postgres_copy import coverage, identities, import_coverage, import_identities
from exporter.ledger.url import PostgresUrl
from tests.support.postgres import shared_server
from tests.support.records import NOW

pytestmark = pytest.mark.server


@pytest.fixture
def connection() -> Iterator[psycopg.Connection]:
    """Yield a connection to a new ledger."""
    url = shared_server().create_new()
    PostgresLedger(PostgresUrl(url), now=NOW).close()
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def test_identities_of_all_loops_are_one_sorted_list(connection: psycopg.Connection) -> None:
    """They are returned as they were stored, page by page, whatever their loop, day and hash of the message."""
    stored = [
        StoredIdentity(
            bytes([number]) * 16, 20_000 + number, number % 4, None if number % 4 == 1 else bytes([number] * 16)
        )
        for number in range(40)
    ]
    import_identities(connection, stored[::-1])
    import_identities(connection, stored[:3])  # again, which changes nothing
    assert identities(connection, b"", 100) == stored
    assert identities(connection, stored[9].identity, 7) == stored[10:17]
    assert identities(connection, stored[-1].identity, 7) == []


def test_the_coverage_is_replaced(connection: psycopg.Connection) -> None:
    """A new ledger began when it was opened; a copy of an older one began earlier, and has its compared days."""
    assert coverage(connection).reconciled == ()
    older = Coverage(1_700_000_000.5, ((0, 19_000), (0, 19_001), (1, 19_000)))
    import_coverage(connection, Coverage(1.0, ((3, 1),)))
    import_coverage(connection, older)
    assert coverage(connection) == older
