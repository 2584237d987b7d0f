"""Verify that SMTPeter signed a request: draft-cavage-http-signatures-10, limited to the parts that SMTPeter uses.

SMTPeter describes it at https://www.smtpeter.com/en/documentation/webhook-security. Cheap checks come first, so that
an implausible request causes no DNS lookup and no cryptography. Clock and keys are arguments.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple, NoReturn, Protocol
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from exporter.refusals import Refusal

REQUIRED_HEADERS: Final = frozenset({"(request-target)", "host", "date", "x-copernica-id", "digest"})
"""Headers that every signature must cover."""

COVERED_HEADERS: Final = (
    *("(request-target)", "Host", "Date", "Content-Length", "Content-Type"),
    *("X-Copernica-ID", "Digest", "X-Nonce"),
)
"""Headers that the signature in the vendor's example covers, in its order."""

_MAX_LENGTH: Final = {"date": 64, "digest": 512, "host": 260, "signature": 4_096, "x-copernica-id": 64}
_MAX_COVERED: Final = 32
# The vendor's example is folded and lacks the comma before signature=; draft-cavage-11 has created=1402170695.
_PARAMETER: Final = re.compile(r'\s*([A-Za-z]{1,32})="([^"]*)"\s*,?\s*|\s*([A-Za-z]{1,32})=(\d{1,16})\s*,?\s*')
# RFC 9110 section 5.6.7. The vendor's library sends RFC 822 dates, with a two-digit year and a numeric zone.
_DATE: Final = re.compile(r"[A-Za-z]{3}, \d\d? [A-Za-z]{3} (\d{4}|\d\d) \d\d:\d\d:\d\d (GMT|UTC|[+-]\d{4})")
_DNS_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME: Final = re.compile(rf"(?:{_DNS_LABEL}\.)+{_DNS_LABEL}")
_MAX_NAME: Final = 253  # RFC 1035 section 2.3.4
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()


class Request(NamedTuple):
    """A request as received. ``target`` is the raw path and query; ``header`` returns a value by lower-case name.

    ``header`` joins the values of a repeated header with commas, so no check can see one of them and miss another.
    ``waited`` is the number of seconds since it was received.
    """

    method: str
    target: str
    header: Callable[[str], str | None]
    body: bytes
    waited: float = 0.0


class Policy(NamedTuple):
    """What to accept. ``url`` is the public URL without a final slash, empty if unknown; ``max_age`` is in seconds."""

    accounts: frozenset[str]
    key_domain: str
    max_age: float
    url: str


class KeySource(Protocol):
    """A source of public keys; see :mod:`exporter.signature.keys`."""

    def find(self, name: str, *, may_wait: bool) -> Sequence[RSAPublicKey]:
        """Return the keys at a DNS name, at least one.

        Raise Refusal if there is none, or if DNS does not answer and no key is cached. Raise LookupPending if the
        request should wait, and may do so.
        """

    def find_newer(self, name: str, tried: Sequence[RSAPublicKey], *, may_wait: bool) -> Sequence[RSAPublicKey]:
        """Return the keys that replaced those from ``find``; none unless a lookup is due. Raise as ``find``."""


