"""Prune a table of identities in a SQLite ledger, a slice at a time, in the order of the hash.

There is no index on the day, because it would take as much space as the table. Hashes are spread evenly, so each slice
has its share of the old identities.
"""

import os
import sqlite3
from typing import Final

SLICE: Final = 2_000
"""Identities that a call examines at least, in about a millisecond."""
PASS: Final = 21_600
"""Calls that go through a table of any size: six hours at one call per second."""
_LAST: Final = b"\xff" * 16
_STEP: Final = 2**128 // PASS + 1


class Pruner:
    """Goes through the table with this name again and again."""

    def __init__(self, table: str) -> None:
        self._from = os.urandom(16)  # so that a series of short-lived processes prunes everything, too
        slice_ = "hash >= :start AND hash <= :end"
        self._end = f"SELECT hash FROM {table} WHERE hash > ? ORDER BY hash LIMIT 1 OFFSET ?"  # noqa: S608 -- names of tables
        self._any = f"SELECT 1 FROM {table} WHERE {slice_} AND (day < :first OR day > :today) LIMIT 1"  # noqa: S608 -- names of tables
        self._delete = f"DELETE FROM {table} WHERE {slice_} AND day < :first"  # noqa: S608 -- names of tables
        self._date = f"UPDATE {table} SET day = :today WHERE {slice_} AND day > :today"  # noqa: S608 -- names of tables

    def prune(self, writer: sqlite3.Connection, *, first: int, today: int) -> int:
        """Delete the identities of the next slice with a day before ``first``, and return how many.

        A day after ``today`` becomes ``today``.
        """
        row = writer.execute(self._end, (self._from, SLICE)).fetchone()
        end = max(row[0], _step(self._from)) if row else _LAST
        limits = {"start": self._from, "end": end, "first": first, "today": today}
        self._from = b"" if end == _LAST else end
        if not writer.execute(self._any, limits).fetchone():
            return 0
        deleted = writer.execute(self._delete, limits).rowcount
        writer.execute(self._date, limits)
        return deleted


def _step(start: bytes) -> bytes:
    """Return the hash that is 1/PASS of all hashes after ``start``, or the last one."""
    return min(int.from_bytes(start.ljust(16, b"\0"), "big") + _STEP, 2**128 - 1).to_bytes(16, "big")
