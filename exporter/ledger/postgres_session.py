"""Connections to a PostgreSQL ledger, opened on demand and with time limits, and the schema of its database."""

import logging
import os
import socket
import time
from contextlib import suppress
from typing import Final

import psycopg
from psycopg import conninfo

from exporter.errors import LedgerError, LedgerFull
from exporter.ledger.clock import uptime
from exporter.ledger.url import PostgresUrl

log = logging.getLogger(__name__)

LOCK: Final = 0x534D_5450_0000
"""Key ("SMTP") of the advisory lock for migrations. An exporter that uses the ledger holds the lock with LOCK + 1."""
STATEMENT_TIMEOUT: Final = 5
"""Seconds that a statement or connecting may take."""
MIGRATION_LOCK_TIMEOUT: Final = 2
"""Seconds that a migration waits for a table that another program has locked, for example a backup."""
READ_TIMEOUT: Final = 3
"""Seconds that a scrape waits for the database, also if the server does not enforce the timeout of statements."""

# Step n migrates schema n to n + 1. Never change a released step; add a new one.
#
# Totals are updated all the time, so fillfactor leaves room in their pages for new versions of rows. Pruning finds
# identities by an index on the day, because those of one day lie together on disk. It has to step over the entries of
# deleted ones until a vacuum removes them, so that deliveries need a vacuum more often than is the default.
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
    """
    ALTER TABLE smtpeter_identity
        ADD COLUMN loop smallint NOT NULL DEFAULT 0,
        ADD COLUMN message bytea;       -- hash of message and recipient; NULL: not known
    CREATE TABLE smtpeter_delivery (hash bytea PRIMARY KEY, day integer NOT NULL)
        WITH (autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX smtpeter_delivery_day ON smtpeter_delivery (day);
    CREATE TABLE smtpeter_fact (
        name text PRIMARY KEY,          -- began: when the ledger was first opened with this schema
        value double precision NOT NULL
    );
    CREATE TABLE smtpeter_reconciled (  -- days that were compared with SMTPeter's log files
        loop smallint NOT NULL,
        day integer NOT NULL,
        PRIMARY KEY (loop, day)
    );
    """,
)


class Session:
    """At most one connection, for one thread at a time. A broken one is replaced on the next use."""

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None
        self._clock = (time.time(), uptime())

    def connection(self) -> psycopg.Connection:
        """Return an open connection in autocommit mode. Raise psycopg.Error if connecting fails."""
        if self._connection is None or self._connection.closed:
            self._connection = _connect(self._url)
            try:
                _prepare(self._connection)  # already stored, so that abort() can end this, too
                self.read_clock(self._connection)
            except BaseException:
                self._connection.close()
                raise
        return self._connection

    def clock(self) -> float:
        """Return the server's time when last read, plus the time that has passed since on this machine."""
        server_time, read_at = self._clock
        return server_time + uptime() - read_at

    def read_clock(self, connection: psycopg.Connection) -> None:
        """Read the server's time. It may have been corrected since the connection was opened."""
        self._clock = (_time_of(connection), uptime())

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()

    def is_broken(self) -> bool:
        """Return whether there was a connection that broke."""
        return self._connection is not None and self._connection.broken

    def abort(self) -> None:
        """Make a call of another thread that waits for the server fail at once."""
        with suppress(OSError, psycopg.Error):
            if self._connection is not None:
                descriptor = os.dup(self._connection.fileno())
                with socket.socket(fileno=descriptor) as sock:
                    sock.shutdown(socket.SHUT_RDWR)


_WEAKNESS: Final = """
    SELECT current_setting('fsync', true), array(
        SELECT relname::text FROM pg_class
        WHERE relpersistence <> 'p' AND oid = ANY(ARRAY[
            to_regclass('smtpeter_delivery'), to_regclass('smtpeter_fact'), to_regclass('smtpeter_identity'),
            to_regclass('smtpeter_reconciled'), to_regclass('smtpeter_schema'), to_regclass('smtpeter_series'),
            to_regclass('smtpeter_total')]::oid[])
        ORDER BY relname)"""


class Durability:
    """Watch for settings and tables that make the database lose commits in a crash.

    ``warning`` is one line that names them, empty if there are none. It is logged when it changes.
    """

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self.warning = ""

    def look(self, connection: psycopg.Connection) -> None:
        """Ask the database."""
        warning = weakness_of(connection, self._url)
        if warning and warning != self.warning:
            log.warning("ledger is not durable", extra={"why": warning})
        self.warning = warning


def weakness_of(connection: psycopg.Connection, url: PostgresUrl) -> str:
    """Return why the database can lose commits in a crash, as one line; empty if it can't."""
    fsync, unlogged = connection.execute(_WEAKNESS).fetchone() or ("", [])
    found = ["fsync is off"] if fsync == "off" else []
    found += [f"the table {table} is unlogged" for table in unlogged]
    return f"ledger {url}: a crash can lose failures that were answered 200: {'; '.join(found)}" if found else ""


