"""Find the reports in a message, and read their fields. Pure, never raises.

They are delivery status notifications (RFC 3464), feedback reports (RFC 5965) and read receipts (RFC 8098).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from exporter.returned.mime import ORIGINALS, Part, leaves

MAX_FIELDS: Final = 500
"""Number of lines of a report that are read."""
_MAX_VALUE: Final = 2_000
# Number of characters in which a part of another type must have a field of a report
_BEGINNING: Final = 1_000

# Fields that only this report has
_OF_STATUS: Final = re.compile(r"^(?:Reporting-MTA|(?:Final|Original)-Recipient):", re.IGNORECASE | re.MULTILINE)
_OF_FEEDBACK: Final = re.compile(r"^(?:Feedback-Type|Original-Rcpt-To):", re.IGNORECASE | re.MULTILINE)
_OF_RECEIPT: Final = re.compile(r"^Disposition:", re.IGNORECASE | re.MULTILINE)

_FIELD: Final = re.compile(r"[ \t]{0,9}([A-Za-z][A-Za-z0-9-]{0,40})[ \t]{0,9}:(.*)")
_FIRST_FIELD: Final = re.compile(r"\s{0,99}[A-Za-z][A-Za-z0-9-]{1,40}:")
_TYPE: Final = re.compile(r"[\w-]{1,40}[ \t]{0,9};", re.ASCII)
# An empty line ends the record of a recipient only if it has these: some reports have empty lines between all fields.
_COMPLETE: Final = frozenset({"action", "final-recipient"})
_OF_RECIPIENT: Final = frozenset({"action", "status", "final-recipient", "original-recipient", "diagnostic-code"})


def status_in(parts: Sequence[Part]) -> str | None:
    """Return the text of a delivery status: empty if it is announced but missing, None if there is none."""
    return _report_in(parts, "delivery-status", _OF_STATUS)


def feedback_in(parts: Sequence[Part]) -> str | None:
    """Return the text of a feedback report: empty if it is announced but missing, None if there is none."""
    return _report_in(parts, "feedback-report", _OF_FEEDBACK)


def receipt_in(parts: Sequence[Part]) -> str | None:
    """Return the text of a read receipt: empty if it is announced but missing, None if there is none."""
    return _report_in(parts, "disposition-notification", _OF_RECEIPT)


def _report_in(parts: Sequence[Part], type_: str, fields: re.Pattern[str]) -> str | None:
    """Return the text of a report of a type: empty if it is announced but missing, None if there is none.

    A part of another type is a report if it begins with its ``fields``, or, if one is announced, has them anywhere.
    """
    for part in leaves(parts):
        if part.get_content_type().endswith(type_):
            return part.text
    announced = any(part.parameter("report-type").endswith(type_) for part in parts)
    for part in leaves(parts):
        if part.get_content_type() in ORIGINALS:
            continue
        text = part.text if announced else part.text[:_BEGINNING]
        if (announced or _FIRST_FIELD.match(text)) and (field := fields.search(text)):
            return part.text[field.start() :] if announced else part.text
    return "" if announced else None


def status_within(text: str) -> str:
    """Return the delivery status that a text has for people to read, empty if it has none."""
    field = _OF_STATUS.search(text)
    return text[field.start() :] if field else ""


def recipients(status: str) -> list[Mapping[str, str]]:
    """Return the fields of each recipient in a delivery status, as their values by names in lower case.

    A repeated name begins the next recipient too, for reports that lack the empty line in between.
    """
    return [record for record in _records(status) if not _OF_RECIPIENT.isdisjoint(record)]


def first_fields(report: str) -> Mapping[str, str]:
    """Return the first value of each field in a report, by its name in lower case."""
    return {name: value for record in reversed(_records(report)) for name, value in record.items()}


def value_of(field: str) -> str:
    """Return the value of a field without its type, as in "dns; mx.example.com" (RFC 3464 section 2.1.2)."""
    found = _TYPE.match(field)
    return field[found.end() if found else 0 :].strip()


def _records(text: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [{}]
    for name, value in _fields(text):
        ended = found[-1].keys() >= _COMPLETE or _OF_RECIPIENT.isdisjoint(found[-1])
        if name in found[-1] or (not name and ended):
            found.append({})
        if name:
            found[-1][name] = value
    return [record for record in found if record]


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the unfolded fields, and an empty name for each empty line. Lines that are no fields are ignored."""
    name, value = "", ""
    for line in [*text.split("\n", MAX_FIELDS)[:MAX_FIELDS], ""]:
        if name and line[:1] in {" ", "\t"} and line.strip():
            value = f"{value} {line.strip()}"[:_MAX_VALUE]
            continue
        if name:
            yield name, value.strip()
        found = _FIELD.match(line)
        name, value = (found[1].lower(), found[2][:_MAX_VALUE]) if found else ("", "")
        if not line.strip():
            yield "", ""
