"""The file of a SQLite ledger: its lock, its checks, and what happens when it is moved, replaced or damaged."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger import sqlite_file
from exporter.ledger.contract import Total
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.sqlite_file import APPLICATION_ID, FULL_CHECK_SIZE, MIGRATIONS, WAL_LIMIT, SqliteFile
from tests.support.records import BOUNCE, NOW, count, error_of, failure, failures
from tests.support.sqlite import ask, filled, kill, line, start
from tests.support.texts import Texts
from tests.support.tree import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the ledger."""
    return tmp_path.resolve() / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    """Yield a new ledger at ``path``."""
    ledger = SqliteLedger(path, now=NOW)
    yield ledger
    ledger.close()


# The file


def test_commits_wait_for_the_disk(ledger: SqliteLedger, path: Path) -> None:
    """The journal is a WAL and each commit is synchronous: what was recorded survives a power cut."""
    writer = ledger._file.writer
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]


def test_commits_wait_for_the_disk_after_reopening(ledger: SqliteLedger, path: Path) -> None:
    """The connection that replaces a lost one waits for the disk, too."""
    Path(f"{path}-wal").unlink()
    ledger.check(now=NOW, write=True)
    assert ledger._file.writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_file_is_identified_by_its_header(path: Path) -> None:
    """Application id, schema version and page size are in the header of the file."""
    filled(path)
    assert ask(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert path.read_bytes()[68:72] == b"SMTP"
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert ask(path, "PRAGMA page_size") == [(1024,)]


def test_a_closed_ledger_is_one_file(path: Path, tmp_path: Path) -> None:
    """After closing there is no WAL that a backup could miss. Only the lock file stays."""
    filled(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ledger.db", "ledger.db.lock"]


def test_the_wal_shrinks_after_a_long_reader(ledger: SqliteLedger, path: Path) -> None:
    """The WAL grows while another program reads, and shrinks to its limit when that has ended."""
    wal = Path(f"{path}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM total").fetchall()
        begin = 0
        while wal.stat().st_size < 2 * WAL_LIMIT:
            count(ledger, failures(range(begin, begin + 2_000)))
            begin += 2_000
    for number in range(begin, begin + 3):
        count(ledger, [failure(number)])
    assert wal.stat().st_size <= WAL_LIMIT
    assert count(ledger, failures(range(begin + 4))) == [False] * (begin + 3) + [True]


# Opening


def test_an_empty_file_is_a_new_ledger(path: Path) -> None:
    """An empty file becomes a ledger."""
    path.touch()
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, [failure(1)]) == [True]


def test_a_large_ledger_opens(path: Path) -> None:
    """A file that is too large for a full check opens with its totals and identities."""
    filled(path)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
            " INSERT INTO identity (hash, day) SELECT randomblob(200), 0 FROM n"
        )
    assert path.stat().st_size > FULL_CHECK_SIZE
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]
        assert ledger.totals() == [Total(BOUNCE, 301, held=False, raised_at=NOW)]


def test_totals_of_a_large_file_are_checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged totals are an error also if the file is too large for a full check."""
    monkeypatch.setattr(sqlite_file, "FULL_CHECK_SIZE", 0)
    filled(path)
    SqliteLedger(path, now=NOW).close()
    damage_total(path)
    assert "it is damaged" in str(error_of(lambda: SqliteLedger(path, now=NOW)))


def damage_total(path: Path) -> None:
    """Overwrite the page of the table of totals, except for its first bytes."""
    [(page,)] = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'total'")
    data = bytearray(path.read_bytes())
    data[(page - 1) * 1024 + 4 : page * 1024] = Random(4).randbytes(1020)
    path.write_bytes(data)


def damage_identities(path: Path) -> None:
    """Overwrite a page of identities with zeros."""
    data = bytearray(path.read_bytes())
    data[-1024:] = b"\0" * 1024
    path.write_bytes(data)


def damage_text(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes in the text of a series, which leaves the structure of the file intact."""
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def make_foreign(path: Path) -> None:
    """Create an SQLite file of another program."""
    path.unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE song (title TEXT)")


def make_foreign_and_empty(path: Path) -> None:
    """Create an SQLite file with the application id of another program and without tables."""
    path.unlink()
    ask(path, "PRAGMA application_id = 1196444487")


def make_newer(path: Path) -> None:
    """Create a ledger of a later version of this package."""
    ask(path, "PRAGMA user_version = 99")


