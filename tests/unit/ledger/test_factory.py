"""Opening the ledger of a ``storage.url``: which engine it gets, and ledgers that no exporter may use."""

import sys
from contextlib import closing
from pathlib import Path

import pytest

from exporter.errors import LedgerError, SettingError
from exporter.ledger.contract import COPY_MARKER, Total
from exporter.ledger.factory import check_engine, open_ledger
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.url import PostgresUrl
from tests.support.records import NOW, count, error_of, failure, failures
from tests.support.texts import Texts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the ledger."""
    return tmp_path.resolve() / "ledger.db"


def setting_error(url: str) -> str:
    """Return the text of the SettingError that the URL raises."""
    with pytest.raises(SettingError) as caught:
        check_engine(PostgresUrl(url))
    return str(caught.value)


def test_a_path_is_an_sqlite_ledger(path: Path) -> None:
    """A path opens an SQLite ledger, and creates it if it does not exist."""
    with closing(open_ledger(path, now=NOW)) as ledger:
        assert isinstance(ledger, SqliteLedger)
        assert count(ledger, [failure(1)]) == [True]


def test_a_missing_file_is_an_error_if_it_must_exist(path: Path, texts: Texts) -> None:
    """With ``existing`` no ledger is created."""
    texts.check(error_of(lambda: open_ledger(path, now=NOW, existing=True)))
    assert list(path.parent.iterdir()) == []
    SqliteLedger(path, now=NOW).close()
    open_ledger(path, now=NOW, existing=True).close()


def test_an_unfinished_copy_is_an_error(path: Path, texts: Texts) -> None:
    """No exporter may count in the target of an unfinished copy; only ``ledger copy`` opens it."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        ledger.import_totals([Total(COPY_MARKER, 0, held=False, raised_at=0)])
    for _ in range(2):  # the second time a lock that was left would be a different error
        error = error_of(lambda: open_ledger(path, now=NOW))
        assert type(error) is LedgerError
    texts.check(error)
    open_ledger(path, now=NOW, copying=True).close()


def test_a_total_without_labels_is_an_error(path: Path, texts: Texts) -> None:
    """A series of a known family with the wrong number of labels is damage, and the ledger is closed again."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, [failure(1, ("failures", "rcptto"))])
    for _ in range(2):
        error = error_of(lambda: open_ledger(path, now=NOW))
        assert type(error) is LedgerError
    texts.check(error)


def test_totals_of_an_unknown_family_are_kept(path: Path) -> None:
    """A later version may have added a family; this version ignores it."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, [*failures([1]), failure(2, ("failures_by_moon", "full"))])
    with closing(open_ledger(path, now=NOW)) as ledger:
        assert len(ledger.totals()) == 2


def test_sqlite_needs_no_check() -> None:
    """SQLite is part of Python, so any path passes the check."""
    check_engine(Path("/nowhere/ledger.db"))


def test_a_missing_driver_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the error says what to install, and shows no password."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = setting_error("postgresql://u:s3cret@h/db")
    assert error.startswith("storage.url: 'postgresql://u:***@h/db'")
    assert "pip install 'smtpeter-exporter[postgres]'" in error


def test_an_unknown_parameter_is_an_error(texts: Texts) -> None:
    """A mistake in the URL that only libpq finds is an error with the parameter, but without the password."""
    texts.check(setting_error("postgresql://u:s3cret@h/db?sslmod=require"))


def test_an_invalid_url_of_libpq_is_an_error(texts: Texts) -> None:
    """If libpq can't parse the URL, its message is not repeated, because it may quote the password."""
    texts.check(setting_error("postgresql://u:s3cret@[::1/db"))


def test_a_valid_url_of_libpq_passes_the_check() -> None:
    """The check does not connect."""
    check_engine(PostgresUrl("postgresql://u:s3cret@db.invalid/db?sslmode=require"))
