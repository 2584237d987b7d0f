"""The report of one failed delivery, and the validation of its variables.

Shared by the webhook and ``classify``, because requests and SMTPeter's log files have the same variables. The first
generation has id, recipient, state, code, extended and description. The later one adds type, action, time, timestamp
and tags. Pure.
"""

import json
from typing import Any, Final, NamedTuple, NoReturn

from exporter.refusals import Refusal

MAX_TAGS: Final = 100
"""Maximum number of tags that are read from a report; the rest are ignored."""
MAX_FIELDS: Final = 100
"""Maximum number of variables in a report. SMTPeter sends at most eleven, and one more for each tag."""

# In characters. RFC 5321 section 4.5.3.1 allows 64 + 1 + 255 octets in an address; SMTPeter's message ids have about 20
# characters.
_MAX_LENGTHS: Final = {
    "id": 256,
    "recipient": 512,
    "state": 64,
    "code": 64,
    "extended": 64,
    "description": 65_536,  # as long as a body may be
}
_TEXTS: Final = tuple(_MAX_LENGTHS)
USED: Final = frozenset({*_TEXTS, "tags", "tags[]"})
"""Names of the variables that are read; all others are ignored."""
# The "type" of SMTPeter's other webhooks. Their reports have no state. If somebody enters the URL at the wrong webhook,
# its reports must not be counted as failures.
_OTHER_WEBHOOKS: Final = ("delivery", "bounce", "abuse")


class Report(NamedTuple):
    """One report as received; absent variables are empty. ``recipient`` and ``description`` are personal data."""

    id: str = ""
    recipient: str = ""
    state: str = ""
    code: str = ""
    extended: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()


def report_of(pairs: list[tuple[str, Any]]) -> Report:
    """Return the report with these variables, given as (name, value). Unknown names are ignored.

    Raises :class:`Refusal` (400) for too many variables, a repeated name, a value that :func:`text_of` rejects, a
    report of another webhook, and a missing id or recipient.
    """
    if len(pairs) > MAX_FIELDS:
        _refuse("too_many_fields", f"{len(pairs)} variables, expected at most {MAX_FIELDS}")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        _check_duplicates([name for name, _ in pairs])
    if fields.get("type") in _OTHER_WEBHOOKS and "state" not in fields:
        _refuse("other_loop", f"report of type {fields['type']}, expected a report of the webhook for failures")
    report = Report(
        **{name: text_of(name, fields[name]) for name in _TEXTS if name in fields},
        tags=tags_of([value for name, value in pairs if name in {"tags", "tags[]"}]),
    )
    if not report.id or not report.recipient:
        _refuse("missing_field", f"variable {'recipient' if report.id else 'id'} is missing or empty")
    return report


def json_pairs(text: str) -> list[tuple[str, Any]]:
    """Return names and values of a JSON object, including repeated names. Raises :class:`Refusal` (400)."""
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_float=str, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested brackets
        _refuse("malformed", f"invalid JSON: {error}")
    if not isinstance(value, _Pairs):
        _refuse("malformed", f"the JSON is a {type(value).__name__}, expected an object")
    return value


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, as a type that differs from that of a JSON array."""


def _no_constant(word: str) -> NoReturn:
    # Python accepts NaN and Infinity, which are not JSON (RFC 8259 section 6).
    raise ValueError(f"{word} is not a JSON value")


def _check_duplicates(names: list[str]) -> None:
    for name in names:
        # Tags may be repeated, by name or with PHP's "[]": SMTPeter does not document how it sends several.
        if names.count(name) > 1 and name != "tags" and not name.endswith("[]"):
            _refuse("duplicate_field", f"variable {name[:50]!r} appears {names.count(name)} times")


def tags_of(values: list[Any]) -> tuple[str, ...]:
    """Return the tags of a failure, without duplicates, at most :data:`MAX_TAGS`.

    ``values`` are those of ``tags`` and ``tags[]``. SMTPeter does not document their format, so texts separated by
    ``;`` and lists of them are accepted. Other values are ignored rather than rejected: no failure is lost because of
    its tags.
    """
    tags: dict[str, None] = {}
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                tags.update(dict.fromkeys(tag.strip() for tag in one.split(";")[:MAX_TAGS]))
    tags.pop("", None)
    return tuple(tags)[:MAX_TAGS]


def text_of(name: str, value: Any) -> str:  # noqa: ANN401 -- JSON holds anything
    """Return a variable's value as text without surrounding whitespace: empty for None, digits for a number.

    Raises :class:`Refusal` (400) if it is of another type, too long, or contains NUL or a lone surrogate.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):  # json_pairs keeps decimals as text
        _refuse("wrong_type", f"variable {name} is a {type(value).__name__}, expected text or a number")
    text = value if isinstance(value, str) else str(value)
    if len(text) > _MAX_LENGTHS[name]:
        _refuse("value_too_long", f"variable {name} is longer than {_MAX_LENGTHS[name]} characters")
    if "\0" in text:
        _refuse("encoding", f"variable {name} contains NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse("encoding", f"variable {name} contains a lone surrogate")
    return text.strip()


def _refuse(reason: str, detail: str) -> NoReturn:
    raise Refusal(400, reason, detail)
