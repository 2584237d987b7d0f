"""Facts about the SQLite ledger alone: its file, its lock, and what happens when either is tampered with."""

import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from exporter.classification.classifier import identity_of
from exporter.classification.labels import labels_of
from exporter.classification.report import Report
from exporter.classification.series import Record
from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger import sqlite_file
from exporter.ledger.contract import DAY, Total
from exporter.ledger.sqlite import PRUNE_SLICE, SqliteLedger
from exporter.ledger.sqlite_file import APPLICATION_ID, FULL_CHECK_SIZE, MIGRATIONS
from tests.ledger.test_contract import BOUNCE, HOLD, NOW, count, failure, failures, prune_all
from tests.support.confinement import confined
from tests.support.running import TIMEOUT

DAMAGED: Final = "restore a backup, or move it away"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger of a test lies."""
    return tmp_path.resolve() / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    """A new ledger at ``path``, open."""
    ledger = SqliteLedger(path, now=NOW)
    yield ledger
    ledger.close()


def filled(path: Path, numbers: range = range(300)) -> None:
    """Leave a ledger of some failures at ``path``, closed."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, failures(numbers))


def test_a_batch_needs_no_place_for_temporary_files(path: Path) -> None:
    """Where nothing but the folder of the ledger can be written, as in a container, a large batch is recorded, too."""
    if not (words := confined(path.parent)):
        pytest.skip("needs the right to mount")
    filled(path, range(20_000))  # so that each of the batch falls on a page of its own
    code = (
        "import pathlib, sys, tests.ledger.test_sqlite as t; t.filled(pathlib.Path(sys.argv[1]), range(20_000, 20_300))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*words, sys.executable, "-c", code, path], check=True, cwd="/", env=env)
    assert ask(path, "SELECT count(*) FROM identity") == [(20_300,)]


def ask(path: Path, question: str) -> list[Any]:
    """What SQLite itself says about the file, from a connection of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        return other.execute(question).fetchall()


def refusal(call: Callable[[], object]) -> str:
    """The whole text of the LedgerError that ``call`` raises."""
    with pytest.raises(LedgerError) as caught:
        call()
    return str(caught.value)


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program of ours in a process of its own, with pipes to talk to it."""
    command = [sys.executable, "-c", f"{PRELUDE}\n{code}", *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def line(process: subprocess.Popen[str]) -> str:
    """The next line that the process prints."""
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def kill(process: subprocess.Popen[str]) -> None:
    """End the process as a crash does."""
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


PRELUDE: Final = """
import os, sys
from pathlib import Path
from exporter.errors import LedgerError
from exporter.ledger.sqlite import SqliteLedger
from tests.ledger.test_contract import NOW, count, failures

def say(*words):
    print(*words, flush=True)
"""


# The file


def test_commits_wait_for_the_disk(ledger: SqliteLedger, path: Path) -> None:
    """The journal is a WAL and each commit is synchronous FULL: what was recorded survives a power cut."""
    writer = ledger._file.writer
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]


def test_commits_still_wait_after_the_file_was_opened_again(ledger: SqliteLedger, path: Path) -> None:
    """Also the connection that replaces a lost one waits for the disk."""
    Path(f"{path}-wal").unlink()
    ledger.check(now=NOW, write=True)
    assert ledger._file.writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_file_says_what_it_is(path: Path) -> None:
    """Application id, schema version and page size are in the file's header."""
    filled(path)
    assert ask(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert path.read_bytes()[68:72] == b"SMTP"
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert ask(path, "PRAGMA page_size") == [(1024,)]


def test_tables_are_strict(path: Path) -> None:
    """All tables are STRICT; those with a key are kept in its order, without rowid."""
    filled(path)
    assert ask(path, "SELECT name, wr, strict FROM pragma_table_list WHERE name NOT LIKE 'sqlite%' ORDER BY name") == [
        ("identity", 1, 1),
        ("opened", 0, 1),
        ("total", 1, 1),
    ]


def test_file_is_small(path: Path) -> None:
    """A closed ledger of 20,000 failures takes less than 60 bytes for each."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        for begin in range(0, 20_000, 50):
            count(ledger, failures(range(begin, begin + 50)))
    assert 16 < path.stat().st_size / 20_000 < 60


def test_size_is_that_of_the_files(ledger: SqliteLedger, path: Path) -> None:
    """The size is that of the ledger and its WAL, and 0 for a file that is gone."""
    count(ledger, failures(range(100)))
    assert ledger.size() == path.stat().st_size + Path(f"{path}-wal").stat().st_size
    Path(f"{path}-wal").unlink()
    path.unlink()
    assert ledger.size() == 0


def test_closed_ledger_is_one_file(path: Path, tmp_path: Path) -> None:
    """After closing there is no WAL that a backup could miss; the empty-handed lock file stays."""
    filled(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ledger.db", "ledger.db.lock"]


def test_no_address_is_at_rest(path: Path, tmp_path: Path) -> None:
    """Neither a recipient nor anything else of a report but its label values is in any file, open or closed."""
    report = Report("MSGID-4711", "jane.doe@example.org", "rcptto", "550", "5.1.1", "no such user jane.doe")
    record = Record(identity_of(report), (("failures", *labels_of(report.state, report.code, report.extended)),))
    ledger = SqliteLedger(path, now=NOW)
    count(ledger, [record], held=True)
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    ledger.close()
    everything += b"".join(file.read_bytes() for file in tmp_path.iterdir())
    personal = (b"jane", b"example", b"msgid-", b"such user")
    assert [word for word in personal if word in everything.lower()] == []
    assert b"5.1.1" in everything


# Opening


def test_zero_length_file_is_a_new_ledger(path: Path) -> None:
    """A file that somebody has only touched becomes a ledger."""
    path.touch()
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, [failure(1)]) == [True]


def test_ledger_larger_than_is_checked_whole_opens(path: Path) -> None:
    """Of a large file only the sums are checked; it opens with its totals and identities."""
    filled(path)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
            " INSERT INTO identity SELECT randomblob(200), 0 FROM n"
        )
    assert path.stat().st_size > FULL_CHECK_SIZE
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]
        assert ledger.totals() == [Total(BOUNCE, 301, held=False, raised_at=NOW)]


def test_sums_of_a_large_file_are_checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged sums stop the start also where the file is too large to be checked whole."""
    monkeypatch.setattr(sqlite_file, "FULL_CHECK_SIZE", 0)
    filled(path)
    SqliteLedger(path, now=NOW).close()
    damage_total(path)
    assert refusal(lambda: SqliteLedger(path, now=NOW)) == (
        f"ledger {path}: it is damaged (database disk image is malformed); {DAMAGED}"
    )


def damage_total(path: Path) -> None:
    """Overwrite the middle of the page that holds the table of totals, as a stray write does."""
    [(page,)] = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'total'")
    data = bytearray(path.read_bytes())
    data[(page - 1) * 1024 + 4 : page * 1024] = Random(4).randbytes(1020)
    path.write_bytes(data)


def damage_identities(path: Path) -> None:
    """Overwrite a page of identities."""
    data = bytearray(path.read_bytes())
    data[-1024:] = b"\0" * 1024
    path.write_bytes(data)


def damage_text(path: Path, old: bytes, new: bytes) -> None:
    """Change some bytes in the text of a series, which leaves the structure of the file sound."""
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def make_foreign(path: Path) -> None:
    """Make an SQLite file of another program."""
    path.unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE song (title TEXT)")


def make_foreign_and_empty(path: Path) -> None:
    """Make what another program that marks its files leaves before it has made a table."""
    path.unlink()
    ask(path, "PRAGMA application_id = 1196444487")


def make_newer(path: Path) -> None:
    """Make the ledger that a later version of this package has left."""
    ask(path, "PRAGMA user_version = 99")


BROKEN: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "garbage": (
        lambda path: path.write_bytes(Random(1).randbytes(5000)),
        f"it is damaged or no ledger (file is not a database); {DAMAGED}",
    ),
    "text": (
        lambda path: path.write_text("# settings\n" * 100),
        f"it is damaged or no ledger (file is not a database); {DAMAGED}",
    ),
    "two bytes": (  # SQLite takes a file of one byte for an empty one
        lambda path: path.write_bytes(b"S\n"),
        f"it is damaged or no ledger (file is not a database); {DAMAGED}",
    ),
    "truncated": (
        lambda path: os.truncate(path, path.stat().st_size // 2),
        f"it is damaged (database disk image is malformed); {DAMAGED}",
    ),
    "header only": (
        lambda path: os.truncate(path, 100),
        f"it is damaged (database disk image is malformed); {DAMAGED}",
    ),
    "total overwritten": (damage_total, f"it is damaged (… 3: btreeInitPage() returns error code 11); {DAMAGED}"),
    "identities overwritten": (damage_identities, f"it is damaged (…); {DAMAGED}"),
    "series is no JSON": (
        lambda path: damage_text(path, b'"rcptto"', b'"rcptto\n'),
        f"it is damaged (…); {DAMAGED}",
    ),
    "series is no UTF-8": (
        lambda path: damage_text(path, b'"rcptto"', b'"rcpt\xff\xff"'),
        "Could not decode to UTF-8 column 'series' with text …",
    ),
    "of another program": (make_foreign, "this is an SQLite file of another program; give storage.url another file"),
    "of another program, without tables": (
        make_foreign_and_empty,
        "this is an SQLite file of another program; give storage.url another file",
    ),
    "of a later version": (
        make_newer,
        "it was written by a newer version (schema 99, this version knows up to 1); run that version or a later one",
    ),
}


def whole_text(path: Path, text: str) -> str:
    """The pattern of the one line that says ``text``; what SQLite words in its own way, by version, is … there."""
    return re.escape(f"ledger {path}: {text}").replace("…", ".+")


@pytest.mark.parametrize(("breaks", "text"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_refused(path: Path, breaks: Callable[[Path], object], text: str) -> None:
    """A file that is no sound ledger stops the start, says why, stays as it is and leaves the lock free."""
    filled(path)
    sound = path.read_bytes()
    breaks(path)
    broken = path.read_bytes()
    for _ in range(2):  # the second time it would be LedgerBusy if the first had left a lock
        assert re.fullmatch(whole_text(path, text), refusal(lambda: SqliteLedger(path, now=NOW)))
    assert path.read_bytes() == broken
    path.write_bytes(sound)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]


def test_any_damage_is_told_as_such(path: Path) -> None:
    """Whatever bytes of the file are changed, opening and using it works or ends in LedgerError, never otherwise."""
    filled(path, range(600))
    sound, dice, refused = path.read_bytes(), Random(20), 0
    for _ in range(150):
        data = bytearray(sound)
        place = dice.randrange(len(data)) if dice.random() < 0.7 else dice.randrange(100)
        data[place : place + dice.choice([1, 16, 400])] = dice.randbytes(dice.choice([1, 16, 400]))
        path.write_bytes(data)
        Path(f"{path}-wal").unlink(missing_ok=True)
        try:
            with closing(SqliteLedger(path, now=NOW)) as ledger:
                ledger.totals()
                count(ledger, failures(range(500, 700)))
                prune_all(ledger, NOW + 40 * DAY, slices=2)
                ledger.release(now=NOW + HOLD, hold=HOLD)
        except LedgerError:
            refused += 1
    assert refused > 50


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A ledger in a folder that does not exist stops the start and makes nothing."""
    folder = tmp_path.resolve() / "none"
    assert refusal(lambda: SqliteLedger(folder / "ledger.db", now=NOW)) == (
        f"ledger {folder}/ledger.db: the folder {folder} does not exist; make it first"
    )
    assert list(tmp_path.iterdir()) == []


def test_folder_is_no_ledger(path: Path, tmp_path: Path) -> None:
    """A folder where the file should be stops the start and makes nothing."""
    path.mkdir()
    assert refusal(lambda: SqliteLedger(path, now=NOW)) == f"ledger {path}: this is a folder, expected a file"
    assert list(tmp_path.iterdir()) == [path]


def test_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    """What the operating system says against the path comes out as LedgerError."""
    path = tmp_path.resolve() / ("x" * 300)
    text = f"[Errno {errno.ENAMETOOLONG}] {os.strerror(errno.ENAMETOOLONG)}: '{path}'"
    assert refusal(lambda: SqliteLedger(path, now=NOW)) == f"ledger {path}: {text}"


def test_pipe_is_no_ledger(path: Path) -> None:
    """A special file stops the start."""
    os.mkfifo(path)
    assert refusal(lambda: SqliteLedger(path, now=NOW)) == (
        f"ledger {path}: disk I/O error: is the disk or a quota full, or the disk broken?"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, who may not write here")
@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "text"),
    [
        (0o777, 0o644, "attempt to write a readonly database: is the file writable for this user?"),
        (0o777, 0o600, "unable to open database file: is the folder writable for this user?"),
        (0o755, 0o666, "[Errno 13] Permission denied: '{path}.lock'"),
    ],
    ids=["read-only file", "unreadable file", "read-only folder"],
)
def test_unwritable_ledger_is_refused(path: Path, folder_mode: int, file_mode: int, text: str) -> None:
    """A user who may not write file or folder is told so at the start."""
    filled(path)
    Path(f"{path}.lock").unlink()
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    for folder in path.parent.parents:
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)  # pytest closes its folders to others
    code = """
os.seteuid(65534)
try:
    SqliteLedger(Path(sys.argv[1]), now=NOW)
except LedgerError as error:
    say(error)
"""
    assert start(code, path).communicate()[0] == f"ledger {path}: {text.format(path=path)}\n"


def test_file_system_without_shared_memory_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite can't have a WAL, as on network shares, the ledger does not start, for it would not be safe."""
    connect = sqlite3.connect

    def on_a_share(database: Path, **settings: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(f"file:{database}?vfs=unix-none", uri=True, **settings)
        return connection

    monkeypatch.setattr(sqlite3, "connect", on_a_share)
    assert refusal(lambda: SqliteLedger(path, now=NOW)) == (
        f"ledger {path}: no WAL on this file system (a network share?); move the ledger to a local disk"
    )


# One at a time


def busy(path: Path, pid: int) -> str:
    """What is said when process ``pid`` has the ledger."""
    return (
        f"ledger {path}: another exporter (process {pid}) has it; stop that one, "
        "or give this one a storage.url of its own"
    )


def test_second_opening_is_refused(ledger: SqliteLedger, path: Path) -> None:
    """The same ledger can't be opened twice in one process, and the first goes on undisturbed."""
    with pytest.raises(LedgerBusy) as caught:
        SqliteLedger(path, now=NOW)
    assert str(caught.value) == busy(path, os.getpid())
    assert count(ledger, [failure(1)]) == [True]


def test_closed_ledger_is_free(path: Path) -> None:
    """Closing gives the lock back."""
    for _ in range(3):
        SqliteLedger(path, now=NOW).close()


@pytest.mark.parametrize("kind", ["file", "folder", "relative"])
def test_other_name_of_the_ledger_is_refused(
    ledger: SqliteLedger, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whichever way leads to the same file, it is the same ledger: links to it, links to its folder, relative paths."""
    (tmp_path / "link").symlink_to(path if kind == "file" else path.parent)
    monkeypatch.chdir(tmp_path)
    other = {"file": tmp_path / "link", "folder": tmp_path / "link" / "ledger.db", "relative": Path("ledger.db")}[kind]
    assert refusal(lambda: SqliteLedger(other, now=NOW)) == busy(path, os.getpid())
    assert count(ledger, [failure(1)]) == [True]


def test_opened_by_a_link_it_is_the_same_ledger(path: Path, tmp_path: Path) -> None:
    """What was counted through a link is known under the file's own name, and the WAL is watched all the same."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with closing(SqliteLedger(link, now=NOW)) as ledger:
        count(ledger, [failure(1)])
        assert ledger.size() == path.stat().st_size + Path(f"{path}-wal").stat().st_size
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, [failure(1)]) == [False]


def test_other_process_is_refused_until_this_one_closes(path: Path) -> None:
    """A second process is refused while a first one has the ledger, and let in when it has closed it."""
    code = """
for _ in sys.stdin:
    try:
        SqliteLedger(Path(sys.argv[1]), now=NOW).close()
        say("opened")
    except LedgerError as error:
        say(type(error).__name__, error)
"""
    process = start(code, path)
    assert process.stdin
    with closing(SqliteLedger(path, now=NOW)):
        process.stdin.write("try\n")
        process.stdin.flush()
        assert line(process) == f"LedgerBusy {busy(path, os.getpid())}"
    assert process.communicate("try\n")[0] == "opened\n"


def test_lock_of_a_killed_process_is_free(path: Path) -> None:
    """The kernel gives the lock back when a process is killed; until then it keeps this one out."""
    process = start("ledger = SqliteLedger(Path(sys.argv[1]), now=NOW); say('open'); sys.stdin.read()", path)
    assert line(process) == "open"
    assert refusal(lambda: SqliteLedger(path, now=NOW)) == busy(path, process.pid)
    kill(process)
    with closing(SqliteLedger(path, now=NOW)):
        assert refusal(lambda: SqliteLedger(path, now=NOW)) == busy(path, os.getpid())


def test_holder_that_has_not_written_its_number_yet(path: Path) -> None:
    """The refusal is in order also when the lock file does not say who holds it."""
    with closing(SqliteLedger(path, now=NOW)):
        os.truncate(f"{path}.lock", 0)
        assert refusal(lambda: SqliteLedger(path, now=NOW)) == busy(path, os.getpid()).replace(
            str(os.getpid()), "unknown"
        )


def test_readers_of_other_programs_are_welcome(ledger: SqliteLedger, path: Path) -> None:
    """A backup in progress and an open read transaction don't stop the writer."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        before = other.execute("SELECT count(*) FROM identity").fetchone()
        assert count(ledger, failures(range(100))) == [True] * 100
        assert other.execute("SELECT count(*) FROM identity").fetchone() == before == (0,)
    with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(":memory:")) as copy:
        other.backup(copy, pages=1, progress=lambda *_: count(ledger, []) and None)
        assert copy.execute("SELECT count(*) FROM identity").fetchone() == (100,)


# Crashes


CRASHING: Final = """
ledger = SqliteLedger(Path(sys.argv[1]), now=NOW)
for start in range(0, 1_000_000, 7):
    count(ledger, failures(range(start, start + 7)), held=True)
    ledger.prune(now=NOW)
    say(start + 7)
"""


@pytest.mark.parametrize("commits", [1, 40, 700], ids=str)
def test_killed_process_loses_nothing(path: Path, commits: int) -> None:
    """Whatever was recorded before SIGKILL is known afterwards, once, whether or not a checkpoint came between."""
    process = start(CRASHING, path)
    answered = int([line(process) for _ in range(commits)][-1])
    kill(process)
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        [total] = ledger.totals()
        assert total.value >= answered
        assert total.value % 7 == 0
        assert count(ledger, failures(range(total.value + 1))) == [False] * total.value + [True]
        assert ledger.totals() == [Total(BOUNCE, total.value + 1, held=True, raised_at=NOW)]


def test_removed_wal_loses_nothing(path: Path) -> None:
    """When the WAL is removed under a running exporter, its next commit brings home what was in it; then a crash."""
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


def test_removed_wal_loses_nothing_while_another_program_looks_on(path: Path) -> None:
    """A reader that keeps the ledger open, such as a shell, does not keep what was in a removed WAL from the file."""
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


def test_removed_wal_waits_for_a_program_that_reads(ledger: SqliteLedger, path: Path) -> None:
    """While somebody reads an old state the WAL can't be brought home: an error then, and all is well after it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM total").fetchall()
        count(ledger, failures(range(50)))
        Path(f"{path}-wal").unlink()
        assert refusal(lambda: count(ledger, [failure(50)])) == (
            f"ledger {path}: its files were moved, and another program is reading it; stop that one"
        )
    assert count(ledger, failures(range(51))) == [False] * 50 + [True]


def test_births_go_on_when_the_files_are_opened_again(ledger: SqliteLedger, path: Path) -> None:
    """A series that is held while the WAL is lost is held for the whole time from then on, not shown at once."""
    count(ledger, [failure(1)], held=True)
    Path(f"{path}-wal").unlink()
    ledger.release(now=NOW + 10, hold=HOLD)
    ledger.release(now=NOW + 69, hold=HOLD)
    assert ledger.totals() == [Total(BOUNCE, 1, held=True, raised_at=NOW)]
    ledger.release(now=NOW + 70, hold=HOLD)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_scrapes_go_on_while_the_files_are_opened_again(ledger: SqliteLedger, path: Path) -> None:
    """Scrapes from several threads see sums that never decrease, and no error, while the WAL is lost over and over."""
    over = threading.Event()

    def scrape() -> list[int]:
        seen = []
        while not over.is_set():
            seen += [total.value for total in ledger.totals()]
        return seen

    with ThreadPoolExecutor(3) as pool:
        scrapes = [pool.submit(scrape) for _ in range(3)]
        try:
            for number in range(30):
                count(ledger, [failure(number)])
                Path(f"{path}-wal").unlink()
                ledger.check(now=NOW, write=False)
        finally:
            over.set()
        for scraped in scrapes:
            seen = scraped.result(TIMEOUT)
            assert seen == sorted(seen)
    assert ledger.totals() == [Total(BOUNCE, 30, held=False, raised_at=NOW)]


# The file is taken away


def gone(path: Path) -> str:
    """What is said when there is no file any more."""
    return f"ledger {path}: the file is gone; put it back, or restart the exporter to begin a new ledger"


def test_moved_file_is_missed_and_found_again(ledger: SqliteLedger, path: Path) -> None:
    """While the file is away nothing is counted and the last totals are still there; back again, all goes on."""
    count(ledger, failures(range(50)))
    path.rename(path.with_name("away"))
    before = [Total(BOUNCE, 50, held=False, raised_at=NOW)]
    for call in (
        lambda: count(ledger, [failure(50)]),
        lambda: ledger.check(now=NOW, write=False),
        lambda: ledger.check(now=NOW, write=True),
        lambda: ledger.prune(now=NOW),
    ):
        assert refusal(call) == gone(path)
        assert ledger.totals() == before
    assert not path.exists()
    path.with_name("away").rename(path)
    ledger.check(now=NOW, write=True)
    assert count(ledger, failures(range(51))) == [False] * 50 + [True]
    assert ledger.totals() == [Total(BOUNCE, 51, held=False, raised_at=NOW)]


def test_moved_folder_is_missed_and_found_again(tmp_path: Path) -> None:
    """A file system that goes away and comes back is the same."""
    folder = tmp_path.resolve() / "folder"
    folder.mkdir()
    with closing(SqliteLedger(folder / "ledger.db", now=NOW)) as ledger:
        count(ledger, failures(range(50)))
        folder.rename(tmp_path / "away")
        assert refusal(lambda: count(ledger, [failure(50)])) == gone(folder / "ledger.db")
        (tmp_path / "away").rename(folder)
        assert count(ledger, failures(range(51))) == [False] * 50 + [True]


def test_removed_file_is_not_made_again(ledger: SqliteLedger, path: Path) -> None:
    """A ledger that was removed is not silently begun anew; a restart does that."""
    count(ledger, failures(range(50)))
    path.unlink()
    for _ in range(2):
        assert refusal(lambda: count(ledger, [failure(50)])) == gone(path)
    assert not path.exists()
    ledger.close()
    with closing(SqliteLedger(path, now=NOW)) as anew:
        assert anew.totals() == []
        assert count(anew, [failure(1)]) == [True]


def test_other_ledger_in_its_place_is_taken(ledger: SqliteLedger, path: Path) -> None:
    """When another ledger is put in place, failures are counted in that one."""
    other = path.with_name("other.db")
    filled(other, range(1000, 1010))
    count(ledger, failures(range(50)))
    other.replace(path)
    assert count(ledger, failures(range(1009, 1011))) == [False, True]
    assert ledger.totals() == [Total(BOUNCE, 11, held=False, raised_at=NOW)]
    ledger.close()
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, "SELECT count(*) FROM identity") == [(11,)]


def test_restored_backup_is_not_mixed_with_the_wal(path: Path) -> None:
    """A backup that is put in place while the exporter runs is taken as it is: SQLite would apply the old WAL to it."""
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


@pytest.mark.parametrize(
    ("breaks", "text"),
    [BROKEN[kind] for kind in ("garbage", "total overwritten", "of another program", "of a later version")],
    ids=["garbage", "damaged", "of another program", "of a later version"],
)
def test_broken_file_in_its_place_is_refused(path: Path, breaks: Callable[[Path], object], text: str) -> None:
    """What would stop the start is not written to at run time either, and a sound ledger heals it."""
    broken, sound = path.with_name("broken.db"), path.with_name("sound.db")
    for place in (broken, sound):
        filled(place)
    breaks(broken)
    content = broken.read_bytes()
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, [failure(1)])
        broken.replace(path)
        for _ in range(2):
            assert re.fullmatch(whole_text(path, text), refusal(lambda: count(ledger, [failure(2)])))
        assert path.read_bytes() == content
        path.unlink()
        assert refusal(lambda: count(ledger, [failure(2)])) == gone(path)
        assert refusal(ledger.totals).startswith(f"ledger {path}: ")
        sound.replace(path)
        assert count(ledger, failures(range(301))) == [False] * 300 + [True]
        assert ledger.totals() == [Total(BOUNCE, 301, held=False, raised_at=NOW)]


# At run time


def test_lock_of_another_program_is_told_and_heals(ledger: SqliteLedger, path: Path) -> None:
    """While another program writes, a commit fails after a second, totals stay readable, and it heals by itself."""
    count(ledger, [failure(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refusal(lambda: count(ledger, [failure(2)])) == (
            f"ledger {path}: database is locked: another program is writing to it"
        )
        assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
        ledger.check(now=NOW, write=False)
        other.execute("ROLLBACK")
        assert count(ledger, failures(range(1, 3))) == [False, True]


def test_lock_of_another_program_stops_the_start(path: Path) -> None:
    """A ledger that another program is writing to does not open, and does a moment later."""
    filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refusal(lambda: SqliteLedger(path, now=NOW)) == (
            f"ledger {path}: database is locked: another program is writing to it"
        )
    SqliteLedger(path, now=NOW).close()


def test_full_disk_is_told_and_heals(path: Path) -> None:
    """On a full disk nothing of the batch is counted, totals stay readable, and with room again all goes on."""
    code = """
import json, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit then fails, as on a full disk
ledger = SqliteLedger(Path(sys.argv[1]), now=NOW)
count(ledger, failures(range(100)))
resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(sys.argv[1] + "-wal").st_size + 700, resource.RLIM_INFINITY))
errors = []
for attempt in (lambda: count(ledger, failures(range(50, 200))), lambda: ledger.check(now=NOW + 1, write=True)):
    try:
        errors.append(attempt())
    except LedgerError as error:
        errors.append(str(error))
during = ledger.totals()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.check(now=NOW, write=True)
outcome = count(ledger, failures(range(50, 200)))
say(json.dumps([errors, [total.value for total in during], outcome, [total.value for total in ledger.totals()]]))
"""
    full = f"ledger {path}: disk I/O error: is the disk or a quota full, or the disk broken?"
    output = start(code, path).communicate()[0]
    assert json.loads(output) == [[full, full], [100], [False] * 50 + [True] * 100, [200]]
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        assert count(ledger, failures(range(201))) == [False] * 200 + [True]


def test_file_that_may_not_grow_is_told_and_heals(ledger: SqliteLedger) -> None:
    """When SQLite itself finds no room for a page, the error says what to do, and more room heals it."""
    writer = ledger._file.writer
    count(ledger, failures(range(10)))
    [pages] = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    text = refusal(lambda: count(ledger, failures(range(5000))))
    assert text.endswith(": database or disk is full: free some space")
    assert ledger.totals() == [Total(BOUNCE, 10, held=False, raised_at=NOW)]
    writer.execute("PRAGMA max_page_count = 1000000")
    assert sum(count(ledger, failures(range(5000)))) == 4990


def test_failed_batch_counts_nothing(ledger: SqliteLedger) -> None:
    """When the last record of a large batch can't be stored, none of the batch is, and the next call is in order."""
    no_identity: Any = "text"
    batch = [*failures(range(100)), Record(no_identity, (BOUNCE,))]
    assert refusal(lambda: count(ledger, batch)).endswith(": cannot store TEXT value in BLOB column identity.hash")
    assert ledger.totals() == []
    assert count(ledger, batch[:100]) == [True] * 100


def test_failed_release_is_done_later(ledger: SqliteLedger, path: Path) -> None:
    """A series whose release failed is not forgotten: it stays held and is shown when the ledger works again."""
    count(ledger, [failure(1)], held=True)
    path.rename(path.with_name("away"))
    assert refusal(lambda: ledger.release(now=NOW + 60, hold=HOLD)) == gone(path)
    path.with_name("away").rename(path)
    assert ledger.totals() == [Total(BOUNCE, 1, held=True, raised_at=NOW)]
    ledger.release(now=NOW + 60, hold=HOLD)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


@pytest.mark.parametrize(
    "begin", [bytes(16), b"\0" * 15 + b"\1", b"\x80" * 16, b"\xff" * 15 + b"\xfe", b"\xff" * 16], ids=bytes.hex
)
def test_pruning_ends_wherever_it_begins(path: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    """From any random start, one pass and the rest of the first reach every identity, the first and last included."""
    monkeypatch.setattr(os, "urandom", lambda size: begin[:size])
    ends = [Record(end, (BOUNCE,)) for end in (bytes(16), b"\0" * 15 + b"\1", b"\xff" * 15 + b"\xfe", b"\xff" * 16)]
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, ends + failures(range(1, 3 * PRUNE_SLICE)))
        assert prune_all(ledger, NOW + 32 * DAY, slices=6) == 3 * PRUNE_SLICE + 3
        assert count(ledger, ends) == [True] * 4


def test_a_process_that_never_lives_long_prunes_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One slice in each of a few dozen short lives reaches nearly all, for each begins somewhere else."""
    monkeypatch.setattr(os, "urandom", Random(7).randbytes)
    filled(path, range(3 * PRUNE_SLICE))
    forgotten = 0
    for _ in range(40):
        with closing(SqliteLedger(path, now=NOW)) as ledger:
            forgotten += ledger.prune(now=NOW + 32 * DAY)
    assert forgotten > 0.9 * 3 * PRUNE_SLICE