BROKEN: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "garbage": (lambda path: path.write_bytes(Random(1).randbytes(5000)), "damaged"),
    "text": (lambda path: path.write_text("# settings\n" * 100), "damaged"),
    "two bytes": (lambda path: path.write_bytes(b"S\n"), "damaged"),  # SQLite takes a file of one byte for an empty one
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), "damaged"),
    "header only": (lambda path: os.truncate(path, 100), "damaged"),
    "total overwritten": (damage_total, "damaged"),
    "identities overwritten": (damage_identities, "damaged"),
    "series is not JSON": (lambda path: damage_text(path, b'"rcptto"', b'"rcptto\n'), "damaged"),
    "series is not UTF-8": (lambda path: damage_text(path, b'"rcptto"', b'"rcpt\xff\xff"'), "UTF-8"),
    "of another program": (make_foreign, "another program"),
    "of another program, without tables": (make_foreign_and_empty, "another program"),
    "of a later version": (make_newer, "newer version"),
}
"""How to break a ledger, and a word in the error that tells the kinds apart."""
RUNTIME: Final = ("garbage", "total overwritten", "of another program", "of a later version")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_an_error(path: Path, kind: str) -> None:
    """A file that is not an intact ledger is an error. It stays as it is, and its lock is released."""
    breaks, word = BROKEN[kind]
    filled(path)
    intact = path.read_bytes()
    breaks(path)
    broken = path.read_bytes()
    for _ in range(2):  # a lock that the first attempt left would raise LedgerBusy in the second
        error = error_of(lambda: SqliteLedger(path, now=NOW))
        assert (type(error), str(error).startswith(f"ledger {path}: "), word in str(error)) == (LedgerError, True, True)
        assert "\n" not in str(error)
    assert path.read_bytes() == broken
    path.write_bytes(intact)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]


@pytest.mark.parametrize("kind", ["garbage", "truncated", "of another program", "of a later version"])
def test_the_error_says_what_to_do(path: Path, texts: Texts, kind: str) -> None:
    """The error names the ledger, what is wrong and what to do about it."""
    filled(path)
    BROKEN[kind][0](path)
    texts.check(error_of(lambda: SqliteLedger(path, now=NOW)))


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_an_older_ledger_opens(path: Path, version: int) -> None:
    """A ledger of each earlier schema opens with all its totals, and has the current schema afterwards."""
    shutil.copy(ROOT / f"tests/ledgers/schema-{version}.db", path)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        failures_only = {total.series[1:]: total.value for total in ledger.totals() if total.series[0] == "failures"}
        assert failures_only == {("rcptto", "5xx", "5.1.1"): 20, ("bounce", "none", "5.0.0"): 10}
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_a_missing_directory_is_an_error(tmp_path: Path, texts: Texts) -> None:
    """A ledger in a directory that does not exist is an error, and nothing is created."""
    texts.check(error_of(lambda: SqliteLedger(tmp_path.resolve() / "none/ledger.db", now=NOW)))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_not_a_ledger(path: Path, texts: Texts) -> None:
    """A directory with the name of the ledger is an error, and nothing is created."""
    path.mkdir()
    texts.check(error_of(lambda: SqliteLedger(path, now=NOW)))
    assert list(path.parent.iterdir()) == [path]


def test_an_impossible_name_is_an_error(tmp_path: Path) -> None:
    """Errors of the operating system are raised as LedgerError with the path."""
    path = tmp_path.resolve() / ("x" * 300)
    assert str(error_of(lambda: SqliteLedger(path, now=NOW))).startswith(f"ledger {path}: [Errno ")


def test_a_pipe_is_not_a_ledger(path: Path) -> None:
    """A special file is an error."""
    os.mkfifo(path)
    assert str(error_of(lambda: SqliteLedger(path, now=NOW))).startswith(f"ledger {path}: ")


