"""Parse the body of a request into a report: one event in SMTPeter's variables.

Supports the content types that SMTPeter's documentation mentions (https://www.smtpeter.com/en/documentation/webhooks)
and both generations of the variables of a failure. The first has id, recipient, state, code, extended and description;
the later one adds type, action, time, timestamp and tags. Pure.
"""

import binascii
import quopri
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NoReturn
from urllib.parse import unquote, unquote_to_bytes

import falcon

from exporter.classification.fields import USED, Fields, canonical, read_json
from exporter.classification.loops import FAILURES, Loop
from exporter.classification.report import Report, report_of
from exporter.refusals import Refusal

_MAX_CONTENT_TYPE: Final = 256
_MAX_BOUNDARY: Final = 70  # RFC 2046 section 5.1.1
_MAX_PART_HEADERS: Final = 1_024
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_BYTE_ORDER_MARK: Final = re.compile(rb"\xef\xbb\xbf|%EF%BB%BF", re.IGNORECASE)
_GZIP: Final = b"\x1f\x8b"
_CODINGS: Final = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})


# An unclosed quote reaches to the end, so the time is linear.
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)')
_SECOND_TYPE: Final = re.compile(r"^\s*,|,\s*(?:$|[^\s;,=]+/)")  # an empty one, too; boundary=a,b is none


def parse(content_type: str, body: bytes, content_encoding: str = "", loop: Loop = FAILURES) -> Report:
    """Return the report of an event of that loop in a body.

    ``content_type`` and ``content_encoding`` are the values of the headers. Raises :class:`Refusal` with status 415 for
    another content type or a compressed body, and 400 for a body that is not a report of that loop.
    """
    try:
        return report_of(_fields(content_type, body), loop)
    except Refusal as error:
        # Decided last, because the header alone proves nothing.
        codings = set(re.split(r"[\s,]+", content_encoding.lower()))
        if error.reason in {"malformed", "missing_field"} and (body.startswith(_GZIP) or codings & _CODINGS):
            coding = content_encoding[:50] or "gzip"
            raise Refusal(415, "content_encoding", f"content encoding {coding}, expected none") from None
        raise


def _fields(content_type: str, body: bytes) -> Fields:
    # A proxy may join two headers (RFC 9110 section 5.3), whose values contradict each other.
    if "," in content_type and _SECOND_TYPE.search(_QUOTED.sub("", content_type)):
        _refuse("header Content-Type is repeated")
    media_type = content_type.partition(";")[0].strip().lower()
    repaired = set()
    if mark := _BYTE_ORDER_MARK.match(body):
        body = body[mark.end() :]
        repaired.add("malformed")
    if media_type == "application/x-www-form-urlencoded":
        return Fields(_form(body), repaired)
    if media_type == "application/json":
        return read_json(body, repaired)
    if media_type == "multipart/form-data":
        pairs = list(_multipart(content_type, body, repaired))  # also adds to what is repaired
        return Fields(pairs, repaired)
    raise Refusal(415, "content_type", f"content type {content_type[:100]}, expected form, JSON or multipart")


def _form(body: bytes) -> Iterator[tuple[str, str]]:
    for item in body.decode(errors="surrogateescape").strip().split("&"):
        name, _, value = item.partition("=")
        if name in USED or (name := canonical(_unquoted(name))) in USED:
            yield name, _unquoted(value)


def _unquoted(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    if text.isascii():  # unquote would take twice as long
        return unquote_to_bytes(text).decode(errors="surrogateescape")
    return unquote(text, errors="surrogateescape")


def _multipart(content_type: str, body: bytes, repaired: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the named parts (RFC 7578), with the bytes that are not UTF-8 as surrogate escapes.

    Falcon and the libraries for multipart bodies reject what mailers write: a transfer encoding, a folded header, a
    preamble. The standard library's email package takes seconds for hostile MIME.
    """
    for head, content in _parts(_boundary(content_type), body):
        headers = _part_headers(head)
        name = canonical(falcon.parse_header(headers.get("content-disposition", ""))[1].get("name", ""))
        if name in USED:
            text = _decoded(headers.get("content-transfer-encoding", ""), content)
            if text is None:
                repaired.add("encoding")
            yield name, (content if text is None else text).decode(errors="surrogateescape")


def _boundary(content_type: str) -> bytes:
    # Falcon's time grows with the square of the parameters' length.
    if len(content_type) > _MAX_CONTENT_TYPE or not content_type.isascii():
        _refuse(f"content type {content_type[:100]} is too long or not ASCII")
    boundary = falcon.parse_header(content_type)[1].get("boundary", "")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        _refuse(f"the boundary has {len(boundary)} characters, expected 1 to {_MAX_BOUNDARY}")
    return boundary.encode()


def _parts(boundary: bytes, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield headers and content of each part (RFC 2046 section 5.1.1). Lines may also end in LF alone."""
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    start = None
    for line in delimiter.finditer(body):
        if start is not None:
            head, *content = _BLANK_LINE.split(body[start : line.start()], maxsplit=1)
            yield head, b"".join(content)
        if line[1]:
            return
        start = line.end()
    _refuse("the multipart body has no final boundary")


def _part_headers(head: bytes) -> dict[str, str]:
    """Return the headers of a part by lower-case name; nothing if they are longer than any real ones."""
    if len(head) > _MAX_PART_HEADERS:
        return {}
    lines = _FOLD.sub(b" ", head).decode(errors="surrogateescape").splitlines()
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _decoded(encoding: str, content: bytes) -> bytes | None:
    """Return a part's content without its transfer encoding (RFC 2045 section 6), None if that is impossible."""
    match encoding.lower():
        case "" | "7bit" | "8bit" | "binary":
            return content
        case "quoted-printable":
            return quopri.decodestring(content)
        case "base64":
            packed = b"".join(content.split()).rstrip(b"=")
            with suppress(binascii.Error):
                return b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    return None


def _refuse(detail: str) -> NoReturn:
    raise Refusal(400, "malformed", detail)
