"""Mutations of the bodies of requests. The request is signed afterwards, so that it reaches the parser of bodies.

Each keeps the id or the recipient, which are in no other request. So whatever the server makes of the rest, a request
that is answered 200 is a failure of its own.
"""

import gzip
import json
import re
import zlib
from base64 import b64encode
from collections.abc import Callable
from quopri import encodestring
from random import Random
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes, urlencode

from tests.support.mutable_request import HUGE, JSON, MULTIPART, ODD, UNICODE, Request, body_of, scramble
from tests.support.running import FORM


def _scrambled_body(rng: Random, made: Request) -> None:
    made.body = scramble(rng, made.body)


def _cut_body(rng: Random, made: Request) -> None:
    made.body = made.body[: rng.randrange(len(made.body) + 1)]


def _odd_values(rng: Random, made: Request) -> None:
    for name in (rng.choice(("id", "recipient")), rng.choice(("state", "code", "extended", "description"))):
        made.fields[name] = rng.choice((*HUGE, *UNICODE, *ODD)) * rng.choice((1, 1, 3, 100))
    made.body = body_of(made.content_type, made.fields)


def _typed_values(rng: Random, made: Request) -> None:
    made.content_type = JSON
    deep: Any = []
    for _ in range(rng.choice((1, 5, 200))):
        deep = rng.choice(([deep], {"a": deep}))
    values: tuple[Any, ...] = (
        None,
        True,
        False,
        0,
        -1,
        10**30,
        1e308,
        -0.5,
        [],
        {},
        ["a"],
        deep,
        float("nan"),
        float("inf"),
    )
    made.fields[rng.choice([*made.fields, "tags", "time", "type"])] = rng.choice(values)
    made.body = json.dumps(made.fields).encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig")))