@pytest.mark.parametrize("name", ["BUSY", "CANTOPEN", "CORRUPT", "FULL", "IOERR", "NOTADB", "READONLY", "TOOBIG"])
def test_an_error_of_sqlite_says_what_to_do(path: Path, name: str, texts: Texts) -> None:
    """Each error code that an operator can do something about has a hint; others keep SQLite's own words."""
    error = sqlite3.OperationalError("SQLite's own words")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}")
    opened = closing(SqliteFile(path, now=NOW, on_open=lambda _writer, _now: None))
    with opened as file, pytest.raises(LedgerError) as caught, file.wrapping_errors():
        raise error
    texts.check(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write here")
@pytest.mark.parametrize(
    ("directory_mode", "file_mode"),
    [(0o777, 0o644), (0o777, 0o600), (0o755, 0o666)],
    ids=["read-only file", "unreadable file", "read-only directory"],
)
def test_a_ledger_that_is_not_writable_is_an_error(directory_mode: int, file_mode: int, texts: Texts) -> None:
    """If the user may not write the file or its directory, opening fails and the error says which."""
    code = """
os.seteuid(65534)
try:
    SqliteLedger(Path(sys.argv[1]), now=NOW)
except LedgerError as error:
    say(error)
"""
    # Not in tmp_path: it is in a directory that each run of pytest makes private.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory).resolve() / "ledger.db"
        if any(parent.stat().st_mode & 0o011 != 0o011 for parent in path.parent.parents):
            pytest.skip("needs a temporary directory that other users can enter")
        filled(path)
        Path(f"{path}.lock").unlink()
        path.chmod(file_mode)
        path.parent.chmod(directory_mode)
        output = start(code, path).communicate()[0]
    assert output.count("\n") == 1
    texts.check(output.strip().replace(str(path.parent), "FOLDER"))


def test_a_file_system_without_shared_memory_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, texts: Texts
) -> None:
    """Where SQLite can't use a WAL, as on network shares, the ledger does not open, because it would not be safe."""
    connect = sqlite3.connect

    def connect_to_share(database: Path, **settings: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(f"file:{database}?vfs=unix-none", uri=True, **settings)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_to_share)
    texts.check(error_of(lambda: SqliteLedger(path, now=NOW)))


# The lock


def test_a_second_opening_is_an_error(ledger: SqliteLedger, path: Path, texts: Texts) -> None:
    """A ledger can't be opened twice, not even in one process; the error names the process that uses it."""
    error = error_of(lambda: SqliteLedger(path, now=NOW))
    assert isinstance(error, LedgerBusy)
    assert f"(process {os.getpid()})" in str(error)
    texts.check(str(error).replace(str(os.getpid()), "PID"))
    assert count(ledger, [failure(1)]) == [True]


def test_a_closed_ledger_is_unlocked(path: Path) -> None:
    """Closing releases the lock."""
    for _ in range(3):
        SqliteLedger(path, now=NOW).close()


@pytest.mark.parametrize("kind", ["file", "directory", "relative"])
def test_another_name_of_the_ledger_has_the_same_lock(
    ledger: SqliteLedger, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A link to the file, a link to its directory and a relative path all lead to the same locked ledger."""
    (tmp_path / "link").symlink_to(path if kind == "file" else path.parent)
    monkeypatch.chdir(tmp_path)
    other = {"file": tmp_path / "link", "directory": tmp_path / "link/ledger.db", "relative": Path("ledger.db")}[kind]
    assert isinstance(error_of(lambda: SqliteLedger(other, now=NOW)), LedgerBusy)
    assert count(ledger, [failure(1)]) == [True]


def test_a_ledger_can_be_opened_by_a_link(path: Path, tmp_path: Path) -> None:
    """What was counted through a link is known under the file's own name, and the size includes the WAL."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with closing(SqliteLedger(link, now=NOW)) as ledger:
        count(ledger, [failure(1)])
        assert ledger.size() == path.stat().st_size + Path(f"{path}-wal").stat().st_size
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, [failure(1)]) == [False]


def test_another_process_waits_until_this_one_closes(path: Path) -> None:
    """Another process can open the ledger only after this one has closed it."""
    code = """
for _ in sys.stdin:
    try:
        SqliteLedger(Path(sys.argv[1]), now=NOW).close()
        say("opened")
    except LedgerError as error:
        say(type(error).__name__)
"""
    process = start(code, path)
    assert process.stdin
    with closing(SqliteLedger(path, now=NOW)):
        process.stdin.write("try\n")
        process.stdin.flush()
        assert line(process) == "LedgerBusy"
    assert process.communicate("try\n")[0] == "opened\n"


def test_the_lock_of_a_killed_process_is_released(path: Path) -> None:
    """The lock of a process lasts until it is killed, and names that process."""
    process = start("ledger = SqliteLedger(Path(sys.argv[1]), now=NOW); say('open'); sys.stdin.read()", path)
    assert line(process) == "open"
    assert f"(process {process.pid})" in str(error_of(lambda: SqliteLedger(path, now=NOW)))
    kill(process)
    with closing(SqliteLedger(path, now=NOW)):
        assert f"(process {os.getpid()})" in str(error_of(lambda: SqliteLedger(path, now=NOW)))


