"""Messages that cost a parser much time or memory. ``python -m tests.support.hostile_mime`` measures them.

Prints the worst time of ROUNDS (5) and the peak of memory for each, and for MIXTURES (100) of their pieces. Exits with
1 above 50 ms or 20 MB.
"""

import base64
import os
import sys
import tracemalloc
from collections.abc import Callable
from random import Random
from time import perf_counter
from typing import Final

from exporter.returned.mime import MAX_BYTES
from exporter.returned.returned import complaint_recipient, returned_of
from tests.support.returned import EXAMPLES

SIZE: Final = 1 << 20
"""Bytes of a message: the largest body of the loops bounces and abuses."""
MAX_SECONDS: Final = 0.05
MAX_MEMORY: Final = 20_000_000

_DSN: Final = b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n--b\n\ntext\n--b\n'


def filled(unit: bytes, head: bytes = b"", size: int = SIZE) -> bytes:
    """Return a head and then a unit, repeated up to a size."""
    return (head + unit * (size // max(len(unit), 1) + 1))[:size]


def nested(levels: int) -> bytes:
    """Return multiparts, each inside the one before."""
    return b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(levels))


def nested_messages(levels: int) -> bytes:
    """Return messages, each inside the one before."""
    return b"Content-Type: message/rfc822\n\n" * levels + b"Subject: x\n\ntext"


def digest(levels: int) -> bytes:
    """Return digests, each inside a part of the one before."""
    return b"".join(b"Content-Type: multipart/digest; boundary=%d\n\n--%d\n\n" % (n, n) for n in range(levels))


_DEEP: Final = nested(7)


def costly_parts() -> bytes:
    """Return as many nested parts as are read, each with headers that cost much and text that looks like an answer."""
    quotes = b"Content-Type: text/x;" + b'a="\\";' * 62
    words = b"Content-Disposition: " + b"=?a?q?" * 70
    part = b"--6\n%b\n%b\n\n%b" % (quotes, words, b"a: 550 wrote -- original \n" * 20)
    return b"Auto-Submitted: x\n" + _DEEP + part * 52


_TYPE: Final = b"Content-Type: "
_STATUS: Final = b"Content-Type: message/delivery-status\n\n"
_HTML: Final = b"Content-Type: text/html\n\n"
_MIXED: Final = b'Content-Type: multipart/mixed; boundary="b"\n\n'

HOSTILE: Final[dict[str, bytes]] = {
    "nothing": b"",
    "empty lines": filled(b"\n"),
    "carriage returns": filled(b"\r"),
    "carriage returns and line feeds": filled(b"\r\r\n"),
    "spaces": filled(b" "),
    "NULs": filled(b"\0"),
    "one letter": filled(b"a"),
    "bytes that are not UTF-8": filled(b"\xff\xfe", b"Subject: x\n\n"),
    "nested multiparts": nested(20_000)[:SIZE],
    "nested messages": nested_messages(30_000)[:SIZE],
    "nested digests": digest(20_000)[:SIZE],
    "empty lines in nested multiparts": filled(b"\n", _DEEP),
    "lines in nested multiparts": filled(b"aaaaaaaaaaaaaaa\n", _DEEP),
    "10,000 parts": filled(b"--b\n", _MIXED),
    "10,000 parts with text": filled(b"--b\n\nx\n", _MIXED),
    "10,000 parts of their own type": filled(b"--b\nContent-Type: text/html\n\n<b>x\n", _MIXED),
    "parts in nested multiparts": filled(b"--6\n\nx\n", _DEEP),
    "multiparts with new boundaries": _MIXED
    + b"".join(b"--b\nContent-Type: multipart/mixed; boundary=%090d\n\n--%090d\n" % (n, n) for n in range(5_000)),
    "a boundary that never occurs": filled(b"--b \n--bb\n--b-\n", b'Content-Type: multipart/mixed; boundary="c"\n\n'),
    "no boundary, many lines like one": filled(b"--b\n", b"Content-Type: multipart/mixed\n\n"),
    "no boundary, dashes": filled(b"--", b"Content-Type: multipart/mixed\n\n"),
    "an endless boundary": filled(b"b", b"Content-Type: multipart/mixed; boundary="),
    "boundary lines with spaces": filled(b"--b" + b" " * 500 + b"x\n", _MIXED),
    "a boundary line of one megabyte": filled(b" ", _MIXED + b"--b"),
    "closing boundaries": filled(b"--b--\n", _MIXED),
    "costly parts": costly_parts(),
    "costly parts in a message": b"Content-Type: message/rfc822\n\n" + costly_parts(),
    "empty lines in base64": b"Content-Type: multipart/x\nContent-Transfer-Encoding: base64\n\n"
    + base64.b64encode(b"--b\nContent-Type: text/plain\n" + b"\n" * MAX_BYTES),
    "semicolons in the type": filled(b";", _TYPE + b"multipart/mixed"),
    "quotes in the type": filled(b'";', _TYPE + b"multipart/mixed;a="),
    "backslashes in the type": filled(b'\\";', _TYPE + b'multipart/mixed;a="'),
    "parts with semicolons in the type": filled(b"--b\n" + _TYPE + b";" * 600 + b"\n\n", _MIXED),
    "parts with quotes in the type": filled(b"--b\n" + _TYPE + b'a/b;"' + b';"' * 300 + b"\n\n", _MIXED),
    "numbered parameters": filled(b";boundary*%d=a", _TYPE + b"multipart/mixed"),
    "a boundary in an unknown charset": _TYPE + b"multipart/mixed; boundary*=idna'en'%FF%FE; boundary*0*=a\n\n--b\n",
    "10,000 headers": filled(b"a:b\n"),
    "10,000 headers of one name": filled(b"Subject: b\n"),
    "10,000 types": filled(b"Content-Type: text/plain; charset=x\n"),
    "a header of one megabyte": filled(b"a", b"Subject: "),
    "a folded header": filled(b"\n a", b"Subject: a"),
    "folds without a header": filled(b" a\n"),
    "colons": filled(b":"),
    "lines that begin with From": filled(b"From a\n"),
    "encoded words": filled(b"=?utf-8?q?=41?= ", b"Subject: "),
    "beginnings of encoded words": filled(b"=?a?q?", b"Subject: "),
    "encoded words in base64": filled(b"=?utf-8?b?////?=", b"Subject: "),
    "encoded words in unknown charsets": filled(b"=?punycode?q?a-b?= =?x?q?a?=", b"Subject: "),
    "charset punycode": filled(b"a-b", b"Content-Type: text/plain; charset=punycode\n\n"),
    "charset idna": filled(b"xn--a.", b"Content-Type: text/plain; charset=idna\n\n"),
    "charset of escapes": filled(b"\\N{DIGIT ONE}\\x", b"Content-Type: text/plain; charset=unicode_escape\n\n"),
    "charset of bytes": filled(b"x\x9c", b"Content-Type: text/plain; charset=zlib\n\n"),
    "charset utf-7": filled(b"+AGE-+", b"Content-Type: text/plain; charset=utf-7\n\n"),
    "charset utf-16": filled(b"\0\xd8", b"Content-Type: text/plain; charset=utf-16\n\n"),
    "charset iso-2022-jp": filled(b"\x1b$B", b"Content-Type: text/plain; charset=iso-2022-jp\n\n"),
    "base64": b"Content-Transfer-Encoding: base64\n\n" + base64.b64encode(filled(b"mailbox full ", size=SIZE)),
    "base64 without padding": filled(b"a", b"Content-Transfer-Encoding: base64\n\n"),
    "padding of base64": filled(b"=", b"Content-Transfer-Encoding: base64\n\n"),
    "base64 of zeros": filled(b"AAAA\n", b"Content-Transfer-Encoding: base64\n\n"),
    "quoted-printable": filled(b"=", b"Content-Transfer-Encoding: quoted-printable\n\n"),
    "lines of quoted-printable": filled(b"=\n", b"Content-Transfer-Encoding: quoted-printable\n\n"),
    "uuencode": filled(b"M" * 61 + b"\n", b"Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n"),
    "tags": filled(b"<", _HTML),
    "empty tags": filled(b"<>", _HTML),
    "hidden tags": filled(b"<style>", _HTML),
    "comments": filled(b"<!--", _HTML),
    "references": filled(b"&amp", _HTML),
    "long references": filled(b"&" + b"a" * 31, _HTML),
    "many references in much HTML": filled(b"&" + b"a" * 31 + b"<b>", _HTML),
    "a number in a reference": filled(b"9", _HTML + b"&#"),
    "ligatures that become 18 letters": filled("\ufdfa".encode(), b"Subject: x\n\n"),
    "combining characters": filled("\u0301\u0316".encode(), b"Subject: x\n\n"),
    "fields of a status": filled(b"Action: failed\n", _STATUS),
    "recipients of a status": filled(b"Final-Recipient: rfc822; a@b\nAction: failed\nStatus: 5.1.1\n\n", _STATUS),
    "delayed recipients": filled(b"Final-Recipient: rfc822; a@b\nAction: delayed\n\n", _STATUS),
    "folds of a status": filled(b" a\n", _STATUS + b"Diagnostic-Code: smtp; 550\n"),
    "empty lines of a status": filled(b"\n", _STATUS),
    "a diagnostic of one megabyte": filled(b"5.1.1 ", _STATUS + b"Action: failed\nDiagnostic-Code: smtp; "),
    "a status in nested messages": nested_messages(3) + filled(b"Action: failed\n\n", _STATUS, MAX_BYTES),
    "reports without a type": filled(b"--b\n\nReporting-MTA: x\nAction: failed\n\n", _DSN),
    "feedback without fields": filled(b"a\n", b"Content-Type: message/feedback-report\n\n"),
    "digits": filled(b"550 ", b"Subject: x\n\n"),
    "digits and dots": filled(b"5.7.", b"Subject: x\n\n"),
    "answers": filled(b"550 5.1.1 no\n", b"Subject: x\n\n"),
    "dashes": filled(b"-", b"Subject: x\n\n"),
    "lines of 119 dashes": filled(b"-" * 119 + b"\n", b"Subject: x\n\n"),
    "lines of dashes": filled(b"-- original\n", b"Subject: x\n\n"),
    "quotes of messages": filled(b"> wrote\n", b"Subject: x\n\n"),
    "beginnings of phrases": filled(b"please confirm to release until you held ", b"Subject: x\n\n"),
    "beginnings of challenges": filled(b"verify confirm prove show ensure sure to deliver ", b"Subject: x\n\n"),
    "beginnings of subjects": filled(b"automatic re: out of ", b"Subject: "),
}
"""Each message by what it is."""


def mixed(seed: int) -> bytes:
    """Return a message of random pieces of these and of the real ones, always the same for a seed."""
    random = Random(seed)
    sources = [*HOSTILE.values(), *EXAMPLES.values()]
    pieces = [random.choice(sources) for _ in range(random.randint(2, 12))]
    return b"\n".join(piece[: random.choice((30, 200, 3_000, 20_000))] for piece in pieces)


def measure(message: bytes, read: Callable[[bytes], object]) -> tuple[float, int]:
    """Return the worst duration of a call in seconds, and the peak of its memory in bytes."""
    seconds = 0.0
    for _ in range(int(os.environ.get("ROUNDS", "5"))):
        began = perf_counter()
        read(message)
        seconds = max(seconds, perf_counter() - began)
    tracemalloc.start()
    read(message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds, peak


def main() -> None:
    """Measure all messages and print a line for each."""
    slow = False
    mixtures = {f"mixture {seed}": mixed(seed) for seed in range(int(os.environ.get("MIXTURES", "100")))}
    for name, message in (HOSTILE | mixtures).items():
        measured = [measure(message, read) for read in (returned_of, complaint_recipient)]
        seconds, peak = (max(values) for values in zip(*measured, strict=True))
        slow = slow or seconds > MAX_SECONDS or peak > MAX_MEMORY
        sys.stdout.write(f"{name:36} {seconds * 1e3:6.1f} ms {peak / 1e6:6.2f} MB\n")
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
