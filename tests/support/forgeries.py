"""Signed requests with a mutation that must make them invalid, and valid ones in between."""

import hmac
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count, cycle, islice
from random import Random
from time import time
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from exporter.signature.verifier import COVERED_HEADERS, REQUIRED_HEADERS
from tests.support.mutable_request import JSON, Request, body_of, private_key
from tests.support.mutations import REVOKED
from tests.support.running import exchange, failure
from tests.support.signing import ACCOUNT, KEY_ID, key

VALID_EVERY: Final = 10
"""One valid request is sent after this many forgeries."""


def _valid(number: int) -> Request:
    fields = failure(number)
    made = Request(dict(fields), body=body_of(Request({}).content_type, dict(fields)))
    made.sign()
    return made


def _signature(made: Request) -> bytes:
    return b64decode(made.get("Signature").rpartition('signature="')[2].rstrip('"'))


def _put(made: Request, signature: bytes) -> None:
    before, mark, _ = made.get("Signature").rpartition('signature="')
    made.set("Signature", f'{before}{mark}{b64encode(signature).decode()}"')


def _text(made: Request) -> bytes:
    """Return the text that was signed."""
    values = {name.lower(): text for name, text in made.headers}
    values["(request-target)"] = f"{made.method.lower()} {made.target}"
    return "\n".join(f"{name.lower()}: {values[name.lower()]}" for name in COVERED_HEADERS).encode()


def _bit(rng: Random, made: Request) -> None:
    signature = bytearray(_signature(made))
    signature[rng.randrange(len(signature))] ^= 1 << rng.randrange(8)
    _put(made, bytes(signature))


def _bytes(rng: Random, made: Request) -> None:
    """Cut, extend or replace the signature."""
    right = _signature(made)
    modulus = private_key().public_key().public_numbers().n
    wrapped = (int.from_bytes(right, "big") + modulus).to_bytes(len(right) + 1, "big")  # equal modulo n
    cut = rng.randrange(len(right))
    wrong = (right[:cut], right[cut + 1 :], right + b"\0", b"\0" + right, b"\0" * len(right), b"\xff" * len(right))
    _put(made, rng.choice((*wrong, right[::-1], b"", b"\1", rng.randbytes(len(right)), right * 2, wrapped)))


def _other_request(_rng: Random, made: Request) -> None:
    other = _valid(0)
    made.set("Signature", other.get("Signature"))


def _other_key(_rng: Random, made: Request) -> None:
    made.sign(private=key(1))


def _padding(rng: Random, made: Request) -> None:
    """Sign with another padding or hash."""
    other: tuple[tuple[AsymmetricPadding, HashAlgorithm], ...] = (
        *((PKCS1v15(), SHA1()), (PKCS1v15(), SHA512())),  # noqa: S303 -- must be rejected
        (PSS(MGF1(SHA256()), 32), SHA256()),
    )
    _put(made, private_key().sign(_text(made), *rng.choice(other)))


