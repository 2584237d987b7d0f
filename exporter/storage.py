"""Open the ledger that ``storage.url`` names; the engine of it is imported only then."""

from pathlib import Path

from exporter.errors import SettingError
from exporter.ledger import Ledger
from exporter.setting_values import PostgresUrl
from exporter.sqlite import SqliteLedger


def open_ledger(storage: Path | PostgresUrl, *, now: float) -> Ledger:
    """The ledger in that file or database. Raises LedgerError, or SettingError when the extra for it is missing."""
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