def test_a_lock_without_a_process_id(path: Path) -> None:
    """If the lock file does not name the process, the error says that it is unknown."""
    with closing(SqliteLedger(path, now=NOW)):
        os.truncate(f"{path}.lock", 0)
        assert "(process unknown)" in str(error_of(lambda: SqliteLedger(path, now=NOW)))


def test_a_write_of_another_program_is_an_error_until_it_ends(ledger: SqliteLedger, path: Path, texts: Texts) -> None:
    """While another program writes, a commit fails after a second and totals stay readable. Then counting resumes."""
    count(ledger, [failure(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        texts.check(error_of(lambda: count(ledger, [failure(2)])))
        assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
        ledger.check(now=NOW, write=False)
        other.execute("ROLLBACK")
        assert count(ledger, failures(range(1, 3))) == [False, True]


def test_a_write_of_another_program_prevents_opening(path: Path) -> None:
    """A ledger that another program is writing to does not open; a moment later it does."""
    filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "another program is writing to it" in str(error_of(lambda: SqliteLedger(path, now=NOW)))
    SqliteLedger(path, now=NOW).close()


# A lost WAL


def test_a_removed_wal_loses_nothing(path: Path) -> None:
    """If the WAL is removed while the ledger is open, the next commit saves what was in it, also if a crash follows."""
    code = """
ledger = SqliteLedger(Path(sys.argv[1]), now=NOW)
count(ledger, failures(range(50)))
say("recorded")
sys.stdin.readline()
say(count(ledger, failures(range(49, 51))))
sys.stdin.readline()
"""
    process = start(code, path)
    assert process.stdin
    assert line(process) == "recorded"
    Path(f"{path}-wal").unlink()
    process.stdin.write("go on\n")
    process.stdin.flush()
    assert line(process) == "[False, True]"
    kill(process)
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    for place in (copy, path):
        with closing(SqliteLedger(place, now=NOW)) as ledger:
            assert ledger.totals() == [Total(BOUNCE, 51, held=False, raised_at=NOW)]
            assert count(ledger, failures(range(52))) == [False] * 51 + [True]


def test_a_removed_wal_loses_nothing_while_another_program_has_the_ledger_open(path: Path) -> None:
    """What was in a removed WAL is saved also if another program, such as a shell, has the ledger open."""
    reading = "import sqlite3; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM total').fetchall()"
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, failures(range(50)))
        process = start(f"{reading}; say('reading'); sys.stdin.read()", path)
        assert line(process) == "reading"
        Path(f"{path}-wal").unlink()
        assert count(ledger, failures(range(51))) == [False] * 50 + [True]
        assert ledger.totals() == [Total(BOUNCE, 51, held=False, raised_at=NOW)]
        process.communicate("")
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(52))) == [False] * 51 + [True]