def _raw_json(rng: Random, made: Request) -> None:
    made.content_type = JSON
    depth = rng.choice((10, 2_000, 60_000))
    made.body = rng.choice(
        (
            b"[" * depth,
            b'{"id":' * (depth // 6),
            b'{"id":%b,"recipient":"%b"}'
            % (b"9" * rng.choice((20, 4_300, 4_301, 10_000)), made.fields["recipient"].encode()),
            b'{"id":"\\ud800","recipient":"\\udfff%b"}' % made.fields["recipient"].encode(),
            b'{"id":1e999999999,"recipient":%d}' % rng.getrandbits(64),
            b'{"id":"1","id":"2"}',
            b'"' + b"\\u0000" * 100 + b'"',
            b"{}[]",
            b"{" + b",".join([b'"x":0'] * rng.choice((90, 101, 9_000))) + b"}",
        )
    )


def _raw_form(rng: Random, made: Request) -> None:
    made.content_type = FORM
    text = urlencode(made.fields)
    made.body = rng.choice(
        (
            "".join(f"%{ord(letter):02{rng.choice('xX')}}" for letter in text),
            "&".join("=".join(quote(part, safe="") for part in pair) for pair in made.fields.items()),
            re.sub(
                "[aeiou]", lambda _: rng.choice(("%", "%f", "%ff", "%ED%A0%80", "%00", "%u1234", "+")), text, count=2
            ),
            f"{text}&{text}",
            f"{text}&" + "&".join(["x="] * rng.choice((50, 94, 95, 9_000))),
            f"&&&={text}=&;{text}&",
            text.replace("=", "[]="),
            text.upper(),
            text + "&x=" + "y" * rng.choice((60_000, 65_200, 65_400, 70_000)),
        )
    ).encode()


def _raw_multipart(rng: Random, made: Request) -> None:
    made.content_type = rng.choice(
        (
            MULTIPART,
            'multipart/form-data; boundary="b"',
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=c; boundary=b",
            f"multipart/form-data; boundary={'b' * rng.choice((70, 71, 300))}",
            f"multipart/form-data; {';' * 200}boundary=b",
            "multipart/mixed; boundary=b",
        )
    )
    part = rng.choice(
        (
            b'Content-Disposition: form-data; name="id"\r\nContent-Transfer-Encoding: base64\r\n\r\nMQ==',
            b"Content-Disposition: form-data; name*=utf-8''%69%ff\r\n\r\n1",
            b'Content-Disposition: form-data; name="id"; filename="x"\r\n\r\n1',
            b'Content-Disposition: form-data; name="' + b"x" * 2_000 + b'"\r\n\r\n1',
            b"Content-Disposition: " + b"(" * 900 + b"\r\n\r\n1",
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--b--",
            b"\r\n\r\n" * 50,
            b"\0: \0\r\n\r\n\0",
        )
    )
    made.body = b"--b\r\n" + part + b"\r\n" + rng.choice((b"", b"\n", b"--")) + body_of(MULTIPART, made.fields)


def _other_content_type(rng: Random, made: Request) -> None:
    made.content_type = rng.choice(
        (
            "application/json; charset=utf-16",
            "APPLICATION/X-WWW-FORM-URLENCODED;;;",
            JSON,
            MULTIPART,
            "text/plain",
            "",
            "application/json, application/json",
            "application/x-www-form-urlencoded" * 20,
            "é/\xff",
        )
    )


# Mutations of one variable. They use any content type.

_VARIABLES: Final = (*("id", "recipient", "state", "code", "extended", "description", "tags", "tags[]", "type"), "x")
_BYTES: Final = (
    *(b"\xe9", b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\xbd", b"\xf5", b"\x80", b"\x85", b"\0", b"\x1b"),
    *(b"\n", b"\t", b"\r\n ", b"\xef\xbb\xbf", b"\xe2\x80\x8b", b"\xff\xfe"),
)
_PART_HEADERS: Final = (
    *("", "", "", "Content-Type: text/plain; charset=iso-8859-1", "Content-Type: text/plain; charset=utf-8"),
    *("Content-Type: text/plain; charset=utf-16", "Content-Type: text/plain; charset=nonsense", "Content-Type: ;;="),
    *("Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: BINARY"),
    *("Content-Transfer-Encoding: x", "Content-Type: application/octet-stream"),
)


def _pairs(made: Request) -> list[tuple[str, bytes]]:
    return [(name, str(value).encode("utf-8", "replace")) for name, value in made.fields.items()]


def _in_form(text: bytes) -> bytes:
    return re.sub(rb"[%&+;]", lambda found: b"%%%02X" % ord(found[0]), text)


def _write(rng: Random, made: Request, pairs: list[tuple[str, bytes]]) -> None:
    """Make the body of variables whose values are any bytes, and whose names may be repeated."""
    if made.content_type == FORM:
        escape = rng.choice((_in_form, lambda text: quote_from_bytes(text).encode()))
        made.body = b"&".join(b"%b=%b" % (name.encode(), escape(text)) for name, text in pairs)
    elif made.content_type == JSON:
        texts = [(name, text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')) for name, text in pairs]
        made.body = b"{%b}" % b",".join(b'"%b":"%b"' % (name.encode(), text) for name, text in texts)
    else:
        made.body = b"".join(_part(name, text, rng.choice(_PART_HEADERS)) for name, text in pairs) + b"--b--\r\n"


def _part(name: str, text: bytes, *headers: str) -> bytes:
    lines = ["--b", f'Content-Disposition: form-data; name="{name}"', *filter(None, headers), "", ""]
    return "\r\n".join(lines).encode() + text + b"\r\n"


def _odd_bytes(rng: Random, made: Request) -> None:
    pairs = _pairs(made)
    pairs.insert(rng.randrange(len(pairs) + 1), (rng.choice(("tags", "tags[]", "tags[0]", "x")), b"y"))
    for at in rng.sample(range(len(pairs)), rng.choice((1, 1, 2, 5))):
        name, text = pairs[at]
        cut = rng.randrange(len(text) + 1)
        pairs[at] = (name, text[:cut] + rng.choice(_BYTES) * rng.choice((1, 1, 3, 300)) + text[cut:])
    _write(rng, made, pairs)


def _escapes(rng: Random, made: Request) -> None:
    made.content_type = JSON
    for name in rng.sample(_VARIABLES, rng.choice((1, 1, 3))):
        text = str(made.fields.get(name, ""))
        cut = rng.randrange(len(text) + 1)
        odd = rng.choice(("\ud83d", "\udc00\ud83d", "\0", "\ufeff", "\u200b", "\x7f", "\udfff" * 200))
        made.fields[name] = text[:cut] + odd + text[cut:]
    made.body = json.dumps(made.fields).encode()


def _wrong_types(rng: Random, made: Request) -> None:
    made.content_type = JSON
    keys = rng.choice(("id", "recipient"))
    for name in {keys, *rng.sample(_VARIABLES[2:], 4)} if rng.random() < 0.3 else rng.sample(_VARIABLES[2:], 3):
        made.fields[name] = rng.choice(
            (
                *(False, True, None, 0, -1, 5.5, 550.0, 10**400, float("nan"), float("-inf"), [], {}, [[]], [None]),
                *(["550-a", "550 b"], {"a": "b"}, [{"a": ["b"]}], ["x"] * 120, [["x"] * 200] * 10, "x" * 30_000),
            )
        )
    made.body = json.dumps(made.fields).encode()


def _repeated(rng: Random, made: Request) -> None:
    pairs = _pairs(made)
    for name, text in [*rng.sample(pairs, rng.choice((1, 1, 3))), (rng.choice(("x", "tags[]", "tags")), b"y")]:
        other = rng.choice((text, text, b"", b"z", text + b" ", text.upper()))
        for _ in range(rng.choice((1, 1, 2, 30))):
            pairs.insert(rng.randrange(len(pairs) + 1), (name, other))
    _write(rng, made, pairs)


def _unknown(rng: Random, made: Request) -> None:
    pairs = _pairs(made)
    names = ("x", "X", "ID", "id ", "id[]", "x[a][b]", "__proto__", "", "tags[0]", "tags[x]", "tags[]", "x" * 900, "é")
    for number in range(rng.choice((1, 2, 96, 120, 400))):
        text = rng.choice((b"", b"y", b"\xff", b"\0" * 5, b"x" * 2_000 if number < 10 else b"", rng.randbytes(9)))
        pairs.insert(rng.randrange(len(pairs) + 1), (rng.choice((*names, f"x{number}")), text))
    _write(rng, made, pairs)


# Mutations of the whole body.


def _byte_order_mark(rng: Random, made: Request) -> None:
    mark = rng.choice((b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe", b"\xfe\xff", b"\r\n", b" \t", b"\0"))
    made.body = mark + made.body if rng.random() < 0.8 else made.body + mark


def _encoded_parts(rng: Random, made: Request) -> None:
    made.content_type = MULTIPART
    body = b""
    broken = rng.choice(_VARIABLES)
    for name, text in _pairs(made):
        coding, encode = rng.choice(
            (
                *(("base64", b64encode), ("Base64 ", b64encode), ("quoted-printable", encodestring)),
                *(("7bit", bytes), ("8bit", bytes), ("BINARY", bytes), ("", bytes), ("gzip", bytes)),
            )
        )
        encoded = encode(text)
        if name == broken and rng.random() < 0.3:
            encoded = rng.choice((encoded[:-1], encoded + b"=", b"=ZZ" + encoded, b"*", b"=\r\n" * 50, b"\xff"))
        body += _part(name, encoded, f"Content-Transfer-Encoding: {coding}")
    binary = 'Content-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream'
    if rng.random() < 0.3:
        body += b"--b\r\n" + binary.encode() + b"\r\n\r\n" + rng.randbytes(200) + b"\r\n"
    made.body = body + b"--b--\r\n"


def _compressed(rng: Random, made: Request) -> None:
    pack = rng.choice((gzip.compress, gzip.compress, zlib.compress, bytes))
    made.body = pack(made.body)
    codings = ("gzip", "gzip", "x-gzip", "GZIP", "deflate", "br", "identity", "gzip, identity", "", "gzip;q=0", "\xff")
    made.unsigned.append(("Content-Encoding", rng.choice(codings)))
    if rng.random() < 0.1:
        made.unsigned *= 2


def _tags(rng: Random, made: Request) -> None:
    name = rng.choice(("tags", "tags[]", "tags[0]", "tags[x]", "tags[][]", "Tags", "tag"))
    amount = rng.choice((0, 1, 2, 94, 96, 120, 2_000))
    if made.content_type == JSON:
        made.fields[name] = rng.choice((["x"] * amount, [str(number) for number in range(amount)], ";" * amount))
        made.body = body_of(JSON, made.fields)
    else:
        _write(rng, made, [*_pairs(made), *((name, rng.choice((b"", b"a;b", b"\xff", b";;"))) for _ in range(amount))])


def _loops(rng: Random, made: Request) -> None:
    words = ("click", "open", "unsubscribe", "delivery", "bounce", "abuse", "create", "update", "delete", "failure")
    word = rng.choice((*words, "failed", "unknown", "", "0", "clicks"))
    made.fields["type"] = rng.choice((word, word.upper(), f" {word}\t", f"{word}\ufeff"))
    for name in rng.sample(("state", "code", "extended", "description"), rng.randrange(5)):
        del made.fields[name]
    if rng.random() < 0.4:
        made.fields["action"] = rng.choice(("failure", "failed", "FAILED ", "delivered", ""))
    made.body = body_of(made.content_type, made.fields)


BODIES: Final[tuple[Callable[[Random, Request], None], ...]] = (
    *(_scrambled_body, _cut_body, _odd_values, _typed_values, _raw_json, _raw_form, _raw_multipart),
    *(_other_content_type, _odd_bytes, _odd_bytes, _escapes, _wrong_types, _repeated, _unknown, _byte_order_mark),
    *(_encoded_parts, _compressed, _tags, _loops),
)
"""All mutations of bodies."""
