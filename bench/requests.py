"""Requests of the benchmarks, as bytes: forms as SMTPeter posts them, signed forms, and pushes to a Pushgateway."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.support.running import FORM
from tests.support.signing import headers_for, key

FORMS: Final = "post.lua"
SIGNED: Final = "signed.lua"
PUSHES: Final = "push.lua"
"""The kinds of requests. Each is named after the script with which wrk sends them."""

_HOST: Final = "mail.example.com"
_PUSH: Final = b'smtpeter_failures{state="rcptto",code_class="5xx",extended="5.1.1"} 1\n'


def body_of(identity: str, number: int) -> bytes:
    """Return a form of about 250 bytes, as post.lua makes it."""
    return (
        f"id={identity}&recipient=someone{number % 1000}%40example.com&state=rcptto&code=550&extended=5.1.1"
        "&description=550+5.1.1+The+email+account+that+you+tried+to+reach+does+not+exist.&type=failure&action=failed"
        "&time=1790000000&timestamp=2026-09-21+10%3A13%3A20&tags=newsletter"
    ).encode()


def to_bytes(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return a POST request as bytes."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + body


def requests(kind: str, run: str, file: Path | None = None) -> Iterator[bytes]:
    """Yield requests of a kind: the signed ones from ``file``, the others without end. No two runs share a request."""
    if kind == SIGNED:
        assert file
        with file.open("rb") as lines:
            while line := lines.readline():
                yield lines.read(int(line))
        return
    for number in count():
        body = _PUSH if kind == PUSHES else body_of(f"{run}x{number}", number)
        headers = {"Host": _HOST, "Content-Type": FORM, "Content-Length": str(len(body))}
        yield to_bytes("/metrics/job/smtpeter" if kind == PUSHES else "/failures", headers, body)


def write_signed(file: Path, run: str, amount: int) -> None:
    """Sign requests on all cores, and write them for signed.lua: before each one, a line with its length."""
    pem = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    share = 1_000
    starts = range(0, amount, share)
    with ProcessPoolExecutor(os.cpu_count()) as pool, file.open("wb") as into:
        into.writelines(
            pool.map(
                _signed, [range(start, start + share) for start in starts], [run] * len(starts), [pem] * len(starts)
            )
        )


def _signed(numbers: range, run: str, pem: bytes) -> bytes:
    private = load_pem_private_key(pem, password=None)
    assert isinstance(private, RSAPrivateKey)
    signed = []
    for number in numbers:
        body = body_of(f"{run}x{number}", number)
        raw = to_bytes("/failures", headers_for(_HOST, "/failures", body, FORM, private=private), body)
        signed.append(b"%d\n%b" % (len(raw), raw))
    return b"".join(signed)
