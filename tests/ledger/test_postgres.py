"""The PostgreSQL ledger: replicas that share it, births among replicas, and servers that disappear or hang."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import psycopg
import pytest

from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger import postgres_session
from exporter.ledger.clock import uptime
from exporter.ledger.contract import DAY, KEEP_IDENTITIES, ClockState, Coverage, Ledger, Total
from exporter.ledger.factory import open_ledger
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.postgres_session import READ_TIMEOUT
from exporter.ledger.url import PostgresUrl
from tests.support.postgres import Postgres, shared_server
from tests.support.records import BOUNCE, COMPLAINED, DELIVERED, NOW, RETURNED, error_of, events, failures
from tests.support.running import TIMEOUT, until

pytestmark = pytest.mark.server


@pytest.fixture
def server() -> Postgres:
    """Return the shared server."""
    return shared_server()


@pytest.fixture
def url(server: Postgres) -> str:
    """Return the URL of a new database."""
    return server.create_new()


def opened(url: str, now: float = NOW) -> Ledger:
    """Open the ledger in the database."""
    return PostgresLedger(PostgresUrl(url), now=now)


def opened_exclusively(url: str, now: float) -> Ledger:
    """Open the ledger as soon as the server has noticed that its last user has disconnected."""

    def attempt() -> Ledger | None:
        with suppress(LedgerBusy):
            return PostgresLedger(PostgresUrl(url), now=now, exclusive=True)
        return None

    return until(attempt)


def readable(ledger: Ledger) -> bool:
    """Return whether its totals can be read."""
    with suppress(LedgerError):
        ledger.totals()
        return True
    return False


@contextmanager
def silent_after(word: bytes, port: int) -> Iterator[tuple[int, threading.Event]]:
    """Relay to a port. Yield the relay's port and an event; while it is set, a connection that sends the word hangs."""
    silent = threading.Event()
    ends: list[socket.socket] = []

    def pump(one: socket.socket, other: socket.socket, heard: threading.Event) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                if silent.is_set() and word in data:
                    heard.set()
                if not heard.is_set():
                    other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def run() -> None:
        with suppress(OSError):
            while True:
                client = listening.accept()[0]
                server = socket.create_connection(("127.0.0.1", port))
                ends.extend((client, server))
                heard = threading.Event()
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=(*pair, heard), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=run, daemon=True).start()
        yield listening.getsockname()[1], silent
        listening.shutdown(socket.SHUT_RDWR)
    for end in ends:
        end.close()


# Replicas


def test_replicas_count_each_failure_once_together(url: str) -> None:
    """Three replicas that record the same batches at the same time count each failure once, and agree on totals."""
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        replicas = [opened(url) for _ in range(3)]
        for replica in replicas:
            stack.callback(replica.close)
        together = threading.Barrier(3)

        def record(replica: Ledger) -> int:
            new = 0
            for start in range(0, 2_000, 50):
                together.wait(TIMEOUT)
                new += sum(replica.record(failures(range(start, start + 50)), now=NOW, held=False))
            return new

        assert sum(pool.map(record, replicas)) == 2_000
        assert [replica.totals() for replica in replicas] == [[Total(BOUNCE, 2_000, held=False, raised_at=NOW)]] * 3


def test_replicas_count_mixed_batches_once_together(url: str) -> None:
    """Replicas that record events of all loops at the same time, in other orders, neither deadlock nor count twice."""
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        replicas = [opened(url) for _ in range(3)]
        for replica in replicas:
            stack.callback(replica.close)
        together = threading.Barrier(3)

        def record(number: int) -> int:
            new = 0
            for start in range(0, 2_000, 50):
                batch = events(range(start, start + 50))
                together.wait(TIMEOUT)
                new += sum(replicas[number].record(batch[number * 9 :] + batch[: number * 9], now=NOW, held=False))
            return new

        assert sum(pool.map(record, range(3))) == 2_000
        assert {total.series: total.value for total in replicas[0].totals()} == dict.fromkeys(
            (BOUNCE, DELIVERED, RETURNED, COMPLAINED), 500
        )


def test_a_replica_that_starts_later_does_not_change_when_the_ledger_began(url: str) -> None:
    """The ledger began by the clock of the server when the first replica opened it."""
    one = opened(url)
    began = one.coverage().began
    assert began == pytest.approx(one.clock(), abs=60)
    other = opened(url, NOW - 40 * DAY)
    assert other.coverage() == Coverage(began)
    for replica in (one, other):
        replica.close()


def test_a_series_that_another_replica_released_is_not_held_again(url: str) -> None:
    """A series that one replica created and released stays released when another one increments it first."""
    one, other = opened(url), opened(url)
    one.record(failures([1]), now=NOW, held=True)
    one.release(now=NOW + 60, hold=60)
    other.record(failures([2]), now=NOW + 61, held=True)
    assert other.totals() == [Total(BOUNCE, 2, held=False, raised_at=NOW + 61)]
    one.close()
    other.close()


