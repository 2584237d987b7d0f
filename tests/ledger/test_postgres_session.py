"""Sessions of the PostgreSQL ledger: their settings, the schema, and the errors that an operator sees."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext, suppress

import psycopg
import pytest

from exporter.errors import LedgerError, LedgerFull
from exporter.ledger.contract import Ledger, Total
from exporter.ledger.postgres import SLOTS, PostgresLedger
from exporter.ledger.postgres_session import Session, to_ledger_error
from exporter.ledger.url import PostgresUrl
from tests.support.documentation import blocks
from tests.support.pooler import pooled
from tests.support.postgres import PASSWORD, QUOTED, Postgres, shared_server
from tests.support.records import BOUNCE, NOW, error_of, failures
from tests.support.running import TIMEOUT, until
from tests.support.texts import Texts

pytestmark = pytest.mark.server


@pytest.fixture
def server() -> Postgres:
    """Return the shared server."""
    return shared_server()


@pytest.fixture
def url(server: Postgres) -> str:
    """Return the URL of a new database."""
    return server.create_new()


def opened(url: str) -> Ledger:
    """Open the ledger in the database."""
    return PostgresLedger(PostgresUrl(url), now=NOW)


# Durability


def maintained(url: str) -> str:
    """Return the warning of a ledger after its first maintenance."""
    with closing(opened(url)) as ledger:
        ledger.release(now=NOW, hold=0)
        return ledger.warning()


def test_a_durable_database_has_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """With the default settings of PostgreSQL, a crash loses nothing, so there is no warning."""
    durable = Postgres(durable=True)
    try:
        assert maintained(durable.create_new()) == ""
    finally:
        durable.end()
    assert caplog.records == []


def test_a_database_that_is_not_durable_has_a_warning(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """If fsync is off or a table is unlogged, the warning says so. It is logged each time it changes.

    A new connection does not repeat it.
    """
    name, own = url.rpartition("/")[2], "pg_backend_pid()"
    start = f"ledger {PostgresUrl(url)}: a crash can lose failures that were answered 200: fsync is off"
    with closing(opened(url)) as ledger:
        said = []
        for statement in (
            "SELECT 1",
            "ALTER TABLE smtpeter_total SET UNLOGGED",
            "ALTER TABLE smtpeter_identity SET UNLOGGED",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> {own}",
            "ALTER TABLE smtpeter_total SET LOGGED",
        ):
            shared_server().execute(statement, name)
            for _ in range(2):
                with suppress(LedgerError):  # the first call after the connection was closed
                    ledger.release(now=NOW, hold=0)
            said.append(ledger.warning())
    one, other = "; the table smtpeter_total is unlogged", "; the table smtpeter_identity is unlogged"
    assert said == [start, start + one, start + other + one, start + other + one, start + other]
    logged = [(record.levelname, record.getMessage(), vars(record)["why"]) for record in caplog.records]
    assert logged == [("WARNING", "ledger is not durable", said[place]) for place in (0, 1, 2, 4)]


# Connections


def test_defaults_of_the_database_are_overridden(url: str, server: Postgres) -> None:
    """Whatever the defaults of the database are, commits wait for the disk and statements have a time limit."""
    name = url.rpartition("/")[2]
    for setting in ("synchronous_commit = off", "default_transaction_isolation = 'serializable'"):
        server.execute(f'ALTER DATABASE "{name}" SET {setting}')
    session = Session(PostgresUrl(url))
    names = ("synchronous_commit", "default_transaction_isolation", "statement_timeout")
    values = [row for setting in names for row in session.connection().execute(f"SHOW {setting}".encode())]
    session.close()
    assert values == [("on",), ("read committed",), ("5s",)]


def test_commits_wait_for_the_disk_after_a_reload(url: str, server: Postgres) -> None:
    """If ``synchronous_commit`` is turned off in the server and reloaded, it stays on in open sessions."""
    session = Session(PostgresUrl(url))
    session.connection()
    server.execute("ALTER SYSTEM SET synchronous_commit = off")
    try:
        server.execute("SELECT pg_reload_conf()")
        until(lambda: server.execute("SHOW synchronous_commit") == [("off",)])
        session.connection().execute("SELECT 1")
        assert session.connection().execute("SHOW synchronous_commit").fetchone() == ("on",)
    finally:
        server.execute("ALTER SYSTEM RESET synchronous_commit")
        server.execute("SELECT pg_reload_conf()")
    session.close()


@pytest.mark.parametrize("pooling", [False, True])
def test_statements_are_prepared_only_without_a_pooler(url: str, *, pooling: bool) -> None:
    """The ledger works behind a pooler that runs each transaction in another session.

    There, a prepared statement would be missing in the next session, or belong to another client.
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


# The schema


def test_replicas_that_start_together_create_one_schema(url: str) -> None:
    """Eight replicas that open an empty database at the same moment all get a ledger, each with its own slot."""
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


