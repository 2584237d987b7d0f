"""The PostgreSQL ledger's own facts: who may share it, what happens when the server goes, and what is said of it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

import psycopg
import pytest

from exporter.errors import LedgerBusy, LedgerError
from exporter.ledger.contract import DAY, KEEP_IDENTITIES, Ledger, Total
from exporter.ledger.postgres import SLOTS, PostgresLedger
from exporter.ledger.postgres_session import READ_TIMEOUT, Session
from exporter.ledger.url import PostgresUrl, without_password
from tests.ledger.test_contract import BOUNCE, NOW, failures
from tests.support.documentation import blocks
from tests.support.pooler import pooled
from tests.support.postgres import PASSWORD, QUOTED, Postgres, postgres
from tests.support.running import TIMEOUT, command, environment, exporter, failure, until

SERIES: Final = "rcptto/5xx/5.1.1"


@pytest.fixture(scope="module")
def running() -> Iterator[Postgres]:
    """A PostgreSQL for this module: its tests stop, freeze and lock it."""
    with postgres() as made:
        yield made


@pytest.fixture
def url(running: Postgres, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    return running.create(f"{request.node.name[:40]}-{os.getpid()}")


def opened(url: str, now: float = NOW) -> Ledger:
    """The ledger in the database."""
    return PostgresLedger(PostgresUrl(url), now=now)


def refusal(url: str) -> str:
    """What opening the ledger fails with."""
    with pytest.raises(LedgerError) as caught:
        opened(url)
    return str(caught.value)


def ended(folder: Path, *flags: str, program: str = "serve") -> tuple[int, str]:
    """Exit code and output of an exporter that does not come to life, or of another command with its flags."""
    words = command(folder, *flags)
    words[words.index("serve")] = program
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=TIMEOUT)
    return done.returncode, done.stdout + done.stderr


def opened_alone(url: str, now: float) -> Ledger:
    """The ledger, as soon as the server knows that nobody else has it any more."""

    def attempt() -> Ledger | None:
        with suppress(LedgerBusy):
            return PostgresLedger(PostgresUrl(url), now=now, alone=True)
        return None

    return until(attempt)


def readable(ledger: Ledger) -> bool:
    """Whether it can be read at the moment."""
    with suppress(LedgerError):
        ledger.totals()
        return True
    return False


@contextmanager
def silent_after(word: bytes, port: int) -> Iterator[tuple[int, threading.Event]]:
    """A port that leads to another one; while the event is set, nothing goes on that has sent the word."""
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


# Shared


def test_settings_of_the_database_do_not_weaken_it(url: str, running: Postgres) -> None:
    """Where the database's own defaults are others, a commit waits for the disk, and two exporters for each other."""
    name = url.rpartition("/")[2]
    for setting in ("synchronous_commit = off", "default_transaction_isolation = 'serializable'"):
        running.execute(f'ALTER DATABASE "{name}" SET {setting}')
    session = Session(PostgresUrl(url))
    names = ("synchronous_commit", "default_transaction_isolation", "statement_timeout")
    values = [row for setting in names for row in session.connection().execute(f"SHOW {setting}".encode())]
    session.close()
    assert values == [("on",), ("read committed",), ("5s",)]


def test_replicas_show_the_same_totals_and_count_each_failure_once(url: str) -> None:
    """Three that record the same batches at the same time count each failure once, and each shows the sum."""
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


def test_replicas_that_start_together_make_one_schema(url: str) -> None:
    """Eight that open an empty database at the same moment all find a ledger, each with a slot of its own."""
    together = threading.Barrier(SLOTS)

    def open_at_once(_number: int) -> Ledger:
        together.wait(TIMEOUT)
        return opened(url)

    with ThreadPoolExecutor(SLOTS) as pool:
        replicas = list(pool.map(open_at_once, range(SLOTS)))
    for number, replica in enumerate(replicas):
        assert replica.record(failures([number]), now=NOW, held=False) == [True]
    assert replicas[0].totals() == [Total(BOUNCE, SLOTS, held=False, raised_at=NOW)]
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT count, slot FROM smtpeter_total ORDER BY slot").fetchall()
    assert rows == [(1, slot) for slot in range(SLOTS)]
    for replica in replicas:
        replica.close()


