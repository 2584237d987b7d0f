"""Look at a ledger in a PostgreSQL database as an exporter does that opens it, but without writing anything."""

from typing import Final

import psycopg

from exporter.classification.series import Series
from exporter.errors import LedgerError
from exporter.ledger.contract import parse_series
from exporter.ledger.postgres_session import MIGRATIONS, Session, damaged, schema_version, to_ledger_error, weakness_of
from exporter.ledger.postgres_statements import (
    BEGIN,
    PRUNE,
    PRUNE_DELIVERIES,
    RECORD,
    RELEASE,
    RESTART_HOLDS,
    SIZE,
    STORE_CLOCK,
    TOTALS,
)
from exporter.ledger.url import PostgresUrl

# Each statement that an exporter executes, with a value for each argument. SIZE and TOTALS are executed as they are.
_STATEMENTS: Final[tuple[tuple[str, dict[str, object]], ...]] = (
    (
        RECORD,
        {
            "hashes": [b""],
            "kinds": [0],
            "loops": [0],
            "messages": [None],
            "deliveries": 0,
            "kind_of": [0],
            "series": [""],
            "unknown": [""],
            "day": 0,
            "held_since": 0.0,
            "slot": 0,
            "now": 0.0,
            "ahead": 0.0,
        },
    ),
    (RELEASE, {"now": 0.0, "hold": 0.0}),
    (RESTART_HOLDS, {"now": 0.0, "hold": 0.0, "first": True}),
    (PRUNE, {"first": 0, "today": 0, "slice": 0}),
    (PRUNE_DELIVERIES, {"first": 0, "today": 0, "slice": 0}),
    (BEGIN, {}),
    (STORE_CLOCK, {"clock": "", "at": 0, "even": 0}),
)


def inspect_database(url: PostgresUrl) -> tuple[list[Series], list[str]]:
    """Return the series in the ledger, and notes about it. Raise LedgerError if an exporter could not use it."""
    session = Session(url)
    try:
        connection = session.connection()
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            return _inspect(connection, url)
    except (psycopg.Error, ValueError) as error:
        raise to_ledger_error(url, error) from error
    finally:
        session.close()


def _inspect(connection: psycopg.Connection, url: PostgresUrl) -> tuple[list[Series], list[str]]:
    version = schema_version(connection, url)
    weakness = weakness_of(connection, url)
    notes = [weakness] if weakness else []
    if version is None:
        (schema,) = connection.execute(_WRITABLE_SCHEMA).fetchone() or (None,)
        if schema is None:
            raise LedgerError(f"ledger {url}: this user may not create tables in its schema; grant it to this user")
        return [], [*notes, f"ledger {url}: there is no ledger in this database yet; serve will create it"]
    if version < len(MIGRATIONS):
        return [], [*notes, f"ledger {url}: serve will migrate its schema from {version} to {len(MIGRATIONS)}"]
    for statement, arguments in _STATEMENTS:
        # The server checks the privileges for a statement also if it only explains it.
        connection.execute(b"EXPLAIN " + statement.encode(), arguments)
    if connection.execute("SELECT has_sequence_privilege('smtpeter_slot', 'USAGE, UPDATE')").fetchone() != (True,):
        raise LedgerError(f"ledger {url}: permission denied for sequence smtpeter_slot; grant it to this user")
    connection.execute(SIZE)
    rows = connection.execute(TOTALS, {"latest": 0.0}).fetchall()
    try:
        return [parse_series(series) for series, *_ in rows], notes
    except ValueError as error:
        raise damaged(url, error) from error


_WRITABLE_SCHEMA: Final = "SELECT name FROM current_schema() AS name WHERE has_schema_privilege(name, 'CREATE')"
