"""An SQLite file as a ledger wants it: locked, of the right schema, undamaged, and noticed when it is taken away.

One process at a time: a lock file beside the ledger keeps a second exporter out (see ``_lock``), while readers of other
programs (a backup, the ``sqlite3`` shell) stay welcome.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from exporter.errors import LedgerBusy, LedgerError

APPLICATION_ID: Final = 0x534D5450  # "SMTP" in the file's header (bytes 68 to 71), so that file(1) and we know it
PAGE_SIZE: Final = 1_024
"""Bytes. Hashes fall anywhere in the tree, so nearly each costs a page of its own in the WAL: small ones are cheap."""
FULL_CHECK_SIZE: Final = 8 * 2**20
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


class SqliteFile:
    """The ledger's file, opened at the time ``now``; ``on_open`` gets each new connection for writing.

    ``on_open`` runs inside the transaction that proves the file writable. ``writer`` is for one thread, ``reader`` for
    any that holds ``reading``. Raises LedgerBusy when another process has the file and LedgerError when it is damaged,
    unwritable, not a ledger, or of a schema newer than this version.
    """

    def __init__(self, path: Path, *, now: float, on_open: Callable[[sqlite3.Connection, float], None]) -> None:
        self._path = Path(os.path.realpath(path))  # the lock of one file has one name, whatever links lead to it
        self.reading = threading.Lock()  # of the reader, which all scrapes share
        self._files = (str(self._path), f"{self._path}-wal")
        self._opened_files: list[int] = []
        self._on_open = on_open
        with self.wrapping_errors():
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

    def close(self) -> None:
        """Close the connections and give the lock back."""
        # Closing a connection that a scrape reads from crashes; one that hangs is left to the end of the process.
        if self.reading.acquire(timeout=1):
            self._close()
            self.reading.release()
        self._lock_file.close()

    @contextmanager
    def transaction(self, now: float, *, write: bool = True) -> Iterator[None]:
        """Commit what is done with ``writer`` inside, or on any exception nothing of it. Raises LedgerError."""
        with self.wrapping_errors():
            self._reopen_if_moved(now)
            self.writer.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
                self.writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.writer.execute("ROLLBACK")
                raise

    @contextmanager
    def wrapping_errors(self) -> Iterator[None]:
        """Turn what the operating system or SQLite say into one line that names the ledger."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._error(_HINTS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "{}").format(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise self._error(str(error)) from error
        except (UnicodeDecodeError, ValueError) as error:
            raise self._error(f"it is damaged ({error}); restore a backup, or move it away") from error

    def size(self) -> int:
        """Bytes on disk."""
        with self.wrapping_errors():
            return sum(path.stat().st_size for path in map(Path, self._files) if path.exists())

    def _lock(self) -> IO[bytes]:
        """Take the lock that says whose ledger this is; the kernel gives it back however the process dies.

        A file of its own, because closing any file descriptor of the ledger would drop SQLite's locks on it.
        """
        with self.wrapping_errors():
            file = self._path.with_name(self._path.name + ".lock").open("ab+", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            file.close()
            raise LedgerBusy(
                f"ledger {self._path}: another exporter (process {holder}) has it; stop that one, "
                "or give this one a storage.url of its own"
            ) from error
        except OSError as error:
            file.close()
            raise self._error(f"can't be locked: {error.strerror}; move it to a local disk") from error
        with suppress(OSError):  # on a full disk: only a help to whoever finds the lock taken
            file.truncate(0)
            file.write(b"%d\n" % os.getpid())
        return file

    def _open(self, now: float) -> None:
        with self.wrapping_errors():
            self.writer = self._connect()
            self.reader = self._connect()
            self.writer.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # heeded only by a file that is still empty
            version = self._schema_version()
            self.writer.execute(f"PRAGMA wal_autocheckpoint = {4 * 2**20 // PAGE_SIZE}")
            # Set for each connection; FULL waits for the disk at each commit, also of the WAL.
            if self.writer.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise self._error("no WAL on this file system (a network share?); move the ledger to a local disk")
            self.writer.execute("PRAGMA synchronous = FULL")
            for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
                self.writer.executescript(
                    f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID}; "
                    f"PRAGMA user_version = {step}; COMMIT"
                )
            self._check_whole()
            self.writer.execute("BEGIN IMMEDIATE")
            self.writer.execute("UPDATE opened SET at = ?", (now,))
            self._on_open(self.writer, now)
            self.writer.execute("COMMIT")
            for (series,) in self.reader.execute("SELECT series FROM total"):
                json.loads(series)  # quick_check does not look into texts
            self._opened_files = self._inodes()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
        self._connections.insert(0, connection)  # the writer is closed last: it flushes the WAL
        # Else a batch of some 30 needs a temporary file, for which a container has no place.
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _schema_version(self) -> int:
        (tables,) = self.writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self.writer.execute("PRAGMA application_id").fetchone()
        (version,) = self.writer.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID and (tables or application or version):
            raise self._error("this is an SQLite file of another program; give storage.url another file")
        if version > len(MIGRATIONS):
            raise self._error(
                f"it was written by a newer version (schema {version}, this version knows up to {len(MIGRATIONS)}); "
                "run that version or a later one"
            )
        return int(version)

    def _check_whole(self) -> None:
        whole = self._path.stat().st_size <= FULL_CHECK_SIZE
        for scope in ("1",) if whole else ("total", "opened"):
            (verdict,) = self.writer.execute(f"PRAGMA quick_check({scope})").fetchone()
            if verdict != "ok":
                raise self._error(f"it is damaged ({verdict.splitlines()[-1]}); restore a backup, or move it away")

    def _reopen_if_moved(self, now: float) -> None:
        """Never write to a file that was taken away: what is committed there nobody finds after a restart."""
        if self._inodes() == self._opened_files:
            return
        if not self._path.exists():
            raise self._error("the file is gone; put it back, or restart the exporter to begin a new ledger")
        with self.reading:
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
        (busy, *_) = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
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


_HINTS: Final = {
    sqlite3.SQLITE_BUSY: "{}: another program is writing to it",
    sqlite3.SQLITE_CANTOPEN: "{}: is the folder writable for this user?",
    sqlite3.SQLITE_CORRUPT: "it is damaged ({}); restore a backup, or move it away",
    sqlite3.SQLITE_FULL: "{}: free some space",
    sqlite3.SQLITE_IOERR: "{}: is the disk or a quota full, or the disk broken?",
    sqlite3.SQLITE_NOTADB: "it is damaged or no ledger ({}); restore a backup, or move it away",
    sqlite3.SQLITE_READONLY: "{}: is the file writable for this user?",
}