def test_a_removed_wal_is_an_error_while_another_program_reads(ledger: SqliteLedger, path: Path, texts: Texts) -> None:
    """While another program reads an old state the WAL can't be saved, which is an error. Then counting resumes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM total").fetchall()
        count(ledger, failures(range(50)))
        Path(f"{path}-wal").unlink()
        texts.check(error_of(lambda: count(ledger, [failure(50)])))
    assert count(ledger, failures(range(51))) == [False] * 50 + [True]


def test_a_removed_shm_does_not_unlock_the_ledger(ledger: SqliteLedger, path: Path) -> None:
    """SQLite's locks are in the -shm file. If it is removed, two programs still don't write at the same time."""
    writing = "import sqlite3; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE')"
    count(ledger, failures(range(50)))
    Path(f"{path}-shm").unlink()
    assert count(ledger, failures(range(51))) == [False] * 50 + [True]
    process = start(f"{writing}; say('writing'); sys.stdin.read()", path)
    assert line(process) == "writing"
    assert "another program is writing to it" in str(error_of(lambda: count(ledger, [failure(51)])))
    process.communicate("")
    assert count(ledger, failures(range(52))) == [False] * 51 + [True]


# A moved or replaced file


def assert_gone(path: Path, call: Callable[[], object]) -> None:
    """Check that ``call`` raises the error for a ledger whose file is gone."""
    assert str(error_of(call)).startswith(f"ledger {path}: the file is gone;")


def test_a_moved_file_is_an_error_until_it_is_back(ledger: SqliteLedger, path: Path) -> None:
    """While the file is gone nothing is counted and totals stay readable. When it is back, counting resumes."""
    count(ledger, failures(range(50)))
    path.rename(path.with_name("away"))
    before = [Total(BOUNCE, 50, held=False, raised_at=NOW)]
    for call in (
        lambda: count(ledger, [failure(50)]),
        lambda: ledger.check(now=NOW, write=False),
        lambda: ledger.check(now=NOW, write=True),
        lambda: ledger.prune(now=NOW),
    ):
        assert_gone(path, call)
        assert ledger.totals() == before
    assert not path.exists()
    path.with_name("away").rename(path)
    ledger.check(now=NOW, write=True)
    assert count(ledger, failures(range(51))) == [False] * 50 + [True]
    assert ledger.totals() == [Total(BOUNCE, 51, held=False, raised_at=NOW)]


def test_a_moved_directory_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    """The same holds for the directory, as when a file system is unmounted and mounted again."""
    directory = tmp_path.resolve() / "directory"
    directory.mkdir()
    with closing(SqliteLedger(directory / "ledger.db", now=NOW)) as ledger:
        count(ledger, failures(range(50)))
        directory.rename(tmp_path / "away")
        assert_gone(directory / "ledger.db", lambda: count(ledger, [failure(50)]))
        (tmp_path / "away").rename(directory)
        assert count(ledger, failures(range(51))) == [False] * 50 + [True]


def test_a_removed_file_is_not_created_again(ledger: SqliteLedger, path: Path, texts: Texts) -> None:
    """A removed ledger is not silently replaced by a new one before a restart."""
    count(ledger, failures(range(50)))
    path.unlink()
    for _ in range(2):
        texts.check(error_of(lambda: count(ledger, [failure(50)])))
    assert not path.exists()
    ledger.close()
    with closing(SqliteLedger(path, now=NOW)) as new:
        assert new.totals() == []
        assert count(new, [failure(1)]) == [True]


def test_a_ledger_that_replaces_it_is_used(ledger: SqliteLedger, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If another ledger replaces the file, failures are counted in that one. A line is logged, as totals may go back.

    Nothing is logged if only the WAL was removed.
    """
    other = path.with_name("other.db")
    filled(other, range(1000, 1010))
    count(ledger, failures(range(50)))
    Path(f"{path}-wal").unlink()
    count(ledger, [failure(1)])
    assert caplog.messages == []
    other.replace(path)
    assert count(ledger, failures(range(1009, 1011))) == [False, True]
    assert ledger.totals() == [Total(BOUNCE, 11, held=False, raised_at=NOW)]
    assert caplog.messages == ["ledger replaced: another file is at its path now"]
    ledger.close()
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, "SELECT count(*) FROM identity") == [(11,)]


def test_a_restored_backup_is_not_mixed_with_the_wal(path: Path) -> None:
    """A backup that replaces an open ledger is used unchanged. SQLite alone would apply the old WAL to it."""
    filled(path, range(5000))
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        for begin in range(5000, 30_000, 100):
            count(ledger, failures(range(begin, begin + 100)))
        backup.replace(path)
        assert count(ledger, failures(range(4999, 5001))) == [False, True]
        assert ledger.totals() == [Total(BOUNCE, 5001, held=False, raised_at=NOW)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, "SELECT count(*) FROM identity") == [(5001,)]


@pytest.mark.parametrize("kind", RUNTIME)
def test_a_broken_file_that_replaces_it_is_an_error(path: Path, kind: str) -> None:
    """A broken file is not written to at run time either. An intact ledger in its place is used again."""
    breaks, word = BROKEN[kind]
    broken, intact = path.with_name("broken.db"), path.with_name("intact.db")
    for place in (broken, intact):
        filled(place)
    breaks(broken)
    content = broken.read_bytes()
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, [failure(1)])
        broken.replace(path)
        for _ in range(2):
            assert word in str(error_of(lambda: count(ledger, [failure(2)])))
        assert path.read_bytes() == content
        path.unlink()
        assert_gone(path, lambda: count(ledger, [failure(2)]))
        assert str(error_of(ledger.totals)).startswith(f"ledger {path}: ")
        intact.replace(path)
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]
        assert ledger.totals() == [Total(BOUNCE, 301, held=False, raised_at=NOW)]