def _connect(url: PostgresUrl) -> psycopg.Connection:
    parameters = conninfo.conninfo_to_dict(url.text)
    # With keepalives and a user timeout, a server that disappears is noticed within seconds, not hours.
    defaults: dict[str, str | int] = {
        "connect_timeout": STATEMENT_TIMEOUT,
        "application_name": "smtpeter-exporter",
        "keepalives_idle": STATEMENT_TIMEOUT,
        "keepalives_interval": 1,
        "keepalives_count": STATEMENT_TIMEOUT,
        "tcp_user_timeout": 2_000 * STATEMENT_TIMEOUT,
        "target_session_attrs": "read-write",
    }
    given = {name: str(text) for name, text in parameters.items() if text is not None}
    return psycopg.connect(conninfo.make_conninfo("", **(defaults | given)), autocommit=True)


def _prepare(connection: psycopg.Connection) -> None:
    # Behind a pooler each transaction may run in another session, where other statements are prepared.
    if connection.execute("SELECT pg_backend_pid()").fetchone() != (connection.info.backend_pid,):
        connection.prepare_threshold = None
    # Set by statements, because poolers such as PgBouncer reject them as options of the connection.
    for name, value in (
        ("statement_timeout", f"{STATEMENT_TIMEOUT}s"),
        ("idle_in_transaction_session_timeout", f"{STATEMENT_TIMEOUT}s"),
        # Otherwise, if two exporters record the same failure at the same time, one gets an error instead of waiting.
        ("default_transaction_isolation", "read committed"),
        ("extra_float_digits", "1"),  # return times with all digits
    ):
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    # Pin the value for this connection: the server's setting may be changed to off and reloaded later.
    connection.execute(
        "SELECT set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, false)"
        " FROM current_setting('synchronous_commit') AS setting"
    )


def _time_of(connection: psycopg.Connection) -> float:
    (seconds,) = connection.execute("SELECT extract(epoch FROM clock_timestamp())::double precision").fetchone() or (0,)
    return float(seconds)


def migrate(connection: psycopg.Connection, url: PostgresUrl, *, existing: bool) -> None:
    """Create or migrate the schema, one exporter at a time.

    Raise LedgerError if it is newer than this version, or if it does not exist and ``existing`` is true.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        version = schema_version(connection, url)
        if version is None and existing:
            raise LedgerError(f"ledger {url}: there is no ledger in this database")
        if version is None:
            connection.execute("CREATE TABLE smtpeter_schema (version integer NOT NULL)")
            connection.execute("INSERT INTO smtpeter_schema VALUES (0)")
            version = 0
        # A step that waits for the lock of a table makes the exporters wait that use it.
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{MIGRATION_LOCK_TIMEOUT}s",))
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        if version < len(MIGRATIONS):
            connection.execute("UPDATE smtpeter_schema SET version = %s", (len(MIGRATIONS),))


def schema_version(connection: psycopg.Connection, url: PostgresUrl) -> int | None:
    """Return the version of the schema, or None if there is no ledger. Raise LedgerError if it is newer than known."""
    if connection.execute("SELECT to_regclass('smtpeter_schema')").fetchone() == (None,):
        return None
    (version,) = connection.execute("SELECT version FROM smtpeter_schema").fetchone() or (0,)
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"ledger {url}: it was written by a newer version (schema {version}, this version knows up to "
            f"{len(MIGRATIONS)}); run that version or a later one"
        )
    return int(version)


def to_ledger_error(url: PostgresUrl, error: Exception) -> LedgerError:
    """Return an error of the database or its client as one line that names the ledger, with a hint."""
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = " ".join((message or str(error)).split())
    hints: dict[type[Exception], str] = {
        psycopg.errors.InsufficientPrivilege: "; grant it to this user",
        psycopg.errors.UndefinedTable: "; restore a backup, or restart the exporter to start a new ledger",
        psycopg.errors.QueryCanceled: f"; a statement may take at most {STATEMENT_TIMEOUT} seconds",
        psycopg.errors.DiskFull: "; free some space",
        psycopg.errors.LockNotAvailable: "; another program, such as a backup, locks it: wait until it ends",
    }
    kind = LedgerFull if isinstance(error, psycopg.errors.DiskFull) else LedgerError
    return kind(f"ledger {url}: {text}{hints.get(type(error), '')}")


def damaged(url: PostgresUrl, error: ValueError) -> LedgerError:
    """Return an error for a text in the ledger that cannot be read."""
    return LedgerError(f"ledger {url}: it is damaged ({error}); restore a backup")
