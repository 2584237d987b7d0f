"""Where a ledger is: ``storage.url``, read, and printed without secrets."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

# Parameters of libpq that hold nothing secret; there are others that do, and later versions have more of these.
_SHOWN: Final = frozenset(
    "application_name connect_timeout dbname host hostaddr passfile port service sslcert sslkey sslmode sslrootcert "
    "target_session_attrs user".split(),
)


class PostgresUrl:
    """Where a PostgreSQL ledger is. ``text`` may hold a password; what is printed of it does not."""

    def __init__(self, text: str) -> None:
        self.text: Final = text

    def __str__(self) -> str:
        """The URL without password and parameters."""
        return without_password(self.text).partition("?")[0]

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        """Whether it is the same URL."""
        return isinstance(other, PostgresUrl) and self.text == other.text

    def __hash__(self) -> int:
        """As for the text."""
        return hash(self.text)


def without_password(text: str) -> str:
    """What may be shown of a text meant for storage.url: no password, wherever somebody may have put one."""
    try:
        read = storage(text)
    except ValueError:  # nobody can tell what is what in it
        scheme, mark, rest = text.rpartition("://")
        plain = text.startswith("sqlite:") or not re.search("[@=:;]", rest)
        return text if plain else f"{scheme}{mark}***" if re.fullmatch("[a-z+]{1,20}", scheme) else "***"
    if isinstance(read, Path):
        return text
    parts = urlsplit(text)
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    place = f"{parts.scheme}://{name}{colon and ':***'}{at}{hosts}{parts.path}"
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    shown = [f"{name}={value if name in _SHOWN else '***'}" for name, _, value in pairs]
    return f"{place}?{'&'.join(shown)}" if shown else place


def storage(text: str) -> Path | PostgresUrl:
    """The file of a URL ``sqlite:///…``, or the database of a URL as libpq reads it."""
    scheme, _, path = text.partition("://")
    if "\0" in text:
        raise ValueError
    if scheme in {"postgresql", "postgres"}:
        parts = urlsplit(text)
        user, _, hosts = parts.netloc.rpartition("@")
        known = all(re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:[0-9]{1,5})?", host) for host in hosts.split(","))
        # What URLs don't have may be part of a password that was put in the wrong place, or not encoded.
        if not known or "@" in user or parts.fragment or re.search(r"%(?![0-9A-Fa-f]{2})|\s", text):
            raise ValueError
        if re.search("[;=]", parts.path):
            raise ValueError
        return PostgresUrl(text)
    if scheme != "sqlite" or not path.startswith("/") or not path[1:] or "?" in path:
        raise ValueError
    return Path(path[1:])
