"""Looking at a ledger in PostgreSQL: what is found, and that nothing is written."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from typing import Final

import pytest

from exporter.errors import LedgerError
from exporter.ledger import postgres_inspection, postgres_session, postgres_statements
from exporter.ledger.contract import Total
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.postgres_inspection import inspect_database
from exporter.ledger.url import PostgresUrl
from tests.support.postgres import QUOTED, Postgres, shared_server
from tests.support.records import BOUNCE, NOW, count, failures
from tests.support.running import free_port

pytestmark = pytest.mark.server

TABLES: Final = (
    *("smtpeter_schema", "smtpeter_identity", "smtpeter_delivery", "smtpeter_series", "smtpeter_total"),
    *("smtpeter_fact", "smtpeter_reconciled", "smtpeter_slot"),
)


class Database:
    """A new database of the shared server, and what is in it."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.url = PostgresUrl(server.create_new())
        self.name = self.url.text.rpartition("/")[2]
        self.shown = str(self.url)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in it."""
        return self.server.execute(statement, self.name)

    def fill(self) -> None:
        """Make a ledger with failures."""
        with closing(PostgresLedger(self.url, now=NOW)) as ledger:
            count(ledger, failures(range(10)))

    def state(self) -> list[object]:
        """Return the catalog, and the rows of all tables of the ledger."""
        catalog = self.execute(
            "SELECT relname, relfilenode, relacl::text, xmin::text FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
        )
        present = [table for table in TABLES if any(row[0] == table for row in catalog)]
        rows = [self.execute(f"SELECT xmin::text, * FROM {table} ORDER BY 2") for table in present]
        return [
            catalog,
            *rows,
            self.execute("SELECT setting FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting"),
        ]

    def reader(self, *grants: str) -> PostgresUrl:
        """Return the URL of a user who may read, and who has these rights."""
        role = f"reader_{self.name.replace('-', '_')}"
        self.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        self.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        for grant in grants:
            self.execute(f"GRANT {grant} TO {role}")
        return PostgresUrl(self.url.text.replace(f"exporter:{QUOTED}", f"{role}:x"))


@pytest.fixture
def database() -> Database:
    """Return a new database, on a server that waits for the disk."""
    return Database(shared_server())


def without_fsync(notes: list[str]) -> list[str]:
    """Return the notes, except for the one about the tests' server, which does not wait for the disk."""
    return [
        note for note in notes if not note.endswith("a crash can lose failures that were answered 200: fsync is off")
    ]


def test_a_ledger_has_series_and_no_notes(database: Database) -> None:
    """Nothing is written: catalog, rows and sequence are the same afterwards."""
    database.fill()
    before = database.state()
    series, notes = inspect_database(database.url)
    assert (set(series), without_fsync(notes)) == ({BOUNCE}, [])
    assert database.state() == before


def test_a_ledger_in_use_is_no_error(database: Database) -> None:
    """Several exporters share it."""
    with closing(PostgresLedger(database.url, now=NOW)) as ledger:
        assert without_fsync(inspect_database(database.url)[1]) == []
        assert count(ledger, failures([1])) == [True]


def test_a_missing_ledger_is_a_note(database: Database) -> None:
    """``serve`` will create it; the inspection does not."""
    before = database.state()
    _, notes = inspect_database(database.url)
    assert without_fsync(notes) == [
        f"ledger {database.shown}: there is no ledger in this database yet; serve will create it"
    ]
    assert database.state() == before


