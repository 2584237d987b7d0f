"""The errors of a SQLite ledger: one line each, which names the ledger and says what to do."""

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from exporter.errors import LedgerError, LedgerFull
from exporter.ledger.sqlite_lock import DISK_ERRORS

HINTS: Final = {
    sqlite3.SQLITE_BUSY: "{}: another program is writing to it",
    sqlite3.SQLITE_CANTOPEN: "{}: is the directory writable for this user?",
    sqlite3.SQLITE_CORRUPT: "it is damaged ({}); restore a backup, or move it away",
    sqlite3.SQLITE_FULL: "{}: free some space",
    sqlite3.SQLITE_IOERR: "{}: the disk or a quota is full, or the disk fails",
    sqlite3.SQLITE_NOTADB: "it is damaged or not a ledger ({}); restore a backup, or move it away",
    sqlite3.SQLITE_READONLY: "{}: is the file writable for this user?",
    -errno.EACCES: "{}: is the directory writable for this user?",
}
"""What to do, by SQLite's error code or, negative, by the error number of the operating system."""

# A disk that fails makes an intact ledger look damaged.
_REMOUNT: Final = "remount the disk or restart the exporter first, and restore a backup only if the error remains"
RUNNING_HINTS: Final = HINTS | {
    sqlite3.SQLITE_CORRUPT: f"it is damaged ({{}}); {_REMOUNT}",
    sqlite3.SQLITE_IOERR: f"{{}}: if the disk or a quota is full, free some space; otherwise, {_REMOUNT}",
    sqlite3.SQLITE_NOTADB: f"it is damaged or not a ledger ({{}}); {_REMOUNT}",
    **{-number: f"{{}}; {_REMOUNT}" for number in DISK_ERRORS},
}
"""The same for a ledger that was intact when it was opened."""
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_WRITING: Final = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE}
_PROBE_SIZE: Final = 65_536


def ledger_error(path: Path, what: str) -> LedgerError:
    """Return an error that names the ledger."""
    return LedgerError(f"ledger {path}: {what}")


@contextmanager
def wrapping_errors(path: Path, hints: Mapping[int, str]) -> Iterator[None]:
    """Raise errors of SQLite, of the operating system, and in the contents of the ledger as LedgerError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = -(error.errno or 0) if isinstance(error, OSError) else getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind = LedgerFull if _is_full(error, path.parent) else LedgerError
        raise kind(str(ledger_error(path, hints.get(code, "{}").format(error)))) from error
    except ValueError as error:
        raise ledger_error(path, hints[sqlite3.SQLITE_CORRUPT].format(error)) from error


def _is_full(error: sqlite3.Error | OSError, directory: Path) -> bool:
    """Return whether an error in this directory means that the disk or a quota is full."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_FULL or (code in _WRITING and _has_no_space(directory))


def _has_no_space(directory: Path) -> bool:
    """Write something, because SQLite reports a full quota as an I/O error without the number that tells them apart."""
    try:
        with TemporaryFile(dir=directory) as file:
            file.write(bytes(_PROBE_SIZE))
    except OSError as error:
        return error.errno in _FULL
    return False
