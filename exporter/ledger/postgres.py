"""A ledger in a PostgreSQL database that several exporters share: the contract, with ``postgres_statements.py``.

Each exporter has one of SLOTS slots, and a series has one row per slot. Exporters increment the rows of their own slot,
so that they don't wait for each other. The total of a series is the sum of its rows. Two exporters with the same slot
count correctly, too, only slower. Rows with a negative slot are not totals: they hold the state of the clock.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import errors

from exporter.classification.loops import DELIVERIES
from exporter.classification.series import Record
from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger import postgres_copy
from exporter.ledger.contract import (
    AHEAD,
    DAY,
    KEEP_IDENTITIES,
    ClockState,
    Coverage,
    Ledger,
    StoredIdentity,
    Total,
    parse_series,
)
from exporter.ledger.postgres_session import LOCK, READ_TIMEOUT, Durability, Session, damaged, migrate, to_ledger_error
from exporter.ledger.postgres_statements import (
    BEGIN,
    CLOCK,
    PRUNE,
    PRUNE_DELIVERIES,
    RECORD,
    RELEASE,
    RESTART_HOLDS,
    SIZE,
    STORE_CLOCK,
    TOTALS,
)
from exporter.ledger.url import PostgresUrl

PRUNE_SLICE: Final = 2_000
"""Maximum number of identities that one call of ``prune`` deletes, without those of deliveries."""
PRUNE_DELIVERIES_SLICE: Final = 5_000
"""Maximum number of deliveries that one call of ``prune`` deletes. A second brings up to 1,000 new ones."""
SLOTS: Final = 8
WATCHDOG_TIMEOUT: Final = 15.0
"""Seconds after which a write is aborted that the server should have ended long before."""
MAX_ATTEMPTS: Final = 4
"""How often to try a transaction that conflicts with others. After a conflict the server has rolled it back."""

T = TypeVar("T")


class PostgresLedger(Ledger):
    """A ledger in a PostgreSQL database, opened at the time ``now``.

    With ``exclusive`` no other process may use it; with ``existing`` it is not created. Raises LedgerError if the
    database is not reachable or writable, or was written by a newer version, and LedgerBusy if another process uses a
    ledger that is opened with ``exclusive``.
    """

    def __init__(self, url: PostgresUrl, *, now: float, exclusive: bool = False, existing: bool = False) -> None:
        self._url = url
        self._writer = Session(url)
        self._reader = Session(url)
        self._reader_lock = threading.Lock()
        self._known_series: set[str] = set()
        self._slot = 0
        self._reader_outdated = False
        self._durability = Durability(url)
        self._joined_connection: psycopg.Connection | None = None
        self._write_began: float | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="ledger watchdog", daemon=True).start()
        try:
            self._write(lambda connection: migrate(connection, self._url, existing=existing))
            self._write(lambda connection: self._begin(connection, now, exclusive=exclusive))
            self.check(now=now, write=True)
        except BaseException:
            self.close()
            raise

    def _begin(self, connection: psycopg.Connection, now: float, *, exclusive: bool) -> None:
        if not self._join(connection, now, hold=float("inf")) and exclusive:
            raise LedgerBusy(f"ledger {self._url}: an exporter is using it; stop all exporters first")
        self._slot = _value(connection, "SELECT nextval('smtpeter_slot')") % SLOTS
        connection.execute(BEGIN)

    def _join(self, connection: psycopg.Connection, now: float, hold: float) -> bool:
        """Register this process as a user of the ledger. Return whether it is the only one.

        Restart the holds of series that Prometheus may not have scraped.
        """
        with connection.transaction():  # behind a pooler the next transaction may run in another session
            first = _value(connection, "SELECT pg_try_advisory_lock(%s)", LOCK + 1)
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (LOCK + 1,))  # held until the connection ends
            if first:
                connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK + 1,))
            connection.execute(RESTART_HOLDS, {"now": now, "hold": hold, "first": first})
        self._joined_connection = connection
        return bool(first)

    def record(self, batch: Sequence[Record], *, now: float, held: bool, day: int | None = None) -> list[bool]:
        fresh = {record.identity: record for record in reversed(batch)}
        # Most events have the same series, so send each combination once, with a number.
        kinds = {series: number for number, series in enumerate({record.series for record in fresh.values()})}
        named = [(number, json.dumps(one)) for series, number in kinds.items() for one in set(series)]
        unknown = {text for _, text in named} - self._known_series
        arguments = {
            "hashes": list(fresh),
            "kinds": [kinds[record.series] for record in fresh.values()],
            "loops": [record.loop for record in fresh.values()],
            "messages": [record.message for record in fresh.values()],
            "deliveries": DELIVERIES.number,
            "kind_of": [number for number, _ in named],
            "series": [text for _, text in named],
            "unknown": list(unknown),
            "day": int(now // DAY) if day is None else day,
            "held_since": now if held else None,
            "slot": self._slot,
            "now": now,
            "ahead": AHEAD,
        }
        new = self._write(lambda connection: {hash_ for (hash_,) in connection.execute(RECORD, arguments)})
        if len(new) == len(fresh):  # otherwise a series may belong to duplicates only, and does not exist yet
            self._known_series |= unknown
        outcomes = []
        for record in batch:
            outcomes.append(record.identity in new)
            new.discard(record.identity)
        return outcomes

    def release(self, *, now: float, hold: float) -> None:
        def work(connection: psycopg.Connection) -> None:
            if connection is not self._joined_connection:
                self._join(connection, now, hold)
            connection.execute(RELEASE, {"now": now, "hold": hold})
            self._durability.look(connection)

        self._write(work)

    def warning(self) -> str:
        return self._durability.warning

    def prune(self, *, now: float, keep_deliveries: float = KEEP_IDENTITIES) -> int:
        today = int(now // DAY)
        first = {"first": int((now - KEEP_IDENTITIES) // DAY), "today": today, "slice": PRUNE_SLICE}
        other = {"first": int((now - keep_deliveries) // DAY), "today": today, "slice": PRUNE_DELIVERIES_SLICE}
        return self._write(
            lambda connection: (
                connection.execute(PRUNE, first).rowcount + connection.execute(PRUNE_DELIVERIES, other).rowcount
            )
        )

    def clock(self) -> float:
        """Return the server's time; see Session.clock."""
        return self._writer.clock()

    def short_of_space(self) -> str:
        return ""

    def clock_state(self) -> ClockState:
        statement: LiteralString = "SELECT slot, count FROM smtpeter_total WHERE series = %s"
        counts: dict[int, int] = self._write(
            lambda connection: dict(connection.execute(statement, (CLOCK,)).fetchall())
        )
        return ClockState(counts.get(-1, 0), counts.get(-2, 0))

    def check(self, *, now: float, write: bool, state: ClockState | None = None) -> None:
        del now
        if not write:
            self._write(lambda connection: connection.execute("SELECT 1 FROM smtpeter_schema"))
            return
        probe = os.urandom(16)

        def insert_and_delete(connection: psycopg.Connection) -> None:
            # Write as a failure does: a full disk may still have room for smaller writes.
            with connection.transaction():
                connection.execute("INSERT INTO smtpeter_identity (hash, day) VALUES (%s, 0)", (probe,))
                connection.execute("DELETE FROM smtpeter_identity WHERE hash = %s", (probe,))
            if state:  # alone, because all exporters write these rows: one that hangs must not keep them locked
                arguments = {"clock": CLOCK, "at": int(state.at), "even": int(state.even)}
                connection.execute(STORE_CLOCK, arguments)
            self._writer.read_clock(connection)

        self._write(insert_and_delete)

    def totals(self) -> list[Total]:
        arguments = {"latest": self.clock() + AHEAD}
        rows = self._read(lambda connection: connection.execute(TOTALS, arguments).fetchall())
        try:
            return [Total(parse_series(series), count, held, at) for series, count, held, at in rows]
        except ValueError as error:
            raise damaged(self._url, error) from error

    def identities(self, after: bytes, limit: int) -> list[StoredIdentity]:
        return self._write(lambda connection: postgres_copy.identities(connection, after, limit))

    def import_identities(self, identities: Sequence[StoredIdentity]) -> None:
        self._write(lambda connection: postgres_copy.import_identities(connection, identities))

    def coverage(self) -> Coverage:
        return self._write(postgres_copy.coverage)

    def import_coverage(self, coverage: Coverage) -> None:
        self._write(lambda connection: postgres_copy.import_coverage(connection, coverage))

    def import_totals(self, totals: Sequence[Total]) -> None:
        self._write(lambda connection: postgres_copy.import_totals(connection, totals))

    def size(self) -> int:
        size: int = self._read(lambda connection: _value(connection, SIZE))
        return size

    def close(self) -> None:
        self._closed.set()
        self._writer.close()
        self._reader.close()

    def _watch(self) -> None:
        """Abort a write if the server is reachable but does not answer: a standby may have taken over."""
        while not self._closed.wait(1):
            began = self._write_began
            if began is not None and time.monotonic() > began + WATCHDOG_TIMEOUT:
                self._writer.abort()

    def _write(self, work: Callable[[psycopg.Connection], T]) -> T:
        for left in reversed(range(MAX_ATTEMPTS)):
            try:
                self._write_began = time.monotonic()
                return work(self._writer.connection())
            except (errors.SerializationFailure, errors.DeadlockDetected) as error:
                if not left:
                    raise to_ledger_error(self._url, error) from error
            except (psycopg.Error, ValueError) as error:
                # Reconnect, also for reads: a standby may have taken over while the old server still runs read-only.
                self._writer.close()
                self._reader_outdated = True
                self._known_series.clear()
                raise to_ledger_error(self._url, error) from error
            finally:
                self._write_began = None
        raise AssertionError

    def _read(self, work: Callable[[psycopg.Connection], T]) -> T:
        """Run ``work`` in a thread, because resolving names and connecting have no reliable timeout."""
        outcome: SimpleQueue[T | LedgerError] = SimpleQueue()
        threading.Thread(target=lambda: outcome.put(self._outcome(work)), name="reader", daemon=True).start()
        try:
            result = outcome.get(timeout=READ_TIMEOUT)
        except Empty:
            self._reader.abort()
            raise LedgerError(f"ledger {self._url}: no answer within {READ_TIMEOUT} seconds") from None
        if isinstance(result, LedgerError):
            raise result
        return result

    def _outcome(self, work: Callable[[psycopg.Connection], T]) -> T | LedgerError:
        if not self._reader_lock.acquire(timeout=READ_TIMEOUT):
            return LedgerError(f"ledger {self._url}: still waiting for the answer to an earlier scrape")
        try:
            if self._reader_outdated:
                self._reader_outdated = False
                self._reader.close()
            try:
                return work(self._reader.connection())
            except psycopg.OperationalError:  # something closed an idle connection: retry once on a new one
                if not self._reader.is_broken():
                    raise
                return work(self._reader.connection())
        except (psycopg.Error, ValueError) as error:
            return to_ledger_error(self._url, error)
        finally:
            self._reader_lock.release()


def _value(connection: psycopg.Connection, statement: LiteralString, *arguments: object) -> Any:  # noqa: ANN401 -- any type
    for (value,) in connection.execute(statement, arguments):
        return value
    raise AssertionError
