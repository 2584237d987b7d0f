"""What the text of a setting means. Each function raises ValueError for text that means nothing."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from exporter.classification.labels import OTHER
from exporter.classification.providers import Providers
from exporter.net import Address, address

T = TypeVar("T")


def duration(text: str) -> float:
    """Seconds, of ``1h30m`` and the like."""
    if not re.fullmatch(r"0|([0-9]{1,9}(ms|s|m|h|d))+", text):
        raise ValueError
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhd])", text))


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
    """A URL of http or https to which paths are added, without a slash at its end; empty for none."""
    parts = urlsplit(text)  # raises ValueError
    if not text:
        return text
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


def many(read: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
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