def test_a_series_that_another_replica_has_shown_is_not_born_again(url: str) -> None:
    """What one replica brought and showed stays shown when another one, which has never seen it, raises it."""
    one, other = opened(url), opened(url)
    one.record(failures([1]), now=NOW, held=True)
    one.release(now=NOW + 60, hold=60)
    other.record(failures([2]), now=NOW + 61, held=True)
    assert other.totals() == [Total(BOUNCE, 2, held=False, raised_at=NOW + 61)]
    one.close()
    other.close()


def test_pruning_waits_for_nobody(url: str) -> None:
    """An old identity that another session holds is left for the next time; the others are forgotten at once."""
    ledger = opened(url)
    ledger.record(failures(range(10)), now=NOW, held=False)
    late = NOW + KEEP_IDENTITIES + DAY
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM smtpeter_identity LIMIT 1 FOR UPDATE")
        assert ledger.prune(now=late) == 9
    assert ledger.prune(now=late) == 1
    ledger.close()


def test_replicas_share_the_clock_of_the_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica whose machine is 40 days ahead goes by the server's time of day: it would forget for all."""
    ledger = opened(url)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 40 * DAY)
    assert ledger.clock() == pytest.approx(now, abs=60)
    ledger.close()


# Births


def test_a_series_that_nobody_may_have_seen_as_0_is_held_anew(url: str) -> None:
    """After an outage that was longer than the hold, a series that was born before it is still shown as 0 first."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    ledger.record(failures([1]), now=NOW, held=True)
    ledger._writer.close()  # as when the server goes
    for now, held in ((NOW + 100, True), (NOW + 159, True), (NOW + 160, False)):
        ledger.release(now=now, hold=60)
        assert ledger.totals() == [Total(BOUNCE, 1, held=held, raised_at=NOW)]
    ledger.close()


def test_a_replica_that_comes_and_goes_holds_nothing_up(url: str) -> None:
    """One that starts every 30 seconds and ends at once does not keep the series of others at 0."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=True)
    for now in (NOW + 30, NOW + 59):
        opened(url, now).close()
    ledger.release(now=NOW + 60, hold=60)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
    ledger.close()


