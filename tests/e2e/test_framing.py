"""Requests with ambiguous framing, or with a repeated header: nothing that follows them is read."""

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import pytest

from tests.support.guarded import Guarded, guarded_exporter, without_details
from tests.support.raw_http import CHUNKED, JSON, change, chunked, form, http, refused
from tests.support.running import COUNTED, FORM, Exporter, Samples, changes, connect, exporter, read_to_end
from tests.support.signing import headers_for

NEXT: Final = http("GET", "/next", content_type=None, headers=("Connection: close", "Content-Length: 0"))
"""A request that is sent right behind another. If it is read, ``not_found`` is counted."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter; it may log no error."""
    with exporter(tmp_path_factory.mktemp("framing"), "--log.level", "debug") as shared:
        yield shared
        assert [line["msg"] for line in shared.log() if line["level"] == "error"] == []


class Sent(NamedTuple):
    """The statuses of all answers, until the server closed the connection, and the counters that were incremented."""

    statuses: list[int]
    counted: Samples


def sent(running: Exporter, raw: bytes) -> Sent:
    """Send the bytes and a further request on one connection."""
    before = running.samples()
    with connect(running.public) as sock:
        sock.sendall(raw + NEXT)
        answers = read_to_end(sock)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d+)", answers)]
    return Sent(statuses, changes(before, running.samples()))


def whole(body: bytes, *headers: str) -> bytes:
    """Return a request with these framing headers, in which ``{}`` is the length of the body as sent."""
    return http(body=body, headers=tuple(header.replace("{}", str(len(body))) for header in headers))


def with_types(first: str, second: str) -> bytes:
    """Return a request with two content types, the second one in another case."""
    headers = (f"Content-Type: {first}", f"CONTENT-type: {second}")
    return http(body=form(), content_type=None, headers=headers)


