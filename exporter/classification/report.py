"""The report: one failed delivery in SMTPeter's variables, and how the values of variables become one.

The webhook and SMTPeter's log files bring the same variables, so what a value may be is decided here, once. Both
generations of the variables are read (the first has id, recipient, state, code, extended, description; the later one
adds type, action, time, timestamp and tags). Pure.
"""

import json
from typing import Any, Final, NamedTuple, NoReturn

from exporter.refusals import Refusal

MAX_TAGS: Final = 100
"""The most tags of a failure that are looked at."""
MAX_FIELDS: Final = 100
"""The most variables that a body may have; SMTPeter sends at most eleven, and one more for each tag."""

# Longer than any real one: RFC 5321 4.5.3.1 allows 64 + 1 + 255 octets in an address, a message id of SMTPeter's has
# some 20 characters, and the others are words and numbers. A description may be as long as a body.
_LONGEST: Final = {
    "id": 256,
    "recipient": 512,
    "state": 64,
    "code": 64,
    "extended": 64,
    "description": 65_536,
}  # a description may be as long as a body
_TEXTS: Final = tuple(_LONGEST)
USED: Final = frozenset({*_TEXTS, "tags", "tags[]"})
# What SMTPeter's other loops send as "type", and none of them has a state: whoever mixes the URLs of two loops up must
# not see deliveries as failures.
_OTHER_LOOPS: Final = ("delivery", "bounce", "abuse")


class Report(NamedTuple):
    """One report as received; what is absent is empty. ``recipient`` and ``description`` are personal data."""

    id: str = ""
    recipient: str = ""
    state: str = ""
    code: str = ""
    extended: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()


def report_of(pairs: list[tuple[str, Any]]) -> Report:
    """Make the report out of names and values; names that SMTPeter does not use are ignored.

    Raises :class:`Refusal` (400) for a name that comes twice, a value that is not text or a number, text that is
    not fit for UTF-8, a report of another loop, and one without id or recipient.
    """
    if len(pairs) > MAX_FIELDS:
        _refuse("too_many_fields", f"{len(pairs)} variables, expected at most {MAX_FIELDS}")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        _check_duplicates([name for name, _ in pairs])
    if fields.get("type") in _OTHER_LOOPS and "state" not in fields:
        _refuse("other_loop", f"a report of the loop {fields['type']}; expected one of failures")
    report = Report(
        **{name: text_of(name, fields[name]) for name in _TEXTS if name in fields},
        tags=tags_of([value for name, value in pairs if name in {"tags", "tags[]"}]),
    )
    if not report.id or not report.recipient:
        _refuse("missing_field", f"variable {'recipient' if report.id else 'id'} is missing or empty")
    return report


def json_pairs(text: str) -> list[tuple[str, Any]]:
    """Names and values of a JSON object, with repeated names kept. Raises :class:`Refusal` (400)."""
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_float=str, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: 100,000 opening brackets
        _refuse("malformed", f"not JSON: {error}")
    if not isinstance(value, _Pairs):
        _refuse("malformed", f"the JSON is a {type(value).__name__}, expected an object")
    return value


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as read, to be told from a JSON array."""


def _no_constant(word: str) -> NoReturn:
    # NaN and Infinity are not JSON (RFC 8259 section 6), but Python reads them.
    raise ValueError(f"{word} is not a JSON value")


def _check_duplicates(names: list[str]) -> None:
    for name in names:
        # A sender has many tags; the way they are repeated is not documented, "[]" is PHP's.
        if names.count(name) > 1 and name != "tags" and not name.endswith("[]"):
            _refuse("duplicate_field", f"variable {name[:50]!r} comes {names.count(name)} times")


def tags_of(values: list[Any]) -> tuple[str, ...]:
    """The tags of a failure, each once; their shape is not documented, so each shape that it might have is read.

    ``values`` are those of ``tags`` or ``tags[]``: texts with ``;`` between tags, or lists of tags. What else there is
    counts for nothing: a failure is not lost for the sake of its tags.
    """
    tags: dict[str, None] = {}
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                tags.update(dict.fromkeys(tag.strip() for tag in one.split(";")[:MAX_TAGS]))
    tags.pop("", None)
    return tuple(tags)[:MAX_TAGS]


def text_of(name: str, value: Any) -> str:  # noqa: ANN401 -- JSON holds anything
    """The text of a variable's value; nothing becomes empty, a number its digits. Raises :class:`Refusal` (400)."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):  # a number with a point was left as it is written
        _refuse("wrong_type", f"variable {name} is neither text nor a number")
    text = value if isinstance(value, str) else str(value)
    if len(text) > _LONGEST[name]:
        _refuse("value_too_long", f"variable {name} is longer than {_LONGEST[name]} characters")
    if "\0" in text:
        _refuse("encoding", f"variable {name} holds NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse("encoding", f"variable {name} holds a lone surrogate")
    return text.strip()


def _refuse(reason: str, detail: str) -> NoReturn:
    raise Refusal(400, reason, detail)