def test_pruning_does_not_wait_for_locks(url: str) -> None:
    """An old identity that another session has locked is deleted later, the others at once."""
    ledger = opened(url)
    ledger.record(failures(range(10)), now=NOW, held=False)
    late = NOW + KEEP_IDENTITIES + DAY
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM smtpeter_identity LIMIT 1 FOR UPDATE")
        assert ledger.prune(now=late) == 9
    assert ledger.prune(now=late) == 1
    ledger.close()


def test_replicas_use_the_clock_of_the_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica on a machine that is 40 days ahead uses the time of the server, so it does not prune too early."""
    ledger = opened(url)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 40 * DAY)
    assert ledger.clock() == pytest.approx(now, abs=60)
    ledger.close()


def test_the_clock_of_the_server_is_read_with_each_write(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the server's clock was wrong when the exporter connected, the next check that writes reads the right one."""
    ledger = opened(url)
    now = time.time()
    for wrong in (31 * DAY, 0):
        monkeypatch.setattr(postgres_session, "_time_of", lambda _connection, wrong=wrong: now + wrong)
        before = ledger.clock()
        ledger.check(now=NOW, write=False)
        assert ledger.clock() == pytest.approx(before, abs=60)
        ledger.check(now=NOW, write=True)
        assert ledger.clock() == pytest.approx(now + wrong, abs=60)
    ledger.close()


