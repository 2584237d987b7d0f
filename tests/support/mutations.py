"""Valid signed requests, mutated in many ways, and the answers that the server must give.

A case is the bytes that are sent on one connection. The server's own parser says how many answers it must give and
whether the connection stays open, so there is no need to wait for further answers.
"""

import re
import socket
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count
from random import Random
from time import time
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from waitress.adjustments import Adjustments

from exporter.refusals import REFUSAL_REASONS
from exporter.webhook.waitress_listener import MAX_HEADER
from exporter.webhook.waitress_parser import Parser
from tests.support.body_mutations import BODIES
from tests.support.mutable_request import HUGE, JSON, MULTIPART, ODD, UNICODE, Request, body_of, private_key, scramble
from tests.support.running import FORM, TIMEOUT, connect, failure
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record

STATUSES: Final = frozenset({200, 400, 403, 404, 405, 413, 415, 431, 503})
"""The statuses that the public listener may answer with."""
UNWANTED: Final = frozenset({"internal", "unavailable"})
"""Reasons for a 503 that no client can cause."""
REVOKED: Final = "revoked.copernica.com"

_WORDS: Final = REFUSAL_REASONS.keys() | {"counted", "duplicate"}
_RECEIVED: Final = 8_192  # bytes that waitress reads at once


class Case(NamedTuple):
    """The bytes to send, the mutations, and the number of failures in it that are in no other case."""

    raw: bytes
    name: str
    failures: int


# Mutations of headers. They follow the signature, so that they reach its verification.


def _some_header(rng: Random, made: Request) -> tuple[int, str, str]:
    at = rng.randrange(len(made.headers))
    return at, *made.headers[at]


def _header_twice(rng: Random, made: Request) -> None:
    _, name, text = _some_header(rng, made)
    made.headers.insert(rng.randrange(len(made.headers) + 1), (name, rng.choice((text, text.swapcase(), "x", ""))))


def _header_dropped(rng: Random, made: Request) -> None:
    del made.headers[_some_header(rng, made)[0]]


def _headers_reordered(rng: Random, made: Request) -> None:
    rng.shuffle(made.headers)


def _header_long(rng: Random, made: Request) -> None:
    at, name, text = _some_header(rng, made)
    made.headers[at] = (name, text + rng.choice("xA= ,9") * rng.choice((10, 300, 5_000, 17_000)))


def _header_folded(rng: Random, made: Request) -> None:
    at, name, text = _some_header(rng, made)
    cut = rng.randrange(len(text) + 1)
    made.headers[at] = (name, f"{text[:cut]}\r\n{rng.choice((' ', chr(9), '   ', ''))}{text[cut:]}")


def _header_odd(rng: Random, made: Request) -> None:
    at, name, text = _some_header(rng, made)
    cut = rng.randrange(len(text) + 1)
    odd = rng.choice((*ODD, *UNICODE))
    odd = odd.encode("utf-8", "replace").decode("latin-1")
    made.headers[at] = rng.choice(
        (
            (name, text[:cut] + odd + text[cut:]),
            (name + odd, text),
            (name, quote(text)),
            (name, ""),
            (name.swapcase(), f" \t{text}\t "),
            (name.replace("-", "_"), text),
            (f" {name}", text),
            (f"{name} ", text),
            (name, made.headers[0][1]),
        )
    )


def _headers_many(rng: Random, made: Request) -> None:
    made.headers += [(f"X-{number}", "y") for number in range(rng.choice((50, 500, 3_000)))]


def _date(rng: Random, made: Request) -> None:
    made.sign(at=time() + rng.choice((-400, -301, 400, 1e6, -1e6)))
    odd = ("", "0", "now", "Mon, 99 Foo 2026 99:99:99 GMT", "Sat, 31 Feb 2026 00:00:00 GMT", formatdate(time()))
    if rng.random() < 0.7:
        made.set("Date", rng.choice((*odd, "Mon, 01 Jan 0000 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -9999")))


