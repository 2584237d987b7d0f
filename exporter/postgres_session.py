"""A connection to the ledger's database, made when it is needed and limited in time; and the schema there."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from psycopg import conninfo

from exporter.errors import LedgerError
from exporter.setting_values import PostgresUrl

LOCK: Final = 0x534D_5450_0000
"""The advisory locks of this program begin here: of migration, then of pruning. "SMTP"."""
LONGEST: Final = 5
"""Seconds that a statement may take, or a connection until it is made."""
HURRIED: Final = 3
"""Seconds after which a scrape no longer waits for a server that does not even end a statement in time."""

# Step n leads from schema n to n + 1. A step never changes once released: add the next one.
#
# Sums are raised in place all the time, so pages keep room for new versions of their rows. Identities are found by day
# through an index: in the order in which they came, they lie together on disk.
MIGRATIONS: Final = (
    """
    CREATE TABLE smtpeter_identity (hash bytea PRIMARY KEY, day integer NOT NULL);
    CREATE INDEX smtpeter_identity_day ON smtpeter_identity (day);
    CREATE TABLE smtpeter_series (
        series text PRIMARY KEY,        -- JSON array: family, then label values
        held_since double precision     -- NULL: shown
    );
    CREATE TABLE smtpeter_total (
        series text NOT NULL,
        slot integer NOT NULL,
        count bigint NOT NULL,
        raised_at double precision NOT NULL,
        PRIMARY KEY (series, slot)
    ) WITH (fillfactor = 50);
    CREATE SEQUENCE smtpeter_slot MINVALUE 0 START 0;
    """,
)


class Session:
    """One connection at most, for one thread at a time; a broken one is replaced when next asked for."""

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def connection(self) -> psycopg.Connection:
        """The connection, each statement a transaction. Raises psycopg.Error when it can't be had."""
        if self._connection is None or self._connection.closed:
            self._connection = _connect(self._url)
        return self._connection

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Break the connection when what is done inside takes too long, whatever the server does."""
        timer = threading.Timer(HURRIED, self._break)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()

    def _break(self) -> None:
        with suppress(OSError, psycopg.Error):
            if self._connection is not None:
                descriptor = os.dup(self._connection.fileno())
                with socket.socket(fileno=descriptor) as its:
                    its.shutdown(socket.SHUT_RDWR)


def _connect(url: PostgresUrl) -> psycopg.Connection:
    try:
        given = conninfo.conninfo_to_dict(url.text)
    except psycopg.ProgrammingError:  # it repeats what it can't read, which may be the password
        raise psycopg.ProgrammingError("storage.url can't be read as a connection URI of libpq") from None
    # A server that is gone without a word is found out within seconds, not hours.
    usual: dict[str, str | int] = {
        "connect_timeout": LONGEST,
        "application_name": "smtpeter-exporter",
        "keepalives_idle": LONGEST,
        "keepalives_interval": 1,
        "keepalives_count": LONGEST,
        "tcp_user_timeout": 2_000 * LONGEST,
        "target_session_attrs": "read-write",
    }
    own = {name: str(text) for name, text in given.items() if text is not None}
    connection = psycopg.connect(conninfo.make_conninfo("", **(usual | own)), autocommit=True)
    try:
        # A pooler may give each transaction another session of the server, where others have prepared other statements.
        if connection.execute("SELECT pg_backend_pid()").fetchone() != (connection.info.backend_pid,):
            connection.prepare_threshold = None
        # By statements: poolers such as PgBouncer refuse them as options of the connection.
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute("SELECT set_config(%s, %s, false)", (name, f"{LONGEST}s"))
        # Else, of two exporters that get the same failure at the same time, one would see an error instead of waiting.
        connection.execute("SELECT set_config('default_transaction_isolation', 'read committed', false)")
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: psycopg.Connection, url: PostgresUrl) -> None:
    """Bring the schema up to date, one exporter at a time. Raises LedgerError when it is newer than this version."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        row = connection.execute("SELECT to_regclass('smtpeter_schema')").fetchone()
        if row == (None,):
            connection.execute("CREATE TABLE smtpeter_schema (version integer NOT NULL)")
            connection.execute("INSERT INTO smtpeter_schema VALUES (0)")
        (version,) = connection.execute("SELECT version FROM smtpeter_schema").fetchone() or (0,)
        if version > len(MIGRATIONS):
            raise LedgerError(
                f"ledger {url}: it was written by a newer version (schema {version}, this version knows up to "
                f"{len(MIGRATIONS)}); run that version or a later one"
            )
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        if version < len(MIGRATIONS):
            connection.execute("UPDATE smtpeter_schema SET version = %s", (len(MIGRATIONS),))


def explained(url: PostgresUrl, error: Exception) -> LedgerError:
    """What the database or its client says, as one line that names the ledger."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = " ".join((said or str(error)).split())
    hints: dict[type[Exception], str] = {
        psycopg.errors.InsufficientPrivilege: "; grant it to this user",
        psycopg.errors.UndefinedTable: "; restore a backup, or restart the exporter to begin a new ledger",
        psycopg.errors.QueryCanceled: f"; a statement may take {LONGEST} seconds",
        psycopg.errors.DiskFull: "; free some space",
    }
    return LedgerError(f"ledger {url}: {text}{hints.get(type(error), '')}")
