"""Signatures as SMTPeter makes them, and a name server on loopback that has the public keys."""

import base64
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import formatdate
from functools import cache, partial
from types import TracebackType
from typing import Final, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    RSAPublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from exporter.signature.verifier import COVERED_HEADERS, Request, signed_headers

ACCOUNT: Final = "environment-1234"
KEY_ID: Final = "one._domainkey.copernica.com"


@cache
def key(number: int = 0, bits: int = 2_048) -> RSAPrivateKey:
    """Return a private key, the same one for the same arguments."""
    assert number >= 0
    return generate_private_key(65_537, bits)


def record(key: RSAPrivateKey | RSAPublicKey, encoding: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> str:
    """Return the TXT record that publishes the key."""
    public = key.public_key() if isinstance(key, RSAPrivateKey) else key
    der = public.public_bytes(Encoding.DER, encoding)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def headers_for(  # noqa: PLR0913 -- by name
    host: str,
    target: str,
    body: bytes,
    content_type: str,
    *,
    at: float | None = None,
    account: str = ACCOUNT,
    key_id: str = KEY_ID,
    private: RSAPrivateKey | None = None,
    covered: Sequence[str] = COVERED_HEADERS,
) -> dict[str, str]:
    """Return all headers of a signed request."""
    headers = {
        "Host": host,
        "Date": formatdate(at, usegmt=True),
        "X-Copernica-ID": account,
        "X-Nonce": "fsd9f2",
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
    }
    request = Request("POST", target, getter(headers), body)
    return headers | signed_headers(private or key(), request, key_id=key_id, covered=covered)


def getter(headers: Mapping[str, str]) -> Callable[[str], str | None]:
    """Return a function that returns the value of a header, whatever the case of its name."""
    lower = {name.lower(): value for name, value in headers.items()}
    return lambda name: lower.get(name.lower())


def short_record() -> str:
    """Return the record of a key with 1,023 bits."""
    return record(RSAPublicNumbers(65_537, (1 << 1_022) + 1).public_key())


class NameServer:
    """A name server over UDP on loopback with the TXT records ``records``. Other names get NXDOMAIN.

    ``asked`` is the number of queries by name. Each answer comes after ``delay`` seconds. While ``silent`` it does not
    answer; while ``failing`` it answers SERVFAIL.
    """

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.ttl = 300
        self.delay = 0.0
        self.asked: Counter[str] = Counter()
        self.silent = self.failing = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start the server."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4_096)
            if not data:
                return
            query = dns.message.from_wire(data)
            name = query.question[0].name.to_text(omit_final_dot=True)
            self.asked[name] += 1
            if not self.silent:
                send = partial(self._send, self._answer(query, name).to_wire(), client)
                if self.delay:
                    timer = threading.Timer(self.delay, send)
                    timer.daemon = True
                    timer.start()
                else:
                    send()

    def _send(self, answer: bytes, client: tuple[str, int]) -> None:
        with suppress(OSError):  # the server was stopped meanwhile
            self._socket.sendto(answer, client)

    def _answer(self, query: dns.message.Message, name: str) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA | dns.flags.RA
        if self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in self.records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif self.records[name]:
            texts = [
                " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200) or [0])
                for text in self.records[name]
            ]
            answer.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", "TXT", *texts))
        return answer