class Verifier:
    """Verifies the signatures of requests. Thread-safe if ``keys`` is. ``clock`` returns seconds since the epoch."""

    def __init__(self, policy: Policy, keys: KeySource, clock: Callable[[], float]) -> None:
        self._policy = policy._replace(accounts=frozenset(map(normalize_account, policy.accounts)))
        self._keys = keys
        self._clock = clock
        url = urlsplit(policy.url)
        # A proxy may rewrite Host. SMTPeter signed the host of the URL, either as it is written there or normalized.
        self._hosts, self._base = list(dict.fromkeys((url.netloc, normalize_host(url.netloc)))), url.path

    def verify(self, request: Request, path: str, *, may_wait: bool) -> None:
        """Raise Refusal unless SMTPeter signed this request recently: 403, or 503 if DNS does not answer.

        ``path`` is that of the loop, below the path of the public URL. A request that was signed for another loop is
        rejected, so that nobody can post a recorded request of one loop to another.

        If the request ``may_wait``, raise LookupPending if its key has to be looked up first.
        """
        headers = self._headers(request)
        age = self._clock() - request.waited - _seconds(headers["date"])
        if abs(age) > self._policy.max_age:
            _reject("date", f"date {headers['date']} is {abs(age):.0f} s {'old' if age > 0 else 'ahead'}")
        if normalize_account(headers["x-copernica-id"]) not in self._policy.accounts:
            _reject("account", f"x-copernica-id is {headers['x-copernica-id']}")
        rest, signature = _split(headers["signature"])
        key_id, covered = _parameters(rest, self._policy.key_domain)
        if not hmac.compare_digest(_digest(headers["digest"]), hashlib.sha256(request.body).digest()):
            _reject("digest", "the digest does not match the body")
        hosts, target = self._as_signed(headers["host"], request.target, path)
        values = headers | {"(request-target)": f"{request.method.lower()} {target}"}
        lines = [f"{name}: {_value(name, values, request)}" for name in covered]
        texts, place = [], covered.index("host")
        for host in hosts:
            lines[place] = f"host: {host}"
            texts.append("\n".join(lines).encode("latin-1", "replace"))
        keys = self._keys.find(key_id, may_wait=may_wait)
        if _matches(keys, signature, texts):
            return
        if _matches(self._keys.find_newer(key_id, keys, may_wait=may_wait), signature, texts):
            return
        if target != request.target or headers["host"] not in hosts:
            _reject("url", f"received for {headers['host']}{request.target}, expected {hosts[0]}{target}")
        _reject("signature", f"the signature does not match the key {key_id}")

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {}
        for name, maximum in _MAX_LENGTH.items():
            value = request.header(name)
            if not value:
                _reject("unsigned", f"header {name} is missing")
            if len(value) > maximum:
                _reject("signature_malformed", f"header {name} is longer than {maximum} characters")
            headers[name] = value.strip()
        if "," in headers["host"]:
            _reject("signature_malformed", "header host is repeated")
        return headers

    def _as_signed(self, host: str, target: str, path: str) -> tuple[list[str], str]:
        """Return the possible hosts and the target that SMTPeter signed, before a proxy may have rewritten them."""
        if not self._hosts[0]:
            return [host], target
        expected = f"{self._base}{path}"
        received, question, query = target.partition("?")
        same = [host] if normalize_host(host) == self._hosts[-1] and host not in self._hosts else []
        return [*same, *self._hosts], target if received == expected else f"{expected}{question}{query}"


def signed_headers(
    key: RSAPrivateKey, request: Request, *, key_id: str, covered: Sequence[str] = COVERED_HEADERS
) -> dict[str, str]:
    """Return the headers Digest and Signature as SMTPeter sends them. The request has all other ``covered`` headers."""
    digest = f"SHA-256={base64.b64encode(hashlib.sha256(request.body).digest()).decode()}"
    values = {"(request-target)": f"{request.method.lower()} {request.target}", "digest": digest}
    text = "\n".join(f"{name.lower()}: {_value(name.lower(), values, request)}" for name in covered)
    signature = base64.b64encode(key.sign(text.encode("latin-1"), _PADDING, _HASH)).decode()
    parameters = {"keyId": key_id, "algorithm": "rsa-sha256", "headers": " ".join(covered), "signature": signature}
    return {"Digest": digest, "Signature": ",".join(f'{name}="{value}"' for name, value in parameters.items())}


def normalize_account(account: str) -> str:
    """Return the account in one spelling; the vendor's pages have environment-1234 and environment_1234."""
    return account.lower().replace("_", "-")


def normalize_host(netloc: str) -> str:
    """Return the host in lower case and without the default port."""
    return netloc.lower().removesuffix(":443").removesuffix(":80")


