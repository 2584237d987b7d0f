"""What ``ledger copy`` reads from a PostgreSQL ledger, and writes to one."""

import json
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql

from exporter.classification.loops import DELIVERIES
from exporter.errors import LedgerError
from exporter.ledger.contract import COPY_MARKER, Coverage, StoredIdentity, Total

# Each half has a limit of its own, because the planner does not merge the two in the order of their keys.
_IDENTITIES: Final = f"""
    (SELECT hash, day, loop, message FROM smtpeter_identity WHERE hash > %(after)s ORDER BY hash LIMIT %(limit)s)
    UNION ALL
    (SELECT hash, day, {DELIVERIES.number}::smallint, NULL::bytea FROM smtpeter_delivery WHERE hash > %(after)s
    ORDER BY hash LIMIT %(limit)s)
    ORDER BY hash LIMIT %(limit)s"""  # noqa: S608 -- a number
_IMPORT_IDENTITIES: Final = """
    WITH given AS (
        SELECT * FROM unnest(%(hashes)s::bytea[], %(days)s::integer[], %(loops)s::smallint[], %(messages)s::bytea[])
        AS given (hash, day, loop, message)
    ), deliveries AS (
        INSERT INTO smtpeter_delivery (hash, day) SELECT hash, day FROM given WHERE loop = %(deliveries)s
        ON CONFLICT DO NOTHING
    )
    INSERT INTO smtpeter_identity (hash, day, loop, message) SELECT * FROM given WHERE loop <> %(deliveries)s
    ON CONFLICT DO NOTHING"""


def identities(connection: psycopg.Connection, after: bytes, limit: int) -> list[StoredIdentity]:
    """Return the first ``limit`` identities of all loops that are greater than ``after``, sorted."""
    rows = connection.execute(_IDENTITIES.encode(), {"after": after, "limit": limit})
    return [StoredIdentity(*row) for row in rows]


def import_identities(connection: psycopg.Connection, identities: Sequence[StoredIdentity]) -> None:
    """Store these identities."""
    hashes, days, loops, messages = map(list, zip(*identities, strict=True))
    arguments = {"hashes": hashes, "days": days, "loops": loops, "messages": messages}
    connection.execute(_IMPORT_IDENTITIES, arguments | {"deliveries": DELIVERIES.number})


def coverage(connection: psycopg.Connection) -> Coverage:
    """Return when the ledger began, and which days were compared with SMTPeter's log files."""
    [(began,)] = connection.execute("SELECT value FROM smtpeter_fact WHERE name = 'began'").fetchall()
    reconciled = connection.execute("SELECT loop, day FROM smtpeter_reconciled ORDER BY loop, day").fetchall()
    return Coverage(began, tuple((loop, day) for loop, day in reconciled))


def import_coverage(connection: psycopg.Connection, coverage: Coverage) -> None:
    """Replace what ``coverage`` returns."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("UPDATE smtpeter_fact SET value = %s WHERE name = 'began'", (coverage.began,))
        cursor.execute("DELETE FROM smtpeter_reconciled")
        cursor.executemany("INSERT INTO smtpeter_reconciled VALUES (%s, %s)", coverage.reconciled)


def import_totals(connection: psycopg.Connection, totals: Sequence[Total]) -> None:
    """Store these totals. Raise LedgerError if there are any others than COPY_MARKER."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE smtpeter_total, smtpeter_series IN EXCLUSIVE MODE")
        for table in (sql.Identifier("smtpeter_total"), sql.Identifier("smtpeter_series")):
            cursor.execute(sql.SQL("DELETE FROM {} WHERE series = %s").format(table), (json.dumps(COPY_MARKER),))
        if cursor.execute("SELECT 1 FROM smtpeter_total WHERE slot >= 0 LIMIT 1").fetchone():
            raise LedgerError("DST counted events during the copy; start again with an empty ledger")
        rows = [(json.dumps(series), value, at if held else None, at) for series, value, held, at in totals]
        cursor.executemany("INSERT INTO smtpeter_series VALUES (%s, %s)", [(row[0], row[2]) for row in rows])
        cursor.executemany(
            "INSERT INTO smtpeter_total VALUES (%s, %s, %s, %s)", [(row[0], 0, row[1], row[3]) for row in rows]
        )
