"""``send``: post one failure to a URL, as SMTPeter would, and say what came back."""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from exporter.errors import ExporterError

TIMEOUT: Final = 15
"""Seconds to wait for an answer; longer than the exporter takes to answer 503 when its disk hangs."""


class Answer(NamedTuple):
    """What came back: HTTP status, its words, the body's first line."""

    status: int
    phrase: str
    body: str


def body_of(fields: Mapping[str, str], form: str) -> tuple[str, bytes]:
    """Content type and body of the fields in ``form`` (form, json or multipart).

    Bytes that the command line could not decode (``surrogateescape``) are sent as they were typed.
    """
    if form == "json":
        return "application/json", json.dumps(fields).encode()
    if form == "form":
        return "application/x-www-form-urlencoded", urlencode(fields, errors="surrogateescape").encode()
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    text = f"{''.join(parts)}--{boundary}--\r\n"
    return f"multipart/form-data; boundary={boundary}", text.encode(errors="surrogateescape")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is behind a redirect is asked for by GET, and its 200 would pass for an answer to the failure."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 -- whatever urllib gives
        """Follow none."""


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def send(url: str, fields: Mapping[str, str], *, form: str) -> Answer:
    """Post the fields. Raises ExporterError when no HTTP answer comes."""
    content_type, body = body_of(fields, form)
    try:
        request = urllib.request.Request(url, body, {"Content-Type": content_type})  # noqa: S310 -- checked below
        if request.type not in {"http", "https"}:  # urllib reads files, too
            raise ValueError(f"unknown url type: {url!r}")  # noqa: TRY301
        with _OPENER.open(request, timeout=TIMEOUT) as answer:
            return Answer(answer.status, answer.reason, answer.readline().decode(errors="replace").strip())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.reason, error.readline().decode(errors="replace").strip())
    except (OSError, ValueError, HTTPException) as error:
        raise ExporterError(f"no answer from {url}: {getattr(error, 'reason', error)}") from error
