"""Read the variables of a report as text, so that only an unusable id or recipient can reject it.

Shared by the webhook and the reader of log files, because requests and SMTPeter's log files have the same variables.
Texts come with the bytes that are not UTF-8 as surrogate escapes (PEP 383): only the reader of a variable knows what
they become. Pure.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final, NoReturn

from exporter.refusals import Refusal

MAX_TAGS: Final = 100
"""Maximum number of tags that are read from a report; the rest are ignored."""

USED: Final = frozenset(
    "id recipient state code extended description tags type action mime emailfrom".split(),  # of all loops
)
"""Names of the variables that are read from a report; all others are ignored."""
REPAIRS: Final[Mapping[str, str]] = {
    "duplicate_field": "A variable other than `tags` was repeated. The first value was used.",
    "encoding": "A variable contained NUL, half of a surrogate pair or bytes that are not UTF-8, or its encoding is "
    "unknown.",
    "malformed": "The body began with a byte order mark, or its JSON held an unescaped control character.",
    "unknown_type": "The variable `type` held an unknown word, but the other variables were those of a failure.",
    "value_too_long": "A state, a code, an enhanced status code or a type was longer than any real one.",
    "wrong_type": "A JSON value was neither text nor a number. It was ignored, except that a list of lines was joined.",
}
"""The values of the label ``what`` of ``smtpeter_exporter_repaired_total``, with their meanings.

