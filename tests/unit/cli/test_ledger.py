"""``ledger copy``: its arguments, and what it says. tests/ledger/test_copy.py has what is copied."""

from pathlib import Path

import pytest

from exporter.classification.series import Record
from exporter.errors import LedgerError, SettingError
from exporter.ledger.sqlite import SqliteLedger
from tests.support.command_line import invoke
from tests.support.texts import Texts


@pytest.mark.parametrize(("argument", "urls"), [("SRC", ("x", "sqlite:///y")), ("DST", ("sqlite:///x", "y"))])
def test_an_invalid_url_is_an_error(argument: str, urls: tuple[str, str], texts: Texts) -> None:
    """The error names the argument."""
    outcome = invoke("ledger", "copy", *urls)
    assert isinstance(outcome.error, SettingError)
    assert str(outcome.error).startswith(f"{argument}: ")
    texts.check(outcome.error)


def test_an_error_shows_no_password() -> None:
    """A password in an invalid URL is redacted."""
    outcome = invoke("ledger", "copy", "sqlite:///x", "mysql://exporter:secret@db/x")
    assert isinstance(outcome.error, SettingError)
    assert "secret" not in str(outcome.error)


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    """Nothing is created, neither the source nor the target."""
    outcome = invoke("ledger", "copy", f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")
    assert isinstance(outcome.error, LedgerError)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == []


def test_a_copy_has_the_same_totals(tmp_path: Path) -> None:
    """After a copy the target has what the source has, both are closed, and a summary is on standard output."""
    source = SqliteLedger(tmp_path / "a.db", now=0)
    series = ("failures", "rcptto", "5xx", "5.1.1")
    source.record([Record(number.to_bytes(16), (series,)) for number in range(3)], now=0, held=False)
    totals = source.totals()
    source.close()
    outcome = invoke("ledger", "copy", f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")
    assert (outcome.code, outcome.out.count("\n")) == (0, 1)
    target = SqliteLedger(tmp_path / "b.db", now=0)
    assert [total._replace(raised_at=0.0) for total in target.totals()] == [
        total._replace(raised_at=0.0) for total in totals
    ]
    target.close()
