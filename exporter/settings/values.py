"""Parsers of the values of settings. Each takes the text and raises ValueError if the text is invalid."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from exporter.classification.labels import OTHER
from exporter.classification.loops import LOOPS, Loop
from exporter.classification.providers import Providers
from exporter.classification.reason import REASONS
from exporter.net import Address, parse_address

T = TypeVar("T")

_RULE_AND_COMMA: Final = re.compile(rf"=\s*({'|'.join(REASONS)})\s*,")
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration(text: str) -> float:
    """Convert a duration such as ``1h30m`` to seconds."""
    if not re.fullmatch(r"0|([0-9]{1,9}(ms|s|m|h|d))+", text):
        raise ValueError
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhd])", text))


def parse_public_url(text: str) -> str:
    """Check a URL of http or https with a plain host and path, which does not end in that of a loop. May be empty."""
    parts = urlsplit(text)  # raises ValueError
    if not text:
        return text
    if parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise ValueError
    if re.search(r"\s|/\.{1,2}(/|$)", text):  # urlsplit removes some white space, and clients resolve . and ..
        raise ValueError
    if not re.fullmatch(r"([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", parts.netloc):
        raise ValueError
    if parts.port == 0:  # raises ValueError if the port is not a number up to 65535
        raise ValueError
    path = parts.path.rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path) or path.endswith(
        tuple(loop.path for loop in LOOPS.values())
    ):
        raise ValueError
    return text


def parse_loops(text: str) -> tuple[Loop, ...]:
    """Convert the names of loops, separated by commas, to loops in their fixed order. There must be at least one."""
    names = {name.strip() for name in text.split(",")}
    if not names <= LOOPS.keys():
        raise ValueError
    return tuple(loop for loop in LOOPS.values() if loop.name in names)


def parse_docs_url(text: str) -> str:
    """Check a URL of http or https to which paths can be added; returns it without a final slash. May be empty."""
    parts = urlsplit(text)  # raises ValueError
    if not text:
        return text
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError
    if not re.fullmatch(r"[!$-;=@-~]+", text):  # printable ASCII without space and "#<>?
        raise ValueError
    return text.rstrip("/")


def parse_path(text: str) -> Path | None:
    """Convert to a path; None if empty."""
    if "\0" in text:
        raise ValueError
    return Path(text) if text else None


def list_of(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Return a parser of several values separated by commas."""
    return lambda text: tuple(parse(part.strip()) for part in text.split(",")) if text else ()


def parse_account(text: str) -> str:
    """Check an account as written in the header X-Copernica-ID."""
    if not re.fullmatch(r"[A-Za-z]{1,32}[-_][0-9]{1,20}", text):
        raise ValueError
    return text


def parse_domain(text: str) -> str:
    """Check a domain name; returns it in lower case and without a final dot."""
    lower = text.lower().removesuffix(".")
    if not re.fullmatch(r"(?=.{1,200}$)([a-z0-9_-]{1,63}\.)*[a-z0-9-]{1,63}", lower):
        raise ValueError
    return lower


def parse_nameserver(text: str) -> Address:
    """Parse an IP address with or without a port; the default port is 53."""
    if not text:
        raise ValueError
    host, port = parse_address(text if re.search(r"\]:|^[^:]*:[^:]*$", text) else f"[{text.strip('[]')}]:53")
    return Address(str(ipaddress.ip_address(host)), port)


def parse_max_age(text: str) -> float:
    """Convert a duration from 1s to 1d to seconds.

    The maximum is far below the time for which the ledger keeps identities, so that a replayed request is always
    recognized as a duplicate.
    """
    seconds = parse_duration(text)
    if not 1 <= seconds <= 86_400:
        raise ValueError
    return seconds


def parse_keep_deliveries(text: str) -> float:
    """Convert a duration from 1d to 30d to seconds."""
    seconds = parse_duration(text)
    if not 86_400 <= seconds <= 30 * 86_400:
        raise ValueError
    return seconds


def parse_tag(text: str) -> str:
    """Check a tag that may become a label value."""
    if not text.isprintable() or not 0 < len(text) <= 64 or ";" in text or text == OTHER:
        raise ValueError
    return text


def parse_provider(text: str) -> tuple[str, str]:
    """Convert ``NAME=DOMAIN`` to the domain and the name, in this order."""
    name, _, domain = text.partition("=")
    Providers({domain: name})  # raises ValueError
    return domain, name


def parse_rules(text: str) -> tuple[tuple[str, str], ...]:
    """Convert lines of ``PATTERN=REASON`` to pairs, which OwnReasons checks. A pattern may contain ``=``.

    Rules that are separated by commas, as the values of other settings are, would be one long pattern.
    """
    rows = [line.rpartition("=") for line in text.split("\n") if line.strip()]
    if not all(separator and not _RULE_AND_COMMA.search(pattern) for pattern, separator, _ in rows):
        raise ValueError
    return tuple((pattern, reason.strip()) for pattern, _, reason in rows)


class OneOf:
    """A parser that accepts only these words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, text: str) -> str:
        """Return the text if it is one of the words."""
        if text not in self.words:
            raise ValueError
        return text
