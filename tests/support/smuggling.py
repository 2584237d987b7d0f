"""Requests that two parsers may read differently, each with a complete signed request hidden behind or inside it.

A proxy and the exporter that disagree about the end of a request would let the hidden one through: it would be counted
without an answer of its own, or its answer would reach another client.
"""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Final, NamedTuple
from urllib.parse import urlencode

from tests.support.running import FORM, Samples, changes, failure, failures_of
from tests.support.signing import headers_for

HOST: Final = "mail.example.com"
_COVERED: Final = ("(request-target)", "host", "date", "x-copernica-id", "digest")  # not the length, which is changed
_NUMBERS: Final = count(10_000_000)
_END: Final = b"GET /next HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n" + b"x" * 5_000 + b"\r\n\r\n"
"""Sent behind each payload, so that a server closes the connection even if it expects a longer body."""
_QUIET: Final = 5.0
"""Seconds without an answer after which a server is taken to wait for more."""
_MARKERS: Final = 2


class _Made(NamedTuple):
    """What a payload is made of: the URL's path, and the signed headers and the body of a failure."""

    path: str
    headers: dict[str, str]
    body: bytes

    def request(self, *framing: str, body: bytes | None = None, line: str = "", end: str = "\r\n") -> bytes:
        """Return the request with these header lines for its framing, by default the right one."""
        body = self.body if body is None else body
        lines = [line or f"POST {self.path} HTTP/1.1", *(f"{name}: {text}" for name, text in self.headers.items())]
        lines += framing or [f"Content-Length: {len(body)}"]
        return end.join([*lines, "", ""]).encode("latin-1") + body

    def last(self) -> bytes:
        """Return the request as the last one of its connection."""
        return self.request("Connection: close", f"Content-Length: {len(self.body)}")


Payload = Callable[[_Made, bytes], bytes]
"""A function that returns the bytes to send for a request and a hidden request."""


def _made(path: str) -> _Made:
    body = urlencode(failure(next(_NUMBERS))).encode()
    headers = headers_for(HOST, path, body, FORM, covered=_COVERED)
    del headers["Content-Length"]
    return _Made(path, headers, body)


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def _length_first(*coding: str) -> Payload:
    """Hide behind the last chunk what the length includes."""

    def payload(made: _Made, hidden: bytes) -> bytes:
        body = _chunked(made.body) + hidden
        return made.request(f"Content-Length: {len(body)}", *coding, body=body)

    return payload


def _chunks_first(*coding: str) -> Payload:
    """Hide in a chunk what the length does not include."""

    def payload(made: _Made, hidden: bytes) -> bytes:
        size = f"{len(hidden):x}\r\n"
        return made.request(*coding, f"Content-Length: {len(size)}", body=_chunked(hidden))

    return payload


def _lengths(*lines: str) -> Payload:
    """Hide in a body whose length is odd; ``{n}`` is the whole length, ``{short}`` that without the hidden request."""

    def payload(made: _Made, hidden: bytes) -> bytes:
        body = made.body + hidden
        numbers = {"n": len(body), "short": len(made.body), "n32": len(body) + 2**32, "n64": len(body) + 2**64}
        return made.request(*(line.format(**numbers) for line in lines), body=body)

    return payload


def _chunks(template: bytes) -> Payload:
    """Hide behind odd chunks; in the template are the ``{size}`` of the ``{body}`` in hexadecimal."""

    def payload(made: _Made, hidden: bytes) -> bytes:
        body = template.replace(b"{size}", b"%x" % len(made.body)).replace(b"{body}", made.body)
        return made.request("Transfer-Encoding: chunked", body=body + hidden)

    return payload


def _behind(**how: str) -> Payload:
    """Hide behind a request with an odd line or odd ends of lines."""

    def payload(made: _Made, hidden: bytes) -> bytes:
        how_here = {name: text.replace("PATH", made.path) for name, text in how.items()}
        return made.request(**how_here) + hidden  # type: ignore[arg-type]  # line and end are strings

    return payload


def _with(line: str) -> Payload:
    """Hide behind a request with one more header line."""
    return lambda made, hidden: made.request(line, f"Content-Length: {len(made.body)}") + hidden


def _inside(line: str, *more: str) -> Payload:
    """Hide in the body of a request whose body a server may not read."""

    def payload(made: _Made, hidden: bytes) -> bytes:
        return made.request(*more, f"Content-Length: {len(hidden)}", body=hidden, line=line.replace("PATH", made.path))

    return payload