def _account(rng: Random, made: Request) -> None:
    odd = ("environment_1234", "ENVIRONMENT-1234", "environment-1", "*", f"{ACCOUNT},{ACCOUNT}")
    made.set("X-Copernica-ID", rng.choice(odd))


def _digest(rng: Random, made: Request) -> None:
    text = made.get("Digest").partition("=")[2]
    odd = ("sha-256={}", "SHA-512={}", "MD5={}", "SHA-256={},MD5={}", "SHA-256=", "SHA-256=é{}", "{}", "SHA-256 = {} ")
    made.set("Digest", rng.choice((*odd, "SHA-256=*{}", "SHA-256={}=")).format(text, text))


def _digest_list(rng: Random, made: Request) -> None:
    others = (f"SHA-512={'A' * 86}==", "sha-512=x", "MD5=1B2M2Y8AsgTpgAmY7PhCfg==", "unixsum=30637", "x", "", " ", "=")
    listed = rng.sample(others, rng.randrange(4)) + rng.choice(
        (
            *(["SHA-256={}"], ["SHA-256={}"], ["sha-256 = {}"], ["SHA-256={}"] * 2),
            *(["SHA-256={}", "SHA-256=AAAA"], ["SHA-256"], []),
        )
    )
    rng.shuffle(listed)
    made.sign_digest(rng.choice((",", ", ", " ,\t", ";", ",,")).join(listed)[: rng.choice((2_000, 2_000, 100))])


def _header_again(rng: Random, made: Request) -> None:
    """Repeat a header that is read, with the same or no value, or join it to a list as a proxy would."""
    names = ("Signature", "Signature", "Content-Type", "Content-Type", "Digest", "Date", "Host", "X-Copernica-ID")
    name = rng.choice(names)
    text = made.get(name)
    second = rng.choice((text, "", " ", "x", "text/plain", f"{JSON}; a=b", FORM))
    if rng.random() < 0.3:
        made.set(name, rng.choice((f"{text}, {second}", f"{second}, {text}", f"{text},", f",{text}")))
    else:
        made.headers.insert(rng.randrange(len(made.headers) + 1), (rng.choice((name, name.swapcase())), second))


def _negotiation(rng: Random, made: Request) -> None:
    names = ("Accept", "Accept-Encoding", "Accept-Charset", "Range", "If-Match", "If-None-Match", "TE")
    odd = ("*/*", "", "q=0", ";;,q", "text/plain;q=much", "application/json;q=0", "x," * 2_000, "\xff", "gzip;q=0")
    for name in rng.sample(names, 3):
        made.headers.append((name, rng.choice(odd)))


def _parameter(rng: Random, made: Request) -> None:
    parameters = re.findall(r'(\w+)="([^"]*)"', made.get("Signature"))
    if not parameters:  # an earlier mutation broke the header
        return
    at = rng.randrange(len(parameters))
    name, text = parameters[at]
    match rng.randrange(8):
        case 0:
            del parameters[at]
        case 1:
            parameters.append((name, rng.choice((text, "", text.upper()))))
        case 2:
            rng.shuffle(parameters)
        case 3:
            parameters[at] = (name, scramble(rng, text.encode()).decode("latin-1"))
        case 4:
            parameters[at] = (name.swapcase(), text)
        case 5:
            parameters.insert(at, (rng.choice(("created", "expires", "nonce", "x" * 40)), rng.choice(HUGE)))
        case 6:
            parameters[at] = (name, text * rng.choice((2, 30)))
        case _:
            parameters[at] = (name, "")
    form = rng.choice(('{}="{}"', '{}="{}"', '{}="{}"', "{}={}", '{} = "{}"', '{}="{}', "{}='{}'"))
    comma = rng.choice((",", ",", ",", " ", ", ", ";", "", ",,", ",\r\n "))
    made.set("Signature", comma.join(form.format(*one) for one in parameters))


