"""Bytes of a request to the report as received: one failed delivery in SMTPeter's variables.

Both generations of the variables are read (the first has id, recipient, state, code, extended, description; the
later one adds type, action, time, timestamp and tags), in each of the content types that SMTPeter's documentation
mentions. Pure: knows no request but its bytes, and no clock.
"""

from io import BytesIO
from typing import Any, Final, NoReturn
from urllib.parse import unquote_plus

from falcon import HTTPBadRequest
from falcon.media import MultipartFormHandler
from falcon.media.multipart import MultipartParseOptions

from exporter.classification.report import MAX_FIELDS, USED, Report, json_pairs, report_of
from exporter.refusals import Refusal

MAX_BODY: Final = 65_536
"""The longest body that is read, in bytes."""
_LONGEST_CONTENT_TYPE: Final = 256
_MULTIPART: Final = MultipartFormHandler(MultipartParseOptions())
_MULTIPART.parse_options.max_body_part_count = 0  # counted here, as for the other content types
_MULTIPART.parse_options.max_body_part_headers_size = 1_024


def parse(content_type: str, body: bytes) -> Report:
    """Read a report.

    ``content_type`` is the header's value with its parameters, ``body`` the raw bytes (bounded by the caller).
    Raises :class:`Refusal` with status 415 for other content types and 400 for what can't be read.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/x-www-form-urlencoded":
        pairs = _form(body)
    elif media_type == "application/json":
        pairs = _json(body)
    elif media_type == "multipart/form-data":
        pairs = _multipart(content_type, body)
    else:
        raise Refusal(415, "content_type", f"content type {content_type[:100]!r} is not form, JSON or multipart")
    return report_of(pairs)


def _form(body: bytes) -> list[tuple[str, Any]]:
    # Not parse_qsl, which decodes all eleven variables where six are used: half of what reading a form costs.
    pairs: list[tuple[str, Any]] = []
    try:
        items = body.decode().split("&", MAX_FIELDS)
        if len(items) > MAX_FIELDS:
            _refuse("too_many_fields", f"more than {MAX_FIELDS} variables")
        for item in items:
            name, _, value = item.partition("=")
            if "%" in name or "+" in name:
                name = unquote_plus(name, errors="strict")
            if name in USED and ("%" in value or "+" in value):
                value = unquote_plus(value, errors="strict")
            if item:
                pairs.append((name, value))
    except UnicodeDecodeError as error:
        _refuse("encoding", f"the form is not UTF-8: {error.reason}")
    return pairs


def _json(body: bytes) -> list[tuple[str, Any]]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        _refuse("encoding", f"the JSON is not UTF-8: {error.reason}")
    return json_pairs(text)


def _multipart(content_type: str, body: bytes) -> list[tuple[str, Any]]:
    """Read RFC 7578 with falcon's parser; that of the standard library's email package takes seconds over evil MIME."""
    # Falcon takes time that grows with the square of the parameters' length; a boundary has at most 70 characters.
    if len(content_type) > _LONGEST_CONTENT_TYPE or not content_type.isascii():
        _refuse("malformed", f"content type {content_type[:100]!r} is too long or not ASCII")
    pairs: list[tuple[str, Any]] = []
    try:
        for part in _MULTIPART.deserialize(BytesIO(body), content_type, len(body)):
            if part.name is None:
                _refuse("malformed", "a part of the multipart body has no name")
            pairs.append((part.name, part.get_data().decode()))
            if len(pairs) > MAX_FIELDS:
                break
    except UnicodeDecodeError as error:
        _refuse("encoding", f"a part of the multipart body is not UTF-8: {error.reason}")
    except HTTPBadRequest as error:
        _refuse("malformed", f"the multipart body can't be read: {error.description}")
    return pairs


def _refuse(reason: str, detail: str) -> NoReturn:
    raise Refusal(400, reason, detail)
