"""What the text of a setting means. Each function raises ValueError for text that means nothing."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from exporter.classification.labels import OTHER
from exporter.classification.providers import Providers


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        """As in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError
    host.encode("idna")  # as the socket will do it; raises ValueError for a label of 64 characters
    if "\0" in host:
        raise ValueError
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 -- ":9100" means all interfaces, as in Prometheus


def duration(text: str) -> float:
    """Seconds, of ``1h30m`` and the like."""
    if not re.fullmatch(r"0|([0-9]{1,9}(ms|s|m|h|d))+", text):
        raise ValueError
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhd])", text))


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


def public_url(text: str) -> str:
    """A URL of http or https with a plain host and path, not that of the callback itself; empty for none."""
    parts = urlsplit(text)  # raises ValueError
    if not text:
        return text
    if parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise ValueError
    if re.search(r"\s|/\.{1,2}(/|$)", text):  # the one urlsplit leaves out, the others every client does
        raise ValueError
    if not re.fullmatch(r"([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", parts.netloc):
        raise ValueError
    if parts.port == 0:  # raises ValueError for what is no port at all
        raise ValueError
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path) or parts.path.rstrip("/").endswith("/failures"):
        raise ValueError
    return text


def docs_url(text: str) -> str:
    """A URL of http or https to which paths are added, without a slash at its end."""
    parts = urlsplit(text)  # raises ValueError
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError
    if not re.fullmatch(r"[!$-;=@-~]+", text):  # what is seen of ASCII, but for "#<>?
        raise ValueError
    return text.rstrip("/")


def path(text: str) -> Path | None:
    """A path; empty for none."""
    if "\0" in text:
        raise ValueError
    return Path(text) if text else None


def many(read: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """A reader of several values with commas between them."""
    return lambda text: tuple(read(part.strip()) for part in text.split(",")) if text else ()


def account(text: str) -> str:
    """An account as X-Copernica-ID has it."""
    if not re.fullmatch(r"[A-Za-z]{1,32}[-_][0-9]{1,20}", text):
        raise ValueError
    return text


def domain(text: str) -> str:
    """A domain name, in lower case."""
    lower = text.lower().removesuffix(".")
    if not re.fullmatch(r"(?=.{1,200}$)([a-z0-9_-]{1,63}\.)*[a-z0-9-]{1,63}", lower):
        raise ValueError
    return lower


def nameserver(text: str) -> Address:
    """``ADDR`` or ``ADDR:PORT`` with an IP address."""
    if not text:
        raise ValueError
    host, port = address(text if re.search(r"\]:|^[^:]*:[^:]*$", text) else f"[{text.strip('[]')}]:53")
    return Address(str(ipaddress.ip_address(host)), port)


def max_age(text: str) -> float:
    """A duration of a second to a day; far less than identities are kept, so that no replay counts again."""
    seconds = duration(text)
    if not 1 <= seconds <= 86_400:
        raise ValueError
    return seconds


def tag(text: str) -> str:
    """A tag as it may become a label value."""
    if not text.isprintable() or not 0 < len(text) <= 64 or ";" in text or text == OTHER:
        raise ValueError
    return text


def provider(text: str) -> tuple[str, str]:
    """``NAME=DOMAIN`` to domain and name."""
    name, _, domain_ = text.partition("=")
    Providers({domain_: name})  # raises ValueError
    return domain_, name


class OneOf:
    """Reads one of these words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, text: str) -> str:
        """The text, if it is one of them."""
        if text not in self.words:
            raise ValueError
        return text