def test_the_hold_begins_anew_with_the_first_of_all(url: str) -> None:
    """When none was there, the one that starts begins the time of held series anew."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=True)
    ledger.close()
    ledger = opened_alone(url, NOW + 100)
    for now, held in ((NOW + 159, True), (NOW + 160, False)):
        ledger.release(now=now, hold=60)
        assert ledger.totals() == [Total(BOUNCE, 1, held=held, raised_at=NOW)]
    ledger.close()


def test_replicas_learn_of_each_others_label_sets(tmp_path: Path, url: str) -> None:
    """A label set that one brought is in use for the other from its next scrape on."""
    (tmp_path / "a").mkdir()
    with exporter(tmp_path, "--storage.url", url) as one, exporter(tmp_path / "a", "--storage.url", url) as other:
        assert [other.post(failure(number, extended=f"5.1.{number}")).status for number in (1, 2)] == [200, 200]
        assert one.samples()["smtpeter_exporter_label_sets"] == 2
        assert one.failures() == other.failures() == {"rcptto/5xx/5.1.1": 1, "rcptto/5xx/5.1.2": 1}


@pytest.mark.parametrize("pooling", [False, True])
def test_prepares_only_without_a_pooler(url: str, *, pooling: bool) -> None:
    """A pooler that gives each transaction another session gets in nobody's way; without one, statements are prepared.

    What is prepared behind it is missing in the next session, or is another client's there.
    """
    with pooled(url) if pooling else nullcontext(url) as given, ExitStack() as stack:
        ledger = PostgresLedger(PostgresUrl(given), now=NOW)
        stack.callback(ledger.close)
        for number in range(20):
            assert ledger.record(failures([number]), now=NOW, held=False) == [True]
            ledger.check(now=NOW, write=True)
            ledger.release(now=NOW, hold=60)
            assert ledger.prune(now=NOW) == 0
            assert ledger.totals() == [Total(BOUNCE, number + 1, held=False, raised_at=NOW)]
        names = ledger._writer.connection().execute("SELECT name FROM pg_prepared_statements").fetchall()
    assert bool(names) is not pooling


# When the server goes


def test_a_server_that_goes_is_answered_503_and_heals(tmp_path: Path, url: str, running: Postgres) -> None:
    """Stopped under an exporter: 503 with Retry-After, not ready, last totals; back: it counts on by itself, once."""
    with exporter(tmp_path, "--storage.url", url) as replica:
        assert replica.post(failure(1)).status == 200
        assert replica.failures() == {SERIES: 1}
        running.stop()
        try:
            refused = replica.post(failure(2))
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
            assert replica.failures() == {SERIES: 1}
            assert replica.get("/-/ready").status == 503
        finally:
            running.start()
        until(lambda: replica.get("/-/ready").status == 200)
        assert [replica.post(failure(number)).status for number in (1, 2)] == [200, 200]
        assert replica.failures() == {SERIES: 2}
        assert not [line for line in replica.lines if QUOTED in line or PASSWORD in line or "Traceback" in line]


def test_a_server_that_stands_still_does_not_stop_scrapes(url: str, running: Postgres) -> None:
    """Frozen, it lets a reader wait for some seconds and then fail; thawed, it is read again."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=False)
    before = ledger.totals()
    (backend,) = running.execute(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}' AND query LIKE '%bool_or%'"
    )[-1]
    assert isinstance(backend, int)
    os.kill(backend, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            with pytest.raises(LedgerError):
                pool.submit(ledger.totals).result(4 * READ_TIMEOUT)
            assert ledger.totals() == before
    finally:
        os.kill(backend, signal.SIGCONT)
    ledger.close()


def test_a_server_that_may_no_longer_be_written_is_left(url: str) -> None:
    """When another one has taken over, the next write looks for a server anew, and counts."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    ledger._writer.connection().execute("SET default_transaction_read_only = on")  # as it is demoted
    with pytest.raises(LedgerError, match="read-only transaction"):
        ledger.record(failures([1]), now=NOW, held=False)
    assert ledger.record(failures([1]), now=NOW, held=False) == [True]
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
    ledger.close()


def test_check_finds_out_that_no_failure_can_be_written(url: str) -> None:
    """Where the database takes no identity, the check for writing fails as a failure would, that for reading not."""
    ledger = opened(url)
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE smtpeter_identity ADD CHECK (false) NOT VALID")
    ledger.check(now=NOW, write=False)
    for attempt in (
        lambda: ledger.check(now=NOW, write=True),
        lambda: ledger.record(failures([1]), now=NOW, held=False),
    ):
        with pytest.raises(LedgerError, match="violates check constraint"):
            attempt()
    ledger.close()


def test_a_server_that_is_silent_after_the_login_does_not_stop_scrapes(url: str, running: Postgres) -> None:
    """A server or pooler that takes the login and then says nothing: readers fail in time, and heal when it is gone."""
    with silent_after(b"set_config", running.port) as (port, silent):
        ledger = opened(url.replace(f":{running.port}/", f":{port}/"))
        ledger.record(failures([1]), now=NOW, held=False)
        before = ledger.totals()
        silent.set()
        running.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}'"
        )
        with ThreadPoolExecutor(1) as pool:
            for _ in range(2):
                with pytest.raises(LedgerError, match=r"no answer within 3 seconds|still waiting"):
                    pool.submit(ledger.totals).result(2 * READ_TIMEOUT)
        silent.clear()
        until(lambda: readable(ledger))
        assert ledger.totals() == before
        ledger.close()


def test_an_idle_connection_that_was_dropped_is_replaced(url: str, running: Postgres) -> None:
    """What ended meanwhile costs a reader nothing: it reads on a new connection."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    before = ledger.totals()
    pid = ledger._reader.connection().info.backend_pid
    running.execute(f"SELECT pg_terminate_backend({pid})")
    assert ledger.totals() == before
    ledger.close()


def test_a_writer_whose_server_is_silent_is_broken_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that hangs is given up, and the next write finds another one."""
    monkeypatch.setattr("exporter.ledger.postgres.WATCHDOG_TIMEOUT", 1.0)
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    backend = ledger._writer.connection().info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool, pytest.raises(LedgerError):
            pool.submit(ledger.record, failures([1]), now=NOW, held=False).result(10)
    finally:
        os.kill(backend, signal.SIGCONT)
    ledger.record(failures([1]), now=NOW, held=False)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]
    ledger.close()


def test_a_commit_waits_for_the_disk_whatever_the_server_is_told_later(url: str, running: Postgres) -> None:
    """``synchronous_commit`` that is turned off in the server, and read anew by it, stays on here."""
    session = Session(PostgresUrl(url))
    session.connection()
    running.execute("ALTER SYSTEM SET synchronous_commit = off")
    try:
        running.execute("SELECT pg_reload_conf()")
        until(lambda: running.execute("SHOW synchronous_commit") == [("off",)])
        session.connection().execute("SELECT 1")
        assert session.connection().execute("SHOW synchronous_commit").fetchone() == ("on",)
    finally:
        running.execute("ALTER SYSTEM RESET synchronous_commit")
        running.execute("SELECT pg_reload_conf()")
    session.close()


def test_counters_stand_when_the_server_goes_before_the_first_scrape(
    tmp_path: Path, url: str, running: Postgres
) -> None:
    """What was read at the start is shown: 0 would look like a reset, and what comes after it like a spike."""
    with exporter(tmp_path, "--storage.url", url) as replica:
        assert replica.post(failure(1)).status == 200
    with exporter(tmp_path, "--storage.url", url) as replica:
        running.stop()
        try:
            assert replica.failures() == {SERIES: 1}
            until(lambda: any("can't be read, exposing the totals last read" in line for line in replica.lines))
        finally:
            running.start()


# What is said


def test_unreachable_server_is_told_without_the_password(tmp_path: Path) -> None:
    """Nobody listens: exit code 3 and one line with the server's name, and without the password."""
    code, said = ended(tmp_path, "--storage.url", f"postgresql://exporter:{QUOTED}@127.0.0.1:1/x?connect_timeout=3")
    assert (code, said.count("\n"), "Connection refused" in said) == (3, 1, True)
    assert QUOTED not in said
    assert PASSWORD not in said


def test_wrong_password_is_told(url: str) -> None:
    """The server refuses: its words, and not the password."""
    said = refusal(url.replace(QUOTED, "wr0ng"))
    assert 'password authentication failed for user "exporter"' in said
    assert "wr0ng" not in said


def test_newer_schema_is_told(url: str) -> None:
    """A database that a later version wrote is left alone."""
    opened(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE smtpeter_schema SET version = 99")
    assert "it was written by a newer version (schema 99, this version knows up to 1)" in refusal(url)


def test_what_the_page_says_to_make_is_enough(running: Postgres) -> None:
    """User and database that docs/postgresql.md makes are all that a ledger needs."""
    (block,) = blocks("docs/postgresql.md", "sql")
    for statement in block.text.splitlines():
        running.execute(statement)
    running.execute("ALTER ROLE smtpeter PASSWORD 'smtpeter'")  # the page leaves to others how a user is known
    with closing(opened(running.url("smtpeter").replace(f"exporter:{QUOTED}", "smtpeter:smtpeter"))) as ledger:
        assert ledger.record(failures([1]), now=NOW, held=False) == [True]


def test_user_who_may_not_write_is_told(url: str, running: Postgres) -> None:
    """A user without rights on the tables is told so at the start."""
    opened(url).close()
    running.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    assert "permission denied" in refusal(url.replace(f"exporter:{QUOTED}", "reader:reader"))


def test_user_who_may_not_delete_is_told(url: str, running: Postgres) -> None:
    """A user who may only do a part of what is needed is told so at the start, not by a readiness that never comes."""
    opened(url).close()
    name = url.rpartition("/")[2]
    running.execute("CREATE ROLE half LOGIN PASSWORD 'half'")
    running.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO half", name)
    running.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO half", name)
    assert "permission denied" in refusal(url.replace(f"exporter:{QUOTED}", "half:half"))


@pytest.mark.parametrize("series", ['["fai', "5", "[]", "[1]", '["failures"]'], ids=range(5))
def test_damaged_totals_are_told(tmp_path: Path, url: str, series: str) -> None:
    """A sum that is none of ours: exit code 3 and one line."""
    ledger = opened(url)
    ledger.record(failures([1]), now=NOW, held=False)
    ledger.close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE smtpeter_total SET series = %s", (series,))
    code, said = ended(tmp_path, "--storage.url", url)
    assert (code, said.count("\n"), "it is damaged" in said) == (3, 1, True), said


def test_unknown_parameter_is_told(tmp_path: Path) -> None:
    """A mistake in the URL that only libpq can see: exit code 2, with the parameter's name, from check-config, too."""
    for program in ("serve", "check-config"):
        code, said = ended(tmp_path, "--storage.url", "postgresql://u:s3cret@h/db?sslmod=require", program=program)
        told = "storage.url: 'postgresql://u:***@h/db': the parameter sslmod is not known: "
        told += "expected a connection URI of libpq"
        assert (code, said) == (2, f"smtpeter-exporter: {told}\n")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            "postgresql://u@h/db?scram_client_key=s3cret&sslmode=require",
            "postgresql://u@h/db?scram_client_key=***&sslmode=require",
        ),
        ("postgresql://h1:5432,h2:5433/db?password=s3cret", "postgresql://h1:5432,h2:5433/db?password=***"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
        ("postgresql://u:s3cret/db", "postgresql://***"),
        ("postgresql://u:s3cret%40h/db", "postgresql://***"),
        ("postgresql://u@h/db;password=s3cret", "postgresql://***"),
        ("host=db user=u password=s3cret", "***"),
        ("Server=db;Password=s3cret", "***"),
        ("['host=db password=s3cret']", "***"),
        ("PG:u:s3cret", "***"),
        ("mysql://x", "mysql://x"),
        ("/var/lib/x.db", "/var/lib/x.db"),
        ("sqlite://x@y.db", "sqlite://x@y.db"),
    ],
)
def test_shown_is_what_is_known_to_be_no_password(given: str, shown: str) -> None:
    """Of what is no URL only that is shown which can't be a password; of parameters only what is known."""
    assert without_password(given) == shown


