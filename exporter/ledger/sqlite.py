"""A ledger in one SQLite file. This module implements the contract in SQL; ``sqlite_file.py`` handles the file."""

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Final

from exporter.classification.loops import DELIVERIES
from exporter.classification.series import Record, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import (
    AHEAD,
    COPY_MARKER,
    DAY,
    KEEP_IDENTITIES,
    ClockState,
    Coverage,
    Ledger,
    StoredIdentity,
    Total,
    parse_series,
)
from exporter.ledger.sqlite_file import SqliteFile
from exporter.ledger.sqlite_pruning import Pruner
from exporter.ledger.sqlite_space import Space

# A statement inserts many identities, because each statement releases and retakes the interpreter's lock, which under
# load costs more than the work itself. The sizes are powers of two, so that few statements exist and stay prepared.
_LARGEST: Final = 64
_SIZES: Final = (1, 2, 4, 8, 16, 32, _LARGEST)
_INSERT: Final = {
    size: "INSERT INTO identity (day, hash, loop, message) SELECT ?, * FROM"  # noqa: S608 -- placeholders
    f" (VALUES {', '.join(['(?, ?, ?)'] * size)}) WHERE true ON CONFLICT DO NOTHING"
    for size in _SIZES
}
_INSERT_DELIVERY: Final = {
    size: "INSERT INTO delivery (day, hash) SELECT ?, * FROM"  # noqa: S608 -- placeholders
    f" (VALUES {', '.join(['(?)'] * size)}) WHERE true ON CONFLICT DO NOTHING"
    for size in _SIZES
}
_KNOWN: Final = "SELECT 1 FROM identity WHERE hash = ?"
_KNOWN_DELIVERY: Final = "SELECT 1 FROM delivery WHERE hash = ?"
_IDENTITIES: Final = f"""
    SELECT hash, day, loop, message FROM identity WHERE hash > :after
    UNION ALL SELECT hash, day, {DELIVERIES.number}, NULL FROM delivery WHERE hash > :after
    ORDER BY hash LIMIT :limit"""  # noqa: S608 -- a number
_RAISE: Final = """
    INSERT INTO total SELECT key, value, :held_since, :now FROM json_each(:sums) WHERE true
    ON CONFLICT DO UPDATE SET count = count + excluded.count,
    raised_at = iif(raised_at > :now + :ahead, :now, max(raised_at, :now))"""


@lru_cache(maxsize=4096)
def _texts(series: tuple[Series, ...]) -> tuple[str, ...]:
    return tuple(json.dumps(one) for one in dict.fromkeys(series))  # each once, even if a record repeats one