def _public_key_as_secret(rng: Random, made: Request) -> None:
    """Sign with the public key, which everybody has, as the secret of an HMAC."""
    public = private_key().public_key()
    formats = ((Encoding.DER, PublicFormat.SubjectPublicKeyInfo), (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    secret = public.public_bytes(*rng.choice(formats))
    _put(made, hmac.digest(secret, _text(made), "sha256"))
    if rng.random() < 0.5:
        made.set("Signature", made.get("Signature").replace("rsa-sha256", "hmac-sha256"))


def _header(rng: Random, made: Request) -> None:
    """Change a signed header, most to another valid value."""
    name = rng.choice(("Date", "X-Copernica-ID", "X-Nonce", "Content-Type", "Host", "Digest"))
    later = Request({})
    later.sign(at=time() + rng.choice((-60, -1, 1, 60)))
    others = {
        "Date": later.get("Date"),
        "X-Copernica-ID": rng.choice((ACCOUNT.upper(), ACCOUNT.replace("-", "_"), "environment-1")),
        "Content-Type": rng.choice((JSON, f"{made.content_type}; charset=utf-8")),
        "Digest": later.get("Digest"),
    }
    made.set(name, others.get(name, f"{made.get(name)}x"))


def _header_missing(rng: Random, made: Request) -> None:
    name = rng.choice(("Date", "X-Copernica-ID", "X-Nonce", "Content-Type", "Digest", "Signature"))
    made.headers = [pair for pair in made.headers if pair[0] != name]


def _header_twice(rng: Random, made: Request) -> None:
    """Put a header with another value before or behind the right one."""
    name = rng.choice(("Date", "X-Copernica-ID", "X-Nonce", "Digest", "Signature"))
    at = next(at for at, (each, _) in enumerate(made.headers) if each == name)
    other = _valid(0)
    made.headers.insert(at + rng.randrange(2), (name, other.get(name) if rng.random() < 0.5 else "x"))


def _target(rng: Random, made: Request) -> None:
    made.target += rng.choice(("?", "?a=1", "?a=%2f", "#x"))


def _body(rng: Random, made: Request) -> None:
    """Change a byte of the body, sometimes with the right digest."""
    body = bytearray(made.body)
    body[rng.randrange(len(body))] ^= 1
    made.body = bytes(body)
    if rng.random() < 0.5:
        made.set("Digest", f"SHA-256={b64encode(sha256(made.body).digest()).decode()}")


def _uncovered(rng: Random, made: Request) -> None:
    """Sign all but one of the required headers."""
    missing = rng.choice(sorted(REQUIRED_HEADERS))
    made.sign(covered=[name for name in COVERED_HEADERS if name.lower() != missing])


def _covered(rng: Random, made: Request) -> None:
    """Change the list of covered headers without signing again."""
    listed = [name.lower() for name in COVERED_HEADERS]
    listed = rng.choice(([], listed[::-1], listed[:-1], [*listed, listed[0]], [*listed, "x-missing"]))
    before, _, rest = made.get("Signature").partition('headers="')
    made.set("Signature", f'{before}headers="{" ".join(listed)}"{rest.partition(chr(34))[2]}')


def _algorithm(rng: Random, made: Request) -> None:
    names = ("hs2019", "hmac-sha256", "none", "rsa-sha1", "rsa-sha512", "", "ed25519")
    made.set("Signature", made.get("Signature").replace("rsa-sha256", rng.choice(names)))


def _key_id(rng: Random, made: Request) -> None:
    names = (REVOKED, "none.copernica.com", "evilcopernica.com", "copernica.com.evil.org", "weak.copernica.com", "")
    made.set("Signature", made.get("Signature").replace(KEY_ID, rng.choice(names)))


def _date(rng: Random, made: Request) -> None:
    """Sign a date that is too long ago or too far ahead."""
    made.sign(at=time() + rng.choice((-1, 1)) * rng.choice((400, 4_000, 86_400, 1e8)))


def _account(rng: Random, made: Request) -> None:
    """Sign another account."""
    made.sign(account=rng.choice(("environment-4321", "environment-12345", "environment-123", "account-1234", "*")))


FORGERIES: Final = (
    *(_bit, _bytes, _other_request, _other_key, _padding, _public_key_as_secret, _header, _header_missing),
    *(_header_twice, _target, _body, _uncovered, _covered, _algorithm, _key_id, _date, _account),
)
"""Functions that make a valid request invalid."""


@dataclass
class Forged:
    """The results: forgeries by status and reason, valid requests answered 200, and what was wrong."""

    forged: int = 0
    valid: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def forge(address: str, amount: int, seed: str, first: int) -> Forged:
    """Send a number of forgeries of all kinds in turn, and valid requests; failures are numbered from ``first`` on."""
    rng, numbers, outcome = Random(seed), count(first), Forged()
    for mutate in islice(cycle(FORGERIES), amount):
        made = _valid(next(numbers))
        mutate(rng, made)
        answer = exchange(address, made.raw())
        outcome.forged += 1
        outcome.reasons[f"{answer.status} {answer.text.strip()}"] += 1
        if answer.status not in {400, 403}:
            outcome.problems.append(f"{mutate.__name__.strip('_')} was answered {answer.status}: {made.raw()!r}")
        if outcome.forged % VALID_EVERY == 0:
            answer = exchange(address, _valid(next(numbers)).raw())
            outcome.valid += answer.status == 200
            if answer.status != 200:
                outcome.problems.append(f"a valid request was answered {answer.status} {answer.text.strip()}")
    return outcome