AMBIGUOUS: Final[dict[str, Callable[[], bytes]]] = {
    "chunked twice": lambda: whole(chunked(form()), *CHUNKED, *CHUNKED),
    "chunked twice in a list": lambda: whole(chunked(form()), "Transfer-Encoding: chunked, chunked"),
    "chunked, then a length": lambda: whole(chunked(form()), *CHUNKED, "Content-Length: {}"),
    "a length, then chunked": lambda: whole(chunked(form()), "Content-Length: {}", *CHUNKED),
    "chunked and a length of 0": lambda: whole(chunked(form()), "Content-Length: 0", *CHUNKED),
    "chunked and an empty length": lambda: whole(chunked(form()), "Content-Length:", *CHUNKED),
    "chunked and no number": lambda: whole(chunked(form()), "Content-Length: x", *CHUNKED),
    "chunked and a length, expecting 100": lambda: whole(
        chunked(form()), "Content-Length: {}", "Expect: 100-continue", *CHUNKED
    ),
    "other case": lambda: whole(chunked(form()), "content-LENGTH: {}", "Transfer-Encoding: CHUNKED"),
    "tabs and spaces": lambda: whole(chunked(form()), "Content-Length: \t{}\t", "Transfer-Encoding:\t chunked \t"),
    "folded": lambda: whole(chunked(form()), "Content-Length: {}", "Transfer-Encoding:\r\n\tchunked"),
    "folded within the word": lambda: whole(chunked(form()), "Transfer-Encoding: chun\r\n ked"),
    "space before the colon": lambda: whole(chunked(form()), "Content-Length: {}", "Transfer-Encoding : chunked"),
    "chunked with a parameter": lambda: whole(chunked(form()), "Transfer-Encoding: chunked;x"),
    "chunked with a parameter and a length": lambda: whole(
        form(), "Content-Length: {}", "Transfer-Encoding: chunked;x"
    ),
    "identity, chunked": lambda: whole(chunked(form()), "Transfer-Encoding: identity, chunked"),
    "identity": lambda: whole(form(), "Content-Length: {}", "Transfer-Encoding: identity"),
    "xchunked": lambda: whole(form(), "Content-Length: {}", "Transfer-Encoding: xchunked"),
    "gzip, chunked": lambda: whole(chunked(form()), "Transfer-Encoding: gzip", *CHUNKED),
    "empty coding": lambda: whole(form(), "Content-Length: {}", "Transfer-Encoding:"),
    "chunked and an empty coding": lambda: whole(chunked(form()), *CHUNKED, "Transfer-Encoding:"),
    "comma for a coding": lambda: whole(form(), "Content-Length: {}", "Transfer-Encoding: ,"),
    "comma before": lambda: whole(chunked(form()), "Transfer-Encoding: , chunked"),
    "comma after": lambda: whole(chunked(form()), "Transfer-Encoding: chunked,"),
    "chunked in HTTP/1.0": lambda: whole(chunked(form()), *CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "chunked and a length in HTTP/1.0": lambda: whole(
        form(), "Content-Length: {}", "Connection: keep-alive", *CHUNKED
    ).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two lengths": lambda: whole(form(), "Content-Length: {}", "Content-Length: 5"),
    "the same length twice": lambda: whole(form(), "Content-Length: {}", "Content-Length: {}"),
    "a length and an empty one": lambda: whole(form(), "Content-Length: {}", "Content-Length:"),
    "a list of lengths": lambda: whole(form(), "Content-Length: {}, {}"),
    "a list of different lengths": lambda: whole(form(), "Content-Length: {}, 5"),
}
"""Requests whose end two parsers could see in different places (RFC 9112 sections 6.1 and 6.3)."""

TYPES: Final = ((FORM, FORM), (FORM, ""), ("", FORM), (f"{JSON}; a=b", FORM), (f"{FORM}; charset=utf-8", "text"))


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_framing_is_rejected(running: Exporter, name: str) -> None:
    """The request is answered 400 and counted as malformed, and the connection is closed at once."""
    assert sent(running, AMBIGUOUS[name]()) == ([400], refused("malformed"))


@pytest.mark.parametrize(("first", "second"), TYPES)
def test_two_content_types_are_rejected(running: Exporter, first: str, second: str) -> None:
    """The request is answered 400, and the connection is closed."""
    assert sent(running, with_types(first, second)) == ([400], refused("malformed"))


CHUNKS: Final = {
    "chunked": CHUNKED,
    "capitals": ("Transfer-Encoding: CHUNKED",),
    "folded": ("Transfer-Encoding:\r\n chunked",),
    "ignored name": (*CHUNKED, "Content_Length: 5"),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_one_coding_is_accepted(running: Exporter, name: str) -> None:
    """A chunked request without a length is counted, and the next request on its connection is read."""
    statuses, counted = sent(running, http(body=chunked(form()), headers=CHUNKS[name]))
    assert (statuses, counted) == ([200, 404], COUNTED | refused("not_found"))


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (f"{FORM}, {FORM}", 400),
        (f"{FORM}; a=b, {JSON}", 400),
        (f"{FORM},", 400),
        (f'{FORM}; a="b", {JSON}; c="d"', 400),
        (f", {FORM}", 400),
        (f'{FORM}; a="b, c"', 200),
        (f"{FORM}; boundary=b,c", 200),
        (f'{FORM}; a="b\\", c"', 200),
    ],
)
def test_a_list_of_content_types_is_rejected(running: Exporter, content_type: str, status: int) -> None:
    """A proxy may have joined two headers. A comma in a quoted parameter is no list."""
    answered, counted = change(running, http(body=form(), content_type=content_type))
    assert answered == status
    assert status == 200 or counted == refused("malformed")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield an exporter that requires signatures."""
    with guarded_exporter(tmp_path_factory.mktemp("guarded")) as guarded:
        yield guarded


SIGNED: Final = {
    "Host": "signature_malformed",
    "Date": "date",
    "Digest": "digest",
    "X-Copernica-ID": "account",
    "Signature": "signature_malformed",
    "X-Nonce": "signature",
}
"""Headers that are signed, and the reason of the check that reads each."""


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("where", ["the same", "empty first", "empty last"])
def test_a_signed_header_is_not_repeated(guarded: Guarded, name: str, where: str) -> None:
    """A second header with the same or no value makes a signed request invalid."""
    body = guarded.new()
    lines = [f"{one}: {value}" for one, value in headers_for("mail.example.com", "/failures", body, FORM).items()]
    at = next(number for number, line in enumerate(lines) if line.startswith(f"{name}:"))
    lines.insert(at + (where != "empty first"), lines[at] if where == "the same" else f"{name}:")
    statuses, counted = sent(guarded.running, "\r\n".join(["POST /failures HTTP/1.1", *lines, "", ""]).encode() + body)
    # Beside the digest, an empty one is just an odd list, which the signature does not match.
    reason = "signature" if name == "Digest" and where != "the same" else SIGNED[name]
    counted = without_details(counted)
    assert (statuses, counted) == ([403, 404], refused(reason) | refused("not_found"))
