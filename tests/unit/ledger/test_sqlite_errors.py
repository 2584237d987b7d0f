"""Errors of a SQLite ledger: which of them mean that the disk or a quota is full."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.errors import LedgerError, LedgerFull
from exporter.ledger import sqlite_errors
from exporter.ledger.sqlite_errors import RUNNING_HINTS, wrapping_errors


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """Return the error of SQLite with this code."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


def type_of(error: Exception, directory: Path) -> type[LedgerError]:
    """Return the type as which an error is raised."""
    with pytest.raises(LedgerError) as caught, wrapping_errors(directory / "ledger.db", RUNNING_HINTS):
        raise error
    assert str(caught.value).startswith(f"ledger {directory}/ledger.db: ")
    return type(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), LedgerFull),
        (OSError(errno.ENOSPC, "no space"), LedgerFull),
        (OSError(errno.EDQUOT, "quota"), LedgerFull),
        (OSError(errno.EIO, "I/O error"), LedgerError),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), LedgerError),
        (sqlite_error(sqlite3.SQLITE_IOERR_READ), LedgerError),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), LedgerError),
        (ValueError("not a series"), LedgerError),
    ],
    ids=repr,
)
def test_a_full_disk_is_told_apart(tmp_path: Path, error: Exception, expected: type[LedgerError]) -> None:
    """Only errors that mean a full disk are LedgerFull. On a disk with space, a failed write is another error."""
    assert type_of(error, tmp_path) is expected
    assert list(tmp_path.iterdir()) == []


def failing_with(number: int) -> Callable[..., object]:
    """Return a function that raises an error of the operating system instead of creating a file."""

    def create(**_arguments: object) -> object:
        raise OSError(number, os.strerror(number))

    return create


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EDQUOT, LedgerFull), (errno.ENOSPC, LedgerFull), (errno.EIO, LedgerError)]
)
def test_a_full_quota_is_found_by_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[LedgerError]
) -> None:
    """SQLite reports a full quota as a failed write, as it does a disk that fails: another write tells which it is."""
    monkeypatch.setattr(sqlite_errors, "TemporaryFile", failing_with(number))
    assert type_of(sqlite_error(sqlite3.SQLITE_IOERR_WRITE), tmp_path) is expected
    assert type_of(sqlite_error(sqlite3.SQLITE_IOERR_READ), tmp_path) is LedgerError