def _algorithm(rng: Random, made: Request) -> None:
    odd = ("hs2019", "hmac-sha256", "none", "rsa-sha1", "rsa-sha512", "RSA-SHA256", "ed25519", "", "rsa-sha256,none")
    made.set("Signature", made.get("Signature").replace("rsa-sha256", rng.choice(odd)))


def _key_id(rng: Random, made: Request) -> None:
    names = (
        *(REVOKED, "none.copernica.com", "evilcopernica.com", "copernica.com.evil.org", "copernica.com", "", "."),
        *(f"{KEY_ID}.", KEY_ID.upper(), f"..{KEY_ID}", f"{'a.' * 150}copernica.com", "*.copernica.com"),
        *("\xe9.copernica.com", f"n{rng.randrange(1_000)}.copernica.com", f"{'x' * 64}.copernica.com"),
        *("127.0.0.1", "file:///etc/passwd", "a b.copernica.com", "a\0.copernica.com"),
    )
    made.set("Signature", made.get("Signature").replace(KEY_ID, rng.choice(names)))


def _other_key(_rng: Random, made: Request) -> None:
    made.sign(private=key(1))


def _coverage(rng: Random, made: Request) -> None:
    names = ["(request-target)", "host", "date", "x-copernica-id", "digest"]
    made.sign(
        covered=rng.choice(
            (
                names,
                rng.sample(names, 4),
                [name.upper() for name in names],
                [*names, *names],
                [*names, "content-length", "content-type", "x-nonce"],
                rng.sample(names, 5),
            )
        )
    )
    if rng.random() < 0.3:
        extra = rng.choice(("(created)", "x-missing", "signature", "x" * 500, " ".join(f"x{n}" for n in range(40))))
        made.set("Signature", made.get("Signature").replace('headers="', f'headers="{extra} '))


# Mutations of the request line and the framing.


def _target(rng: Random, made: Request) -> None:
    made.target = rng.choice(
        (
            *("/failures?a=1", "/failures#x", "/failures/", "//failures", "/./failures", "/%66ailures", "/failures%00"),
            *("/failures?" + "a" * 2_000, "http://mail.example.com/failures", "http://[", "http://[::1]/failures", "*"),
            *(
                "/../failures",
                "/FAILURES",
                "/failures\xff",
                "/smtpeter-a.txt",
                "/smtpeter-../a.txt",
                "/%ff%fe",
                "?",
                "/",
            ),
            *("/failures;a=b", "/x" * 5_000, "mail.example.com:443", "/failures?a=\xe9", "/failures%", "/metrics"),
        )
    )
    if rng.random() < 0.5:
        made.sign()


def _method(rng: Random, made: Request) -> None:
    made.method = rng.choice(
        ("GET", "HEAD", "PUT", "OPTIONS", "TRACE", "CONNECT", "post", "BREW", "PO ST", "", "\xff", "A" * 300)
    )


def _version(rng: Random, made: Request) -> None:
    made.version = rng.choice(
        (" HTTP/1.0", " HTTP/0.9", " HTTP/2.0", " HTTP/9.9", "", " http/1.1", " HTTP/1.1 ", " HTTP/11", " HTTP/1.1\0")
    )


def _line_ends(rng: Random, made: Request) -> None:
    made.end = rng.choice(("\n", "\r", "\r\r\n", "\n\r", " \r\n", "\r\n\0"))


def _length(rng: Random, made: Request) -> None:
    real = len(made.body)
    made.set("Content-Length", rng.choice((*HUGE, *(str(real + by) for by in (-real, -5, -1, 1, 5, 1_000)))))


def _expects(rng: Random, made: Request) -> None:
    made.headers.append(("Expect", rng.choice(("100-continue", "200-ok", "100-CONTINUE, x"))))
    if rng.random() < 0.3:
        made.set("Content-Length", rng.choice(HUGE))


