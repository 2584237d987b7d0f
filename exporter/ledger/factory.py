"""Open the ledger that ``storage.url`` names. The PostgreSQL driver is imported only if it is needed."""

import re
from pathlib import Path

from exporter.classification.series import FAMILIES, Series
from exporter.errors import LedgerError, SettingError
from exporter.ledger.contract import COPY_MARKER, Ledger
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.sqlite_inspection import inspect_file
from exporter.ledger.url import PostgresUrl


def check_engine(storage: Path | PostgresUrl) -> None:
    """Raise SettingError if the engine is not installed or does not understand the URL."""
    if isinstance(storage, Path):
        return
    try:
        from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 -- an optional dependency
    except ImportError as error:
        raise SettingError(
            f"storage.url: '{storage}' needs the extra postgres, which is not installed ({error}): "
            "pip install 'smtpeter-exporter[postgres]'"
        ) from error
    try:
        conninfo.conninfo_to_dict(storage.text)
    except ProgrammingError as error:  # its text quotes what it can't parse, which may be the password
        parameter = re.search(r'invalid URI query parameter: "([A-Za-z_-]{1,40})"', str(error))
        problem = f"unknown parameter {parameter[1]}" if parameter else "not valid"
        raise SettingError(f"storage.url: '{storage}': {problem}: expected a connection URI of libpq") from None


def open_ledger(storage: Path | PostgresUrl, *, now: float, copying: bool = False, existing: bool = False) -> Ledger:
    """Open the ledger in that file or database, and create it if it does not exist, unless ``existing`` is true.

    With ``copying`` no other process may have it open, and it may be the target of an unfinished copy. Raise
    LedgerError if it can't be opened, and SettingError as :func:`check_engine` does.
    """
    check_engine(storage)
    ledger = _open(storage, now, copying=copying, existing=existing)
    try:
        _check_totals(storage, [total.series for total in ledger.totals()], copying=copying)
    except BaseException:
        ledger.close()
        raise
    return ledger


def inspect_ledger(storage: Path | PostgresUrl) -> list[str]:
    """Return notes about the ledger in that file or database, without writing anything.

    Raise LedgerError if :func:`open_ledger` would, except if another process uses the ledger.
    """
    if isinstance(storage, Path):
        series, notes = inspect_file(storage)
    else:
        from exporter.ledger.postgres_inspection import inspect_database  # noqa: PLC0415 -- an optional dependency

        series, notes = inspect_database(storage)
    _check_totals(storage, series, copying=False)
    return notes


def _check_totals(storage: Path | PostgresUrl, series: list[Series], *, copying: bool) -> None:
    for family, *values in series:
        if family in FAMILIES and len(values) != len(FAMILIES[family][1]):
            raise LedgerError(f"ledger {storage}: it is damaged (a total of {family} lacks labels); restore a backup")
    if COPY_MARKER in series and not copying:
        raise LedgerError(f"ledger {storage}: the copy to it is unfinished; run ledger copy again, or delete it")


def _open(storage: Path | PostgresUrl, now: float, *, copying: bool, existing: bool) -> Ledger:
    if isinstance(storage, Path):
        if existing and not storage.is_file():
            raise LedgerError(f"ledger {storage}: the file does not exist")
        return SqliteLedger(storage, now=now)
    from exporter.ledger.postgres import PostgresLedger  # noqa: PLC0415 -- an optional dependency

    return PostgresLedger(storage, now=now, exclusive=copying, existing=existing)
