"""Turn bytes of messages into text: charsets, encoded words in headers, HTML. Pure, in linear time, never raises."""

import html
import re
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final

MAX_TEXT: Final = 16_384
"""Maximum number of characters of a part's text."""

# Charsets of real mail. Python's other codecs include some that are no charsets, that fail in other ways or that take
# quadratic time; and it remembers each unknown name, in a cache without a limit.
_CHARSETS: Final = frozenset(
    "utf-8 utf8 utf-7 utf-16 utf-16le utf-16be us-ascii ascii koi8-r koi8-u tis-620 gb2312 gbk gb18030 hz-gb-2312 "
    "big5 big5-hkscs euc-jp shift_jis shift-jis sjis cp932 iso-2022-jp iso-2022-kr euc-kr ks_c_5601-1987 cp949 "
    "macintosh cp437 cp850 cp852 cp858 cp866 cp1250 cp1251 cp1252".split()
    + [f"iso-8859-{number}" for number in range(1, 17) if number != 12]
    + [f"windows-{number}" for number in range(1250, 1259)],
)
_JAPANESE: Final = b"\x1b$"
"""Begins text in ISO-2022-JP, which is only ASCII otherwise."""
_UNUSABLE: Final = re.compile("[\0\ud800-\udfff]")
# A number in a reference that is longer than any character's, which html.unescape could not convert.
_LONG_REFERENCE: Final = re.compile("&#x?[0-9a-f]{8,}", re.IGNORECASE)
_MAX_HTML: Final = 2 * MAX_TEXT
_BLANKS: Final = re.compile(r"[ \t]+")
_HIDDEN: Final = frozenset({"script", "style", "title"})
_BREAKS: Final = frozenset({"br", "p", "/p", "div", "/div", "tr", "/tr", "li", "h1", "/h1", "h2", "/h2", "h3", "/h3"})


def decoded(raw: bytes, charset: str = "") -> str:
    """Return the text. If the charset is wrong or unknown, it is UTF-8, or else Windows-1252."""
    names = [charset] if charset in _CHARSETS and not charset.endswith("ascii") else []
    if _JAPANESE in raw:
        names.append("iso-2022-jp")
    for name in (*names, "utf-8"):
        try:
            return _usable(raw.decode(name))
        except UnicodeDecodeError as error:
            good = raw[: error.start]
            if error.end == len(raw) and not good.isascii():  # half of a character, where the message was cut off
                return _usable(good.decode(name, "ignore"))
    return _usable(raw.decode("cp1252", "replace"))


def decoded_header(value: str) -> str:
    """Return the value of a header in which surrogates stand for bytes (PEP 383), with encoded words decoded."""
    raw = value.encode("ascii", "surrogateescape").decode("latin-1")
    if "=?" not in raw:
        return decoded(raw.encode("latin-1"))
    try:
        pieces = decode_header(raw)
    except (HeaderParseError, ValueError):
        return decoded(raw.encode("latin-1"))
    return "".join(
        decoded(piece if isinstance(piece, bytes) else piece.encode("latin-1", "replace"), (charset or "").lower())
        for piece, charset in pieces
    )


def without_tags(text: str) -> str:
    """Return the beginning of the visible text in HTML, at most :data:`MAX_TEXT` characters."""
    first, *pieces = text[:_MAX_HTML].split("<")
    visible, hidden = [first], ""
    for piece in pieces:
        tag, _, rest = piece.partition(">")
        name = next(iter(tag.lower().rstrip("/").split(maxsplit=1)), "")
        if hidden and name != f"/{hidden}":
            continue
        hidden = name if name in _HIDDEN else ""
        visible.append("\n" if name in _BREAKS else " ")
        visible.append("" if hidden else rest)
    beginning = _BLANKS.sub(" ", "".join(visible))[:MAX_TEXT]
    return _usable(html.unescape(_LONG_REFERENCE.sub(" ", beginning)))[:MAX_TEXT]


def _usable(text: str) -> str:
    return _UNUSABLE.sub("\ufffd", text)
