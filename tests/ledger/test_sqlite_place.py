"""A SQLite ledger whose file has a second name: a hard link, or a mount."""

import os
import shlex
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from exporter.errors import LedgerBusy
from exporter.ledger import sqlite_place
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.sqlite_place import check_place
from tests.support.confinement import namespace
from tests.support.records import NOW, count, error_of, failure, failures
from tests.support.sqlite import filled, kill, line, start

RECORDING: Final = """
ledger = SqliteLedger(Path(sys.argv[1]), now=NOW)
count(ledger, failures(range(50)))
say("recorded")
sys.stdin.readline()
"""
CHECKING: Final = """
import subprocess
from exporter.ledger.sqlite_place import check_place
place, path = map(Path, sys.argv[1:])
subprocess.run(["mount", "--bind", place, place], check=True)
for call in (check_place, lambda path: SqliteLedger(path, now=NOW)):
    try:
        call(path)
    except LedgerError as error:
        say(error)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the ledger, with characters that mountinfo and shells treat specially."""
    directory = tmp_path.resolve() / "the ledger's \\folder"
    directory.mkdir()
    return directory / "ledger.db"


def link_error(path: Path, where: str) -> str:
    """Return the error for a ledger with another hard link."""
    return (
        f"ledger {path}: the file has another hard link, {where}; stop the exporters that use it, and keep only "
        "one name, the one with a -wal next to it if there is one"
    )


def mount_error(path: Path, name: str) -> str:
    """Return the error for a ledger of which a file is mounted, without the mount's source."""
    return (
        f"ledger {path}: {name} is mounted as a single file (from SOURCE); stop the old exporter cleanly, mount the "
        "directory instead, and copy the ledger and its -wal into it"
    )


def test_a_file_with_one_name_is_fine(path: Path) -> None:
    """A new ledger, an existing one, and symbolic links to both are fine."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    for existing in (False, True):
        assert path.exists() is existing
        check_place(path)
        check_place(link)
        path.touch()


@pytest.mark.parametrize("number", range(2))
def test_a_hard_link_is_an_error(path: Path, number: int) -> None:
    """A ledger with two names can be opened under neither. The error names the other one."""
    names = path, path.with_name("other.db")
    filled(names[0])
    os.link(*names)
    for call in (check_place, lambda name: SqliteLedger(name, now=NOW)):
        error = error_of(lambda call=call: call(names[number]))  # type: ignore[misc]  # a default binds the loop variable
        assert str(error) == link_error(names[number], str(names[1 - number]))
    names[1 - number].unlink()
    with closing(SqliteLedger(names[number], now=NOW)) as ledger:
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]


def test_a_hard_link_elsewhere_is_found(path: Path) -> None:
    """If the other name is in another directory, the error has a command that finds it."""
    other = path.parent / "sub" / "other.db"
    other.parent.mkdir()
    path.touch()
    os.link(path, other)
    text = str(error_of(lambda: check_place(path)))
    top = next(parent for parent in path.parents if parent.is_mount())
    found = f"find {shlex.quote(str(top))} -xdev -inum {path.stat().st_ino}"
    assert text == link_error(path, f"which this command finds: {found}")
    # Only in this directory, because the whole file system can be large.
    words = shlex.split(found.replace(shlex.quote(str(top)), shlex.quote(str(path.parent))))
    names = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    assert sorted(names) == [str(path), str(other)]


@pytest.mark.parametrize("name", ["ledger.db", "other.db"])
def test_a_ledger_with_a_hard_link_is_not_changed(path: Path, name: str) -> None:
    """A ledger that does not open keeps its WAL: nothing is lost under the name that has it."""
    process = start(RECORDING, path)
    assert line(process) == "recorded"
    kill(process)
    os.link(path, path.with_name("other.db"))
    files = path, Path(f"{path}-wal")
    before = [file.read_bytes() for file in files]
    error_of(lambda: SqliteLedger(path.with_name(name), now=NOW))
    assert [file.read_bytes() for file in files] == before
    path.with_name("other.db").unlink()
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(51))) == [False] * 50 + [True]


def test_a_hard_link_that_appears_does_not_stop_counting(path: Path) -> None:
    """A link that is made while the ledger is open changes nothing until it is opened again."""
    other = path.with_name("other.db")
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        os.link(path, other)
        ledger.check(now=NOW, write=True)
        assert count(ledger, [failure(1)]) == [True]
        assert str(error_of(lambda: SqliteLedger(other, now=NOW))) == link_error(other, str(path))
        assert isinstance(error_of(lambda: SqliteLedger(path, now=NOW)), LedgerBusy)
    assert str(error_of(lambda: SqliteLedger(path, now=NOW))) == link_error(path, str(other))


def test_a_file_with_a_hard_link_that_replaces_it_is_an_error(path: Path) -> None:
    """A ledger that replaces the open one is checked, too. When its other name is gone, counting resumes."""
    other, third = path.with_name("other.db"), path.with_name("third.db")
    filled(other, range(10))
    os.link(other, third)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        other.replace(path)
        for _ in range(2):
            assert str(error_of(lambda: count(ledger, [failure(1)]))) == link_error(path, str(third))
        third.unlink()
        assert count(ledger, failures(range(11))) == [False] * 10 + [True]


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
def test_a_mounted_file_is_an_error(path: Path, name: str) -> None:
    """If the ledger itself or its WAL is mounted, also by a bind mount, it can't be opened. The error names the source.

    That holds for a symbolic link to it, too.
    """
    if not (words := namespace()):
        pytest.skip("needs the privilege to mount")
    place = path.with_name(name)
    filled(path)
    place.touch()
    link = path.with_name("link.db")
    link.symlink_to(path)
    for opened in (path, link):
        errors = start(CHECKING, place, opened, prefix=words).communicate()[0].splitlines()
        assert len(errors) == 2
        for error in errors:
            before, _, rest = error.partition("(from ")
            source, _, after = rest.partition(")")
            assert f"{before}(from SOURCE){after}" == mount_error(path, name)
            root, _, device = source.rpartition(" on ")
            assert root
            assert str(place).endswith(root)  # root is the path within its file system
            assert device
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]


def test_a_mounted_directory_is_fine(path: Path) -> None:
    """A ledger in a directory that is mounted can be opened."""
    if not (words := namespace()):
        pytest.skip("needs the privilege to mount")
    filled(path)
    process = start(CHECKING, path.parent, path, prefix=words)
    assert (process.communicate()[0], process.returncode) == ("", 0)


def test_the_last_of_several_mounts_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the mount that hides the others. Mounts of other files, and of the directory, don't matter."""
    place = str(path).replace("\\", "\\134").replace(" ", "\\040")
    line = "36 35 98:0 {} {} rw,noatime master:1 shared:2 - ext3 {} rw,errors=continue\n"
    mounts = path.with_name("mountinfo")
    monkeypatch.setattr(sqlite_place, "_MOUNTS", mounts)
    others = line.format("/", "/", "/dev/a") + line.format("/", place.rpartition("/")[0], "/dev/a")
    mounts.write_text(others + line.format("/x", f"{place}2", "/dev/a"))
    check_place(path)
    mounts.write_text(
        others + line.format("/one", place, "/dev/a") + line.format("/the\\040other", place, "share\\040b")
    )
    assert str(error_of(lambda: check_place(path))) == mount_error(path, "ledger.db").replace(
        "SOURCE", "/the other on share b"
    )


def test_unknown_mounts_are_fine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without /proc, mounts are not checked."""
    monkeypatch.setattr(sqlite_place, "_MOUNTS", path.with_name("none"))
    check_place(path)
