"""The ledger in one SQLite file: this module implements the contract in SQL, ``sqlite_file.py`` handles the file."""

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from exporter.classification.series import Record
from exporter.errors import LedgerError
from exporter.ledger.contract import COPYING, DAY, KEEP_IDENTITIES, Ledger, StoredIdentity, Total, series_of
from exporter.ledger.sqlite_file import SqliteFile

PRUNE_SLICE: Final = 2_000
"""How many identities one call of ``prune`` looks at: about a millisecond of work."""
# One statement for a batch, because each statement gives up and retakes the interpreter's lock, which under load costs
# more than the work. Sizes are powers of two, so that the few statements there are stay prepared.
_LARGEST: Final = 64
_INSERT: Final = {
    size: f"INSERT INTO identity SELECT column1, ? FROM (VALUES {', '.join(['(?)'] * size)})"  # noqa: S608 -- placeholders
    " WHERE true ON CONFLICT DO NOTHING"
    for size in (1, 2, 4, 8, 16, 32, _LARGEST)
}
_KNOWN: Final = "SELECT hash FROM identity WHERE hash = ?"
_RAISE: Final = """
    INSERT INTO total SELECT key, value, :held_since, :now FROM json_each(:sums) WHERE true
    ON CONFLICT DO UPDATE SET count = count + excluded.count, raised_at = max(raised_at, excluded.raised_at)"""


class SqliteLedger(Ledger):
    """A ledger in the SQLite file ``path``; ``now`` is the time of opening.

    Raises LedgerBusy when another process has it open and LedgerError when it is damaged, unwritable, not a ledger, or
    of a schema that is newer than this version.
    """

    def __init__(self, path: Path, *, now: float) -> None:
        self._any_held = False
        self._known: set[str] = set()
        self._prune_from = os.urandom(16)  # anywhere: a process that never lives long prunes too, in the long run
        self._file = SqliteFile(path, now=now, on_open=self._begin)

    def _begin(self, writer: sqlite3.Connection, now: float) -> None:
        writer.execute("UPDATE total SET held_since = ? WHERE held_since IS NOT NULL", (now,))
        self._note_series(writer)

    def record(self, batch: Sequence[Record], *, now: float, held: bool) -> list[bool]:
        fresh = {record.identity: record for record in reversed(batch)}
        with self._file.transaction(now):
            if self._insert(fresh, now) < len(fresh):
                # Rare: some were counted before. Which ones, only a look can tell, so take the whole insert back.
                self._file.writer.execute("ROLLBACK")
                self._file.writer.execute("BEGIN IMMEDIATE")
                for identity in list(fresh):
                    if self._file.writer.execute(_KNOWN, (identity,)).fetchone():
                        del fresh[identity]
                self._insert(fresh, now)
            sums: Counter[str] = Counter()
            for series, count in Counter(record.series for record in fresh.values()).items():  # most are alike
                sums.update({json.dumps(one): count for one in series})
            self._file.writer.execute(
                _RAISE, {"sums": json.dumps(sums), "held_since": now if held else None, "now": now}
            )
        if not self._known.issuperset(sums):
            self._known.update(sums)
            self._any_held = self._any_held or held
        return [fresh.pop(record.identity, None) is not None for record in batch]

    def _insert(self, identities: Iterable[bytes], now: float) -> int:
        inserted, left = 0, list(identities)
        while left:
            chunk, left = left[:_LARGEST], left[_LARGEST:]
            size = 1 << (len(chunk) - 1).bit_length()
            chunk += chunk[-1:] * (size - len(chunk))  # fill up with one that will not be inserted twice
            inserted += self._file.writer.execute(_INSERT[size], (int(now // DAY), *chunk)).rowcount
        return inserted

    def release(self, *, now: float, hold: float) -> None:
        if not self._any_held:
            return
        with self._file.transaction(now):
            # When the clock was set back, the time starts anew: neither shown too early nor held for long.
            self._file.writer.execute(
                "UPDATE total SET held_since = iif(held_since > :now, :now, NULL)"
                " WHERE held_since <= :now - :hold OR held_since > :now",
                {"now": now, "hold": hold},
            )
        with self._file.wrapping_errors():
            self._note_series(self._file.writer)

    def prune(self, *, now: float) -> int:
        start = self._prune_from
        with self._file.transaction(now, write=False):
            row = self._file.writer.execute(
                "SELECT hash FROM identity WHERE hash > ? ORDER BY hash LIMIT 1 OFFSET ?", (start, PRUNE_SLICE)
            ).fetchone()
            end = row[0] if row else b"\xff" * 16
            place = (start, end, int((now - KEEP_IDENTITIES) // DAY))
            found = "FROM identity WHERE hash >= ? AND hash <= ? AND day < ?"
            forgotten = 0
            if self._file.writer.execute(f"SELECT 1 {found} LIMIT 1", place).fetchone():
                forgotten = self._file.writer.execute(f"DELETE {found}", place).rowcount
        self._prune_from = end if row else b""
        return forgotten

    def clock(self) -> float:
        return time.time()

    def check(self, *, now: float, write: bool) -> None:
        with self._file.transaction(now, write=write):
            if write:
                # As a failure would be: into the tree of identities, which may be damaged where the rest is not.
                self._file.writer.execute(_INSERT[1], (0, probe := os.urandom(16)))
                self._file.writer.execute("DELETE FROM identity WHERE hash = ?", (probe,))
                self._file.writer.execute("UPDATE opened SET at = ?", (now,))

    def totals(self) -> list[Total]:
        with self._file.reading, self._file.wrapping_errors():
            rows = self._file.reader.execute("SELECT series, count, held_since, raised_at FROM total").fetchall()
            return [Total(series_of(series), count, held is not None, at) for series, count, held, at in rows]

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        with self._file.wrapping_errors():
            rows = self._file.writer.execute(
                "SELECT hash, day FROM identity WHERE hash > ? ORDER BY hash LIMIT ?", (after, limit)
            ).fetchall()
        return [StoredIdentity(*row) for row in rows]

    def keep(self, identities: Sequence[StoredIdentity]) -> None:
        with self._file.transaction(0):
            self._file.writer.executemany("INSERT INTO identity VALUES (?, ?) ON CONFLICT DO NOTHING", identities)

    def adopt(self, totals: Sequence[Total]) -> None:
        with self._file.transaction(0):
            self._file.writer.execute("DELETE FROM total WHERE series = ?", (json.dumps(COPYING),))
            if self._file.writer.execute("SELECT 1 FROM total").fetchone():
                raise LedgerError("DST has counted failures of its own meanwhile: begin with an empty ledger")
            self._file.writer.executemany(
                "INSERT INTO total VALUES (?, ?, ?, ?)",
                [(json.dumps(series), value, at if held else None, at) for series, value, held, at in totals],
            )
        with self._file.wrapping_errors():
            self._note_series(self._file.writer)

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()

    def _note_series(self, writer: sqlite3.Connection) -> None:
        rows = writer.execute("SELECT series, held_since FROM total").fetchall()
        self._known = {series for series, _ in rows}
        self._any_held = any(held_since is not None for _, held_since in rows)