def test_a_setting_of_the_wrong_type_is_refused_without_its_password(tmp_path: Path) -> None:
    """A list in the configuration file where text was expected."""
    file = tmp_path / "exporter.toml"
    file.write_text('[storage]\nurl = ["postgresql://u:s3cret@h/db"]\n')
    code, said = ended(tmp_path, "--config.file", str(file), program="check-config")
    assert (code, "storage.url: ***: expected text in quotes" in said, "s3cret" in said) == (2, True, False), said


def test_check_config_hides_the_password(tmp_path: Path) -> None:
    """The setting is shown with its host, and stars for the password, in the URL and in its parameters."""
    given = f"postgresql://exporter:{QUOTED}@db.example.com/ledger?sslmode=verify-full&sslpassword=hidden"
    code, said = ended(tmp_path, "--storage.url", given, program="check-config")
    shown = "postgresql://exporter:***@db.example.com/ledger?sslmode=verify-full&sslpassword=***"
    assert (code, f"storage.url = '{shown}'  # --storage.url" in said, "hidden" in said) == (0, True, False)


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://u:s3cret@h:port/db",
        "postgresql://u:s3cret%@h/db",
        "postgresql://u:s3c@ret@h/db",
        "postgresql://u:s3c#ret@h/db",
        "postgresql://u:s3c/ret@h/db#x",
        "mysql://u:s3cret@h/db",
        "u:s3cret@h",
        "postgres//u:s3cret@h/db",
    ],
)
def test_what_is_no_url_is_refused_without_its_password(tmp_path: Path, given: str) -> None:
    """A setting that can't be read: exit code 2, one line, and nothing of the password."""
    code, said = ended(tmp_path, "--storage.url", given)
    assert (code, said.count("\n"), "storage.url" in said) == (2, 1, True)
    assert not [part for part in ("s3c", "ret@") if part in said], said


def test_missing_extra_is_told(tmp_path: Path) -> None:
    """Without psycopg: exit code 2, and what to install."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('no psycopg')")
    words = command(tmp_path, "--storage.url", "postgresql://u:s3cret@h/db")
    done = subprocess.run(
        [sys.executable, *words[1:]],
        check=False,
        capture_output=True,
        text=True,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, "pip install 'smtpeter-exporter[postgres]'" in done.stderr) == (2, True)
    assert "s3cret" not in done.stderr
