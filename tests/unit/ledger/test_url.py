"""``storage.url``: which values are valid, and what of them may be printed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.url import PostgresUrl, storage, without_password


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///ledger.db", "ledger.db"),
        ("sqlite:////var/lib/ledger.db", "/var/lib/ledger.db"),
        ("sqlite:///a b/ü%20#.db", "a b/ü%20#.db"),
    ],
)
def test_an_sqlite_url_is_a_path(text: str, path: str) -> None:
    """After ``sqlite:///`` is a path, relative or absolute, which is not decoded."""
    assert storage(text) == Path(path)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://db.example/smtpeter",
        "postgres://exporter:p%40ss@db.example:5432/smtpeter?sslmode=verify-full",
        "postgresql://h1:5432,h2:5433/db",
        "postgresql://[::1]:5432/db",
        "postgresql:///db?host=/run/postgresql",
    ],
)
def test_a_postgresql_url_is_kept(text: str) -> None:
    """A connection URI of libpq is passed on unchanged."""
    assert storage(text) == PostgresUrl(text)


# Values that users may write and that contain a password.
INVALID = [
    "postgresql://u:s3cret@h:port/db",
    "postgresql://u:s3cret%@h/db",
    "postgresql://u:s3c@ret@h/db",
    "postgresql://u:s3c#ret@h/db",
    "postgresql://u:s3c/ret@h/db#x",
    "postgresql://u:s3cret/db",
    "postgresql://u@h/db;password=s3cret",
    "mysql://u:s3cret@h/db",
    "u:s3cret@h",
    "postgres//u:s3cret@h/db",
    "host=db user=u password=s3cret",
]


@pytest.mark.parametrize("text", [*INVALID, "", "ledger.db", "sqlite:///", "sqlite://x", "sqlite:///x?mode=ro", "a\0b"])
def test_any_other_text_is_invalid(text: str) -> None:
    """Anything else raises ValueError, also URLs that may have a password in the wrong place."""
    with pytest.raises(ValueError, match=r"^$"):  # the caller knows the setting and what was expected
        storage(text)


@pytest.mark.parametrize("text", INVALID)
def test_an_invalid_value_is_printed_without_its_password(text: str) -> None:
    """No part of a password is printed, wherever it is."""
    shown = without_password(text)
    assert [part for part in ("s3c", "ret@", "cret") if part in shown] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "postgresql://u@h/db?scram_client_key=s3cret&sslmode=require",
            "postgresql://u@h/db?scram_client_key=***&sslmode=require",
        ),
        ("postgresql://h1:5432,h2:5433/db?password=s3cret", "postgresql://h1:5432,h2:5433/db?password=***"),
        (
            "postgresql://u:s3cret@h/db?sslmode=verify-full&sslpassword=s3cret",
            "postgresql://u:***@h/db?sslmode=verify-full&sslpassword=***",
        ),
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
def test_only_what_can_not_be_a_password_is_printed(text: str, shown: str) -> None:
    """Only parts of an invalid value that can't be a password are printed, and only harmless parameters."""
    assert without_password(text) == shown


@given(st.text(max_size=40))
def test_any_text_can_be_printed(text: str) -> None:
    """No value of the setting makes printing fail."""
    assert isinstance(without_password(text), str)


def test_a_url_is_printed_without_password_and_parameters() -> None:
    """Log lines and errors name the database, and nothing secret."""
    url = PostgresUrl("postgresql://exporter:s3cret@db.example/smtpeter?sslpassword=s3cret")
    assert str(url) == repr(url) == "postgresql://exporter:***@db.example/smtpeter"


def test_urls_are_compared_with_their_passwords() -> None:
    """Two URLs are equal only if they have the same text."""
    one, other = PostgresUrl("postgresql://u:a@h/db"), PostgresUrl("postgresql://u:b@h/db")
    assert len({one, other, PostgresUrl(one.text)}) == 2
    assert one != other
    assert one != one.text
