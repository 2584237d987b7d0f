"""Problems at the start: a bad ledger, a full disk, an address in use, an invalid setting."""

import os
import resource
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from exporter.classification.series import Record
from exporter.ledger.sqlite import SqliteLedger
from tests.support.running import TIMEOUT, command, environment, exporter, failure


def failed_start(
    directory: Path, *flags: str, file_size: int | None = None, variables: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Return exit code and standard error of an exporter that must not start.

    It prints one line, and nothing on standard output. It can write only files of up to ``file_size`` bytes.
    """

    def limit() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    ended = subprocess.run(
        command(directory, *flags),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(measured=file_size is None) | dict(variables or {}),
        preexec_fn=limit,
    )
    assert (ended.stdout, ended.stderr.count("\n")) == ("", 1), ended.stderr
    assert ended.stderr.startswith("smtpeter-exporter: ")
    return ended.returncode, ended.stderr


def used(ledger: Path) -> None:
    """Make a ledger that has counted a hundred failures."""
    opened = SqliteLedger(ledger, now=0)
    series = ("failures", "rcptto", "5xx", "5.1.1")
    opened.record([Record(number.to_bytes(16), (series,)) for number in range(100)], now=0, held=False)
    opened.close()


def not_a_database(ledger: Path) -> None:
    """Write a text file."""
    ledger.write_text("Dear diary, today\n" * 1_000)


def overwritten(ledger: Path) -> None:
    """Make a ledger, and overwrite all but its beginning."""
    used(ledger)
    content = bytearray(ledger.read_bytes())
    content[1_024:] = b"\xa5" * (len(content) - 1_024)
    ledger.write_bytes(content)


def truncated(ledger: Path) -> None:
    """Make a ledger, and truncate it to half its size."""
    used(ledger)
    os.truncate(ledger, ledger.stat().st_size // 2)


def newer(ledger: Path) -> None:
    """Make a ledger with the schema of a later version."""
    used(ledger)
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA user_version = 99")


def foreign(ledger: Path) -> None:
    """Make a database of another program."""
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("CREATE TABLE visitor (name TEXT)")


def directory_missing(ledger: Path) -> None:
    """Remove the directory of the ledger."""
    shutil.rmtree(ledger.parent)


def directory_instead(ledger: Path) -> None:
    """Make a directory with the name of the ledger."""
    ledger.mkdir()


BAD_LEDGERS = [not_a_database, overwritten, truncated, newer, foreign, directory_missing, directory_instead]


@pytest.mark.parametrize("spoil", BAD_LEDGERS)
def test_a_bad_ledger_is_exit_code_3(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A ledger that cannot be used prevents the start, is named in the error, and is not changed."""
    ledger = tmp_path / "state" / "ledger.db"
    ledger.parent.mkdir()
    spoil(ledger)
    before = ledger.read_bytes() if ledger.is_file() else None
    code, error = failed_start(ledger.parent)
    assert (code, str(ledger) in error) == (3, True)
    assert (ledger.read_bytes() if ledger.is_file() else None) == before


@pytest.mark.parametrize("exists", [False, True], ids=["new ledger", "existing ledger"])
def test_a_full_disk_is_exit_code_3(tmp_path: Path, *, exists: bool) -> None:
    """A full disk prevents the start; the totals are there at the next start."""
    if exists:
        used(tmp_path / "ledger.db")
    code, error = failed_start(tmp_path, file_size=0)
    assert (code, f"{tmp_path}/ledger.db" in error) == (3, True)
    with exporter(tmp_path) as running:
        assert running.failures() == ({"rcptto/5xx/5.1.1": 100} if exists else {})


def test_a_ledger_in_use_is_exit_code_3(tmp_path: Path) -> None:
    """The error names the process that uses the ledger, which is not disturbed."""
    with exporter(tmp_path) as running:
        code, error = failed_start(tmp_path)
        assert (code, f"{tmp_path}/ledger.db" in error, str(running.pid) in error) == (3, True, True)
        assert running.post(failure(1)).status == 200
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}


@pytest.mark.parametrize("listener", ["webhook", "web"])
def test_an_address_in_use_is_exit_code_4(tmp_path: Path, listener: str) -> None:
    """The error names the address; the ledger can be used by the next start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, error = failed_start(tmp_path, f"--{listener}.listen-address", address)
        assert (code, f"{address}: Address already in use" in error) == (4, True)
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200


@pytest.mark.parametrize(
    ("culprit", "flags", "variables"),
    [
        ("storage.url: 'mysql://x'", ["--storage.url", "mysql://x"], {}),
        ("reasons: reason 'slow' of pattern 'queue, quota'", ["--reasons", "queue, quota=slow"], {}),
        ("reasons: pattern '(a'", [], {"SMTPETER_EXPORTER_REASONS": "(a=policy"}),
        ("log.level: 'loud'", [], {"SMTPETER_EXPORTER_LOG_LEVEL": "loud"}),
        ("environment variable SMTPETER_EXPORTER_LOGLEVEL", [], {"SMTPETER_EXPORTER_LOGLEVEL": "info"}),
        ("web.config.file: '/nowhere/web.yml'", ["--web.config.file", "/nowhere/web.yml"], {}),
        ("config.file: '/nowhere/config.toml'", ["--config.file", "/nowhere/config.toml"], {}),
    ],
)
def test_an_invalid_setting_is_exit_code_2(
    tmp_path: Path, culprit: str, flags: list[str], variables: dict[str, str]
) -> None:
    """The error names the setting and its value; no ledger is created."""
    code, error = failed_start(tmp_path, *flags, variables=variables)
    assert (code, error.startswith(f"smtpeter-exporter: {culprit}: ") or f"{culprit} " in error) == (2, True)
    assert list(tmp_path.iterdir()) == []
