"""The statements of a PostgreSQL ledger: how the server executes those that touch many rows."""

import json
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from exporter.ledger.contract import UNDATED
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.postgres_statements import CLOCK, PRUNE
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


@pytest.mark.parametrize("believed", [TODAY, UNDATED, TODAY - 40], ids=["dated", "undated", "expired"])
def test_pruning_reads_nothing_if_there_is_nothing_to_do(connection: psycopg.Connection, believed: int) -> None:
    """Whatever the server believes about the days in the table, it uses the index on the day."""
    connection.execute("ALTER TABLE smtpeter_identity SET (autovacuum_enabled = false)")
    connection.execute(
        "INSERT INTO smtpeter_identity SELECT decode(md5(n::text), 'hex'), %s FROM generate_series(1, 30000) AS n",
        (believed,),
    )
    connection.execute("ANALYZE smtpeter_identity")
    connection.execute("UPDATE smtpeter_identity SET day = %s", (TODAY,))
    arguments = {"today": TODAY, "first": TODAY - 30, "slice": 2_000}
    [(plan,)] = connection.execute(f"EXPLAIN (ANALYZE, FORMAT json) {PRUNE}", arguments).fetchall()
    assert rows_read(plan[0]["Plan"]) < 10


def test_earlier_versions_ignore_the_series_of_the_clock() -> None:
    """It is a valid series of a family that no version exposes."""
    assert json.loads(CLOCK) == ["clock"]
