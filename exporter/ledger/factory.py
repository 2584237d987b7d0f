"""Open the ledger that ``storage.url`` names; the engine of it is imported only then."""

import re
from pathlib import Path

from exporter.classification.series import FAMILIES, Series
from exporter.errors import LedgerError, SettingError
from exporter.ledger.contract import COPYING, Ledger
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.url import PostgresUrl


def check_engine(storage: Path | PostgresUrl) -> None:
    """Raise SettingError when the engine is not installed, or can't read its URL."""
    if isinstance(storage, Path):
        return
    try:
        from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 -- an extra, which most users need not have
    except ImportError as error:
        raise SettingError(
            f"storage.url: '{storage}' needs the extra postgres, which is not installed ({error}): "
            "pip install 'smtpeter-exporter[postgres]'"
        ) from error
    try:
        conninfo.conninfo_to_dict(storage.text)
    except ProgrammingError as error:  # it repeats what it can't read, which may be the password
        parameter = re.search(r'invalid URI query parameter: "([A-Za-z_-]{1,40})"', str(error))
        what = f"the parameter {parameter[1]}" if parameter else "it"
        raise SettingError(
            f"storage.url: '{storage}': {what} is not known: expected a connection URI of libpq"
        ) from None


def open_ledger(storage: Path | PostgresUrl, *, now: float, copying: bool = False, existing: bool = False) -> Ledger:
    """The ledger in that file or database.

    For ``copying`` nobody else may have it, and a copy to it may have been begun and not ended; one that is
    ``existing`` is not made when it is not there. Raises LedgerError, or SettingError as :func:`check_engine` does.
    """
    check_engine(storage)
    ledger = _open(storage, now, copying=copying, existing=existing)
    try:
        _check_totals(storage, [total.series for total in ledger.totals()], copying=copying)
    except BaseException:
        ledger.close()
        raise
    return ledger


def _check_totals(storage: Path | PostgresUrl, series: list[Series], *, copying: bool) -> None:
    for family, *values in series:
        if family in FAMILIES and len(values) != len(FAMILIES[family][1]):
            raise LedgerError(f"ledger {storage}: it is damaged (a sum of {family} lacks labels); restore a backup")
    if COPYING in series and not copying:
        raise LedgerError(f"ledger {storage}: a copy to it was not ended; run ledger copy again, or delete it")


def _open(storage: Path | PostgresUrl, now: float, *, copying: bool, existing: bool) -> Ledger:
    if isinstance(storage, Path):
        if existing and not storage.is_file():
            raise LedgerError(f"ledger {storage}: there is no such file")
        return SqliteLedger(storage, now=now)
    from exporter.ledger.postgres import PostgresLedger  # noqa: PLC0415 -- an extra, which most users need not have

    return PostgresLedger(storage, now=now, alone=copying, existing=existing)
