"""Parse ``storage.url``, and print it without secrets."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

# Parameters of libpq that never hold a secret. All others are masked: later versions may add secret ones.
_NOT_SECRET: Final = frozenset(
    "application_name connect_timeout dbname host hostaddr passfile port service sslcert sslkey sslmode sslrootcert "
    "target_session_attrs user".split(),
)


class PostgresUrl:
    """The URL of a PostgreSQL ledger. ``text`` may contain a password; ``str()`` and ``repr()`` don't."""

    def __init__(self, text: str) -> None:
        self.text: Final = text

    def __str__(self) -> str:
        """Return the URL without password and parameters."""
        return without_password(self.text).partition("?")[0]

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        """Compare the URLs, passwords included."""
        return isinstance(other, PostgresUrl) and self.text == other.text

    def __hash__(self) -> int:
        """Return the hash of the URL."""
        return hash(self.text)


def without_password(text: str) -> str:
    """Return a value of storage.url with everything masked that may be a password, also if the value is invalid."""
    try:
        parsed = storage(text)
    except ValueError:  # a password can be anywhere in it
        scheme, mark, rest = text.rpartition("://")
        plain = text.startswith("sqlite:") or not re.search("[@=:;]", rest)
        return text if plain else f"{scheme}{mark}***" if re.fullmatch("[a-z+]{1,20}", scheme) else "***"
    if isinstance(parsed, Path):
        return text
    parts = urlsplit(text)
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    base = f"{parts.scheme}://{name}{colon and ':***'}{at}{hosts}{parts.path}"
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    shown = [f"{name}={value if name in _NOT_SECRET else '***'}" for name, _, value in pairs]
    return f"{base}?{'&'.join(shown)}" if shown else base


def storage(text: str) -> Path | PostgresUrl:
    """Parse a URL ``sqlite:///PATH`` or a connection URI of libpq. Raise ValueError for any other text."""
    scheme, _, path = text.partition("://")
    if "\0" in text:
        raise ValueError
    if scheme in {"postgresql", "postgres"}:
        parts = urlsplit(text)
        user, _, hosts = parts.netloc.rpartition("@")
        valid = all(re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:[0-9]{1,5})?", host) for host in hosts.split(","))
        # A character that is not allowed here may belong to a password that is misplaced or not percent-encoded.
        if not valid or "@" in user or parts.fragment or re.search(r"%(?![0-9A-Fa-f]{2})|\s", text):
            raise ValueError
        if re.search("[;=]", parts.path):
            raise ValueError
        return PostgresUrl(text)
    if scheme != "sqlite" or not path.startswith("/") or not path[1:] or "?" in path:
        raise ValueError
    return Path(path[1:])
