"""Ledgers of other versions: an exporter starts on those of earlier versions, but not on those of later ones."""

import re
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from exporter.classification.series import Record
from exporter.ledger import postgres_session, sqlite_file
from exporter.ledger.contract import ClockState, Coverage
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.url import PostgresUrl
from tests.support.documentation import blocks
from tests.support.events import ALL_LOOPS
from tests.support.postgres import shared_server
from tests.support.records import BOUNCE, NOW, count, events
from tests.support.running import TIMEOUT, command, environment, exporter, failure
from tests.support.tree import ROOT

pytestmark = pytest.mark.server

LEDGERS = sorted((ROOT / "tests/ledgers").glob("*.db"))


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.stem)
def test_an_older_ledger_continues_to_count(ledger: Path, tmp_path: Path) -> None:
    """No count is lost, no failure is counted again, and new failures increment all series."""
    shutil.copy(ledger, tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as old, old:
        old.execute("UPDATE identity SET day = ?", [int(time.time() // 86_400)])  # otherwise they are pruned
    with exporter(tmp_path, *ALL_LOOPS) as running:
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
            'smtpeter_failures_by_reason_provider_total{provider="gmail",reason="recipient_unknown"}': 1,
            'smtpeter_failures_by_tag_total{tag="other"}': 1,
        }


def test_an_older_ledger_gets_the_new_columns(tmp_path: Path) -> None:
    """Identities of schema 1 are those of failures without a message. The ledger began with its migration."""
    shutil.copy(ROOT / "tests/ledgers/schema-1.db", tmp_path / "ledger.db")
    with closing(SqliteLedger(tmp_path / "ledger.db", now=NOW)) as ledger:
        stored = ledger.identities(b"", 100)
        assert {one[1:] for one in stored} == {(20_717, 0, None)}
        assert ledger.coverage() == Coverage(NOW)
        assert count(ledger, [Record(one.identity, (BOUNCE,), 0, bytes(16)) for one in stored]) == [False] * 30
        assert count(ledger, events(range(8))) == [True] * 8


def test_a_ledger_with_all_loops_continues_to_count(tmp_path: Path) -> None:
    """No event of any loop is counted again, and none of what the ledger stores is lost."""
    shutil.copy(ROOT / "tests/ledgers/schema-2.db", tmp_path / "ledger.db")
    with closing(SqliteLedger(tmp_path / "ledger.db", now=NOW)) as ledger:
        assert {total.series: total.value for total in ledger.totals()} == {
            ("failures", "rcptto", "5xx", "5.1.1"): 20,
            ("failures", "bounce", "none", "5.0.0"): 10,
            ("deliveries",): 8,
            ("deliveries_by_provider", "other"): 8,
            ("deliveries_by_tag", "other"): 8,
            ("bounces", "dsn"): 4,
            ("bounces_by_reason", "recipient_unknown"): 4,
            ("complaints", "other"): 2,
        }
        stored = ledger.identities(b"", 100)
        kinds = Counter((one.day, one.loop, one.message is None) for one in stored)
        assert kinds == {(20_717, 0, False): 30, (20_717, 1, True): 8, (20_717, 2, False): 4, (20_717, 3, True): 2}
        again = [Record(one.identity, (BOUNCE,), one.loop, one.message) for one in stored]
        assert count(ledger, again) == [False] * len(stored)
        assert ledger.coverage() == Coverage(1_790_000_000.0)
        assert ledger.clock_state() == ClockState(1_790_000_060.0, 60.0)


def error_line(directory: Path, *flags: str) -> str:
    """Return the line that an exporter prints if it can't start on its ledger."""
    done = subprocess.run(
        command(directory, *flags), check=False, capture_output=True, text=True, env=environment(), timeout=TIMEOUT
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    return done.stderr


def line_on_the_page(line: str, ledger: str) -> str:
    """Return the line on the page, with the ledger and the numbers of this line."""
    [block] = blocks("docs/how-to/upgrade.md", "text", below="Go back to the older version")
    numbers = iter(re.findall(r"(?:schema|up to) (\d+)", line))
    shown = re.sub(r"(schema|up to) \d+", lambda match: f"{match[1]} {next(numbers)}", block.text)
    return shown.replace("/var/lib/smtpeter-exporter/ledger.db", ledger)


def test_a_later_ledger_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter does not start on the ledger of a later version, as the page says, but on the backup from before."""
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
    shutil.copy(tmp_path / "ledger.db", tmp_path / "backup.db")
    with monkeypatch.context() as later:
        steps = (*sqlite_file.MIGRATIONS, "ALTER TABLE opened ADD by TEXT;")
        later.setattr(sqlite_file, "MIGRATIONS", steps)
        SqliteLedger(tmp_path / "ledger.db", now=0).close()
    content = (tmp_path / "ledger.db").read_bytes()
    line = error_line(tmp_path)
    assert line == line_on_the_page(line, str(tmp_path / "ledger.db"))
    assert f"(schema {len(steps)}, this version knows up to {len(steps) - 1})" in line
    assert (tmp_path / "ledger.db").read_bytes() == content
    shutil.copy(tmp_path / "backup.db", tmp_path / "ledger.db")
    with exporter(tmp_path) as running:
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}


def test_a_later_ledger_in_postgresql_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the same, with the URL of the ledger."""
    with monkeypatch.context() as later:
        steps = (*postgres_session.MIGRATIONS, "ALTER TABLE smtpeter_series ADD by text")
        later.setattr(postgres_session, "MIGRATIONS", steps)
        url = PostgresUrl(shared_server().create_new())
        PostgresLedger(url, now=0).close()
        line = error_line(tmp_path, "--storage.url", url.text)
        assert line == line_on_the_page(line, str(url))
        assert f"(schema {len(steps)}, this version knows up to {len(steps) - 1})" in line
