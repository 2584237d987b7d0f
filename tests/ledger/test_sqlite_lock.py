"""The lock of a SQLite ledger that is moved, removed, or on a file system that fails; see also test_sqlite_file.py."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.errors import LedgerBusy
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.sqlite_lock import FileLock
from tests.support.records import NOW, count, error_of, failure
from tests.support.sqlite import filled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the ledger."""
    return tmp_path.resolve() / "ledger.db"


@pytest.fixture
def lock(path: Path) -> Iterator[FileLock]:
    """Yield a lock on the ledger."""
    lock = FileLock(path)
    yield lock
    lock.release()


def assert_locked(path: Path) -> None:
    """Check that another exporter can't take the lock."""
    assert isinstance(error_of(lambda: FileLock(path)), LedgerBusy)


def test_a_renewed_lock_is_the_same(lock: FileLock, path: Path) -> None:
    """To renew a lock whose file is still there changes nothing."""
    lock.renew()
    assert_locked(path)
    assert path.with_name("ledger.db.lock").read_text() == f"{os.getpid()}\n"


def test_a_removed_lock_is_renewed(lock: FileLock, path: Path) -> None:
    """If the lock file was removed, the lock is taken again."""
    path.with_name("ledger.db.lock").unlink()
    lock.renew()
    assert_locked(path)


def test_a_released_lock_is_renewed(lock: FileLock, path: Path) -> None:
    """A lock that was released is taken again, unless another exporter has it."""
    lock.release()
    other = FileLock(path)
    assert isinstance(error_of(lock.renew), LedgerBusy)
    other.release()
    lock.renew()
    assert_locked(path)


def test_a_directory_that_replaces_it_is_locked(tmp_path: Path) -> None:
    """If the ledger's directory is replaced, the exporter locks the ledger in the new one, which it uses from then."""
    directory, new = tmp_path.resolve() / "directory", tmp_path.resolve() / "new"
    for place in (directory, new):
        place.mkdir()
        filled(place / "ledger.db", range(1))
    with closing(SqliteLedger(directory / "ledger.db", now=NOW)) as ledger:
        directory.rename(tmp_path / "old")
        new.rename(directory)
        with closing(SqliteLedger(directory / "ledger.db", now=NOW)) as other:
            assert isinstance(error_of(lambda: count(ledger, [failure(1)])), LedgerBusy)
            assert count(other, [failure(1)]) == [True]
        assert count(ledger, [failure(1)]) == [False]
        assert_locked(directory / "ledger.db")


@pytest.mark.parametrize(
    ("number", "dead"), [(errno.EIO, True), (errno.EROFS, True), (errno.ENOTCONN, True), (errno.ENOSPC, False)]
)
def test_a_file_system_that_fails_is_dead(
    lock: FileLock, monkeypatch: pytest.MonkeyPatch, number: int, *, dead: bool
) -> None:
    """An error of the disk means that the file system is dead; a full disk does not."""

    def fail(_file: int) -> None:
        raise OSError(number, os.strerror(number))

    assert not lock.is_dead()
    with monkeypatch.context() as failing:
        failing.setattr(os, "utime", fail)
        assert lock.is_dead() is dead
    assert not lock.is_dead()
