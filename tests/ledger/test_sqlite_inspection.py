"""Looking at the file of a SQLite ledger: what is found, and that nothing is written."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from exporter.errors import LedgerError
from exporter.ledger import sqlite_file
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.sqlite_inspection import inspect_file
from tests.support.records import BOUNCE, NOW
from tests.support.sqlite import ask, filled, kill, line, start
from tests.support.tree import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a ledger with failures."""
    filled(tmp_path.resolve() / "ledger.db")
    return tmp_path.resolve() / "ledger.db"


def state(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return the modification time and content of the directory and all files in it."""
    found = {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in directory.rglob("*") if file.is_file()}
    return found | {".": (directory.stat().st_mtime_ns, b"")}


def test_a_ledger_has_series_and_no_notes(path: Path) -> None:
    """A ledger that was closed is checked as a whole, and nothing is written, not even a lock."""
    path.with_name("ledger.db.lock").unlink()
    before = state(path.parent)
    series, notes = inspect_file(path)
    assert (set(series), notes) == ({BOUNCE}, [])
    assert state(path.parent) == before


def test_a_missing_ledger_is_a_note(tmp_path: Path) -> None:
    """``serve`` will create it."""
    path = tmp_path.resolve() / "ledger.db"
    assert inspect_file(path) == ([], [f"ledger {path}: the file does not exist yet; serve will create it"])
    path.touch()
    assert inspect_file(path) == ([], [f"ledger {path}: the file is empty; serve will create the ledger in it"])
    assert state(tmp_path) == {str(path): (path.stat().st_mtime_ns, b""), ".": (tmp_path.stat().st_mtime_ns, b"")}


def test_links_are_followed(path: Path, tmp_path: Path) -> None:
    """The ledger is the file that the link leads to."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    assert inspect_file(link) == inspect_file(path)


def test_an_older_ledger_is_a_note(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``serve`` will migrate it; the inspection does not."""
    before = state(path.parent)
    monkeypatch.setattr("exporter.ledger.sqlite_inspection.MIGRATIONS", (*sqlite_file.MIGRATIONS, "later"))
    known = len(sqlite_file.MIGRATIONS)
    assert inspect_file(path)[1] == [f"ledger {path}: serve will migrate its schema from {known} to {known + 1}"]
    assert state(path.parent) == before


@pytest.mark.parametrize("large", [False, True])
def test_a_ledger_of_an_earlier_version_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    """It is checked as its version left it, as a whole or, if it is large, in part."""
    if large:
        monkeypatch.setattr(sqlite_file, "FULL_CHECK_SIZE", 0)
    path = tmp_path.resolve() / "ledger.db"
    shutil.copy(ROOT / "tests/ledgers/schema-1.db", path)
    series, notes = inspect_file(path)
    assert len(series) == 2
    assert notes == [f"ledger {path}: serve will migrate its schema from 1 to {len(sqlite_file.MIGRATIONS)}"]


@pytest.mark.parametrize("end", [kill, lambda _process: None], ids=["killed", "running"])
def test_a_ledger_with_a_wal_is_a_note(path: Path, end: Callable[..., None]) -> None:
    """While an exporter uses it, or after one was killed, its newest commits are in the WAL, which is not applied."""
    process = start("ledger = SqliteLedger(Path(sys.argv[1]), now=NOW); say('open'); sys.stdin.read()", path)
    assert line(process) == "open"
    end(process)
    before = state(path.parent)
    _, (note,) = inspect_file(path)
    assert note == (
        f"ledger {path}: only its header was checked, because an exporter is using it, or was killed: "
        "there is ledger.db-wal"
    )
    assert state(path.parent) == before
    process.communicate()


def test_a_new_ledger_in_use_is_no_error(tmp_path: Path) -> None:
    """All of it is in the WAL, and its file looks like that of another program."""
    path = tmp_path.resolve() / "ledger.db"
    process = start("ledger = SqliteLedger(Path(sys.argv[1]), now=NOW); say('open'); sys.stdin.read()", path)
    assert line(process) == "open"
    assert len(inspect_file(path)[1]) == 1
    process.communicate()


def test_an_exporter_can_start_during_the_inspection(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock is taken."""

    def open_meanwhile(connection: sqlite3.Connection, place: Path) -> None:
        SqliteLedger(place, now=NOW).close()
        sqlite_file.check_contents(connection, place)

    monkeypatch.setattr("exporter.ledger.sqlite_inspection.check_contents", open_meanwhile)
    assert inspect_file(path)[1] == []


def no_directory(path: Path) -> str:
    """Remove the directory."""
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    return "create it first"


def directory_instead(path: Path) -> str:
    """Replace the file by a directory."""
    path.unlink()
    path.mkdir()
    return "this is a directory, expected a file"


def pipe_instead(path: Path) -> str:
    """Replace the file by a named pipe. A program that opens one waits for its other end."""
    path.unlink()
    os.mkfifo(path)
    return "this is not a regular file"


def hard_link(path: Path) -> str:
    """Give the file a second name."""
    path.with_name("other.db").hardlink_to(path)
    return "the file has another hard link"


def text(path: Path) -> str:
    """Replace the content."""
    path.write_text("Dear diary, today\n" * 1_000)
    return "it is damaged or not a ledger"


def overwritten(path: Path) -> str:
    """Overwrite all but the beginning."""
    content = path.read_bytes()
    path.write_bytes(content[:1_024] + b"\xa5" * (len(content) - 1_024))
    return "it is damaged"


def bad_series(path: Path) -> str:
    """Store a total whose series cannot be read."""
    ask(path, "INSERT INTO total VALUES ('[', 1, NULL, 0)")
    return "it is damaged"


def newer(path: Path) -> str:
    """Give it the schema of a later version."""
    ask(path, "PRAGMA user_version = 99")
    return "it was written by a newer version (schema 99, "


def newer_in_use(path: Path) -> str:
    """Give it the schema of a later version, which was killed."""
    path.with_name("ledger.db-wal").touch()
    content = bytearray(path.read_bytes())
    content[60:64] = (99).to_bytes(4, "big")
    path.write_bytes(content)
    return "it was written by a newer version (schema 99, "


def foreign(path: Path) -> str:
    """Replace it by a database of another program."""
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE visitor (name TEXT)")
    return "this is an SQLite file of another program"


BAD: Final = [
    *(no_directory, directory_instead, pipe_instead, hard_link, text, overwritten, bad_series),
    *(newer, newer_in_use, foreign),
]


@pytest.mark.parametrize("spoil", BAD)
def test_a_ledger_that_cannot_be_used_is_an_error(tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    """The error names the ledger and is the one with which ``serve`` would end; nothing is changed."""
    path = tmp_path.resolve() / "state" / "ledger.db"
    path.parent.mkdir()
    filled(path)
    expected = spoil(path)
    before = state(tmp_path)
    with pytest.raises(LedgerError) as caught:
        inspect_file(path)
    assert str(caught.value).startswith(f"ledger {path}: ")
    assert expected in str(caught.value)
    assert state(tmp_path) == before
    if spoil is not pipe_instead:  # SQLite is not told apart here: opening also creates the lock
        with pytest.raises(LedgerError) as opened:
            SqliteLedger(path, now=NOW)
        assert str(opened.value) == str(caught.value)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Yield a new directory; root has the rights of another user in the block."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # others can't enter that of pytest
        Path(name).chmod(0o755)
        try:
            if not os.geteuid():
                os.seteuid(65_534)
            yield Path(name)
        finally:
            os.seteuid(os.getuid())


def test_a_directory_that_is_not_writable_is_an_error() -> None:
    """A lock, a WAL and the ledger itself are created there."""
    with unprivileged() as directory:
        if os.getuid():
            directory.chmod(0o555)
        with pytest.raises(LedgerError) as caught:
            inspect_file(directory / "ledger.db")
        assert str(caught.value).endswith(f": the directory {directory} is not writable for this user")


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db.lock"])
def test_a_file_that_is_not_writable_is_an_error(name: str) -> None:
    """An exporter writes to the ledger, and to the lock next to it."""
    with unprivileged() as directory:
        own, other = os.getuid(), os.geteuid()
        os.seteuid(own)
        directory.chmod(0o777)
        filled(directory / "ledger.db")
        for file in directory.iterdir():
            file.chmod(0o444 if file.name == name else 0o666)
        os.seteuid(other)
        with pytest.raises(LedgerError) as caught:
            inspect_file(directory / "ledger.db")
        assert str(caught.value).endswith(f": {name} is not readable and writable for this user")
