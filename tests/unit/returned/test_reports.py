"""Reports are found in a message by the type of their part, or else by their fields, which are read leniently."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.returned.mime import parts_of
from exporter.returned.reports import (
    MAX_FIELDS,
    feedback_in,
    first_fields,
    receipt_in,
    recipients,
    status_in,
    status_within,
    value_of,
)

STATUS: Final = "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\nAction: failed"
REPORT: Final = "Content-Type: multipart/report; report-type={type}; boundary=b\n\n--b\nContent-Type: {part}\n\n{text}"


def report(type_: str, part: str, text: str) -> bytes:
    """Return a message with a report."""
    return REPORT.format(type=type_, part=part, text=text).encode()


@pytest.mark.parametrize(
    "message",
    [
        report("delivery-status", "message/delivery-status", STATUS),
        report("x", "message/global-delivery-status", STATUS),
        report("delivery-status", "text/plain", STATUS),
        report("x", "text/plain", STATUS),
        report("delivery-status", "text/plain", f"Hello,\n{STATUS}"),
    ],
    ids=["RFC 3464", "RFC 6533", "wrong type", "beginning", "announced"],
)
def test_status(message: bytes) -> None:
    """A delivery status is found by the type of its part. Otherwise it begins a part, or is announced."""
    assert status_in(parts_of(message)) == STATUS
    assert (feedback_in(parts_of(message)), receipt_in(parts_of(message))) == (None, None)


@pytest.mark.parametrize(
    "message",
    [
        STATUS.replace("\n\n", "\n").encode(),
        report("x", "text/plain", f"Hello,\n{STATUS}"),
        report("x", "message/rfc822", STATUS),
        report("x", "text/rfc822-headers", STATUS),
        b"",
    ],
    ids=["header", "quoted", "message", "headers", "nothing"],
)
def test_no_status(message: bytes) -> None:
    """Its fields in a header, in other text or in the returned message are no delivery status."""
    assert status_in(parts_of(message)) is None


def test_announced_reports_may_be_missing() -> None:
    """A report that the header announces is empty if it is missing."""
    for type_, find in {
        "delivery-status": status_in,
        "feedback-report": feedback_in,
        "disposition-notification": receipt_in,
    }.items():
        assert find(parts_of(report(type_, "text/plain", "Hello"))) == ""
        assert find(parts_of(report(type_, f"message/{type_}", "X: y"))) == "X: y"


def test_status_within_text() -> None:
    """A delivery status for people begins with its first field."""
    assert status_within(f"Hello,\n\n{STATUS}") == STATUS
    assert status_within("Hello, Reporting-MTA: x") == ""


def test_recipients() -> None:
    """Each recipient has its fields, unfolded, by names in lower case."""
    status = (
        "Reporting-MTA: dns; x\n\nAction: failed\nFINAL-RECIPIENT : rfc822; a@b\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp;\n 5\n\tno\n\nAction: delayed\nFinal-Recipient: rfc822; c@d\n"
    )
    first = {"action": "failed", "final-recipient": "rfc822; a@b", "status": "5.1.1", "diagnostic-code": "smtp; 5 no"}
    assert recipients(status) == [first, {"action": "delayed", "final-recipient": "rfc822; c@d"}]


def test_a_repeated_field_begins_a_recipient() -> None:
    """Reports without empty lines, and with too many, have the same recipients."""
    fields = "Final-Recipient: rfc822; {}\nAction: failed\nStatus: 5.1.{}\n"
    status = fields.format("a", 1) + fields.format("b", 2)
    expected = [
        {"final-recipient": "rfc822; a", "action": "failed", "status": "5.1.1"},
        {"final-recipient": "rfc822; b", "action": "failed", "status": "5.1.2"},
    ]
    assert recipients(status) == expected
    apart = status.replace("Action", "\nAction")
    assert recipients(apart) == expected


def test_first_fields() -> None:
    """The first value of a field counts."""
    assert first_fields("A: 1\nB: 2\nA: 3\n\nno field\n B: 4\nC:\n") == {"a": "1", "b": "2", "c": ""}


def test_number_of_lines_is_bounded() -> None:
    """The lines after the first ones are ignored."""
    assert len(recipients("Action: failed\n" * (MAX_FIELDS + 10))) == MAX_FIELDS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dns; mx.example.com", "mx.example.com"),
        ("x-postfix ;a; b", "a; b"),
        ("550 5.1.1 no; try again", "550 5.1.1 no; try again"),
        ("", ""),
    ],
)
def test_values(field: str, value: str) -> None:
    """The type of a value is removed."""
    assert value_of(field) == value


@given(st.text(alphabet="aA: \n\t;-5.1", max_size=200) | st.text())
def test_any_text(text: str) -> None:
    """Any text has recipients and fields, perhaps none."""
    assert all(recipients(text))
    assert len(first_fields(text)) <= MAX_FIELDS
    assert len(value_of(text)) <= len(text)
