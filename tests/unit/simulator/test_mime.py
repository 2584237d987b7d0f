"""Returned messages are valid MIME, and a parser finds in them what they are about."""

import email.policy
from collections.abc import Callable
from email.message import EmailMessage
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator import mime
from exporter.simulator.answers import ACCEPTING_REPLIES, SAMPLE_REPLIES, SampleReply
from exporter.simulator.requests import Message, text_of

AT: Final = 1_795_392_127.75
MESSAGE: Final = Message("m1", "jan.bos7@dekade.example", "dekade.example", "0123456789ab", "failed", "newsletter")
ACCEPTED: Final = ACCEPTING_REPLIES["other"]
BOUNCED: Final = [reply for reply in SAMPLE_REPLIES if reply.state == "bounce"]
WRITERS: Final[dict[str, Callable[[Message, SampleReply, float, Random], str]]] = {
    each.__name__: each
    for each in (mime.notification, mime.delay, mime.auto_reply, mime.challenge, mime.notice, mime.complaint)
}


def read(text: str) -> EmailMessage:
    """Return the parsed message. Fail if it, or a part of it, is not valid."""
    message = email.message_from_bytes(text.encode("ascii"), policy=email.policy.default)
    assert [part.defects for part in message.walk()] == [[] for _ in message.walk()]
    return message


def fields_of(message: EmailMessage, content_type: str) -> dict[str, str]:
    """Return all fields of the only part of a type, which has several groups of them in a delivery status."""
    (part,) = (part for part in message.walk() if part.get_content_type() == content_type)
    payload = part.get_payload()
    groups = payload if isinstance(payload, list) else [email.message_from_string(str(payload))]
    return {name: value for group in groups for name, value in group.items()}  # type: ignore[union-attr]  # messages


@pytest.mark.parametrize("name", WRITERS)
@given(seed=st.integers(0, 2**32), reply=st.sampled_from(BOUNCED), at=st.floats(0, 2e9))
def test_messages_are_valid(name: str, seed: int, reply: SampleReply, at: float) -> None:
    """They are ASCII with CRLF and without long lines, come to the sender, and have no defects."""
    text = WRITERS[name](MESSAGE, reply, at, Random(seed))
    assert text.replace("\r\n", "").isprintable()
    assert text.endswith("\r\n")
    assert max(map(len, text.split("\r\n"))) < 998
    recipient = "abuse@example.com" if name == "complaint" else MESSAGE.sender
    assert [address.addr_spec for address in read(text)["To"].addresses] == [recipient]


@pytest.mark.parametrize("reply", BOUNCED, ids=lambda reply: f"{reply.provider} {reply.extended} {reply.reason}")
def test_a_notification_reports_the_failure(reply: SampleReply) -> None:
    """RFC 3464: it is a final failure, with the recipient and the answer of the server."""
    message = read(mime.notification(MESSAGE, reply, AT, Random(1)))
    assert (message.get_content_type(), message.get_param("report-type")) == ("multipart/report", "delivery-status")
    fields = fields_of(message, "message/delivery-status")
    text = text_of(MESSAGE, reply)
    prefix = f"smtp; {reply.code}" if reply.code else "X-Postfix;"
    assert (fields["Action"], fields["Final-Recipient"]) == ("failed", f"rfc822;{MESSAGE.recipient}")
    assert fields["Status"] == (reply.extended or "5.0.0")
    assert fields.get("Diagnostic-Code") == (f"{prefix} {text}" if text else None)


def test_notifications_come_from_several_servers() -> None:
    """Microsoft's are those of Exchange; those of companies depend on the answer, and on chance."""
    microsoft = next(reply for reply in BOUNCED if reply.provider == "microsoft")
    company = next(reply for reply in BOUNCED if reply.reason == "mailbox_full" and reply.provider == "other")
    exchange = next(reply for reply in BOUNCED if "RESOLVER" in reply.text and reply.provider == "other")

    def subjects(reply: SampleReply) -> set[str]:
        return {read(mime.notification(MESSAGE, reply, AT, Random(seed)))["Subject"] for seed in range(20)}

    assert subjects(microsoft) == subjects(exchange) == {"Undeliverable: your message"}
    assert subjects(company) == {
        "Undelivered Mail Returned to Sender",
        "Mail delivery failed: returning message to sender",
    }


def test_a_delay_is_not_final() -> None:
    """RFC 3464: the action is delayed, and the status is a temporary one."""
    message = read(mime.delay(MESSAGE, ACCEPTED, AT, Random(1)))
    fields = fields_of(message, "message/delivery-status")
    assert (fields["Action"], fields["Status"]) == ("delayed", "4.4.1")


def test_an_automatic_reply_says_so() -> None:
    """RFC 3834: it has Auto-Submitted, and refers to the message."""
    message = read(mime.auto_reply(MESSAGE, ACCEPTED, AT, Random(1)))
    assert (message["Auto-Submitted"], message["In-Reply-To"]) == ("auto-replied", "<m1@example.com>")


def test_a_challenge_is_that_of_a_filter() -> None:
    """It comes from TMDA, and has the address at which the sender can confirm."""
    message = read(mime.challenge(MESSAGE, ACCEPTED, AT, Random(1)))
    assert str(message["X-Delivery-Agent"]).startswith("TMDA/")
    assert message["Reply-To"] == "confirm-0123456789ab@dekade.example"


def test_a_notice_is_no_report() -> None:
    """It is in the format of qmail: text that names the recipient, without a status."""
    message = read(mime.notice(MESSAGE, ACCEPTED, AT, Random(1)))
    assert (message.get_content_type(), message["Subject"]) == ("text/plain", "failure notice")
    assert f"<{MESSAGE.recipient}>:" in message.get_content().splitlines()


def test_a_complaint_names_the_recipient() -> None:
    """RFC 5965: it is a report of abuse with the required fields and the original recipient."""
    message = read(mime.complaint(MESSAGE, ACCEPTED, AT, Random(1)))
    assert (message.get_content_type(), message.get_param("report-type")) == ("multipart/report", "feedback-report")
    assert fields_of(message, "message/feedback-report") == {
        "Feedback-Type": "abuse",
        "User-Agent": "FeedbackLoop/1.0",
        "Version": "1",
        "Original-Mail-From": "<bounces-m1@example.com>",
        "Original-Rcpt-To": "<jan.bos7@dekade.example>",
        "Arrival-Date": "Mon, 23 Nov 2026 00:02:07 -0000",
        "Reporting-MTA": "dns; mx.dekade.example",
        "Source-IP": "192.0.2.25",
    }
