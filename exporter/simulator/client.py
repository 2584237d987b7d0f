"""Post an event to a URL, as SMTPeter would, optionally signed."""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from exporter.classification.loops import FAILURES, LOOPS
from exporter.errors import ExporterError, SettingError
from exporter.signature.verifier import Request, signed_headers

FORMS: Final = ("form", "json", "multipart")
"""The formats of a request's body. SMTPeter documents the first two."""
TIMEOUT: Final = 15
"""Seconds to wait for an answer; longer than the exporter needs to answer 503 while its disk hangs."""


class Response(NamedTuple):
    """The answer: HTTP status, reason phrase, and the first line of the body."""

    status: int
    phrase: str
    body: str

    def __str__(self) -> str:
        """Return the answer as one line."""
        return f"{self.status} {self.phrase}: {self.body}".rstrip(": ")


def hint_for(url: str, answer: Response, *, signed: bool) -> str:
    """Return a line about a common mistake that the answer itself does not explain, or an empty string."""
    if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        loop = urlsplit(url).path.rpartition("/")[2]
        if loop not in LOOPS:
            return "The path must end in /failures, /deliveries, /bounces or /abuses."
        if loop != FAILURES.name:
            return f"The exporter accepts {loop} only if --webhook.loops names them."
    if answer.body == "unsigned" and not signed:
        return "Sign the request with --sign-key, or test with an exporter that has --signature.mode off."
    return ""


def body_of(fields: Mapping[str, str], form: str, tags: Sequence[str] = ()) -> tuple[str, bytes]:
    """Return content type and body for the fields in ``form``, one of :data:`FORMS`.

    ``tags`` are added as a list, named ``tags[]`` except in JSON. Except in JSON, bytes that the command line could not
    decode (``surrogateescape``) are sent unchanged.
    """
    if form == "json":
        return "application/json", json.dumps({**fields, "tags": list(tags)} if tags else fields).encode()
    pairs = [*fields.items(), *(("tags[]", tag) for tag in tags)]
    if form == "form":
        return "application/x-www-form-urlencoded", urlencode(pairs, errors="surrogateescape").encode()
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in pairs
    ]
    text = f"{''.join(parts)}--{boundary}--\r\n"
    return f"multipart/form-data; boundary={boundary}", text.encode(errors="surrogateescape")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirects: urllib would send GET, whose 200 does not mean that the failure counts."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 -- whatever urllib gives
        """Return None, so that the redirect itself is the answer."""


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


class Signing(NamedTuple):
    """How to sign requests: the private key, the DNS name of the public key, and the account."""

    key: RSAPrivateKey
    key_id: str
    account: str


def signing(file: Path, key_id: str, account: str) -> Signing:
    """Read the private key from a PEM file. Raises SettingError if it is not an unencrypted RSA key."""
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise SettingError(f"--sign-key: '{file}': {error.strerror}: expected a readable PEM file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingError(f"--sign-key: '{file}': {error}: expected an RSA private key without password") from error
    if not isinstance(key, RSAPrivateKey):
        raise SettingError(f"--sign-key: '{file}': expected an RSA private key")
    return Signing(key, key_id, account)


def headers_and_body(  # noqa: PLR0913 -- by name
    host: str,
    target: str,
    fields: Mapping[str, str],
    *,
    form: str,
    tags: Sequence[str] = (),
    signer: Signing | None = None,
) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a request that posts fields and tags to ``target`` (path and query), dated now."""
    content_type, body = body_of(fields, form, tags)
    headers = {"Host": host, "Content-Type": content_type, "Content-Length": str(len(body))}
    if signer:
        headers |= {
            "Date": formatdate(usegmt=True),
            "X-Copernica-ID": signer.account,
            "X-Nonce": uuid.uuid4().hex,
        }
        values = {name.lower(): value for name, value in headers.items()}
        request = Request("POST", target, lambda name: values.get(name.lower()), body)
        headers |= signed_headers(signer.key, request, key_id=signer.key_id)
    return headers, body


def _request_of(
    url: str, fields: Mapping[str, str], *, form: str, signer: Signing | None = None
) -> urllib.request.Request:
    """Return the request that posts the fields. Raises ValueError if the URL is not HTTP or HTTPS with a host."""
    request = urllib.request.Request(url)  # noqa: S310 -- checked below
    if request.type not in {"http", "https"} or not request.host:  # urllib would also open file: URLs
        raise ValueError(f"unknown url type: {url!r}")
    headers, body = headers_and_body(request.host, request.selector, fields, form=form, signer=signer)
    return urllib.request.Request(url, body, headers)  # noqa: S310 -- checked above


def send(url: str, fields: Mapping[str, str], *, form: str, signer: Signing | None = None) -> Response:
    """Post the fields and return the answer. Raises ExporterError if there is none."""
    try:
        request = _request_of(url, fields, form=form, signer=signer)
        with _OPENER.open(request, timeout=TIMEOUT) as response:
            return Response(response.status, response.reason, response.readline().decode(errors="replace").strip())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, error.reason, error.readline().decode(errors="replace").strip())
    except (OSError, ValueError, HTTPException) as error:
        raise ExporterError(f"no answer from {url}: {str(getattr(error, 'reason', error)).strip()}") from error