Most are also in :data:`exporter.refusals.REFUSAL_REASONS`, because the same mistake in an id or a recipient can reject
the report.
"""

# In characters. RFC 5321 section 4.5.3.1 allows 64 + 1 + 255 octets in an address; SMTPeter's message ids have about 20
# characters.
_MAX_LENGTHS: Final = {"id": 256, "recipient": 512}
_MAX_WORD: Final = 64
_ABSENT: Final = ("",)
_TAGS: Final = re.compile(r"tags\[[^\]]{0,64}\]")
# Characters without a width that come along when text is copied: a byte order mark, a soft hyphen, and those that join,
# separate or direct letters.
_INVISIBLE: Final = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_UNREADABLE: Final = re.compile("[\0\ud800-\udfff]")


def canonical(name: str) -> str:
    """Return the name of a variable: PHP writes a list as ``tags[]``, a map as ``tags[0]``."""
    return "tags" if name.startswith("tags[") and _TAGS.fullmatch(name) else name


class Fields:
    """The variables of a report, given as (name, value) in their order; unknown names are ignored.

    ``repaired`` has the keys of :data:`REPAIRS` that apply to the body and to the variables read so far. If
    ``surrogates_are_bytes``, surrogates in the values stand for bytes that are not UTF-8; otherwise, JSON escaped them.
    """

    def __init__(
        self, pairs: Iterable[tuple[str, Any]], repaired: Iterable[str] = (), *, surrogates_are_bytes: bool = True
    ) -> None:
        self._surrogates_are_bytes = surrogates_are_bytes
        self._values: dict[str, list[Any]] = {}
        for name, value in pairs:
            self._values.setdefault(name if name in USED else canonical(name), []).append(value)
        self.repaired: Final = set(repaired)

    def __contains__(self, name: str) -> bool:
        """Return whether the variable is present, even if it has no value."""
        return name in self._values

    def names(self) -> list[str]:
        """Return the names of all variables, in their order."""
        return list(self._values)

    def identifier(self, name: str) -> str:
        """Return the id or the recipient, without loss: different values stay different.

        Raises :class:`Refusal` (400) if it is missing, too long, neither text nor a number, or has two different
        values.
        """
        found: dict[str, str] = {}
        for value in self._values.get(name, ()):
            if value is not None and not isinstance(value, str):
                _refuse("wrong_type", f"variable {name} is of type {_type(value)}, expected text or a number")
            text = self._decoded(value or "")
            if name == "recipient":
                text = fold_recipient(text)
            if text:
                found[text.lower() if name == "recipient" else text] = text
        if not found:
            _refuse("missing_field", f"variable {name} is missing or empty")
        if len(found) > 1:
            _refuse("duplicate_field", f"variable {name} has {len(found)} different values")
        (text,) = found.values()
        if len(text) > _MAX_LENGTHS[name]:
            _refuse("value_too_long", f"variable {name} is longer than {_MAX_LENGTHS[name]} characters")
        if len(self._values[name]) > 1:
            self.repaired.add("duplicate_field")
        return self._escaped(text)

    def content(self, name: str) -> bytes:
        """Return a variable of any length, without loss: its bytes, or its text in UTF-8.

        Raises :class:`Refusal` (400) if it is missing, neither text nor a number, or has two different values.
        """
        found: dict[str, None] = {}
        for value in self._values.get(name, ()):
            if value is not None and not isinstance(value, str):
                _refuse("wrong_type", f"variable {name} is of type {_type(value)}, expected text")
            if value and not value.isspace():
                found[value] = None
        if not found:
            _refuse("missing_field", f"variable {name} is missing or empty")
        if len(found) > 1:
            _refuse("duplicate_field", f"variable {name} has {len(found)} different values")
        if len(self._values[name]) > 1:
            self.repaired.add("duplicate_field")
        (text,) = found
        with suppress(UnicodeEncodeError):
            return text.encode(errors="surrogateescape" if self._surrogates_are_bytes else "strict")
        return text.encode(errors="surrogatepass")

    def word(self, name: str) -> str:
        """Return a short variable as text; empty if it is absent or of another type.

        A value that is too long becomes its beginning and a hash, so that it takes no space and stays different from
        others.
        """
        value = self._first(name)
        if not isinstance(value, str):
            self.repaired.add("wrong_type")
            return ""
        text = self._readable(value)
        if not text.isascii():
            text = _INVISIBLE.sub("", text).strip()
        if len(text) <= _MAX_WORD:
            return text
        self.repaired.add("value_too_long")
        return f"{text[: _MAX_WORD // 2]}…{blake2b(text.encode(), digest_size=8).hexdigest()}"

    def text(self, name: str) -> str:
        """Return a variable of any length as text: the lines of a list are joined, another type is empty."""
        value = self._first(name)
        if not isinstance(value, str):
            self.repaired.add("wrong_type")
            lines = value if isinstance(value, list) else []
            value = "\n".join(line for line in lines if isinstance(line, str))
        return self._readable(value)

    def tags(self) -> tuple[str, ...]:
        """Return the tags, without duplicates, at most :data:`MAX_TAGS`.

        SMTPeter does not document their format, so texts separated by ``;``, repeated variables, and JSON lists and
        objects of texts are read.
        """
        tags: dict[str, None] = {}
        for value in self._values.get("tags", ()):
            inner = [one for _, one in value] if isinstance(value, Pairs) else value
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, str):
                    tags.update(dict.fromkeys(self._readable(tag) for tag in one.split(";")[:MAX_TAGS]))
                elif one is not None:
                    self.repaired.add("wrong_type")
        tags.pop("", None)
        return tuple(tags)[:MAX_TAGS]

    def _first(self, name: str) -> Any:  # noqa: ANN401 -- JSON holds anything
        """Return the first value; empty if it is absent or null."""
        values = self._values.get(name, _ABSENT)
        if len(values) > 1:
            self.repaired.add("duplicate_field")
        return "" if values[0] is None else values[0]

    def _readable(self, text: str) -> str:
        """Return a text without surrounding whitespace, with U+FFFD for what cannot be read."""
        if text.isascii() and "\0" not in text:
            return text.strip()
        text, count = _UNREADABLE.subn("\ufffd", text)
        if count:
            self.repaired.add("encoding")
        return text.strip()

    def _decoded(self, text: str) -> str:
        """Return a text without surrounding whitespace, in which bytes that are not UTF-8 are Latin-1."""
        if self._surrogates_are_bytes and not text.isascii() and _UNREADABLE.search(text):
            with suppress(UnicodeEncodeError):  # JSON that is not UTF-8 may also escape half of a surrogate pair
                raw = text.encode(errors="surrogateescape")
                self.repaired.add("encoding")
                try:
                    text = raw.decode()
                except UnicodeDecodeError:
                    text = raw.decode("latin-1")
        return text.strip()

    def _escaped(self, text: str) -> str:
        """Return a text that can be encoded, and in which NUL does not occur."""
        if (text.isascii() and "\0" not in text) or not _UNREADABLE.search(text):
            return text
        self.repaired.add("encoding")
        # No other text begins with a space, so an escape differs from the same characters sent as they are.
        return f" {text.encode('unicode_escape').decode()}"


def fold_recipient(text: str) -> str:
    """Return an address without ``<>``, final dots of its domain, and invisible characters."""
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    return text.lstrip("< \t\r\n").rstrip("> \t\r\n." if "@" in text else "> \t\r\n") or text


def read_json(body: bytes, repaired: Iterable[str] = ()) -> Fields:
    """Return the variables in a JSON object. Raises :class:`Refusal` (400) if the body is not one.

    Control characters in texts are accepted, and so are numbers that Python cannot hold.
    """
    repaired = set(repaired)
    try:
        text, utf8 = body.decode(), True
    except UnicodeDecodeError:
        text, utf8 = body.decode(errors="surrogateescape"), False
    try:
        try:
            value = _STRICT_JSON.decode(text)
        except ValueError:
            value = LENIENT_JSON.decode(text)
            repaired.add("malformed")
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested brackets
        _refuse("malformed", f"invalid JSON: {error}")
    return fields_of(value, repaired, surrogates_are_bytes=not utf8)


def fields_of(value: object, repaired: Iterable[str] = (), *, surrogates_are_bytes: bool) -> Fields:
    """Return the variables in a value of the decoders below. Raises :class:`Refusal` (400) if it is no object."""
    if not isinstance(value, Pairs):
        _refuse("malformed", f"the JSON is of type {_type(value)}, expected an object")
    return Fields(value, repaired, surrogates_are_bytes=surrogates_are_bytes)


class Pairs(list[tuple[str, Any]]):
    """The members of a JSON object with repeated names, as a type that differs from that of a JSON array."""


def _decoder(*, strict: bool) -> json.JSONDecoder:
    # Numbers stay text: an int of more than 4,300 digits would be an error, and a float would lose digits.
    return json.JSONDecoder(object_pairs_hook=Pairs, parse_int=str, parse_float=str, strict=strict)


_STRICT_JSON: Final = _decoder(strict=True)
LENIENT_JSON: Final = _decoder(strict=False)
"""Decodes objects to :class:`Pairs`, and accepts control characters in texts."""


def _type(value: object) -> str:
    """Return the name of a value's type in JSON."""
    names = {"Pairs": "object", "list": "array", "str": "string or number", "bool": "boolean", "NoneType": "null"}
    return names.get(type(value).__name__, "NaN")  # Python accepts NaN and Infinity, which are not JSON


def _refuse(reason: str, detail: str) -> NoReturn:
    raise Refusal(400, reason, detail)