def test_an_older_ledger_is_a_note(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """``serve`` will migrate it; the inspection does not."""
    database.fill()
    before = database.state()
    monkeypatch.setattr(postgres_inspection, "MIGRATIONS", (*postgres_session.MIGRATIONS, "later"))
    _, notes = inspect_database(database.url)
    known = len(postgres_session.MIGRATIONS)
    assert without_fsync(notes) == [
        f"ledger {database.shown}: serve will migrate its schema from {known} to {known + 1}"
    ]
    assert database.state() == before


def test_a_database_that_loses_commits_is_a_note(database: Database) -> None:
    """The note is the warning that ``serve`` logs."""
    (note,) = [note for note in inspect_database(database.url)[1] if "a crash can lose" in note]
    assert note == f"ledger {database.shown}: a crash can lose failures that were answered 200: fsync is off"


def newer(database: Database) -> tuple[PostgresUrl, str]:
    """Give it the schema of a later version."""
    database.execute("UPDATE smtpeter_schema SET version = 99")
    return database.url, "it was written by a newer version (schema 99, "


def damaged(database: Database) -> tuple[PostgresUrl, str]:
    """Store a total whose series cannot be read."""
    database.execute("INSERT INTO smtpeter_total VALUES ('[', 0, 1, 0)")
    return database.url, "it is damaged ("


def other_table(database: Database) -> tuple[PostgresUrl, str]:
    """Remove a column."""
    database.execute("ALTER TABLE smtpeter_total DROP COLUMN raised_at")
    return database.url, 'column "raised_at" of relation "smtpeter_total" does not exist'


def unreachable(_database: Database) -> tuple[PostgresUrl, str]:
    """Use a port where no server listens."""
    return PostgresUrl(f"postgresql://exporter@127.0.0.1:{free_port()}/x"), "Connection refused"


def wrong_password(database: Database) -> tuple[PostgresUrl, str]:
    """Use another password."""
    return PostgresUrl(database.url.text.replace(QUOTED, "wrong")), "password authentication failed"


def no_rights(database: Database) -> tuple[PostgresUrl, str]:
    """Use a user who may only read."""
    return database.reader(), "permission denied for table smtpeter_identity; grant it to this user"


def no_right_to_totals(database: Database) -> tuple[PostgresUrl, str]:
    """Use a user who may write to other tables only."""
    rights = (
        "INSERT, UPDATE, DELETE ON smtpeter_identity, smtpeter_delivery",
        "INSERT, UPDATE ON smtpeter_series, smtpeter_fact",
    )
    return database.reader(*rights), "permission denied for table smtpeter_total; grant it to this user"


def no_right_to_deliveries(database: Database) -> tuple[PostgresUrl, str]:
    """Use a user who has the rights that the version before needed."""
    rights = (
        "INSERT, UPDATE, DELETE ON smtpeter_identity",
        "INSERT, UPDATE ON smtpeter_series, smtpeter_total",
    )
    return database.reader(*rights), "permission denied for table smtpeter_delivery; grant it to this user"


RIGHTS: Final = ("INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public",)


def no_right_to_slots(database: Database) -> tuple[PostgresUrl, str]:
    """Use a user who may not use the sequence."""
    return database.reader(*RIGHTS), "permission denied for sequence smtpeter_slot; grant it to this user"


BAD: Final = [
    newer,
    damaged,
    other_table,
    unreachable,
    wrong_password,
    no_rights,
    no_right_to_totals,
    no_right_to_deliveries,
    no_right_to_slots,
]


@pytest.mark.parametrize("spoil", BAD)
def test_a_ledger_that_cannot_be_used_is_an_error(
    database: Database, spoil: Callable[[Database], tuple[PostgresUrl, str]]
) -> None:
    """The error names the ledger, in one line without password; nothing is changed."""
    database.fill()
    url, expected = spoil(database)
    before = database.state()
    with pytest.raises(LedgerError) as caught:
        inspect_database(url)
    text = str(caught.value)
    assert re.fullmatch(f"ledger {re.escape(str(url))}: .+", text)
    assert expected in text
    assert database.state() == before


def test_a_user_without_rights_can_create_no_ledger(database: Database) -> None:
    """An exporter with that user could not create its tables."""
    database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(LedgerError, match="this user may not create tables in its schema; grant it to this user"):
        inspect_database(database.reader())


def test_a_user_with_rights_is_enough(database: Database) -> None:
    """The inspection asks for no more rights than an exporter needs."""
    database.fill()
    url = database.reader(*RIGHTS, "USAGE ON SEQUENCE smtpeter_slot")
    assert without_fsync(inspect_database(url)[1]) == []
    with closing(PostgresLedger(url, now=NOW)) as ledger:
        assert [total for total in ledger.totals() if total.series == BOUNCE] == [
            Total(BOUNCE, 10, held=False, raised_at=NOW)
        ]


def test_each_statement_of_an_exporter_is_explained() -> None:
    """A new statement must be added, so that the rights that it needs are checked."""
    names = {name for name, value in vars(postgres_statements).items() if name.isupper() and isinstance(value, str)}
    executed = {"SIZE", "TOTALS"}
    explained = {getattr(postgres_statements, name) for name in names - executed - {"CLOCK"}}
    assert {statement for statement, _ in postgres_inspection._STATEMENTS} == explained
    assert json.loads(postgres_statements.CLOCK) == ["clock"]  # the only text that is no statement
