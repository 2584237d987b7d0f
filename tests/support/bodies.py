"""The same variables written as a form, as JSON and as multipart."""

import json
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from exporter.classification.report import Report
from exporter.webhook.parsing import parse

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data; boundary=b"

FIELDS: Final[dict[str, Any]] = {
    "id": "1",
    "recipient": "jane@example.com",
    "state": "rcptto",
    "code": "550",
    "extended": "5.1.1",
    "description": "550 5.1.1 <jane@example.com>: ключ = 100 % & more;\r\nline two",
}
"""The variables of a first-generation report, with characters that need escaping."""
REPORT: Final = Report(**FIELDS)

Pairs = Iterable[tuple[str, str]]


def as_form(pairs: Pairs) -> bytes:
    """Return a form as browsers and PHP send it."""
    return urlencode(list(pairs)).encode()


def as_json(pairs: Pairs) -> bytes:
    """Return a JSON object, in which a name may occur twice."""
    return ("{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}").encode()


def as_multipart(pairs: Pairs) -> bytes:
    """Return a multipart body (RFC 7578)."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in pairs]
    return ("".join(parts) + "--b--\r\n").encode()


WRITERS: Final[dict[str, Callable[[Pairs], bytes]]] = {FORM: as_form, JSON: as_json, MULTIPART: as_multipart}
each_type = pytest.mark.parametrize("content_type", WRITERS, ids=["form", "JSON", "multipart"])


def read(content_type: str, pairs: Pairs) -> Report:
    """Return the report that is parsed from the pairs in a content type."""
    return parse(content_type, WRITERS[content_type](pairs))
