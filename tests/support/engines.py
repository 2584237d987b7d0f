"""The engines of the ledger, for tests of all engines. A new engine gets a row in ENGINES and in ALL_ENGINES."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from exporter.ledger.contract import Ledger
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.url import PostgresUrl
from tests.support.postgres import shared_server
from tests.support.records import NOW
from tests.support.running import until


def open_sqlite(directory: Path, now: float) -> Ledger:
    """Open the SQLite ledger in the directory."""
    return SqliteLedger(directory / "ledger.db", now=now)


def open_postgresql(directory: Path, now: float) -> Ledger:
    """Open the PostgreSQL ledger in the database that belongs to the directory."""
    return PostgresLedger(PostgresUrl(shared_server().create(database_of(directory))), now=now)


ENGINES: Final[dict[str, Callable[[Path, float], Ledger]]] = {"sqlite": open_sqlite, "postgresql": open_postgresql}
"""Function that opens the ledger of a directory, by engine."""
ALL_ENGINES: Final = ["sqlite", pytest.param("postgresql", marks=pytest.mark.server)]
"""The engines as parameters of tests. Those that need a server have the mark."""


def database_of(directory: Path) -> str:
    """Return the name of the database that belongs to the directory."""
    return sha256(bytes(directory)).hexdigest()[:40]


def url_of(engine: str, directory: Path) -> str:
    """Return the ``storage.url`` of the ledger that belongs to the directory."""
    return f"sqlite:///{directory}/ledger.db" if engine == "sqlite" else shared_server().url(database_of(directory))


class Reopenable:
    """A ledger of an engine that can be closed and opened again."""

    def __init__(self, engine: str, directory: Path) -> None:
        self.engine = engine
        self._open = ENGINES[engine]
        self._directory = directory
        self.ledger = self._open(directory, NOW)

    def reopen(self, now: float = NOW) -> Ledger:
        """Close the ledger and open it again."""
        self.ledger.close()
        if isinstance(self.ledger, PostgresLedger):
            until(self._is_disconnected)  # an open connection means that another process uses the ledger
        self.ledger = self._open(self._directory, now)
        return self.ledger

    def _is_disconnected(self) -> bool:
        query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database_of(self._directory)}'"
        return not shared_server().execute(query)