def test_the_clock_goes_on_while_the_machine_sleeps(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two readings the clock goes on with the uptime, which includes sleep, unlike the monotonic clock."""
    ledger = opened(url)
    before, up = ledger.clock(), uptime()
    monkeypatch.setattr(postgres_session, "uptime", lambda: up + 5 * DAY)
    assert ledger.clock() == pytest.approx(before + 5 * DAY, abs=60)
    ledger.close()


def test_a_last_failure_in_the_future_does_not_hide_that_of_another_slot(url: str) -> None:
    """If a replica counted a failure while the clock was ahead, the next failure of another one has its real time."""
    now = time.time()
    one, other = opened(url), opened(url)
    one.record(failures([1]), now=now + 31 * DAY, held=False)
    assert other.totals() == [Total(BOUNCE, 1, held=False, raised_at=now + 31 * DAY)]
    other.record(failures([2]), now=now, held=False)
    assert other.totals() == [Total(BOUNCE, 2, held=False, raised_at=now)]
    one.close()
    other.close()


def test_the_state_of_the_clock_is_shared(url: str) -> None:
    """A replica that starts has the state that another one stored; it neither adds up nor is it a total."""
    one, other = opened(url), opened(url)
    for at in (NOW, NOW + 60):
        for replica in (one, other):
            replica.check(now=NOW, write=True, state=ClockState(at, 86_400))
    third = opened(url)
    assert (third.clock_state(), third.totals()) == (ClockState(NOW + 60, 86_400), [])
    third.import_totals([Total(BOUNCE, 3, held=False, raised_at=NOW)])
    assert third.totals() == [Total(BOUNCE, 3, held=False, raised_at=NOW)]
    for replica in (one, other, third):
        replica.close()


def test_a_replica_that_hangs_does_not_lock_the_state_of_the_clock(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two statements of a check, other replicas can store the state of the clock without waiting."""
    ledger = opened(url)
    ledger.check(now=NOW, write=True, state=ClockState(NOW, 1))
    execute: Callable[..., psycopg.Cursor] = psycopg.Connection.execute
    rows = []
    with psycopg.connect(url, autocommit=True) as other:

        def executed(connection: psycopg.Connection, *arguments: object) -> object:
            cursor = execute(connection, *arguments)
            rows.append(execute(other, "SELECT 1 FROM smtpeter_total WHERE slot < 0 FOR UPDATE NOWAIT").rowcount)
            return cursor

        monkeypatch.setattr(psycopg.Connection, "execute", executed)
        ledger.check(now=NOW, write=True, state=ClockState(NOW, 2))
        monkeypatch.undo()
    assert rows == [2, 2, 2, 2]
    assert ledger.clock_state() == ClockState(NOW, 2)
    ledger.close()


# Births


def test_a_series_that_may_not_have_been_scraped_as_0_is_held_again(url: str) -> None:
    """After an outage that was longer than the hold, a held series is still exposed as 0 first."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    ledger.record(failures([1]), now=NOW, held=True)
    ledger._writer.close()  # as in an outage
    for now, held in ((NOW + 100, True), (NOW + 159, True), (NOW + 160, False)):
        ledger.release(now=now, hold=60)
        assert ledger.totals() == [Total(BOUNCE, 1, held=held, raised_at=NOW)]
    ledger.close()


def test_a_replica_that_restarts_often_does_not_prolong_holds(url: str) -> None:
    """A replica that starts every 30 seconds and ends at once does not keep the series of others at 0."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=True)
    for now in (NOW + 30, NOW + 59):
        opened(url, now).close()
    ledger.release(now=NOW + 60, hold=60)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
    ledger.close()


def test_the_first_replica_restarts_the_holds(url: str) -> None:
    """If no other replica is running, one that starts restarts the holds."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=True)
    ledger.close()
    ledger = opened_exclusively(url, NOW + 100)
    for now, held in ((NOW + 159, True), (NOW + 160, False)):
        ledger.release(now=now, hold=60)
        assert ledger.totals() == [Total(BOUNCE, 1, held=held, raised_at=NOW)]
    ledger.close()


# Outages


def test_a_frozen_server_does_not_block_scrapes(url: str, server: Postgres) -> None:
    """While the server hangs, a read fails after some seconds, and the next one gets a new connection."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=False)
    before = ledger.totals()
    (backend,) = server.execute(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}' AND query LIKE '%bool_or%'"
    )[-1]
    assert isinstance(backend, int)
    os.kill(backend, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            with pytest.raises(LedgerError):
                pool.submit(ledger.totals).result(10 * READ_TIMEOUT)
            assert ledger.totals() == before
    finally:
        os.kill(backend, signal.SIGCONT)
    ledger.close()


def test_a_server_that_became_read_only_is_abandoned(url: str) -> None:
    """After a failover the next write connects again, and counts."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    ledger._writer.connection().execute("SET default_transaction_read_only = on")  # as a demoted primary
    assert "read-only transaction" in str(error_of(lambda: ledger.record(failures([1]), now=NOW, held=False)))
    assert ledger.record(failures([1]), now=NOW, held=False) == [True]
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
    ledger.close()


def test_the_check_writes_as_a_failure_does(url: str) -> None:
    """If the database accepts no identity, the check with a write fails as recording does. The check without passes."""
    ledger = opened(url)
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE smtpeter_identity ADD CHECK (false) NOT VALID")
    ledger.check(now=NOW, write=False)
    for attempt in (
        lambda: ledger.check(now=NOW, write=True),
        lambda: ledger.record(failures([1]), now=NOW, held=False),
    ):
        assert "violates check constraint" in str(error_of(attempt))
    ledger.close()


def test_a_server_that_hangs_after_the_login_does_not_block_scrapes(url: str, server: Postgres) -> None:
    """If a server or pooler accepts the login and then hangs, reads fail in time, and work again when it answers."""
    with silent_after(b"set_config", server.port) as (port, silent):
        ledger = opened(url.replace(f":{server.port}/", f":{port}/"))
        ledger.record(failures([1]), now=NOW, held=False)
        before = ledger.totals()
        silent.set()
        server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}'"
        )
        with ThreadPoolExecutor(1) as pool:
            for _ in range(2):
                with pytest.raises(LedgerError):
                    pool.submit(ledger.totals).result(10 * READ_TIMEOUT)
        silent.clear()
        until(lambda: readable(ledger))
        assert ledger.totals() == before
        ledger.close()


def test_an_idle_connection_that_was_closed_is_replaced(url: str, server: Postgres) -> None:
    """A read on a connection that the server closed succeeds on a new one."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    before = ledger.totals()
    pid = ledger._reader.connection().info.backend_pid
    server.execute(f"SELECT pg_terminate_backend({pid})")
    assert ledger.totals() == before
    ledger.close()


def test_a_write_on_a_frozen_server_is_aborted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that hangs fails, and the next one gets a new connection."""
    monkeypatch.setattr("exporter.ledger.postgres.WATCHDOG_TIMEOUT", 1.0)
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    backend = ledger._writer.connection().info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool, pytest.raises(LedgerError):
            pool.submit(ledger.record, failures([1]), now=NOW, held=False).result(TIMEOUT)
    finally:
        os.kill(backend, signal.SIGCONT)
    ledger.record(failures([1]), now=NOW, held=False)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
    ledger.close()


@pytest.mark.parametrize("series", ['["fai', "5", "[]", "[1]", '["failures"]'], ids=range(5))
def test_a_damaged_total_is_an_error(url: str, series: str) -> None:
    """A total with a series that the exporter never writes prevents opening."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=False)
    ledger.close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE smtpeter_total SET series = %s", (series,))
    assert "it is damaged" in str(error_of(lambda: open_ledger(PostgresUrl(url), now=NOW)))


@pytest.mark.parametrize("first", [False, True], ids=["not exclusively", "exclusively"])
def test_an_exclusive_opening_tolerates_no_other(url: str, first: bool) -> None:
    """While any other process uses the ledger, it can't be opened exclusively."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW, exclusive=first)
    assert isinstance(error_of(lambda: PostgresLedger(PostgresUrl(url), now=NOW, exclusive=True)), LedgerBusy)
    ledger.close()
    opened_exclusively(url, NOW).close()
