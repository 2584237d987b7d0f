"""A returned message is of the right kind, and has the answer that gives the right reason."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.reason import reason_of
from exporter.classification.report import Report
from exporter.returned.answers import MAX_DESCRIPTION
from exporter.returned.mime import MAX_BYTES
from exporter.returned.returned import KINDS, Returned, complaint_recipient, returned_of
from tests.support.hostile_mime import HOSTILE, mixed
from tests.support.returned import EXAMPLES, EXPECTED

WRONG: Final[dict[str, str]] = {
    "unseen/homemade-dutch-mailbox-disabled": "its words for a mailbox that was disabled are in no table",
    "unseen/zendesk-request-received": "an automatic reply whose headers only say that it wants no automatic answer",
}
"""The examples that are not right, each with why."""

STATUS: Final = (
    "From: MAILER-DAEMON@example.org\nSubject: {subject}\n"
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
    "--b\n\nHello\n\nhost said: 452 4.2.2 mailbox full\n--b\nContent-Type: message/delivery-status\n\n"
    "Reporting-MTA: dns; x\n\n{fields}\n--b--\n"
)


def status(*recipients: str, subject: str = "x") -> bytes:
    """Return a delivery status with the fields of each recipient, separated by semicolons and a space."""
    return STATUS.format(subject=subject, fields="\n\n".join(recipients).replace(", ", "\n")).encode()


def feedback(fields: str) -> bytes:
    """Return a feedback report."""
    return f"Content-Type: message/feedback-report\n\n{fields}".encode()


def test_examples_are_complete() -> None:
    """Each message has an expected result, and the other way round."""
    assert set(EXAMPLES) == set(EXPECTED)
    assert WRONG.keys() <= EXPECTED.keys()
    assert len(EXPECTED) - len(WRONG) >= 74


@pytest.mark.parametrize("name", EXPECTED)
def test_examples(name: str) -> None:
    """Each message has its kind, and a reason that is acceptable if a delivery failed, except for those in WRONG."""
    kind, accepted = EXPECTED[name]
    found = returned_of(EXAMPLES[name])
    report = Report(state="bounce", code=found.code, extended=found.extended, description=found.description)
    reason = reason_of(report).reason if found.failed else None
    assert (found.kind == kind and (reason in accepted or (not accepted and reason is None))) is (name not in WRONG)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            status("Action: failed, Status: 5.1.1, Diagnostic-Code: smtp; 550 5.7.1 not allowed here"),
            Returned("dsn", failed=True, code="550", extended="5.7.1", description="550 5.7.1 not allowed here"),
        ),
        (
            status("Action: failed, Status: 5.1.1, Diagnostic-Code: smtp; 550 not allowed here"),
            Returned("dsn", failed=True, code="550", extended="5.1.1", description="550 not allowed here"),
        ),
        (
            status("Action: failed, Status: 4.4.7, Diagnostic-Code: smtp; 421 4.7.0 not now please"),
            Returned("dsn", failed=True, code="421", extended="4.4.7", description="421 4.7.0 not now please"),
        ),
        (
            status("Action: failed, Status: 5.0.0 (not allowed here)"),
            Returned("dsn", failed=True, code="", extended="5.0.0", description="5.0.0 (not allowed here)"),
        ),
        (
            status("Action: failed, Status: 5.0.0, Diagnostic-Code: x400; 12"),
            Returned("dsn", failed=True, code="452", extended="4.2.2", description="host said: 452 4.2.2 mailbox full"),
        ),
        (
            status("Action: delayed, Status: 4.0.0", "Action: failed, Status: 5.1.1 (no such user)", "Action: failed"),
            Returned("dsn", failed=True, code="", extended="5.1.1", description="5.1.1 (no such user)"),
        ),
        (status("Action: delayed, Status: 4.0.0", "Action: delayed"), Returned("delay", failed=False)),
        (status("Action: delayed, Status: 4.0.0", "Action: delivered"), Returned("dsn", failed=False)),
        (status("Action: relayed"), Returned("dsn", failed=False)),
        (status("Action: expanded"), Returned("dsn", failed=False)),
        (status("Status: 2.0.0"), Returned("dsn", failed=False)),
        (status("Status: 4.0.0", subject="Delayed mail"), Returned("delay", failed=False)),
        (
            status("Status: 5.1.1 (no such user)"),
            Returned("dsn", failed=True, code="", extended="5.1.1", description="5.1.1 (no such user)"),
        ),
        (
            status("X: y"),
            Returned("dsn", failed=True, code="452", extended="4.2.2", description="host said: 452 4.2.2 mailbox full"),
        ),
        (feedback("Feedback-Type: abuse"), Returned("complaint", failed=False)),
        (b"Subject: complaint about message from 192.0.2.1\n\nx", Returned("complaint", failed=False)),
        (b"Content-Type: message/disposition-notification\n\nDisposition: x", Returned("auto_reply", failed=False)),
        (b"Content-Type: message/rfc822\n\n" + feedback("Feedback-Type: abuse"), Returned("complaint", failed=False)),
        (
            b"From: postmaster@x\nSubject: Mailbox full\n\nSorry",
            Returned("other", failed=True, code="", extended="", description="Mailbox full\nSorry"),
        ),
        (
            b"From: postmaster@x\nSubject: Fwd: Mailbox full\n\nSorry",
            Returned("other", failed=True, code="", extended="", description="Sorry"),
        ),
        (
            b"From: postmaster@x\n\nSorry\n\nFinal-Recipient: a@b\nDiagnostic-Code: smtp; 550 5.1.1 no such user",
            Returned("other", failed=True, code="550", extended="5.1.1", description="550 5.1.1 no such user"),
        ),
        (b"In-Reply-To: <x>\n\nMailbox full\n> x", Returned("other", failed=True)),
        (b"", Returned("other", failed=True, code="", extended="", description="\n")),
    ],
)
def test_returned(message: bytes, expected: Returned) -> None:
    """The report decides; the first recipient that failed has the answer, or else the text for people."""
    assert returned_of(message) == expected


@pytest.mark.parametrize(
    ("message", "recipient"),
    [
        (EXAMPLES["arf-rfc5965-example"], "user@example.com"),
        (EXAMPLES["arf-yahoo"], "user@example.com"),
        (EXAMPLES["arf-auth-failure"], ""),
        (feedback("Original-Rcpt-To: <a@b>\nOriginal-Rcpt-To: <c@d>"), "a@b"),
        (feedback("Original-Rcpt-To: rfc822; a@b, c@d"), "a@b"),
        (feedback("Original-Rcpt-To:\nReporting-MTA: dns; mx.example.com (x)"), "mx.example.com"),
        (feedback("Reporting-MTA: mx.example.com"), "mx.example.com"),
        (feedback("Original-Rcpt-To: " + "a" * 400), "a" * 320),
        (b"Content-Type: message/rfc822\n\n" + feedback("Original-Rcpt-To: a@b"), "a@b"),
        (b"Subject: Complaint\n\nHello\nOriginal-Rcpt-To: a@b", "a@b"),
        (
            b"Subject: complaint about message from 192.0.2.1\n\nReceived: x\nX-HmXmrOriginalRecipient: <a@b>\n",
            "a@b",
        ),
        (b"", ""),
    ],
)
def test_complaint_recipients(message: bytes, recipient: str) -> None:
    """The recipient who complained is in the report, or at least the host that reports it."""
    assert complaint_recipient(message) == recipient


def test_only_the_beginning_is_read() -> None:
    """Text behind the first bytes makes no difference."""
    begin = b"Subject: x\n\n" + b"a" * MAX_BYTES
    assert returned_of(begin + b"\nmailbox full") == returned_of(begin)


def check(message: bytes) -> None:
    """Check what is true of any message."""
    found = returned_of(message)
    assert found.kind in KINDS
    assert found.failed or found == Returned(found.kind, failed=False)
    assert found.failed <= (found.kind in {"dsn", "other"})
    assert found.code == "" or (len(found.code) == 3 and found.code[0] in "45" and found.code.isdecimal())
    assert len(found.extended) <= 7
    assert len(found.description) <= MAX_DESCRIPTION
    recipient = complaint_recipient(message)
    assert len(recipient) <= 320
    assert "\0" not in f"{found.description}{recipient}".encode().decode()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages(name: str) -> None:
    """A hostile message has a kind and an answer of bounded length."""
    check(HOSTILE[name])


@given(st.binary(max_size=1_000) | st.integers(0, 100_000).map(mixed))
def test_any_message(message: bytes) -> None:
    """Any bytes have a kind and an answer of bounded length."""
    check(message)


@given(st.sampled_from(sorted(EXAMPLES)), st.integers(0, 5_000), st.binary(max_size=20), st.integers(0, 50))
def test_damaged_examples(name: str, place: int, inserted: bytes, removed: int) -> None:
    """A real message with other bytes at some place has a kind and an answer of bounded length."""
    message = EXAMPLES[name]
    check(message[:place] + inserted + message[place + removed :])
