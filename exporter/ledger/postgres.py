"""The ledger in a PostgreSQL database that several exporters share: ``contract.py`` implemented in SQL.

Each series has a sum for each of some slots, and each exporter raises those of its own slot, so that they don't wait
for each other; the total is the sum over slots. Two with the same slot are right all the same, only slower.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import errors, sql

from exporter.classification.series import Record
from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger.contract import COPYING, DAY, KEEP_IDENTITIES, Ledger, StoredIdentity, Total, series_of
from exporter.ledger.postgres_session import LOCK, READ_TIMEOUT, Session, migrate, to_ledger_error
from exporter.ledger.url import PostgresUrl

PRUNE_SLICE: Final = 2_000
"""How many identities one call of ``prune`` forgets."""
SLOTS: Final = 8
WATCHDOG_TIMEOUT: Final = 15.0
"""Seconds after which a statement is given up that the server should have ended long ago."""
MAX_ATTEMPTS: Final = 4
"""How often a transaction is tried that others got in the way of; nothing of it has been done then."""

# One statement, so one round trip and one transaction. Rows are taken in order, identities before sums, lest two
# exporters wait for each other. What another one is about to insert is waited for, and then it is no longer new.
_RECORD: Final = """
    WITH given AS (
        SELECT * FROM unnest(%(hashes)s::bytea[], %(kinds)s::integer[]) AS given (hash, kind)
    ), new AS (
        INSERT INTO smtpeter_identity (hash, day) SELECT hash, %(day)s::integer FROM given ORDER BY hash
        ON CONFLICT DO NOTHING RETURNING hash
    ), sums AS (
        SELECT series, count(*) AS count FROM new JOIN given USING (hash)
        JOIN unnest(%(kind_of)s::integer[], %(series)s::text[]) AS raised (kind, series) USING (kind) GROUP BY series
    ), born AS (
        INSERT INTO smtpeter_series (series, held_since)
        SELECT series, %(held_since)s::double precision FROM sums
        WHERE series = ANY(%(unknown)s::text[]) ORDER BY series
        ON CONFLICT DO NOTHING
    ), raised AS (
        INSERT INTO smtpeter_total AS total (series, slot, count, raised_at)
        SELECT series, %(slot)s::integer, count, %(now)s::double precision FROM sums ORDER BY series
        ON CONFLICT (series, slot) DO UPDATE
        SET count = total.count + excluded.count, raised_at = greatest(total.raised_at, excluded.raised_at)
    )
    SELECT hash FROM new"""
# When the clock was set back, the time starts anew: neither shown too early nor held for long.
_RELEASE: Final = """
    UPDATE smtpeter_series SET held_since = CASE WHEN held_since > %(now)s THEN %(now)s::double precision END
    WHERE held_since <= %(now)s::double precision - %(hold)s OR held_since > %(now)s"""
# An exporter that is there shows what is due within a second: what is long due, nobody may have scraped.
_ANEW: Final = """
    UPDATE smtpeter_series SET held_since = %(now)s
    WHERE held_since IS NOT NULL AND (%(alone)s OR held_since <= %(now)s::double precision - %(hold)s)"""
# None waits for another exporter's rows, nor for anybody's.
_PRUNE: Final = """
    DELETE FROM smtpeter_identity WHERE hash IN (
        SELECT hash FROM smtpeter_identity WHERE day < %s LIMIT %s FOR UPDATE SKIP LOCKED
    )"""
_TOTALS: Final = """
    SELECT series, sum(count)::bigint, bool_or(held_since IS NOT NULL), max(raised_at)
    FROM smtpeter_total LEFT JOIN smtpeter_series USING (series) GROUP BY series"""
_SIZE: Final = """
    SELECT pg_total_relation_size('smtpeter_identity') + pg_total_relation_size('smtpeter_total')
    + pg_total_relation_size('smtpeter_series')"""

T = TypeVar("T")


class PostgresLedger(Ledger):
    """A ledger in the database of a URL; ``now`` is the time of opening.

    It may be wanted ``alone``, and as one that is ``existing``. Raises LedgerError when the database can't be reached
    or written, or has a schema newer than this version; LedgerBusy when somebody else has what is wanted alone.
    """

    def __init__(self, url: PostgresUrl, *, now: float, alone: bool = False, existing: bool = False) -> None:
        self._url = url
        self._writer = Session(url)
        self._reader = Session(url)
        self._reading = threading.Lock()
        self._known: set[str] = set()
        self._slot = 0
        self._moved = False
        self._joined: psycopg.Connection | None = None
        self._since: float | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="watch over the ledger", daemon=True).start()
        try:
            self._write(lambda connection: migrate(connection, self._url, existing=existing))
            self._write(lambda connection: self._begin(connection, now, alone=alone))
            self.check(now=now, write=True)
        except BaseException:
            self.close()
            raise

    def _begin(self, connection: psycopg.Connection, now: float, *, alone: bool) -> None:
        if not self._join(connection, now, hold=float("inf")) and alone:
            raise LedgerBusy(f"ledger {self._url}: an exporter has it; stop all of them first")
        self._slot = _one(connection, "SELECT nextval('smtpeter_slot')") % SLOTS

    def _join(self, connection: psycopg.Connection, now: float, hold: float) -> bool:
        """Begin the time of held series anew where nobody may have scraped them; whether nobody else is there."""
        with connection.transaction():  # in one, because a pooler may have another session for the next
            alone = _one(connection, "SELECT pg_try_advisory_lock(%s)", LOCK + 1)
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (LOCK + 1,))  # as long as the connection lasts
            if alone:
                connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK + 1,))
            connection.execute(_ANEW, {"now": now, "hold": hold, "alone": alone})
        self._joined = connection
        return bool(alone)

    def record(self, batch: Sequence[Record], *, now: float, held: bool) -> list[bool]:
        fresh = {record.identity: record.series for record in reversed(batch)}
        kinds = {series: number for number, series in enumerate(set(fresh.values()))}  # most are alike
        named = [(number, json.dumps(one)) for series, number in kinds.items() for one in set(series)]
        unknown = {text for _, text in named} - self._known
        given = {
            "hashes": list(fresh),
            "kinds": [kinds[series] for series in fresh.values()],
            "kind_of": [number for number, _ in named],
            "series": [text for _, text in named],
            "unknown": list(unknown),
            "day": int(now // DAY),
            "held_since": now if held else None,
            "slot": self._slot,
            "now": now,
        }
        new = self._write(lambda connection: {hash_ for (hash_,) in connection.execute(_RECORD, given)})
        if len(new) == len(fresh):  # else it may be that none that would have brought a series was new
            self._known |= unknown
        outcomes = []
        for record in batch:
            outcomes.append(record.identity in new)
            new.discard(record.identity)
        return outcomes

    def release(self, *, now: float, hold: float) -> None:

        def work(connection: psycopg.Connection) -> None:
            if connection is not self._joined:
                self._join(connection, now, hold)
            connection.execute(_RELEASE, {"now": now, "hold": hold})

        self._write(work)

    def prune(self, *, now: float) -> int:
        given = (int((now - KEEP_IDENTITIES) // DAY), PRUNE_SLICE)
        return self._write(lambda connection: connection.execute(_PRUNE, given).rowcount)

    def clock(self) -> float:
        """See Ledger. The server's, as of the last connection."""
        return self._writer.clock()

    def check(self, *, now: float, write: bool) -> None:
        del now  # nothing is written that a time would say something of
        if not write:
            self._write(lambda connection: connection.execute("SELECT 1 FROM smtpeter_schema"))
            return
        probe = os.urandom(16)

        def come_and_go(connection: psycopg.Connection) -> None:
            # As a failure would: what has no room for one may have room for less.
            with connection.transaction():
                connection.execute("INSERT INTO smtpeter_identity (hash, day) VALUES (%s, 0)", (probe,))
                connection.execute("DELETE FROM smtpeter_identity WHERE hash = %s", (probe,))

        self._write(come_and_go)

    def totals(self) -> list[Total]:
        rows = self._read(lambda connection: connection.execute(_TOTALS).fetchall())
        try:
            return [Total(series_of(series), count, held, at) for series, count, held, at in rows]
        except ValueError as error:
            raise LedgerError(f"ledger {self._url}: it is damaged ({error}); restore a backup") from error

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        statement: LiteralString = "SELECT hash, day FROM smtpeter_identity WHERE hash > %s ORDER BY hash LIMIT %s"
        return self._write(
            lambda connection: [StoredIdentity(*row) for row in connection.execute(statement, (after, limit))]
        )

    def keep(self, identities: Sequence[StoredIdentity]) -> None:
        given = [list(column) for column in zip(*identities, strict=True)]
        self._write(
            lambda connection: connection.execute(
                "INSERT INTO smtpeter_identity (hash, day) SELECT * FROM unnest(%s::bytea[], %s::integer[])"
                " ON CONFLICT DO NOTHING",
                given,
            )
        )

    def adopt(self, totals: Sequence[Total]) -> None:

        def replace(connection: psycopg.Connection) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE smtpeter_total, smtpeter_series IN EXCLUSIVE MODE")
                for table in (sql.Identifier("smtpeter_total"), sql.Identifier("smtpeter_series")):
                    cursor.execute(sql.SQL("DELETE FROM {} WHERE series = %s").format(table), (json.dumps(COPYING),))
                if cursor.execute("SELECT 1 FROM smtpeter_total LIMIT 1").fetchone():
                    raise LedgerError("DST has counted failures of its own meanwhile: begin with an empty ledger")
                rows = [(json.dumps(series), value, at if held else None, at) for series, value, held, at in totals]
                cursor.executemany("INSERT INTO smtpeter_series VALUES (%s, %s)", [(row[0], row[2]) for row in rows])
                cursor.executemany(
                    "INSERT INTO smtpeter_total VALUES (%s, %s, %s, %s)", [(row[0], 0, row[1], row[3]) for row in rows]
                )

        self._write(replace)

    def size(self) -> int:
        size: int = self._read(lambda connection: _one(connection, _SIZE))
        return size

    def close(self) -> None:
        self._closed.set()
        self._writer.close()
        self._reader.close()

    def _watch(self) -> None:
        """Break off what the writer waits for when the server lives but is silent: another may have taken over."""
        while not self._closed.wait(1):
            since = self._since
            if since is not None and time.monotonic() > since + WATCHDOG_TIMEOUT:
                self._writer.break_off()

    def _write(self, work: Callable[[psycopg.Connection], T]) -> T:
        for left in reversed(range(MAX_ATTEMPTS)):
            try:
                self._since = time.monotonic()
                return work(self._writer.connection())
            except (errors.SerializationFailure, errors.DeadlockDetected) as error:
                if not left:
                    raise to_ledger_error(self._url, error) from error
            except (psycopg.Error, ValueError) as error:
                # Begin afresh, readers too: when another server has taken over, this one may still be there, and only
                # refuse to be written.
                self._writer.close()
                self._moved = True
                self._known.clear()
                raise to_ledger_error(self._url, error) from error
            finally:
                self._since = None
        raise AssertionError

    def _read(self, work: Callable[[psycopg.Connection], T]) -> T:
        """In a thread of its own: names, connections and the server take as long as they like, a scrape does not."""
        outcome: SimpleQueue[T | LedgerError] = SimpleQueue()
        threading.Thread(target=lambda: outcome.put(self._outcome(work)), name="reader", daemon=True).start()
        try:
            found = outcome.get(timeout=READ_TIMEOUT)
        except Empty:
            self._reader.break_off()
            raise LedgerError(f"ledger {self._url}: no answer within {READ_TIMEOUT} seconds") from None
        if isinstance(found, LedgerError):
            raise found
        return found

    def _outcome(self, work: Callable[[psycopg.Connection], T]) -> T | LedgerError:
        if not self._reading.acquire(timeout=READ_TIMEOUT):
            return LedgerError(f"ledger {self._url}: still waiting for an earlier answer")
        try:
            if self._moved:
                self._moved = False
                self._reader.close()
            try:
                return work(self._reader.connection())
            except psycopg.OperationalError:  # it was idle for too long for somebody: once more, on a new connection
                if not self._reader.lost():
                    raise
                return work(self._reader.connection())
        except (psycopg.Error, ValueError) as error:
            return to_ledger_error(self._url, error)
        finally:
            self._reading.release()


def _one(connection: psycopg.Connection, statement: LiteralString, *arguments: object) -> Any:  # noqa: ANN401 -- any
    for (value,) in connection.execute(statement, arguments):
        return value
    raise AssertionError