@lru_cache(maxsize=64)
def _seconds(date: str) -> float:
    try:
        when = parsedate_to_datetime(date if _DATE.fullmatch(date) else "")
        return when.replace(
            tzinfo=when.tzinfo or UTC
        ).timestamp()  # -0000 has no tzinfo and means UTC (RFC 5322 section 3.3)
    except (ValueError, OverflowError):  # for example February 31
        _reject("date", f"date '{date}' is not valid")


class _Parameters(NamedTuple):
    """The parameters of the header Signature, without the signature."""

    key_id: str
    covered: tuple[str, ...]


def _split(header: str) -> tuple[str, bytes]:
    """Return the header Signature with an empty signature, and the signature."""
    before, mark, rest = header.partition('signature="')
    text, end, after = rest.partition('"')
    if not mark or not end:
        _reject("signature_malformed", "header signature has no complete parameter signature")
    try:
        return f"{before}{mark}{end}{after}", binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError):
        _reject("signature_malformed", "the signature is not base64")


@lru_cache(maxsize=64)
def _parameters(header: str, key_domain: str) -> _Parameters:
    """Parse the header Signature. Without the signature itself it rarely changes, so the results are cached."""
    parameters: dict[str, str] = {}
    end = 0
    if header.rstrip().endswith(","):  # as if the header was repeated, without a value
        _reject("signature_malformed", "header signature ends with a comma")
    while end < len(header):
        found = _PARAMETER.match(header, end)
        if not found:
            _reject("signature_malformed", f"header signature is not valid at '{header[end : end + 20]}'")
        name, value = (found[1], found[2]) if found[1] else (found[3], found[4])
        if name.lower() in parameters:
            _reject("signature_malformed", f"header signature has {name} twice")
        parameters[name.lower()] = value
        end = found.end()
    if missing := {"keyid", "algorithm", "headers", "signature"} - parameters.keys():
        _reject("signature_malformed", f"header signature lacks {', '.join(sorted(missing))}")
    if parameters["algorithm"].lower() != "rsa-sha256":
        _reject("algorithm", f"the algorithm is {parameters['algorithm']}, expected rsa-sha256")
    key_id = parameters["keyid"].lower().removesuffix(".")
    if not key_id.endswith(f".{key_domain}") or not _DNS_NAME.fullmatch(key_id) or len(key_id) > _MAX_NAME:
        _reject("key_domain", f"keyId {key_id} is not a name in {key_domain}")
    return _Parameters(key_id, _covered(parameters["headers"]))


def _covered(headers: str) -> tuple[str, ...]:
    names = tuple(headers.lower().split())
    if len(names) != len(set(names)) or len(names) > _MAX_COVERED:
        _reject("signature_malformed", "the list of covered headers has a duplicate or is too long")
    if missing := REQUIRED_HEADERS - set(names):
        _reject("uncovered", f"the signature does not cover {', '.join(sorted(missing))}")
    return names


def _value(name: str, values: dict[str, str], request: Request) -> str:
    value = values[name] if name in values else request.header(name)
    if value is None:
        _reject("signature_malformed", f"the signature covers header '{name[:50]}', which is missing")
    return value.strip()


def _digest(header: str) -> bytes:
    """Return the SHA-256 in the header Digest, which may list other algorithms, too (RFC 3230 section 4.3.2).

    Two are rejected, even if they are equal: a list can't be told from a repeated header.
    """
    digests = [instance.partition("=") for instance in header.split(",")]
    found = [text.strip() for algorithm, _, text in digests if algorithm.strip().lower() == "sha-256"]
    if len(found) != 1:
        _reject("digest", f"header digest has {len(found)} values for SHA-256, expected one")
    try:
        return binascii.a2b_base64(found[0], strict_mode=True)
    except (binascii.Error, ValueError):
        _reject("digest", "the digest is not base64")


def _matches(keys: Sequence[RSAPublicKey], signature: bytes, texts: Sequence[bytes]) -> bool:
    for key, text in product(keys, texts):
        try:
            key.verify(signature, text, _PADDING, _HASH)
        except InvalidSignature:
            continue
        return True
    return False


def _reject(reason: str, detail: str) -> NoReturn:
    raise Refusal(403, reason, detail)