def _connection(rng: Random, made: Request) -> None:
    made.headers.append(("Connection", rng.choice(("close", "keep-alive", "upgrade", "close, keep-alive", "\xff"))))
    made.headers.append(("Upgrade", rng.choice(("websocket", "h2c"))))


def _chunks(rng: Random, made: Request) -> None:
    body = made.body
    size = max(rng.choice((1, 7, 100, 100_000)), len(body) // 1_000)
    extension = rng.choice((b"", b"", b"", b";x=y", b';x="\r\n"', b" ", b";" + b"x" * 5_000))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    made.body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    made.body += rng.choice(
        (b"0\r\n\r\n",) * 4 + (b"0\r\nX-Trailer: y\r\n\r\n", b"0\r\n", b"", b"-1\r\n\r\n", b"zz\r\n\r\n")
    )
    if rng.random() < 0.2:
        made.body = rng.choice((b"0x5", b"+5", b"F" * 17, b"9" * 5_000, b" 5", b"5_0", b"")) + b"\r\n" + made.body
    if rng.random() < 0.2:
        made.body = scramble(rng, made.body)
    codings = ("chunked",) * 6 + ("CHUNKED", "chunked, chunked", "gzip", "gzip, chunked", "identity", "", "\x0bchunked")
    made.headers.append(("Transfer-Encoding", rng.choice(codings)))
    if rng.random() < 0.8:
        made.headers = [one for one in made.headers if one[0] != "Content-Length"]


def _framed_twice(rng: Random, made: Request) -> None:
    """Say twice, in the same or in different ways, where the body ends."""
    if rng.random() < 0.6:
        made.body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(made.body), made.body)
    length, zero = ("Content-Length", str(len(made.body))), ("Content-Length", "0")
    codings = (
        *(
            "chunked",
            "CHUNKED",
            "\tchunked ",
            "chunked, chunked",
            "chunked;x",
            "identity, chunked",
            "xchunked",
            "",
            ",",
        ),
        *("chun\r\n ked", "\r\n chunked"),
    )
    choices = (length, zero, ("content-length", "5"), ("Content_Length", "5"))
    more = [("Transfer-Encoding", coding) for coding in codings]
    for one in rng.choices((*choices, *more), k=rng.choice((1, 2, 2, 3))):
        made.headers.insert(rng.randrange(len(made.headers) + 1), one)


# Mutations of bytes.


def _scrambled(rng: Random, made: Request) -> bytes:
    return scramble(rng, made.raw())


def _cut(rng: Random, made: Request) -> bytes:
    raw = made.raw()
    return raw[: rng.randrange(len(raw))]


def _preceded(rng: Random, made: Request) -> bytes:
    return (
        rng.choice((b"\r\n" * 5, b"\n", b"\0", b"\xef\xbb\xbf", b" ", b"\x16\x03\x01\x02\x00\x01\r\n\r\n")) + made.raw()
    )


def _noise(rng: Random, _made: Request) -> bytes:
    return rng.randbytes(rng.choice((1, 50, 20_000))) + b"\r\n\r\n"


PARTS: Final[tuple[Callable[[Random, Request], None], ...]] = (
    *(_header_twice, _header_dropped, _headers_reordered, _header_long, _header_folded, _header_odd, _headers_many),
    *(_header_again, _digest_list, _negotiation, _framed_twice),
    *(_date, _account, _digest, _parameter, _parameter, _algorithm, _key_id, _other_key, _coverage),
    *(_target, _method, _version, _line_ends, _length, _expects, _connection, _chunks),
)
BYTES: Final[tuple[Callable[[Random, Request], bytes], ...]] = (_scrambled, _scrambled, _cut, _preceded, _noise)
# Only one of these per request: the server rejects it before it sees the others.
_SOLE: Final = frozenset({_headers_many, _header_long})


