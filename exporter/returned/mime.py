"""Split a message into its parts, in bounded time and memory for any bytes. Pure, never raises.

The package ``email`` of the standard library parses the message. Its cost is quadratic for some messages, so all that
its cost depends on is bounded: bytes, lines, parts, depth, and the length of headers and boundaries.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.message import Message
from email.parser import BytesFeedParser
from email.policy import Compat32, Policy
from functools import cached_property
from typing import Any, Final

from exporter.returned.text import MAX_TEXT, decoded, decoded_header, without_tags

MAX_BYTES: Final = 65_536
"""Number of bytes of a message that are looked at."""
MAX_LINES: Final = 4_000
"""Number of lines of a message that are looked at: each costs some microseconds, more in nested parts."""
MAX_PARTS: Final = 60
"""Maximum number of parts, including those that contain others. The parts after these are ignored."""
MAX_DEPTH: Final = 8
"""Maximum depth of nested parts. At a deeper part, parsing ends."""

ORIGINALS: Final = frozenset({"text/rfc822", "text/rfc822-headers", "text/global", "text/global-headers"})
"""Types of a returned message or its headers, as :class:`Part` calls them."""

_MESSAGES: Final = frozenset({"text/rfc822", "text/global"})
_MAX_HEADER: Final = 500
_MAX_PARAMETERS: Final = 12
# RFC 2046 section 5.1.1 allows 70 characters.
_MAX_BOUNDARY: Final = 100
_ENCODINGS: Final = frozenset({"base64", "quoted-printable"})
_BOM: Final = b"\xef\xbb\xbf"
# The line above a part, in a message whose header has no boundary or another one
_BOUNDARY: Final = re.compile(rb'^--([^\s"\\]{1,100})[ \t]{0,9}\n(?=Content-)', re.IGNORECASE | re.MULTILINE)
# The numbers and stars of RFC 2231. No mail server writes a boundary in that syntax, whose decoding can fail.
_RFC_2231: Final = re.compile(r"\*[0-9*]* ?=")


class Part(Message):
    """A message, or a part of one. A message inside it is not parsed: it is the text of a part.

    The parser would split a delivery status into a message for each recipient. So that it does not, the type
    ``message/delivery-status`` is called ``text/delivery-status``, and so on.
    """

    depth = 0
    is_leaf = False
    """Whether the part has text, instead of parts. Neither of the two, if parsing ended before them."""

    def attach(self, payload: Any) -> None:  # noqa: ANN401 -- as in the class of the standard library
        """Append a part. Raises :class:`_LimitError` if it is too deep."""
        payload.depth = self.depth + 1
        if payload.depth > MAX_DEPTH:
            raise _LimitError
        super().attach(payload)

    def set_payload(self, payload: Any, charset: Any = None) -> None:  # noqa: ANN401 -- as above
        """Set the text of the part, as the parser does."""
        self.is_leaf = True
        super().set_payload(payload, charset)

    def get_content_type(self) -> str:
        """Return the type in lower case, without parameters."""
        return re.sub("^message/", "text/", super().get_content_type())

    def get_boundary(self, failobj: Any = None) -> Any:  # noqa: ANN401 -- as in the class of the standard library
        """Return the boundary, or ``failobj`` if there is none of a reasonable length."""
        boundary = super().get_boundary()
        return boundary if boundary and len(boundary) <= _MAX_BOUNDARY else failobj

    def parameter(self, name: str) -> str:
        """Return a parameter of the content type in lower case, empty if there is none."""
        return str(self.get_param(name, "")).strip().lower()

    def header(self, name: str) -> str:
        """Return the first header of this name, decoded and on one line, empty if there is none."""
        return decoded_header(str(self.get(name, "")))

    def raw(self) -> bytes:
        """Return the bytes of the part, without its transfer encoding."""
        payload = self.get_payload(decode=True)
        return payload if isinstance(payload, bytes) else b""

    @cached_property
    def text(self) -> str:
        """Return the text of the part, without its transfer encoding, its charset, and the tags of HTML."""
        text = decoded(self.raw(), self.parameter("charset"))
        return without_tags(text) if self.get_content_type() == "text/html" else text[:MAX_TEXT]


class _LimitError(Exception):
    """The message has too many parts, or is nested too deeply."""


class _BoundedPolicy(Compat32):
    """Bounds the values of headers, and makes them one line each."""

    def header_source_parse(self, sourcelines: Sequence[str]) -> tuple[str, str]:
        name, _, value = "".join(sourcelines).partition(":")
        value = " ".join(value[:_MAX_HEADER].split())
        match name.lower():
            case "content-type":
                value = ";".join(_RFC_2231.sub("=", value).split(";")[:_MAX_PARAMETERS])
            case "content-transfer-encoding":
                value = value.lower() if value.lower() in _ENCODINGS else "8bit"
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 -- the interface of policies
        return value


def parts_of(message: bytes) -> list[Part]:
    """Return the message and its parts in their order: first the message itself, then each part before its own parts.

    The list is never empty. If the boundary of the outermost part is missing or wrong, it is guessed.
    """
    parts = _parsed(message)
    root = parts[0]
    if root.get_content_maintype() == "multipart" and root.is_leaf:
        body = root.raw()
        if boundary := _BOUNDARY.search(body):
            root.is_leaf = False
            parts[1:] = _parsed(b'Content-Type: multipart/mixed; boundary="%b"\n\n%b' % (boundary[1], body))[1:]
    return parts


def leaves(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield the parts that have text."""
    return (part for part in parts if part.is_leaf)


def text_of(parts: Sequence[Part]) -> str:
    """Return the text for people: the first part with plain text that is not attached, or else with HTML.

    Without either, it is that of a multipart whose boundary is missing. Empty if there is none.
    """
    for type_ in ("text/plain", "text/html", "multipart/"):
        for part in leaves(parts):
            attached = str(part.get("content-disposition", "")).lower().startswith("attachment")
            if part.get_content_type().startswith(type_) and not attached and part.text.strip():
                return part.text
    return parts[0].text if parts[0].is_leaf else ""


def forwarded_in(parts: Sequence[Part]) -> list[Part]:
    """Return the parts of the first message inside a message, empty if there is none. A digest forwards nothing."""
    if any(part.get_content_type() == "multipart/digest" for part in parts):
        return []
    message = next((part for part in leaves(parts) if part.get_content_type() in _MESSAGES), None)
    return parts_of(message.raw()) if message else []


def _parsed(message: bytes) -> list[Part]:
    parts: list[Part] = []
    policy = _BoundedPolicy()

    def new_part(policy: Policy = policy) -> Part:
        if len(parts) >= MAX_PARTS:
            raise _LimitError
        parts.append(Part(policy))
        return parts[-1]

    parser = BytesFeedParser(new_part, policy=policy)
    parts.clear()  # the parser has called the function once, to find out how
    # _LimitError, and what bugs of the parser raise for malformed messages: the parts up to there are good.
    with suppress(Exception):
        parser.feed(_beginning(message))
        parser.close()
    return parts or [Part(policy)]


def _beginning(message: bytes) -> bytes:
    """Return the beginning of a message, from its first header on, with lines that end in LF."""
    message = message[:MAX_BYTES].removeprefix(_BOM)
    message = message.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b" \t\n\0")
    return b"\n".join(message.split(b"\n", MAX_LINES)[:MAX_LINES])
