"""Ledgers that earlier versions left: each opens, with all that it counted."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.running import exporter, failure

LEDGERS = sorted((Path(__file__).parent / "ledgers").glob("*.db"))


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