def cases(rng: Random, numbers: Iterator[int]) -> Iterator[Case]:
    """Yield cases without end. The same ``rng`` gives the same cases; each of ``numbers`` gives a different failure."""
    while True:
        match rng.randrange(20):
            case 0:
                yield Case(_good(rng, numbers).raw(), "good", 1)
            case 1:
                yield Case(_good(rng, numbers).raw() * 2, "replayed", 1)
            case 2:
                raw = [_good(rng, numbers).raw() for _ in range(rng.randrange(2, 5))]
                yield Case(b"".join(raw), "sent ahead", len(raw))
            case 3:
                bad, name = _bad(rng, numbers)
                raw = [_good(rng, numbers).raw(), bad, _good(rng, numbers).raw()]
                yield Case(b"".join(raw), f"{name} between two good ones", len(raw))
            case _:
                bad, name = _bad(rng, numbers)
                yield Case(bad, name, 1)


def _good(rng: Random, numbers: Iterator[int]) -> Request:
    made = _unsigned(rng, numbers)
    made.sign()
    return made


def _unsigned(rng: Random, numbers: Iterator[int]) -> Request:
    pairs = list(failure(next(numbers)).items())
    if rng.random() < 0.5:
        rng.shuffle(pairs)
    made = Request(dict(pairs), rng.choice((FORM, JSON, MULTIPART)))
    made.body = body_of(made.content_type, made.fields)
    return made


def _bad(rng: Random, numbers: Iterator[int]) -> tuple[bytes, str]:
    made = _unsigned(rng, numbers)
    done: list[Callable[..., Any]] = []
    if rng.random() < 0.4:
        done.append(rng.choice(BODIES))
        done[0](rng, made)
    made.sign()
    if not done or rng.random() < 0.1:
        for part in rng.sample(PARTS, rng.choice((1, 1, 1, 2, 3))):
            if not (part in _SOLE and len(done) > 1):
                part(rng, made)
                done.append(part)
    raw = made.raw()
    if rng.random() < 0.12:
        done.append(rng.choice(BYTES))
        raw = done[-1](rng, made)
    return raw, ", ".join(one.__name__.strip("_").replace("_", " ") for one in done)


class Owed(NamedTuple):
    """The answers that a server owes for a case: one for each of the methods. Then it may close the connection.

    If ``waits``, the last request is incomplete and the server waits for the rest.
    """

    methods: list[str]
    hangs_up: bool
    waits: bool


_ADJUSTMENTS: Final = Adjustments(max_request_header_size=MAX_HEADER, max_request_body_size=131_072)


def owed(raw: bytes) -> Owed:
    """Parse the bytes as a channel of waitress does."""
    methods: list[str] = []
    parser: Parser | None = None
    continued = False
    for start in range(0, len(raw), _RECEIVED):
        data = raw[start : start + _RECEIVED]
        while data:
            parser = parser or Parser(_ADJUSTMENTS)
            used = parser.received(data)
            if parser.expect_continue and parser.headers_finished and not methods and not continued:
                parser.expect_continue, continued = False, not parser.completed
            if parser.completed:
                continued = False
                if not parser.empty:
                    methods.append("" if parser.error else parser.command)
                    if parser.error or parser.connection_close or parser.version not in {"1.0", "1.1"}:
                        return Owed(methods, hangs_up=True, waits=False)
                parser = None
            if used >= len(data):
                break
            data = data[used:]
    return Owed(methods, hangs_up=False, waits=parser is not None)


