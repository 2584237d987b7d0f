"""Ledgers that other versions left: an earlier one's opens, with all that it counted, a later one's is refused."""

import re
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from exporter.ledger import postgres_session, sqlite_file
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.url import PostgresUrl
from tests.support.documentation import blocks
from tests.support.postgres import postgres
from tests.support.running import command, environment, exporter, failure
from tests.support.tree import ROOT

LEDGERS = sorted((ROOT / "tests/ledgers").glob("*.db"))


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.stem)
def test_an_older_ledger_goes_on_counting(ledger: Path, tmp_path: Path) -> None:
    """No count is lost, what was counted is not counted again, and new failures show in all sums."""
    shutil.copy(ledger, tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as old, old:
        old.execute("UPDATE identity SET day = ?", [int(time.time() // 86_400)])  # else they are too old to be kept
    with exporter(tmp_path) as running:
        assert running.failures() == {"rcptto/5xx/5.1.1": 20, "bounce/none/5.0.0": 10}
        again = failure(1, recipient="jane@example.org")
        assert running.post(again).status == 200
        assert running.failures() == {"rcptto/5xx/5.1.1": 20, "bounce/none/5.0.0": 10}
        assert running.post(failure(100, recipient="joe@gmail.com")).status == 200
        samples = running.samples()
        assert running.failures() == {"rcptto/5xx/5.1.1": 21, "bounce/none/5.0.0": 10}
        sums = {key: value for key, value in samples.items() if key.startswith("smtpeter_failures_by") and value}
        assert sums == {
            'smtpeter_failures_by_reason_total{reason="recipient_unknown"}': 1,
            'smtpeter_failures_by_provider_total{code_class="5xx",provider="gmail"}': 1,
            'smtpeter_failures_by_tag_total{tag="other"}': 1,
        }


def refused(folder: Path, *flags: str) -> str:
    """The one line that an exporter says that can't start on its ledger."""
    done = subprocess.run(
        command(folder, *flags), check=False, capture_output=True, text=True, env=environment(), timeout=30
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    return done.stderr


def as_on_the_page(line: str, ledger: str) -> str:
    """What the page says, with the ledger and the numbers of this line."""
    [block] = blocks("docs/how-to/upgrade.md", "text", below="Go back to the older version")
    numbers = iter(re.findall(r"(?:schema|up to) (\d+)", line))
    said = re.sub(r"(schema|up to) \d+", lambda match: f"{match[1]} {next(numbers)}", block.text)
    return said.replace("/var/lib/smtpeter-exporter/ledger.db", ledger)


def test_a_later_ledger_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a later version has run, this one says what the page says, and the backup from before does."""
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
    shutil.copy(tmp_path / "ledger.db", tmp_path / "backup.db")
    with monkeypatch.context() as later:
        steps = (*sqlite_file.MIGRATIONS, "ALTER TABLE opened ADD by TEXT;")
        later.setattr(sqlite_file, "MIGRATIONS", steps)
        SqliteLedger(tmp_path / "ledger.db", now=0).close()
    content = (tmp_path / "ledger.db").read_bytes()
    line = refused(tmp_path)
    assert line == as_on_the_page(line, str(tmp_path / "ledger.db"))
    assert f"(schema {len(steps)}, this version knows up to {len(steps) - 1})" in line
    assert (tmp_path / "ledger.db").read_bytes() == content
    shutil.copy(tmp_path / "backup.db", tmp_path / "ledger.db")
    with exporter(tmp_path) as running:
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}


def test_a_later_ledger_in_postgresql_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line, with the URL of the ledger."""
    with postgres() as database, monkeypatch.context() as later:
        steps = (*postgres_session.MIGRATIONS, "ALTER TABLE smtpeter_series ADD by text")
        later.setattr(postgres_session, "MIGRATIONS", steps)
        url = PostgresUrl(database.url())
        PostgresLedger(url, now=0).close()
        line = refused(tmp_path, "--storage.url", url.text)
        assert line == as_on_the_page(line, str(url))
        assert f"(schema {len(steps)}, this version knows up to {len(steps) - 1})" in line
