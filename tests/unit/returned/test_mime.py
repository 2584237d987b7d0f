"""A message is split into its parts, whatever its bytes, and no more than a fixed number of them."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.returned.mime import MAX_BYTES, MAX_DEPTH, MAX_LINES, MAX_PARTS, forwarded_in, leaves, parts_of, text_of
from exporter.returned.text import MAX_TEXT
from tests.support.hostile_mime import HOSTILE, mixed, nested

MIXED: Final = b'Subject: s\nContent-Type: multipart/mixed; boundary="b"\n\npreamble\n'
TWO_PARTS: Final = MIXED + b"--b\n\none\n--b\nContent-Type: text/HTML; charset=utf-8\n\n<p>two</p>\n--b--\nepilogue\n"


def texts(message: bytes) -> list[tuple[str, str]]:
    """Return the type and the text of each part that has text."""
    return [(part.get_content_type(), part.text) for part in leaves(parts_of(message))]


def test_parts() -> None:
    """The message comes first, then its parts in their order."""
    assert [part.get_content_type() for part in parts_of(TWO_PARTS)] == ["multipart/mixed", "text/plain", "text/html"]
    assert texts(TWO_PARTS) == [("text/plain", "one"), ("text/html", "\ntwo\n")]


@pytest.mark.parametrize(
    "message",
    [
        TWO_PARTS.replace(b"\n", b"\r\n"),
        TWO_PARTS.replace(b"\n", b"\r\r\n"),
        TWO_PARTS.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + TWO_PARTS,
        b"\r\n \n" + TWO_PARTS,
        b"From b@example.net Mon Jan  1 00:00:00 2024\n" + TWO_PARTS,
        TWO_PARTS.replace(b"--b--\nepilogue\n", b""),
        TWO_PARTS.replace(b'boundary="b"', b"type=x").replace(b"--b\n\n", b"--b\nContent-Id: x\n\n"),
        TWO_PARTS.replace(b'"b"', b'"c"').replace(b"--b\n\n", b"--b\nContent-Id: x\n\n"),
    ],
    ids=["CRLF", "CRCRLF", "CR", "BOM", "empty lines", "mbox", "no end", "no boundary", "another boundary"],
)
def test_broken_messages(message: bytes) -> None:
    """Other newlines, lines before the header, and a boundary that is missing or wrong make no difference."""
    root = parts_of(message)[0]
    assert root.header("subject") == "s"
    assert [text.strip() for _, text in texts(message)] == ["one", "two"]


def test_reports_are_text() -> None:
    """A delivery status is the text of one part, whatever its encoding."""
    part = b"--b\nContent-Type: message/delivery-status\n\nA: b\n\nC: d\n"
    encoded = b"--b\nContent-Type: Message/Delivery-Status\nContent-Transfer-Encoding: BASE64\n\nQTogYgo=\n"
    assert texts(MIXED + part + encoded) == [
        ("text/delivery-status", "A: b\n\nC: d"),
        ("text/delivery-status", "A: b\n"),
    ]


def test_encodings() -> None:
    """Base64 and quoted-printable are decoded, even if they are damaged; other encodings are ignored."""
    head = b"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: "
    assert text_of(parts_of(head + b"quoted-printable\n\nvoil=E0=\n!=ZZ")) == "voilà!=ZZ"
    assert text_of(parts_of(head + b"base64\n\ndm9pbO\n")) == "voil"
    assert text_of(parts_of(head + b"x-uuencode\n\nbegin 644 a\n#86)C\n")) == "begin 644 a\n#86)C\n"


def test_text_for_people() -> None:
    """It is the first plain text that is neither empty nor attached, or else HTML."""
    empty, attached = b"--b\n\n \n", b"--b\nContent-Disposition: Attachment; filename=x\n\nattached\n"
    html, plain = b"--b\nContent-Type: text/html\n\nhtml\n", b"--b\n\nplain\n"
    assert text_of(parts_of(MIXED + empty + attached + html + plain)) == "plain"
    assert text_of(parts_of(MIXED + empty + attached + html)) == "html"
    assert text_of(parts_of(MIXED + attached)) == ""
    no_boundary = b"--b\nContent-Type: multipart/alternative\n\nno boundary\n"
    assert text_of(parts_of(MIXED + attached + no_boundary)) == "no boundary\n"
    assert text_of(parts_of(b"Content-Type: application/pdf\n\nx")) == "x"
    assert text_of(parts_of(b"")) == ""


def test_forwarded_messages() -> None:
    """The first message inside a message is read on request; those in a digest are not."""
    inner = b"--b\nContent-Type: message/rfc822\n\nSubject: inner\n\ntext\n"
    assert [part.header("subject") for part in forwarded_in(parts_of(MIXED + inner))] == ["inner"]
    assert forwarded_in(parts_of(TWO_PARTS)) == []
    digest = (MIXED + inner).replace(b"mixed", b"digest")
    assert forwarded_in(parts_of(digest)) == []
    assert texts(MIXED.replace(b"mixed", b"digest") + b"--b\n\nSubject: x\n") == [("text/rfc822", "Subject: x")]


def test_parameters() -> None:
    """A parameter is in lower case, and in the syntax of RFC 2231 too; there is none beyond the first twelve."""
    (part,) = parts_of(b"Content-Type: text/plain; Report-Type*0*=utf-8''Delivery; charset*=UTF-8''x")
    assert (part.parameter("report-type"), part.parameter("charset"), part.parameter("x")) == (
        *("utf-8''delivery", "utf-8''x"),
        "",
    )
    (part,) = parts_of(b"Content-Type: text/plain" + b"; a=b" * 12 + b"; charset=x")
    assert part.parameter("charset") == ""


def test_headers() -> None:
    """A header is decoded and on one line."""
    (part,) = parts_of(b"Subject: =?utf-8?q?=C3=A9?=\n\t=?utf-8?b?w6k=?=\r\n  and \xe9\nFrom: \xc3\xa9\n")
    assert (part.header("SUBJECT"), part.header("from"), part.header("to")) == ("éé and é", "é", "")


def test_the_beginning_is_read() -> None:
    """Of a message, the first bytes and lines are read; of a part, the first characters."""
    head = b"Subject: x\n\n"
    assert len(parts_of(head + b"a" * MAX_BYTES)[0].raw()) == MAX_BYTES - len(head)
    assert parts_of(head + b"\n" * MAX_BYTES)[0].raw().count(b"\n") == MAX_LINES - 3
    assert len(text_of(parts_of(head + b"a" * MAX_BYTES))) == MAX_TEXT


def test_depth_is_bounded() -> None:
    """Parsing ends at a part that is too deep, and keeps those before it."""
    assert [part.depth for part in parts_of(nested(1_000))] == [*range(MAX_DEPTH + 1), MAX_DEPTH + 1]
    assert [part.is_leaf for part in parts_of(nested(1_000))] == [False] * (MAX_DEPTH + 2)


def test_number_of_parts_is_bounded() -> None:
    """Parsing ends at the part that is one too many, and keeps those before it."""
    parts = parts_of(MIXED + b"--b\n\nx\n" * 1_000)
    assert [part.text for part in leaves(parts)] == ["x"] * (MAX_PARTS - 1)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages(name: str) -> None:
    """No message has more parts than allowed, and none is deeper."""
    parts = parts_of(HOSTILE[name])
    assert 1 <= len(parts) <= MAX_PARTS
    assert max(part.depth for part in parts) <= MAX_DEPTH + 1
    assert sum(len(part.raw()) for part in leaves(parts)) <= MAX_BYTES


@given(st.binary(max_size=500) | st.integers(0, 10_000).map(mixed))
def test_any_message_has_parts(message: bytes) -> None:
    """Any bytes have parts, whose texts and headers can be encoded and have a maximum length."""
    for part in parts_of(message):
        values = [part.header(name) for name in ("subject", "content-type", "a")]
        values += [part.parameter("report-type"), *([part.text] if part.is_leaf else [])]
        assert max(map(len, values)) <= MAX_TEXT
        assert "\0" not in "".join(values).encode().decode()