_CODINGS: Final = (
    *("chunked", "Chunked", "CHUNKED", "\tchunked", "chunked\t", "chunked ", "\x0bchunked", "\x0cchunked"),
    *("chunked\x0b", "\0chunked", "chunked\0", "\xa0chunked", "x", "xchunked", "chunkedx", "chunked, identity"),
    *("identity, chunked", "chunked, chunked", "gzip, chunked", "chunked;q=1", '"chunked"', "'chunked'", "chunked,"),
    *(",chunked", "", "identity", "\r\n chunked", "chun\r\n ked", "\r\n\tchunked"),
)
_CODING_LINES: Final = (
    *("Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", "Transfer_Encoding: chunked"),
    *(" Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked", "transfer-encoding:chunked"),
    *("Transfer-Encoding\0: chunked", "\0Transfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked"),
    *("X: y\rTransfer-Encoding: chunked", "Transfer-Encoding\r\n : chunked", "Transfer-Encoding:\nchunked"),
    *("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
)
_LENGTHS: Final = (
    *("+{n}", "-{n}", "0{n}", "0x{n:x}", "{n}.0", "{n} 0", "{n}, {n}", "{n},0", "{short},{n}", "{n},{short}", "{n};"),
    *("{n}\0", "\x0b{n}", "{n:_}", "1e3", "", "{n32}", "{n64}", "\xb2"),
)
_LENGTH_LINES: Final = (
    *(("Content-Length: {short}", "Content-Length: {n}"), ("Content-Length: {n}", "Content-Length: {short}")),
    *(("Content-Length: {n}", "Content-Length: {n}"), ("Content-Length: {n}", "content-length: 0")),
    *(("Content_Length: {n}", "Content-Length: {short}"), ("Content-Length : {n}", "Content-Length: {short}")),
    *((" Content-Length: {n}", "Content-Length: {short}"), ("Content-Length\0: {n}", "Content-Length: {short}")),
    *(("X: y\nContent-Length: {n}", "Content-Length: {short}"), ("X: y\rContent-Length: {n}",)),
    *(("Content-Length:\r\n {n}",), ("Content-Length: {short}\r\n {n}",), ("X: y",), ("Content-Length: 0",)),
    *(("Content-Length: {short}",), ("Content-Length: {n}",)),
)
_CHUNKS: Final = (
    *(b"{size};a=b\r\n{body}\r\n0\r\n\r\n", b'{size};a="\r\n"\r\n{body}\r\n0\r\n\r\n', b"{size};\n{body}\r\n0\r\n\r\n"),
    *(b"{size}\n{body}\r\n0\r\n\r\n", b"{size}\r{body}\r\n0\r\n\r\n", b"0x{size}\r\n{body}\r\n0\r\n\r\n"),
    *(b"+{size}\r\n{body}\r\n0\r\n\r\n", b"-{size}\r\n{body}\r\n0\r\n\r\n", b" {size}\r\n{body}\r\n0\r\n\r\n"),
    *(b"{size} \r\n{body}\r\n0\r\n\r\n", b"{size}\t\r\n{body}\r\n0\r\n\r\n", b"0000{size}\r\n{body}\r\n0\r\n\r\n"),
    *(b"1" + b"0" * 16 + b"{size}\r\n{body}\r\n0\r\n\r\n", b"{size}_\r\n{body}\r\n0\r\n\r\n"),
    *(b"{size}\r\n{body}0\r\n\r\n", b"{size}\r\n{body}xx0\r\n\r\n", b"{size}\r\n{body}\n0\r\n\r\n"),
    *(b"{size}\r\n{body}\r\n0\r\nX: y\r\n\r\n", b"{size}\r\n{body}\r\n0\r\nContent-Length: 5\r\n\r\n"),
    *(b"{size}\r\n{body}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"{size}\r\n{body}\r\n0\n\n"),
    *(b"{size}\r\n{body}\r\n0\r\n", b"{size}\r\n{body}\r\n000\r\n\r\n", b"{size}\r\n{body}\r\n0;x\r\n\r\n"),
    *(b"{size}\r\n{body}\r\n0 \r\n\r\n", b"{size}\r\n{body}\r\n\r\n"),
)
_LINES: Final = (
    *("POST http://mail.example.comPATH HTTP/1.1", "POST http://evil.example/PATH HTTP/1.1", "POST PATH"),
    *("POST PATH HTTP/1.0", "POST PATH HTTP/2.0", "POST  PATH  HTTP/1.1", "POST\tPATH\tHTTP/1.1"),
    *("POST PATH HTTP/1.1 HTTP/1.1", "POST PATH%0d%0aContent-Length:%200 HTTP/1.1", "POST /PATH HTTP/1.1"),
    *("POST PATH\0 HTTP/1.1", "CONNECT mail.example.com:443 HTTP/1.1", "PRI * HTTP/2.0", "\r\n\r\nPOST PATH HTTP/1.1"),
)
_HEADER_LINES: Final = (
    *("X: y\n", "X: y\n\n", "X: a\0b", "no colon", ": no name", " ", "X: y\r\n \r\n z: w", "Expect: 100-continue"),
    *("Expect: 200-ok", "Connection: content-length", "Connection: transfer-encoding", "Connection: host, digest"),
    *("Connection: upgrade\r\nUpgrade: h2c", "Connection: upgrade\r\nUpgrade: websocket", "Connection: keep-alive"),
)
_BODIES_NOT_READ: Final = (
    *("GET /smtpeter/smtpeter-a.txt HTTP/1.1", "HEAD /smtpeter/smtpeter-a.txt HTTP/1.1", "GET PATH HTTP/1.1"),
    *("OPTIONS PATH HTTP/1.1", "PUT PATH HTTP/1.1", "TRACE PATH HTTP/1.1", "POST /nothing HTTP/1.1"),
)


def _payloads() -> Iterator[tuple[str, Payload]]:
    for coding in _CODINGS:
        yield f"length, Transfer-Encoding: {coding}", _length_first(f"Transfer-Encoding: {coding}")
        yield f"Transfer-Encoding: {coding}, length", _chunks_first(f"Transfer-Encoding: {coding}")
    for line in _CODING_LINES:
        yield f"length, {line}", _length_first(line)
    for length in _LENGTHS:
        yield f"Content-Length: {length}", _lengths(f"Content-Length: {length}")
    for lines in _LENGTH_LINES:
        yield f"lengths: {', '.join(lines)}", _lengths(*lines)
    for template in _CHUNKS:
        yield f"chunks: {template.decode()}", _chunks(template)
    for line in _LINES:
        yield f"line: {line}", _behind(line=line)
    for end in ("\n", "\r", "\r\r\n"):
        yield f"ends of lines: {end}", _behind(end=end)
    for line in _HEADER_LINES:
        yield f"header: {line}", _with(line)
    for line in _BODIES_NOT_READ:
        yield f"body of {line}", _inside(line)


PAYLOADS: Final = dict(_payloads())
"""The payloads by name."""


class Attempt(NamedTuple):
    """The statuses of the answers that the client got, and what was wrong."""

    statuses: list[int]
    problem: str


def attempt(
    name: str, path: str, open_connection: Callable[[], socket.socket], scrape: Callable[[], Samples]
) -> Attempt:
    """Send a payload to the path, then valid requests on other connections; compare the counters with the answers.

    The exporter may count only what the client got a 200 for, answer only what the client got an answer for, and must
    count each valid request.
    """
    made, hidden = _made(path), _made(path).request()
    before = scrape()
    statuses = _statuses(open_connection(), PAYLOADS[name](made, hidden) + _END)
    markers = [_statuses(open_connection(), _made(path).last()) for _ in range(_MARKERS)]
    increased = changes(before, scrape())
    counted = sum(failures_of(increased).values()) + increased.get("smtpeter_exporter_duplicates_total", 0)
    handled = counted + sum(by for metric, by in increased.items() if "exporter_refused_total" in metric)
    problems = []
    if markers != [[200]] * _MARKERS:
        problems.append(f"valid requests were answered {markers}")
    if counted != statuses.count(200) + _MARKERS:
        problems.append(f"{counted - _MARKERS:.0f} failures were counted")
    if handled > len(statuses) + _MARKERS:
        problems.append(f"{handled - _MARKERS:.0f} requests were answered")
    return Attempt(statuses, f"{name!r}: answers {statuses}, but {', '.join(problems)}" if problems else "")


def _statuses(sock: socket.socket, raw: bytes) -> list[int]:
    """Send bytes; return the statuses of all answers until the server closes the connection or is quiet."""
    received = b""
    with sock:
        sock.settimeout(_QUIET)
        with suppress(OSError):  # the server may reject the request before it has read all of it
            sock.sendall(raw)
        with suppress(OSError):
            while data := sock.recv(65_536):
                received += data
    return [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", received, re.MULTILINE)]