@dataclass
class Outcome:
    """The results of cases. ``counted`` and ``repeated`` are the new and the repeated failures answered 200."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    counted: int = 0
    repeated: int = 0
    unfinished: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, case: Case, answers: list[tuple[int, bytes]], due: Owed) -> None:
        """Record the answers to a case, and any problems with them."""
        self.cases += 1
        self.unfinished += due.waits
        new = again = 0
        for status, body in answers:
            word = body.decode("latin-1").strip()
            self.statuses[status] += 1
            self.reasons[word] += 1
            new += (status, body) == (200, b"counted\n")
            again += (status, body) == (200, b"duplicate\n")
            said = word in _WORDS or re.fullmatch(r"[A-Z][A-Za-z ]+(\s+\(generated by server\))?", word)
            if status not in STATUSES or word in UNWANTED or not (said or not body):
                self.problem(case, f"answered {status} {word[:100]!r}")
        if len(answers) != len(due.methods):
            self.problem(case, f"{len(answers)} answers, {len(due.methods)} expected")
        if new != min(new + again, case.failures):
            self.problem(case, f"{new} new and {again} repeated failures, but {case.failures} can be new")
        self.counted += new
        self.repeated += again

    def add(self, other: "Outcome") -> None:
        """Add the results of other cases."""
        self.cases += other.cases
        self.statuses += other.statuses
        self.reasons += other.reasons
        self.counted += other.counted
        self.repeated += other.repeated
        self.unfinished += other.unfinished
        self.problems += other.problems

    def problem(self, case: Case, what: str) -> None:
        """Record a problem."""
        self.problems.append(f"{what}: {case.name}: {case.raw[:3_000]!r}")


class Sender:
    """Sends cases over a connection, and over a new one whenever the server closes it."""

    def __init__(self, address: str, outcome: Outcome) -> None:
        self._address = address
        self._outcome = outcome
        self._socket: socket.socket | None = None
        self._received = b""

    def send(self, case: Case) -> None:
        """Send a case and read the answers that the server owes."""
        due = owed(case.raw)
        self._socket = self._socket or connect(self._address)
        answers: list[tuple[int, bytes]] = []
        try:
            with suppress(ConnectionError):  # the server may reject the request before it has read all of it
                self._socket.sendall(case.raw)
            with suppress(ConnectionError):
                while len(answers) < len(due.methods) and (answer := self._answer(due.methods[len(answers)])):
                    answers.append(answer)
        except TimeoutError:
            self._outcome.problem(case, f"no answer within {TIMEOUT:.0f} s")
        self._outcome.note(case, answers, due)
        if due.hangs_up or due.waits or len(answers) < len(due.methods):
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._socket:
            self._socket.close()
        self._socket = None
        self._received = b""

    def _answer(self, method: str) -> tuple[int, bytes] | None:
        assert isinstance(self._socket, socket.socket)
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)", head)
            size = int(length[1]) if length and method != "HEAD" else 0
            if end and head.startswith(b"HTTP/1.1 100"):
                self._received = rest
            elif end and len(rest) >= size:
                self._received = rest[size:]
                return int(head[9:12]), rest[:size]
            else:
                data = self._socket.recv(65_536)
                if not data:
                    return None
                self._received += data


def name_server() -> NameServer:
    """Return a name server with the key of the valid requests, and with broken keys."""
    made = NameServer()
    made.records = {
        KEY_ID: [record(private_key())],
        REVOKED: ["v=DKIM1; k=rsa; p="],
        "weak.copernica.com": [b64encode(b"x").decode()],
    }
    return made


def fuzz(address: str, amount: int, seed: str, connections: int, first: int = 0) -> Outcome:
    """Send a number of cases over several connections at once.

    The same seed gives the same cases, except for the time and the key. Failures are numbered from ``first`` on.
    """

    def run(number: int) -> Outcome:
        outcome = Outcome()
        source = cases(Random(f"{seed} {number}"), count(first + number, connections))
        sender = Sender(address, outcome)
        for _ in range(number, amount, connections):
            sender.send(next(source))
        sender.close()
        return outcome

    total = Outcome()
    with ThreadPoolExecutor(connections) as pool:
        for outcome in pool.map(run, range(connections)):
            total.add(outcome)
    return total
