"""Whether SMTPeter signed a request: draft-cavage-http-signatures-10, as narrow as SMTPeter's own use of it.

The vendor's rules are at https://www.smtpeter.com/en/documentation/webhook-security. Cheap checks come first, so that
a stranger costs no look-up in DNS and no arithmetic before what he sends is plausible. Pure: clock and keys come in.
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

COVERED: Final = frozenset({"(request-target)", "host", "date", "x-copernica-id", "digest"})
"""What a signature must at least cover."""

SMTPETERS_ORDER: Final = (
    *("(request-target)", "Host", "Date", "Content-Length", "Content-Type"),
    *("X-Copernica-ID", "Digest", "X-Nonce"),
)
"""What the documented example covers, in its order."""

_LONGEST: Final = {"date": 64, "digest": 128, "host": 260, "signature": 4_096, "x-copernica-id": 64}
_MAX_COVERED: Final = 32
# The documented example lacks the comma before signature= and is folded; draft-cavage-11 writes created=1402170695.
_PARAMETER: Final = re.compile(r'\s*([A-Za-z]{1,32})="([^"]*)"\s*,?\s*|\s*([A-Za-z]{1,32})=(\d{1,16})\s*,?\s*')
# RFC 9110 section 5.6.7; the vendor's library writes RFC 822 dates, with two digits for the year and a numeric zone.
_DATE: Final = re.compile(r"[A-Za-z]{3}, \d\d? [A-Za-z]{3} (\d{4}|\d\d) \d\d:\d\d:\d\d (GMT|UTC|[+-]\d{4})")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_LONGEST_NAME: Final = 253  # RFC 1035 section 2.3.4, written out
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()


class Request(NamedTuple):
    """A request as received: ``target`` is path and query undecoded, ``header`` gives a value by lower-case name.

    A header that came more than once has all its values, joined by commas: no check of one value passes then.
    """

    method: str
    target: str
    header: Callable[[str], str | None]
    body: bytes


class Policy(NamedTuple):
    """What is accepted. ``callback`` is the URL as SMTPeter calls it, empty when not known; ``max_age`` in seconds."""

    accounts: frozenset[str]
    key_domain: str
    max_age: float
    callback: str


class KeySource(Protocol):
    """Where public keys come from; see :mod:`exporter.signature.keys`."""

    def find(self, name: str) -> Sequence[RSAPublicKey]:
        """The keys at the name, at least one. Raises Refusal when there is none, or none to be had."""

    def find_newer(self, name: str, tried: Sequence[RSAPublicKey]) -> Sequence[RSAPublicKey]:
        """Keys that took the place of those that ``find`` gave; none unless a look-up is due. Raises Refusal."""


class Verifier:
    """Tells calls of SMTPeter's from all others. Thread-safe as far as ``keys`` is."""

    def __init__(self, policy: Policy, keys: KeySource, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since 1970."""
        self._policy = policy._replace(accounts=frozenset(map(same_account, policy.accounts)))
        self._keys = keys
        self._clock = clock
        url = urlsplit(policy.callback)
        # Proxies write Host in their own way. Signed is the one that SMTPeter sent: as in the URL, or put plainly.
        self._hosts, self._path = list(dict.fromkeys((url.netloc, plain_host(url.netloc)))), url.path

    def verify(self, call: Request) -> None:
        """Return when SMTPeter made this call not long ago. Raises Refusal: 403, or 503 when no key can be had."""
        headers = self._headers(call)
        age = self._clock() - _seconds(headers["date"])
        if abs(age) > self._policy.max_age:
            _refuse("date", f"the date {headers['date']} is {abs(age):.0f} s {'old' if age > 0 else 'ahead'}")
        if same_account(headers["x-copernica-id"]) not in self._policy.accounts:
            _refuse("account", f"x-copernica-id is {headers['x-copernica-id']}")
        rest, signature = _split(headers["signature"])
        key_id, covered = _parameters(rest, self._policy.key_domain)
        if not hmac.compare_digest(_digest(headers["digest"]), hashlib.sha256(call.body).digest()):
            _refuse("digest", "the body is not the one of the digest")
        hosts, target = self._as_called(headers["host"], call.target)
        values = headers | {"(request-target)": f"{call.method.lower()} {target}"}
        texts = [
            "\n".join(f"{name}: {_value(name, values | {'host': host}, call)}" for name in covered).encode(
                "latin-1", "replace"
            )
            for host in hosts
        ]
        keys = self._keys.find(key_id)
        if _fits(keys, signature, texts) or _fits(self._keys.find_newer(key_id, keys), signature, texts):
            return
        if target != call.target or headers["host"] not in hosts:
            _refuse("url", f"called as {headers['host']}{call.target}, expected {hosts[0]}{target}")
        _refuse("signature", f"the signature is not one of {key_id}")

    def _headers(self, call: Request) -> dict[str, str]:
        headers = {}
        for name, longest in _LONGEST.items():
            value = call.header(name)
            if not value:
                _refuse("unsigned", f"no header {name}")
            if len(value) > longest:
                _refuse("signature_malformed", f"header {name} is longer than {longest} characters")
            headers[name] = value.strip()
        if "," in headers["host"]:
            _refuse("signature_malformed", "the header host comes twice")
        return headers

    def _as_called(self, host: str, target: str) -> tuple[list[str], str]:
        """Host (what it may have been) and target as SMTPeter signed them, where a proxy made others of them."""
        if not self._path:
            return [host], target
        path, question, query = target.partition("?")
        same = [host] if plain_host(host) == self._hosts[-1] and host not in self._hosts else []
        return [*same, *self._hosts], target if path == self._path else f"{self._path}{question}{query}"


def signed_headers(
    key: RSAPrivateKey, call: Request, *, key_id: str, covered: Sequence[str] = SMTPETERS_ORDER
) -> dict[str, str]:
    """The headers Digest and Signature for a call that has all other ``covered`` headers, as SMTPeter makes them."""
    digest = f"SHA-256={base64.b64encode(hashlib.sha256(call.body).digest()).decode()}"
    values = {"(request-target)": f"{call.method.lower()} {call.target}", "digest": digest}
    text = "\n".join(f"{name.lower()}: {_value(name.lower(), values, call)}" for name in covered)
    signature = base64.b64encode(key.sign(text.encode("latin-1"), _PADDING, _HASH)).decode()
    parameters = {"keyId": key_id, "algorithm": "rsa-sha256", "headers": " ".join(covered), "signature": signature}
    return {"Digest": digest, "Signature": ",".join(f'{name}="{value}"' for name, value in parameters.items())}


def same_account(account: str) -> str:
    """The account in one spelling: the vendor's pages have environment-1234 and environment_1234."""
    return account.lower().replace("_", "-")


def plain_host(netloc: str) -> str:
    """A host in one spelling: in lower case, without the port that goes without saying."""
    return netloc.lower().removesuffix(":443").removesuffix(":80")


@lru_cache(maxsize=64)
def _seconds(date: str) -> float:
    try:
        when = parsedate_to_datetime(date if _DATE.fullmatch(date) else "")
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp()  # none: -0000, RFC 5322 section 3.3
    except (ValueError, OverflowError):  # the 31st of February
        _refuse("date", f"the date {date!r} can't be read")


class _Parameters(NamedTuple):
    """What the header Signature says, but for the signature itself."""

    key_id: str
    covered: tuple[str, ...]


def _split(header: str) -> tuple[str, bytes]:
    """The header Signature without the value that differs from call to call, the signature; and the signature."""
    before, mark, rest = header.partition('signature="')
    text, end, after = rest.partition('"')
    if not mark or not end:
        _refuse("signature_malformed", "the header signature lacks the parameter signature, or its end")
    try:
        return f"{before}{mark}{end}{after}", base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        _refuse("signature_malformed", "the signature is not base64")


@lru_cache(maxsize=64)
def _parameters(header: str, key_domain: str) -> _Parameters:
    """Read the header Signature, of which there are few when the signature is taken out of it."""
    parameters: dict[str, str] = {}
    end = 0
    while end < len(header):
        found = _PARAMETER.match(header, end)
        if not found:
            _refuse("signature_malformed", f"the header signature can't be read at {header[end : end + 20]!r}")
        name, value = (found[1], found[2]) if found[1] else (found[3], found[4])
        if name.lower() in parameters:
            _refuse("signature_malformed", f"the header signature has {name} twice")
        parameters[name.lower()] = value
        end = found.end()
    if missing := {"keyid", "algorithm", "headers", "signature"} - parameters.keys():
        _refuse("signature_malformed", f"the header signature lacks {', '.join(sorted(missing))}")
    if parameters["algorithm"].lower() != "rsa-sha256":
        _refuse("algorithm", f"the algorithm is {parameters['algorithm']}")
    key_id = parameters["keyid"].lower().removesuffix(".")
    if not key_id.endswith(f".{key_domain}") or not _NAME.fullmatch(key_id) or len(key_id) > _LONGEST_NAME:
        _refuse("key_domain", f"keyId {key_id} is no name under {key_domain}")
    return _Parameters(key_id, _covered(parameters["headers"]))


def _covered(headers: str) -> tuple[str, ...]:
    names = tuple(headers.lower().split())
    if len(names) != len(set(names)) or len(names) > _MAX_COVERED:
        _refuse("signature_malformed", "the list of covered headers has one twice, or too many")
    if missing := COVERED - set(names):
        _refuse("uncovered", f"the signature does not cover {', '.join(sorted(missing))}")
    return names


def _value(name: str, values: dict[str, str], call: Request) -> str:
    value = values[name] if name in values else call.header(name)
    if value is None:
        _refuse("signature_malformed", f"the signature covers {name[:50]!r}, which is not there")
    return value.strip()


def _digest(header: str) -> bytes:
    algorithm, _, text = header.partition("=")
    if algorithm.strip().lower() != "sha-256":
        _refuse("digest", f"the digest is made with {algorithm[:20]!r}, expected SHA-256")
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        _refuse("digest", "the digest is not base64")


def _fits(keys: Sequence[RSAPublicKey], signature: bytes, texts: Sequence[bytes]) -> bool:
    for key, text in product(keys, texts):
        try:
            key.verify(signature, text, _PADDING, _HASH)
        except InvalidSignature:
            continue
        return True
    return False


def _refuse(reason: str, detail: str) -> NoReturn:
    raise Refusal(403, reason, detail)
