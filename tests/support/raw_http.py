"""Requests with failures as bytes, valid and invalid, and what an exporter makes of them."""

import json
from itertools import count
from typing import Final
from urllib.parse import urlencode

from tests.support.running import FORM, Exporter, Samples, changes, exchange, failure

LIMIT: Final = 65_536
"""Maximum size of a body in bytes."""
JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data; boundary=b"
CHUNKED: Final = ("Transfer-Encoding: chunked",)

_numbers = count()


def new_failure(**fields: str) -> dict[str, str]:
    """Return the variables of a failure that no other test of this process posts."""
    return failure(next(_numbers), **fields)


def http(
    method: str = "POST",
    path: str = "/failures",
    body: bytes = b"",
    content_type: str | None = FORM,
    headers: tuple[str, ...] = (),
) -> bytes:
    """Return a request. ``Content-Length`` is that of the body unless ``headers`` contain the framing."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if not any(line.startswith(("Content-Length:", "Transfer-Encoding:")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return the body in chunks of 1,000 bytes (RFC 9112 section 7.1)."""
    pieces = [body[start : start + 1_000] for start in range(0, len(body), 1_000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def form(**fields: str) -> bytes:
    """Return a new failure as a form."""
    return urlencode(new_failure(**fields)).encode()


def padded(length: int) -> bytes:
    """Return a new failure as a form of exactly this many bytes."""
    body = form(description="")
    return body + b"x" * (length - len(body))


def as_json(**fields: object) -> bytes:
    """Return a new failure as JSON."""
    return json.dumps(new_failure() | fields).encode()


def multipart(*parts: tuple[str, bytes]) -> bytes:
    """Return the parts as a multipart body (RFC 7578)."""
    return b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
        for name, value in parts
    ) + (b"--b--\r\n")


def parts(fields: dict[str, str]) -> list[tuple[str, bytes]]:
    """Return the variables of a failure as parts of a multipart body."""
    return [(name, value.encode()) for name, value in fields.items()]


def change(running: Exporter, raw: bytes) -> tuple[int, Samples]:
    """Send the bytes; return the status of the answer and the counters that they increment."""
    before = running.samples()
    status = exchange(running.public, raw).status
    return status, changes(before, running.samples())


def refused(reason: str) -> Samples:
    """Return the only counter that a refusal for this reason increments."""
    return {f'smtpeter_exporter_refused_total{{reason="{reason}"}}': 1.0}
