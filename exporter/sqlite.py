"""The ledger in one SQLite file: the contract of ``ledger.py`` kept with WAL and ``synchronous=FULL``.

One process at a time: a lock file beside the ledger keeps a second exporter out (see ``_lock``), while readers of other
programs (a backup, the ``sqlite3`` shell) stay welcome.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger import KEEP_IDENTITIES, Record, Total

APPLICATION_ID: Final = 0x534D5450  # "SMTP" in the file's header (bytes 68 to 71), so that file(1) and we know it
DAY: Final = 86_400
PAGE_SIZE: Final = 1_024
"""Bytes. Hashes fall anywhere in the tree, so nearly each costs a page of its own in the WAL: small ones are cheap."""
SLICE: Final = 2_000
"""How many identities one call of ``prune`` looks at: about a millisecond of work."""
CHECK_WHOLE: Final = 8 * 2**20
"""A file of at most so many bytes is checked whole at the start, of a larger one the sums: a start costs the same."""

# Step n leads from schema n to n + 1. A step never changes once released: add the next one.
#
# identity: keyed by the hash, without rowid and without an index on the day: 36 bytes a failure instead of 80. Pruning
# goes through it in the order of the hash.
MIGRATIONS: Final = (
    """
    CREATE TABLE identity (hash BLOB PRIMARY KEY, day INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE total (
        series TEXT PRIMARY KEY,    -- JSON array: family, then label values
        count INTEGER NOT NULL,
        held_since REAL,            -- NULL: shown
        raised_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE opened (at REAL NOT NULL) STRICT;
    INSERT INTO opened VALUES (0);
    """,
)

# One statement for a batch, because each statement gives up and retakes the interpreter's lock, which under load costs
# more than the work. Sizes are powers of two, so that the few statements there are stay prepared.
_LARGEST: Final = 64
_INSERT: Final = {
    size: f"INSERT INTO identity SELECT column1, ? FROM (VALUES {', '.join(['(?)'] * size)})"  # noqa: S608
    " WHERE true ON CONFLICT DO NOTHING"
    for size in (1, 2, 4, 8, 16, 32, _LARGEST)
}
_KNOWN: Final = "SELECT hash FROM identity WHERE hash = ?"
_RAISE: Final = """
    INSERT INTO total SELECT key, value, :held_since, :now FROM json_each(:sums) WHERE true
    ON CONFLICT DO UPDATE SET count = count + excluded.count, raised_at = max(raised_at, excluded.raised_at)"""


class SqliteLedger:
    """A ledger in the SQLite file ``path``; ``now`` is the time of opening.

    Raises LedgerBusy when another process has it open and LedgerError when it is damaged, unwritable, not a ledger, or
    of a schema that is newer than this version.
    """

    def __init__(self, path: Path, *, now: float) -> None:
        self._path = Path(os.path.realpath(path))  # the lock of one file has one name, whatever links lead to it
        self._reading = threading.Lock()  # of the reader, which all scrapes share
        self._any_held = False
        self._known: set[str] = set()
        self._files = (str(self._path), f"{self._path}-wal")
        self._opened_files: list[int] = []
        self._prune_from = os.urandom(16)  # anywhere: a process that never lives long prunes too, in the long run
        with self._told():
            if not self._path.parent.is_dir():
                raise self._error(f"the folder {self._path.parent} does not exist; make it first")
            if self._path.is_dir():
                raise self._error("this is a folder, expected a file")
        self._connections: list[sqlite3.Connection] = []
        self._lock_file = self._lock()
        try:
            self._open(now)
        except BaseException:
            self.close()
            raise

    def record(self, batch: Sequence[Record], *, now: float, held: bool) -> list[bool]:
        """See Ledger."""
        fresh = {record.identity: record for record in reversed(batch)}
        with self._transaction(now):
            if self._insert(fresh, now) < len(fresh):
                # Rare: some were counted before. Which ones, only a look can tell, so take the whole insert back.
                self._writer.execute("ROLLBACK")
                self._writer.execute("BEGIN IMMEDIATE")
                for identity in list(fresh):
                    if self._writer.execute(_KNOWN, (identity,)).fetchone():
                        del fresh[identity]
                self._insert(fresh, now)
            sums: Counter[str] = Counter()
            for series, count in Counter(record.series for record in fresh.values()).items():  # most are alike
                sums.update({json.dumps(one): count for one in series})
            self._writer.execute(_RAISE, {"sums": json.dumps(sums), "held_since": now if held else None, "now": now})
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
            inserted += self._writer.execute(_INSERT[size], (int(now // DAY), *chunk)).rowcount
        return inserted

    def release(self, *, now: float, hold: float) -> None:
        """See Ledger."""
        if not self._any_held:
            return
        with self._transaction(now):
            # When the clock was set back, the time starts anew: neither shown too early nor held for long.
            self._writer.execute(
                "UPDATE total SET held_since = iif(held_since > :now, :now, NULL)"
                " WHERE held_since <= :now - :hold OR held_since > :now",
                {"now": now, "hold": hold},
            )
        with self._told():
            self._note_series()

    def prune(self, *, now: float) -> int:
        """See Ledger."""
        start = self._prune_from
        with self._transaction(now, write=False):
            row = self._writer.execute(
                "SELECT hash FROM identity WHERE hash > ? ORDER BY hash LIMIT 1 OFFSET ?", (start, SLICE)
            ).fetchone()
            end = row[0] if row else b"\xff" * 16
            place = (start, end, int((now - KEEP_IDENTITIES) // DAY))
            found = "FROM identity WHERE hash >= ? AND hash <= ? AND day < ?"
            forgotten = 0
            if self._writer.execute(f"SELECT 1 {found} LIMIT 1", place).fetchone():
                forgotten = self._writer.execute(f"DELETE {found}", place).rowcount
        self._prune_from = end if row else b""
        return forgotten

    def check(self, *, now: float, write: bool) -> None:
        """See Ledger."""
        with self._transaction(now, write=write):
            if write:
                self._writer.execute("UPDATE opened SET at = ?", (now,))

    def totals(self) -> list[Total]:
        """See Ledger."""
        with self._reading, self._told():
            rows = self._reader.execute("SELECT series, count, held_since, raised_at FROM total").fetchall()
            return [Total(tuple(json.loads(series)), count, held is not None, at) for series, count, held, at in rows]

    def size(self) -> int:
        """See Ledger."""
        with self._told():
            return sum(path.stat().st_size for path in map(Path, self._files) if path.exists())

    def close(self) -> None:
        """See Ledger."""
        self._close()
        self._lock_file.close()

    def _lock(self) -> IO[str]:
        """Take the lock that says whose ledger this is; the kernel gives it back however the process dies.

        A file of its own, because closing any file descriptor of the ledger would drop SQLite's locks on it.
        """
        with self._told():
            file = self._path.with_name(self._path.name + ".lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise LedgerBusy(
                f"ledger {self._path}: another exporter (process {holder}) has it; stop that one, "
                "or give this one a storage.url of its own"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file

    def _open(self, now: float) -> None:
        with self._told():
            self._writer = self._connect()
            self._reader = self._connect()
            self._writer.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # heeded only by a file that is still empty
            version = self._schema_version()
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {4 * 2**20 // PAGE_SIZE}")
            # Set for each connection; FULL waits for the disk at each commit, also of the WAL.
            if self._writer.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise self._error("no WAL on this file system (a network share?); move the ledger to a local disk")
            self._writer.execute("PRAGMA synchronous = FULL")
            for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
                self._writer.executescript(
                    f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID}; "
                    f"PRAGMA user_version = {step}; COMMIT"
                )
            self._check_whole()
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.execute("UPDATE opened SET at = ?", (now,))
            self._writer.execute("UPDATE total SET held_since = ? WHERE held_since IS NOT NULL", (now,))
            self._writer.execute("COMMIT")
            self._note_series()
            json.loads(f"[{','.join(self._known)}]")  # quick_check does not look into texts
            self._opened_files = self._inodes()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
        self._connections.insert(0, connection)  # the writer is closed last: it flushes the WAL
        return connection

    def _schema_version(self) -> int:
        (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self._writer.execute("PRAGMA application_id").fetchone()
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID and (tables or application or version):
            raise self._error("this is an SQLite file of another program; give storage.url another file")
        if version > len(MIGRATIONS):
            raise self._error(
                f"it was written by a newer version (schema {version}, this version knows up to {len(MIGRATIONS)}); "
                "run that version or a later one"
            )
        return int(version)

    def _check_whole(self) -> None:
        whole = self._path.stat().st_size <= CHECK_WHOLE
        for scope in ("1",) if whole else ("total", "opened"):
            (verdict,) = self._writer.execute(f"PRAGMA quick_check({scope})").fetchone()
            if verdict != "ok":
                raise self._error(f"it is damaged ({verdict.splitlines()[-1]}); restore a backup, or move it away")

    def _note_series(self) -> None:
        rows = self._writer.execute("SELECT series, held_since FROM total").fetchall()
        self._known = {series for series, _ in rows}
        self._any_held = any(held_since is not None for _, held_since in rows)

    @contextmanager
    def _transaction(self, now: float, *, write: bool = True) -> Iterator[None]:
        with self._told():
            self._reopen_if_moved(now)
            self._writer.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise

    def _reopen_if_moved(self, now: float) -> None:
        """Never write to a file that was taken away: what is committed there nobody finds after a restart."""
        if self._inodes() == self._opened_files:
            return
        if not self._path.exists():
            raise self._error("the file is gone; put it back, or restart the exporter to begin a new ledger")
        with self._reading:
            if self._opened_files:
                self._empty_wal()
            self._close()
            self._opened_files = []  # until it is open again
            self._open(now)

    def _empty_wal(self) -> None:
        """Bring what is committed in the WAL home to the file that was open, wherever that is now.

        Else it is lost when the WAL was removed while another program reads, and if the ledger was replaced,
        SQLite would take the WAL for that of the file that lies there now, and mix the two.
        """
        (busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise self._error("its files were moved, and another program is reading it; stop that one")

    def _inodes(self) -> list[int]:
        """Which files lie at the paths of the ledger and its WAL; 0 for none."""
        found = []
        for path in self._files:
            try:
                found.append(os.stat(path).st_ino)  # noqa: PTH116 -- for each batch, and pathlib takes four times as long
            except FileNotFoundError:
                found.append(0)
        return found

    def _close(self) -> None:
        while self._connections:
            with suppress(sqlite3.Error):
                self._connections.pop(0).close()

    def _error(self, what: str) -> LedgerError:
        return LedgerError(f"ledger {self._path}: {what}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the operating system or SQLite say into one line that names the ledger."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._error(_HINTS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "{}").format(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise self._error(str(error)) from error
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise self._error(f"it is damaged ({error}); restore a backup, or move it away") from error


_HINTS: Final = {
    sqlite3.SQLITE_BUSY: "{}: another program is writing to it",
    sqlite3.SQLITE_CANTOPEN: "{}: is the folder writable for this user?",
    sqlite3.SQLITE_CORRUPT: "it is damaged ({}); restore a backup, or move it away",
    sqlite3.SQLITE_FULL: "{}: free some space",
    sqlite3.SQLITE_IOERR: "{}: is the disk or a quota full, or the disk broken?",
    sqlite3.SQLITE_NOTADB: "it is damaged or no ledger ({}); restore a backup, or move it away",
    sqlite3.SQLITE_READONLY: "{}: is the file writable for this user?",
}
