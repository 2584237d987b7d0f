"""``send``: post one failure to a URL, as SMTPeter would, and say what came back."""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from exporter.errors import ExporterError, SettingError
from exporter.signature.verifier import Request, signed_headers

FORMS: Final = ("form", "json", "multipart")
"""In what a failure can be sent; SMTPeter's documentation has the first two."""
TIMEOUT: Final = 15
"""Seconds to wait for an answer; longer than the exporter takes to answer 503 when its disk hangs."""


class Response(NamedTuple):
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


class Signing(NamedTuple):
    """Whose signature to give to a call: private key, its name in DNS, and the account."""

    key: RSAPrivateKey
    key_id: str
    account: str


def signing(file: Path, key_id: str, account: str) -> Signing:
    """Read the private key from a PEM file. Raises SettingError."""
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise SettingError(f"--sign-key: '{file}': {error.strerror}: expected a readable PEM file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingError(f"--sign-key: '{file}': {error}: expected an RSA private key without password") from error
    if not isinstance(key, RSAPrivateKey):
        raise SettingError(f"--sign-key: '{file}': expected an RSA private key")
    return Signing(key, key_id, account)


def call_of(
    host: str, target: str, fields: Mapping[str, str], *, form: str, signer: Signing | None = None
) -> tuple[dict[str, str], bytes]:
    """Headers and body of the call that posts the fields to ``target`` at ``host``, signed by ``signer`` now."""
    content_type, body = body_of(fields, form)
    headers = {"Host": host, "Content-Type": content_type, "Content-Length": str(len(body))}
    if signer:
        headers |= {
            "Date": formatdate(usegmt=True),
            "X-Copernica-ID": signer.account,
            "X-Nonce": uuid.uuid4().hex,
        }
        values = {name.lower(): value for name, value in headers.items()}
        call = Request("POST", target, lambda name: values.get(name.lower()), body)
        headers |= signed_headers(signer.key, call, key_id=signer.key_id)
    return headers, body


def _request_of(
    url: str, fields: Mapping[str, str], *, form: str, signer: Signing | None = None
) -> urllib.request.Request:
    """The request that posts the fields. Raises ValueError when there can be none."""
    request = urllib.request.Request(url)  # noqa: S310 -- checked below
    if request.type not in {"http", "https"} or not request.host:  # urllib reads files, too
        raise ValueError(f"unknown url type: {url!r}")
    headers, body = call_of(request.host, request.selector, fields, form=form, signer=signer)
    return urllib.request.Request(url, body, headers)  # noqa: S310 -- checked above


def send(url: str, fields: Mapping[str, str], *, form: str, signer: Signing | None = None) -> Response:
    """Post the fields. Raises ExporterError when no HTTP answer comes."""
    try:
        request = _request_of(url, fields, form=form, signer=signer)
        with _OPENER.open(request, timeout=TIMEOUT) as answer:
            return Response(answer.status, answer.reason, answer.readline().decode(errors="replace").strip())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, error.reason, error.readline().decode(errors="replace").strip())
    except (OSError, ValueError, HTTPException) as error:
        raise ExporterError(f"no answer from {url}: {getattr(error, 'reason', error)}") from error
