"""A connection to the ledger's database, made when it is needed and limited in time; and the schema there."""

import os
import socket
import time
from contextlib import suppress
from typing import Final

import psycopg
from psycopg import conninfo

from exporter.errors import LedgerError
from exporter.ledger.url import PostgresUrl

LOCK: Final = 0x534D_5450_0000
"""The advisory locks of this program: this one is of migration, the next of having the ledger. "SMTP"."""
STATEMENT_TIMEOUT: Final = 5
"""Seconds that a statement may take, or a connection until it is made."""
READ_TIMEOUT: Final = 3
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
        self._clock = (time.time(), time.monotonic())

    def connection(self) -> psycopg.Connection:
        """The connection, each statement a transaction. Raises psycopg.Error when it can't be had."""
        if self._connection is None or self._connection.closed:
            self._connection = _connect(self._url)
            try:
                _prepare(self._connection)  # it is known already: whoever waits for too long may break it
                self._clock = (_time_of(self._connection), time.monotonic())
            except BaseException:
                self._connection.close()
                raise
        return self._connection

    def clock(self) -> float:
        """The server's time of day, as of when it was last connected to, and as this machine has counted since."""
        then, counted = self._clock
        return then + time.monotonic() - counted

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()

    def lost(self) -> bool:
        """Whether there was a connection, and it broke."""
        return self._connection is not None and self._connection.broken

    def break_off(self) -> None:
        """End what another thread is waiting for, whatever the server does."""
        with suppress(OSError, psycopg.Error):
            if self._connection is not None:
                descriptor = os.dup(self._connection.fileno())
                with socket.socket(fileno=descriptor) as sock:
                    sock.shutdown(socket.SHUT_RDWR)


def _connect(url: PostgresUrl) -> psycopg.Connection:
    given = conninfo.conninfo_to_dict(url.text)
    # A server that is gone without a word is found out within seconds, not hours.
    usual: dict[str, str | int] = {
        "connect_timeout": STATEMENT_TIMEOUT,
        "application_name": "smtpeter-exporter",
        "keepalives_idle": STATEMENT_TIMEOUT,
        "keepalives_interval": 1,
        "keepalives_count": STATEMENT_TIMEOUT,
        "tcp_user_timeout": 2_000 * STATEMENT_TIMEOUT,
        "target_session_attrs": "read-write",
    }
    own = {name: str(text) for name, text in given.items() if text is not None}
    return psycopg.connect(conninfo.make_conninfo("", **(usual | own)), autocommit=True)


def _prepare(connection: psycopg.Connection) -> None:
    # A pooler may give each transaction another session of the server, where others have prepared other statements.
    if connection.execute("SELECT pg_backend_pid()").fetchone() != (connection.info.backend_pid,):
        connection.prepare_threshold = None
    # By statements: poolers such as PgBouncer refuse them as options of the connection.
    for name, value in (
        ("statement_timeout", f"{STATEMENT_TIMEOUT}s"),
        ("idle_in_transaction_session_timeout", f"{STATEMENT_TIMEOUT}s"),
        # Else, of two exporters that get the same failure at the same time, one would see an error instead of waiting.
        ("default_transaction_isolation", "read committed"),
        ("extra_float_digits", "1"),  # times as they were written, in full
    ):
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    # Whatever it is, it stays: the server's may be changed to off, and read anew, while this connection lasts.
    connection.execute(
        "SELECT set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, false)"
        " FROM current_setting('synchronous_commit') AS setting"
    )


def _time_of(connection: psycopg.Connection) -> float:
    (seconds,) = connection.execute("SELECT extract(epoch FROM clock_timestamp())::double precision").fetchone() or (0,)
    return float(seconds)


def migrate(connection: psycopg.Connection, url: PostgresUrl, *, existing: bool) -> None:
    """Bring the schema up to date, one exporter at a time.

    Raises LedgerError when it is newer than this version, or not there though it is to be ``existing``.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        row = connection.execute("SELECT to_regclass('smtpeter_schema')").fetchone()
        if row == (None,) and existing:
            raise LedgerError(f"ledger {url}: there is none in this database")
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


def to_ledger_error(url: PostgresUrl, error: Exception) -> LedgerError:
    """What the database or its client says, as one line that names the ledger."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = " ".join((said or str(error)).split())
    hints: dict[type[Exception], str] = {
        psycopg.errors.InsufficientPrivilege: "; grant it to this user",
        psycopg.errors.UndefinedTable: "; restore a backup, or restart the exporter to begin a new ledger",
        psycopg.errors.QueryCanceled: f"; a statement may take {STATEMENT_TIMEOUT} seconds",
        psycopg.errors.DiskFull: "; free some space",
    }
    return LedgerError(f"ledger {url}: {text}{hints.get(type(error), '')}")
