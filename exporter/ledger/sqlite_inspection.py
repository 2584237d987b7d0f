"""Look at the file of a SQLite ledger as an exporter does that opens it, but without writing anything."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from exporter.classification.series import Series
from exporter.ledger.contract import parse_series
from exporter.ledger.sqlite_errors import HINTS, ledger_error, wrapping_errors
from exporter.ledger.sqlite_file import MIGRATIONS, check_contents, schema_version
from exporter.ledger.sqlite_place import check_path, check_place


def inspect_file(path: Path) -> tuple[list[Series], list[str]]:
    """Return the series in the ledger, and notes about it. Raise LedgerError if an exporter could not open it.

    Takes no lock, so that an exporter can start at the same time.
    """
    path = Path(os.path.realpath(path))
    with wrapping_errors(path, HINTS):
        check_path(path)
        check_place(path)
        _check_rights(path)
        if not path.exists():
            return [], [f"ledger {path}: the file does not exist yet; serve will create it"]
        # With "immutable", SQLite reads only the file itself. Otherwise it would create a WAL and shared memory.
        with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
            for journal in (Path(f"{path}-wal"), Path(f"{path}-journal")):
                if journal.exists():  # the newest commits are in it
                    schema_version(connection, path, whole=False)
                    why = f"an exporter is using it, or was killed: there is {journal.name}"
                    return [], [f"ledger {path}: only its header was checked, because {why}"]
            version = schema_version(connection, path)
            if not version:
                return [], [f"ledger {path}: the file is empty; serve will create the ledger in it"]
            check_contents(connection, path)
            series = [parse_series(text) for (text,) in connection.execute("SELECT series FROM total")]
    if version < len(MIGRATIONS):
        return series, [f"ledger {path}: serve will migrate its schema from {version} to {len(MIGRATIONS)}"]
    return series, []


def _check_rights(path: Path) -> None:
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise ledger_error(path, f"the directory {path.parent} is not writable for this user")
    for file in (path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", ".lock"))):
        if file.exists() and not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
            raise ledger_error(path, f"{file.name} is not readable and writable for this user")
