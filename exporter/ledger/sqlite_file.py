"""The SQLite file of a ledger: lock it, check it, migrate its schema, and notice when the file is moved or replaced.

A lock keeps a second exporter out (see ``sqlite_lock.py``). Other programs may read the ledger, for example a backup or
the ``sqlite3`` shell.
"""

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from exporter.errors import LedgerError
from exporter.ledger.sqlite_errors import HINTS, RUNNING_HINTS, ledger_error, wrapping_errors
from exporter.ledger.sqlite_lock import FileLock
from exporter.ledger.sqlite_place import check_path, check_place

log = logging.getLogger(__name__)

APPLICATION_ID: Final = (
    0x534D5450  # "SMTP" in the file's header (bytes 68 to 71), so that file(1) and this module recognize it
)
PAGE_SIZE: Final = 1_024
"""Bytes. Hashes are spread over the whole tree, so almost each one writes a page to the WAL: small pages are cheap."""
CHECKPOINT_SIZE: Final = 4 * 2**20
"""Bytes in the WAL after which SQLite copies them to the ledger, and then starts again at the beginning of the WAL."""
WAL_LIMIT: Final = 2 * CHECKPOINT_SIZE
"""Bytes to which the WAL shrinks when it starts again. It grows while another program reads for long."""
FULL_CHECK_SIZE: Final = 8 * 2**20
"""Bytes. A larger file is checked only in part when it is opened, so that a start never takes long."""

# Step n migrates schema n to n + 1. Never change a released step; add a new one.
#
# Tables identity and delivery have the hash as their key, no rowid and no index on the day: 28 bytes per delivery
# instead of 70. Pruning goes through them in the order of the hash.
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
    """
    ALTER TABLE identity ADD COLUMN loop INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE identity ADD COLUMN message BLOB;       -- hash of message and recipient; NULL: not known
    CREATE TABLE delivery (hash BLOB PRIMARY KEY, day INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE fact (
        name TEXT PRIMARY KEY,      -- began: when the ledger was first opened with this schema
        value REAL NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE reconciled (       -- days that were compared with SMTPeter's log files
        loop INTEGER NOT NULL,
        day INTEGER NOT NULL,
        PRIMARY KEY (loop, day)
    ) STRICT, WITHOUT ROWID;
    """,
)