def test_a_newer_schema_is_an_error(url: str, texts: Texts) -> None:
    """A ledger of a later version does not open."""
    opened(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE smtpeter_schema SET version = 99")
    texts.check(str(error_of(lambda: opened(url))).replace(str(PostgresUrl(url)), "URL"))


def test_user_and_database_of_the_page_are_sufficient(server: Postgres) -> None:
    """The user and the database that docs/postgresql.md creates are all that a ledger needs."""
    (block,) = blocks("docs/postgresql.md", "sql")
    for statement in block.text.splitlines():
        server.execute(statement)
    server.execute("ALTER ROLE smtpeter PASSWORD 'smtpeter'")  # the page leaves authentication to the reader
    with closing(opened(server.url("smtpeter").replace(f"exporter:{QUOTED}", "smtpeter:smtpeter"))) as ledger:
        assert ledger.record(failures([1]), now=NOW, held=False) == [True]


# Errors


def test_an_unreachable_server_is_an_error_without_the_password() -> None:
    """If no server listens, the error is one line that names the server but not the password."""
    url = PostgresUrl(f"postgresql://exporter:{QUOTED}@127.0.0.1:1/x?connect_timeout=3")
    error = str(error_of(lambda: PostgresLedger(url, now=NOW)))
    assert (error.startswith(f"ledger {url}: "), "Connection refused" in error, "\n" in error) == (True, True, False)
    assert [password for password in (QUOTED, PASSWORD) if password in error] == []


def test_a_wrong_password_is_an_error(url: str) -> None:
    """The error has the words of the server, but not the password."""
    error = str(error_of(lambda: opened(url.replace(QUOTED, "wr0ng"))))
    assert 'password authentication failed for user "exporter"' in error
    assert "wr0ng" not in error


def test_a_user_without_privileges_is_an_error(url: str, server: Postgres) -> None:
    """A user who has no privileges on the tables can't open the ledger, and the error says what to do."""
    opened(url).close()
    server.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    error = str(error_of(lambda: opened(url.replace(f"exporter:{QUOTED}", "reader:reader"))))
    assert ("permission denied" in error, error.endswith("grant it to this user")) == (True, True)


def test_a_user_who_may_not_delete_is_an_error(url: str, server: Postgres) -> None:
    """A missing privilege is an error when the ledger is opened, not only when it is needed later."""
    opened(url).close()
    name = url.rpartition("/")[2]
    server.execute("CREATE ROLE half LOGIN PASSWORD 'half'")
    server.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO half", name)
    server.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO half", name)
    assert "permission denied" in str(error_of(lambda: opened(url.replace(f"exporter:{QUOTED}", "half:half"))))


def test_a_missing_ledger_is_an_error_if_it_must_exist(url: str, server: Postgres, texts: Texts) -> None:
    """With ``existing`` no ledger is created."""
    ledger = PostgresUrl(url)
    error = error_of(lambda: PostgresLedger(ledger, now=NOW, existing=True))
    texts.check(str(error).replace(str(ledger), "URL"))
    assert server.execute("SELECT 1 FROM pg_class WHERE relname LIKE 'smtpeter%'", url.rpartition("/")[2]) == []


def test_a_removed_table_is_an_error(url: str, server: Postgres) -> None:
    """If the tables disappear while the ledger is open, the error says what to do."""
    ledger = opened(url)
    server.execute("DROP TABLE smtpeter_total", url.rpartition("/")[2])
    assert "restore a backup" in str(error_of(ledger.totals))
    ledger.close()


HINTS = {
    "InsufficientPrivilege": psycopg.errors.InsufficientPrivilege("permission denied"),
    "UndefinedTable": psycopg.errors.UndefinedTable("no table"),
    "QueryCanceled": psycopg.errors.QueryCanceled("canceled"),
    "DiskFull": psycopg.errors.DiskFull("no space"),
    "LockNotAvailable": psycopg.errors.LockNotAvailable("lock timeout"),
    "other": psycopg.OperationalError("server closed\nthe connection"),
}


@pytest.mark.parametrize("error", HINTS.values(), ids=HINTS)
def test_errors_say_what_to_do(error: psycopg.Error, texts: Texts) -> None:
    """An error of the database is one line with the ledger, the server's words, and what to do."""
    shown = to_ledger_error(PostgresUrl("postgresql://exporter:s3cret@db.example/smtpeter"), error)
    assert type(shown) is (LedgerFull if isinstance(error, psycopg.errors.DiskFull) else LedgerError)
    texts.check(shown)


# Sessions


def test_a_session_connects_again_after_it_was_closed(url: str) -> None:
    """A session has one connection, which it replaces after it was closed or broken."""
    session = Session(PostgresUrl(url))
    first = session.connection()
    assert session.connection() is first
    session.close()
    second = session.connection()
    assert second is not first
    session.abort()
    with pytest.raises(psycopg.OperationalError):
        second.execute("SELECT 1")
    assert session.is_broken()
    assert session.connection().execute("SELECT 1").fetchone() == (1,)
    assert not session.is_broken()
    session.close()


def test_parameters_of_the_url_override_the_defaults(url: str) -> None:
    """A parameter of libpq in the URL wins over the exporter's own default."""
    for given, name in ((url, "smtpeter-exporter"), (f"{url}?application_name=other", "other")):
        session = Session(PostgresUrl(given))
        assert session.connection().execute("SHOW application_name").fetchone() == (name,)
        session.close()
