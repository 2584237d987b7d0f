"""The PostgreSQL ledger's own facts: who may share it, what happens when the server goes, and what is said of it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Final

import psycopg
import pytest

from exporter.errors import LedgerError
from exporter.ledger import KEEP_IDENTITIES, Ledger, Total
from exporter.postgres import SLOTS, PostgresLedger
from exporter.postgres_session import HURRIED, LOCK, Session
from exporter.setting_values import PostgresUrl
from tests.pooler import pooled
from tests.postgres import PASSWORD, QUOTED, Postgres, postgres
from tests.running import command, environment, exporter, failure, until
from tests.test_ledger import BOUNCE, DAY, NOW, failures

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
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=30)
    return done.returncode, done.stdout + done.stderr


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
                together.wait(30)
                new += sum(replica.record(failures(range(start, start + 50)), now=NOW, held=False))
            return new

        assert sum(pool.map(record, replicas)) == 2_000
        assert [replica.totals() for replica in replicas] == [[Total(BOUNCE, 2_000, held=False, raised_at=NOW)]] * 3


def test_replicas_that_start_together_make_one_schema(url: str) -> None:
    """Eight that open an empty database at the same moment all find a ledger, each with a slot of its own."""
    together = threading.Barrier(SLOTS)

    def open_at_once(_number: int) -> Ledger:
        together.wait(30)
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


def test_one_replica_prunes_at_a_time(url: str) -> None:
    """While another session prunes nothing is forgotten, and nobody waits; afterwards it is."""
    ledger = opened(url)
    ledger.record(failures(range(10)), now=NOW, held=False)
    late = NOW + KEEP_IDENTITIES + DAY
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK + 1,))
        assert ledger.prune(now=late) == 0
    assert ledger.prune(now=late) == 10
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
        names = ledger._writer.connection().execute("SELECT name FROM pg_prepared_statements").fetchall()  # noqa: SLF001
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
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}' AND query LIKE '%bool_or%'"  # noqa: S608
    )[-1]
    assert isinstance(backend, int)
    os.kill(backend, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            with pytest.raises(LedgerError):
                pool.submit(ledger.totals).result(4 * HURRIED)
            assert ledger.totals() == before
    finally:
        os.kill(backend, signal.SIGCONT)
    ledger.close()


def test_a_server_that_may_no_longer_be_written_is_left(url: str) -> None:
    """When another one has taken over, the next write looks for a server anew, and counts."""
    ledger = PostgresLedger(PostgresUrl(url), now=NOW)
    ledger._writer.connection().execute("SET default_transaction_read_only = on")  # noqa: SLF001 -- as it is demoted
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


def test_user_who_may_not_write_is_told(url: str, running: Postgres) -> None:
    """A user without rights on the tables is told so at the start."""
    opened(url).close()
    running.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    assert "permission denied" in refusal(url.replace(f"exporter:{QUOTED}", "reader:reader"))


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
