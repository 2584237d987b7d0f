"""The statements of a PostgreSQL ledger: how the server executes those that touch many rows."""

import json
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from exporter.ledger.contract import UNDATED
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.postgres_copy import _IDENTITIES
from exporter.ledger.postgres_statements import CLOCK, PRUNE, PRUNE_DELIVERIES
from exporter.ledger.url import PostgresUrl
from tests.support.postgres import shared_server
from tests.support.records import NOW

pytestmark = pytest.mark.server

TODAY: Final = 20_000


@pytest.fixture
def connection() -> Iterator[psycopg.Connection]:
    """Yield a connection to a new ledger."""
    url = shared_server().create_new()
    PostgresLedger(PostgresUrl(url), now=NOW).close()
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows the nodes of an executed plan returned or left out."""
    read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return int(read * plan["Actual Loops"]) + sum(map(rows_read, plan.get("Plans", [])))


def insert(connection: psycopg.Connection, table: str, day: int) -> None:
    """Insert 30,000 identities with that day into a table of identities, which the server then knows."""
    connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)".encode())
    connection.execute(
        f"INSERT INTO {table} (hash, day)"
        " SELECT decode(md5(n::text), 'hex'), %s FROM generate_series(1, 30000) AS n".encode(),
        (day,),
    )
    connection.execute(f"ANALYZE {table}".encode())


def rows_read_by(connection: psycopg.Connection, statement: str, arguments: dict[str, object]) -> int:
    """Return how many rows the nodes of the plan returned or left out when the statement was executed."""
    [(plan,)] = connection.execute(f"EXPLAIN (ANALYZE, FORMAT json) {statement}".encode(), arguments).fetchall()
    return rows_read(plan[0]["Plan"])


@pytest.mark.parametrize(
    ("table", "statement"),
    [("smtpeter_identity", PRUNE), ("smtpeter_delivery", PRUNE_DELIVERIES)],
    ids=["all", "deliveries"],
)
@pytest.mark.parametrize("believed", [TODAY, UNDATED, TODAY - 40], ids=["dated", "undated", "expired"])
def test_pruning_reads_nothing_if_there_is_nothing_to_do(
    connection: psycopg.Connection, believed: int, table: str, statement: str
) -> None:
    """Whatever the server believes about the days in the table, it uses the index on the day."""
    insert(connection, table, believed)
    connection.execute(f"UPDATE {table} SET day = %s".encode(), (TODAY,))
    arguments: dict[str, object] = {"today": TODAY, "first": TODAY - 30, "slice": 2_000}
    assert rows_read_by(connection, statement, arguments) < 10


def test_a_slice_reads_only_what_it_deletes(connection: psycopg.Connection) -> None:
    """Of many expired deliveries, only those are read that are deleted."""
    insert(connection, "smtpeter_delivery", TODAY - 40)
    arguments: dict[str, object] = {"today": TODAY, "first": TODAY - 30, "slice": 1_000}
    assert rows_read_by(connection, PRUNE_DELIVERIES, arguments) < 6_000
    assert connection.execute("SELECT count(*) FROM smtpeter_delivery").fetchone() == (29_000,)


def test_a_page_of_identities_reads_only_what_it_returns(connection: psycopg.Connection) -> None:
    """Of both tables, no more rows are read than are returned, in the order of their keys."""
    for table in ("smtpeter_identity", "smtpeter_delivery"):
        insert(connection, table, TODAY)
    assert rows_read_by(connection, _IDENTITIES, {"after": bytes(16), "limit": 100}) < 500


def test_earlier_versions_ignore_the_series_of_the_clock() -> None:
    """It is a valid series of a family that no version exposes."""
    assert json.loads(CLOCK) == ["clock"]
