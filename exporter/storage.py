"""Open the ledger that ``storage.url`` names; the engine of it is imported only then."""

from pathlib import Path

from exporter.errors import LedgerError, SettingError
from exporter.ledger import COPYING, Ledger
from exporter.setting_values import PostgresUrl
from exporter.sqlite import SqliteLedger


def open_ledger(storage: Path | PostgresUrl, *, now: float, copying: bool = False) -> Ledger:
    """The ledger in that file or database; one that a copy was begun to and not ended only for ``copying``.

    Raises LedgerError, or SettingError when the extra for it is missing.
    """
    ledger = _open(storage, now)
    try:
        half_copied = any(total.series == COPYING for total in ledger.totals())
    except BaseException:
        ledger.close()
        raise
    if half_copied and not copying:
        ledger.close()
        raise LedgerError(f"ledger {storage}: a copy to it was not ended; run ledger copy again, or delete it")
    return ledger


def _open(storage: Path | PostgresUrl, now: float) -> Ledger:
    if isinstance(storage, Path):
        return SqliteLedger(storage, now=now)
    try:
        from exporter.postgres import PostgresLedger  # noqa: PLC0415 -- an extra, which most users need not have
    except ImportError as error:
        raise SettingError(
            f"storage.url: '{storage}' needs the extra postgres, which is not installed ({error}): "
            "pip install 'smtpeter-exporter[postgres]'"
        ) from error
    return PostgresLedger(storage, now=now)