class SqliteFile:
    """The ledger's file, opened at the time ``now``.

    ``path`` is the file itself, even if there are links to it. ``writer`` is a connection for one thread, ``reader``
    one for any thread that holds ``reader_lock``. ``on_open`` is called with each new writer and the time, inside a
    transaction; it writes, which proves that the file is writable. Raises LedgerBusy if another process has the file
    open, and LedgerError if it is damaged, not writable, not a ledger, or written by a newer version.
    """

    def __init__(self, path: Path, *, now: float, on_open: Callable[[sqlite3.Connection, float], None]) -> None:
        self.path = Path(os.path.realpath(path))  # all links to the file lead to the same lock file
        self.reader_lock = threading.Lock()
        self._files = (str(self.path), f"{self.path}-wal", f"{self.path}-shm")
        self._opened_files: list[tuple[int, int]] = []
        self._last_file: tuple[int, int] | None = None
        self._hints = HINTS
        self._on_open = on_open
        with self.wrapping_errors():
            check_path(self.path)
            self._lock = FileLock(self.path)
        self._connections: list[sqlite3.Connection] = []
        try:
            self._open(now)
        except BaseException:
            self.close()
            raise
        self._hints = RUNNING_HINTS

    def close(self) -> None:
        """Close the connections and release the lock."""
        # Closing a connection that a scrape is using would crash. If the scrape hangs, leave the connections open.
        if self.reader_lock.acquire(timeout=1):
            self._close()
            self.reader_lock.release()
        self._lock.release()

    @contextmanager
    def transaction(self, now: float, *, write: bool = True) -> Iterator[None]:
        """Run the block in a transaction of ``writer``; roll back on any exception. Raises LedgerError."""
        with self.wrapping_errors():
            try:
                self._reopen_if_moved(now)
                self.writer.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield
                self.writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.writer.execute("ROLLBACK")
                if self._lock.is_dead():
                    self._abandon()
                raise

    def wrapping_errors(self) -> AbstractContextManager[None]:
        """Raise errors of SQLite and the operating system as LedgerError, with one line that names the ledger."""
        return wrapping_errors(self.path, self._hints)

    def size(self) -> int:
        """Return the size on disk in bytes."""
        with self.wrapping_errors():
            return sum(path.stat().st_size for path in map(Path, self._files[:2]) if path.exists())

    def _open(self, now: float) -> None:
        with self.wrapping_errors():
            self.writer = self._connect()
            self.reader = self._connect()
            check_place(self.path)  # now that the file is open, but before SQLite applies a WAL to it
            self.writer.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # affects only an empty file
            version = schema_version(self.writer, self.path)
            self.writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_SIZE // PAGE_SIZE}")
            self.writer.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            if self.writer.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise self._error(
                    "SQLite can't use a WAL on this file system (a network share?); move the ledger to a local disk"
                )
            self.writer.execute("PRAGMA synchronous = FULL")  # each commit waits until the WAL is on disk
            for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
                self.writer.executescript(
                    f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID}; "
                    f"PRAGMA user_version = {step}; COMMIT"
                )
            check_contents(self.reader, self.path)
            self.writer.execute("BEGIN IMMEDIATE")
            self._on_open(self.writer, now)
            self.writer.execute("COMMIT")
            self._opened_files = self._find_files()
        if self._last_file not in (None, self._opened_files[0]):  # totals may go back, for example after an unmount
            log.warning("ledger replaced: another file is at its path now", extra={"ledger": self.path})
        self._last_file = self._opened_files[0]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=1, isolation_level=None, check_same_thread=False)
        self._connections.insert(0, connection)  # so that the writer is closed last: it empties the WAL
        # Otherwise a batch of about 30 needs a temporary file, and a container may have no writable place for one.
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _reopen_if_moved(self, now: float) -> None:
        """Open the ledger again if its files were moved, replaced or abandoned.

        A commit to a file that was moved away would be missing after a restart.
        """
        found = self._find_files()
        if found == self._opened_files:
            return
        if not self.path.exists():
            raise self._error("the file is gone; put it back, or restart the exporter to start a new ledger")
        with self.reader_lock:
            if self._opened_files:
                self._empty_wal()
                if found[0][0] != self._opened_files[0][0]:
                    self._empty_wal_of_other_device()
            self._close()
            self._opened_files = []  # stays empty if the rest fails
            self._lock.renew()
            self._open(now)

    def _abandon(self) -> None:
        """Close all files, because those on a dead file system never recover, and prevent it from being unmounted."""
        with self.reader_lock:
            self._close()
        self._lock.release()
        self._opened_files = []

    def _empty_wal(self) -> None:
        """Copy the commits in the WAL to the file that was open, wherever that file is now.

        Otherwise they are lost if the WAL was removed while another program reads. If the ledger was replaced, SQLite
        would apply the WAL to the new file and mix the two.
        """
        (busy, *_) = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise self._error(_MOVED)

    def _empty_wal_of_other_device(self) -> None:
        """Copy the commits in the WAL that is at the path now, and remove that WAL.

        A file system that was mounted there may give its files the same inodes, for example a copy of the old one.
        SQLite does not compare devices: with the old file it would delete this WAL.
        """
        self._lock.renew()
        check_place(self.path)
        with closing(sqlite3.connect(self.path)) as other:
            other.execute("SELECT 1 FROM sqlite_schema").fetchone()
        if Path(self._files[1]).exists():
            raise self._error(_MOVED)

    def _find_files(self) -> list[tuple[int, int]]:
        """Return device and inode of the ledger, its WAL and its shared memory, zeros for a missing file."""
        found = []
        for path in self._files:
            try:
                status = os.stat(path)  # noqa: PTH116 -- pathlib takes four times as long
                found.append((status.st_dev, status.st_ino))
            except FileNotFoundError:
                found.append((0, 0))
        return found

    def _close(self) -> None:
        while self._connections:
            with suppress(sqlite3.Error):
                self._connections.pop(0).close()

    def _error(self, what: str) -> LedgerError:
        return ledger_error(self.path, what)


def schema_version(connection: sqlite3.Connection, path: Path, *, whole: bool = True) -> int:
    """Return the version of the schema, 0 for an empty file. Raise LedgerError if this version can't use it.

    Without ``whole``, only the header of the file is read.
    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() if whole else (0,)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and (tables or application or version):
        raise ledger_error(path, "this is an SQLite file of another program; set storage.url to another file")
    if version > len(MIGRATIONS):
        raise ledger_error(
            path,
            f"it was written by a newer version (schema {version}, this version knows up to {len(MIGRATIONS)}); "
            "run that version or a later one",
        )
    return int(version)


def check_contents(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ValueError if the ledger is damaged. A large one is checked only in part."""
    whole = path.stat().st_size <= FULL_CHECK_SIZE
    for (scope,) in [("1",)] if whole else connection.execute(_SMALL_TABLES).fetchall():
        (verdict,) = connection.execute(f"PRAGMA quick_check({scope})").fetchone()
        if verdict != "ok":
            raise ValueError(verdict.splitlines()[-1])
    for (series,) in connection.execute("SELECT series FROM total"):
        json.loads(series)  # quick_check does not check the contents of texts


_SMALL_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('identity', 'delivery')"
_MOVED: Final = "its files were moved while another program reads it; stop that program"
