"""Parse the body of a request into a report: one failed delivery in SMTPeter's variables.

Supports the content types that SMTPeter's documentation mentions (https://www.smtpeter.com/en/documentation/webhooks)
and both generations of the variables. The first has id, recipient, state, code, extended and description; the later one
adds type, action, time, timestamp and tags. Pure.
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
"""Maximum size of a body in bytes."""
_LONGEST_CONTENT_TYPE: Final = 256
_MULTIPART: Final = MultipartFormHandler(MultipartParseOptions())
_MULTIPART.parse_options.max_body_part_count = 0  # no limit: counted below, as for the other content types
_MULTIPART.parse_options.max_body_part_headers_size = 1_024


def parse(content_type: str, body: bytes) -> Report:
    """Return the report in a body.

    ``content_type`` is the value of the header with its parameters, ``body`` at most MAX_BODY bytes. Raises
    :class:`Refusal` with status 415 for another content type and 400 for a body that is not a report of a failure.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/x-www-form-urlencoded":
        pairs = _form(body)
    elif media_type == "application/json":
        pairs = _json(body)
    elif media_type == "multipart/form-data":
        pairs = _multipart(content_type, body)
    else:
        raise Refusal(415, "content_type", f"content type {content_type[:100]!r}, expected form, JSON or multipart")
    return report_of(pairs)


def _form(body: bytes) -> list[tuple[str, Any]]:
    # Unlike parse_qsl, this decodes only the six variables that are used, which halves the cost of parsing.
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
    """Parse RFC 7578 with falcon. The standard library's email package takes seconds for hostile MIME."""
    # Falcon's time grows with the square of the parameters' length; a boundary has at most 70 characters.
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
        _refuse("malformed", f"the multipart body cannot be parsed: {error.description}")
    return pairs


def _refuse(reason: str, detail: str) -> NoReturn:
    raise Refusal(400, reason, detail)