class SqliteLedger(Ledger):
    """A ledger in the SQLite file ``path``, opened at the time ``now``.

    Raises LedgerBusy if another process has it open, and LedgerError if it is damaged, not writable, not a ledger, or
    written by a newer version.
    """

    def __init__(self, path: Path, *, now: float) -> None:
        self._any_held = False
        self._known_series: set[str] = set()
        self._pruners = (Pruner("identity"), Pruner("delivery"))
        self._file = SqliteFile(path, now=now, on_open=self._begin)
        self._space = Space(self._file.path)

    def _begin(self, writer: sqlite3.Connection, now: float) -> None:
        _write_probe(writer)
        writer.execute("INSERT INTO fact VALUES ('began', ?) ON CONFLICT DO NOTHING", (now,))
        writer.execute("UPDATE total SET held_since = ? WHERE held_since IS NOT NULL", (now,))
        self._load_series(writer)

    def record(self, batch: Sequence[Record], *, now: float, held: bool, day: int | None = None) -> list[bool]:
        day = int(now // DAY) if day is None else day
        fresh = {record.identity: record for record in reversed(batch)}
        with self._file.transaction(now):
            if self._insert(fresh.values(), day) < len(fresh):
                # Slow path (rare): the batch has duplicates. Roll back, look each identity up, and insert the new ones.
                self._file.writer.execute("ROLLBACK")
                self._file.writer.execute("BEGIN IMMEDIATE")
                for identity, record in list(fresh.items()):
                    known = _KNOWN_DELIVERY if record.loop == DELIVERIES.number else _KNOWN
                    if self._file.writer.execute(known, (identity,)).fetchone():
                        del fresh[identity]
                self._insert(fresh.values(), day)
            sums: Counter[str] = Counter()
            # Most events have the same series, so add up each combination once.
            for series, count in Counter([record.series for record in fresh.values()]).items():
                for text in _texts(series):
                    sums[text] += count
            arguments = {"sums": json.dumps(sums), "held_since": now if held else None, "now": now, "ahead": AHEAD}
            self._file.writer.execute(_RAISE, arguments)
        if not self._known_series.issuperset(sums):
            self._known_series.update(sums)
            self._any_held = self._any_held or held
        if len(fresh) == len(batch):
            return [True] * len(batch)
        return [fresh.pop(record.identity, None) is not None for record in batch]

    def _insert(self, records: Collection[Record], day: int) -> int:
        deliveries = [(identity,) for identity, _, loop, _ in records if loop == DELIVERIES.number]
        others = [(identity, loop, message) for identity, _, loop, message in records if loop != DELIVERIES.number]
        return self._insert_rows(_INSERT, others, day) + self._insert_rows(_INSERT_DELIVERY, deliveries, day)

    def _insert_rows(self, statements: Mapping[int, str], rows: Sequence[tuple[object, ...]], day: int) -> int:
        inserted = 0
        for start in range(0, len(rows), _LARGEST):
            chunk = rows[start : start + _LARGEST]
            size = 1 << (len(chunk) - 1).bit_length()
            padding = rows[-1] * (size - len(chunk))  # a duplicate, which is not inserted
            values = (day, *chain.from_iterable(chunk), *padding)
            inserted += self._file.writer.execute(statements[size], values).rowcount
        return inserted

    def release(self, *, now: float, hold: float) -> None:
        if not self._any_held:
            return
        with self._file.transaction(now):
            # If the clock was set back, the hold restarts: a series is neither exposed too early nor held for long.
            self._file.writer.execute(
                "UPDATE total SET held_since = iif(held_since > :now, :now, NULL)"
                " WHERE held_since <= :now - :hold OR held_since > :now",
                {"now": now, "hold": hold},
            )
        with self._file.wrapping_errors():
            self._load_series(self._file.writer)

    def prune(self, *, now: float, keep_deliveries: float = KEEP_IDENTITIES) -> int:
        with self._file.transaction(now, write=False):
            return sum(
                pruner.prune(self._file.writer, first=int((now - keep) // DAY), today=int(now // DAY))
                for pruner, keep in zip(self._pruners, (KEEP_IDENTITIES, keep_deliveries), strict=True)
            )

    def clock(self) -> float:
        return time.time()

    def warning(self) -> str:
        return ""

    def short_of_space(self) -> str:
        return self._space.short

    def clock_state(self) -> ClockState:
        with self._file.wrapping_errors():
            at, *even = [at for (at,) in self._file.writer.execute("SELECT at FROM opened ORDER BY rowid")]
        return ClockState(at, *even or [0.0])

    def check(self, *, now: float, write: bool, state: ClockState | None = None) -> None:
        with self._file.transaction(now, write=write):
            self._space.look()
            if write:
                _write_probe(self._file.writer)
            if write and state:  # an earlier version, which stores when it opened the ledger, sets both rows
                self._file.writer.execute("REPLACE INTO opened (rowid, at) VALUES (1, ?), (2, ?)", state)

    def totals(self) -> list[Total]:
        with self._file.reader_lock, self._file.wrapping_errors():
            rows = self._file.reader.execute("SELECT series, count, held_since, raised_at FROM total").fetchall()
            return [Total(parse_series(series), count, held is not None, at) for series, count, held, at in rows]

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        with self._file.wrapping_errors():
            rows = self._file.writer.execute(_IDENTITIES, {"after": after, "limit": limit}).fetchall()
        return [StoredIdentity(*row) for row in rows]

    def import_identities(self, identities: Sequence[StoredIdentity]) -> None:
        with self._file.transaction(0):
            for one in identities:
                self._insert([Record(one.identity, (), one.loop, one.message)], one.day)

    def coverage(self) -> Coverage:
        with self._file.wrapping_errors():
            (began,) = self._file.writer.execute("SELECT value FROM fact WHERE name = 'began'").fetchone()
            reconciled = self._file.writer.execute("SELECT loop, day FROM reconciled ORDER BY loop, day").fetchall()
        return Coverage(began, tuple(reconciled))

    def import_coverage(self, coverage: Coverage) -> None:
        with self._file.transaction(0):
            self._file.writer.execute("REPLACE INTO fact VALUES ('began', ?)", (coverage.began,))
            self._file.writer.execute("DELETE FROM reconciled")
            self._file.writer.executemany("INSERT INTO reconciled VALUES (?, ?)", coverage.reconciled)

    def import_totals(self, totals: Sequence[Total]) -> None:
        with self._file.transaction(0):
            self._file.writer.execute("DELETE FROM total WHERE series = ?", (json.dumps(COPY_MARKER),))
            if self._file.writer.execute("SELECT 1 FROM total").fetchone():
                raise LedgerError("DST counted events during the copy; start again with an empty ledger")
            self._file.writer.executemany(
                "INSERT INTO total VALUES (?, ?, ?, ?)",
                [(json.dumps(series), value, at if held else None, at) for series, value, held, at in totals],
            )
        with self._file.wrapping_errors():
            self._load_series(self._file.writer)

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()

    def _load_series(self, writer: sqlite3.Connection) -> None:
        rows = writer.execute("SELECT series, held_since FROM total").fetchall()
        self._known_series = {series for series, _ in rows}
        self._any_held = any(held_since is not None for _, held_since in rows)


def _write_probe(writer: sqlite3.Connection) -> None:
    """Write to the tree of identities as a failure does: it may be damaged where the rest is not."""
    writer.execute(_INSERT[1], (0, probe := os.urandom(16), 0, None))
    writer.execute("DELETE FROM identity WHERE hash = ?", (probe,))
