"""Write the messages that come back to a sender: notifications, automatic replies, and complaints. Pure.

Each function returns a message in the format of RFC 5322 with CRLF as the end of a line, as it arrives at SMTPeter. The
structure of the notifications is that of Postfix, Exim, Exchange and qmail; their sentences are shorter.
"""

from collections.abc import Callable
from email.utils import formatdate
from random import Random
from typing import Final

from exporter.simulator.answers import SampleReply
from exporter.simulator.requests import Message, one_of, text_of

_SENDER: Final = "Voorbeeld Nieuws <news@example.com>"
_SUBJECTS: Final = (
    "Your order has been shipped",
    "News of this week",
    "Reset your password",
    "Ons aanbod van deze week",
)


def _date(at: float) -> str:
    return formatdate(int(at))


def _lines(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def _original(message: Message, at: float) -> str:
    """Return the headers of the message that was sent."""
    return _lines(
        f"From: {_SENDER}",
        f"To: {message.recipient}",
        f"Subject: {_SUBJECTS[int(message.queue[-1], 16) % len(_SUBJECTS)]}",
        f"Message-ID: <{message.id}@example.com>",
        f"Date: {_date(at - 5)}",
        "MIME-Version: 1.0",
    )


def _report(head: str, boundary: str, kind: str, *parts: tuple[str, str]) -> str:
    """Return a multipart/report (RFC 6522) of some parts, each with its content type and its text."""
    content_type = f'multipart/report; report-type={kind}; boundary="{boundary}"'
    top = _lines("MIME-Version: 1.0", f"Content-Type: {content_type}", "", "This is a MIME-encapsulated message.", "")
    body = "".join(f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n{text}\r\n" for content_type, text in parts)
    return f"{head}{top}{body}--{boundary}--\r\n"


def _status(message: Message, server: str, at: float, outcome: tuple[str, str, str]) -> tuple[str, str]:
    """Return a message/delivery-status (RFC 3464) about one recipient, as a part of a report.

    The outcome consists of Action, Status and Diagnostic-Code, which may be empty.
    """
    action, status, diagnostic = outcome
    fields = _lines(
        f"Reporting-MTA: dns; {server}",
        f"Arrival-Date: {_date(at)}",
        "",
        f"Final-Recipient: rfc822;{message.recipient}",
        f"Action: {action}",
        f"Status: {status}",
        *([f"Diagnostic-Code: {diagnostic}"] if diagnostic else []),
    )
    return "message/delivery-status", fields


def _failed(message: Message, answer: SampleReply, server: str, at: float) -> tuple[str, str]:
    """Return the message/delivery-status of a failure."""
    status = answer.extended or ("4.0.0" if answer.code.startswith("4") else "5.0.0")
    return _status(message, server, at, ("failed", status, _diagnostic(message, answer)))


def _diagnostic(message: Message, answer: SampleReply) -> str:
    """Return the text of a Diagnostic-Code; it is not of SMTP if the answer has no code."""
    text = text_of(message, answer)
    if answer.code:
        return f"smtp; {answer.code} {text}".rstrip()
    return f"X-Postfix; {text}" if text else ""


def _postfix_head(message: Message, server: str, subject: str, at: float) -> str:
    return _lines(
        "Return-Path: <>",
        f"Received: by {server} (Postfix); {_date(at)}",
        f"Date: {_date(at)}",
        f"From: MAILER-DAEMON@{server} (Mail Delivery System)",
        f"Subject: {subject}",
        f"To: {message.sender}",
        "Auto-Submitted: auto-replied",
        f"Message-ID: <{message.queue}.R@{server}>",
    )


def _postfix(message: Message, answer: SampleReply, at: float) -> str:
    server = f"mx.{message.domain}"
    text = _lines(f"This is the mail system of {server}.", "", "Your message could not be delivered to:", "")
    text += _lines(f"<{message.recipient}>: {text_of(message, answer) or 'delivery failed'}")
    return _report(
        _postfix_head(message, server, "Undelivered Mail Returned to Sender", at),
        f"{message.queue}.{int(at)}/{server}",
        "delivery-status",
        ("text/plain; charset=us-ascii", text),
        _failed(message, answer, server, at),
        ("text/rfc822-headers", _original(message, at)),
    )


def _exim(message: Message, answer: SampleReply, at: float) -> str:
    server = f"smtp.{message.domain}"
    head = _lines(
        "Return-path: <>",
        f"Received: from mail by {server} with local (Exim 4.98); {_date(at)}",
        f"X-Failed-Recipients: {message.recipient}",
        "Auto-Submitted: auto-replied",
        f"From: Mail Delivery System <Mailer-Daemon@{server}>",
        f"To: {message.sender}",
        f"References: <{message.id}@example.com>",
        "Subject: Mail delivery failed: returning message to sender",
        f"Message-Id: <E{message.queue}@{server}>",
        f"Date: {_date(at)}",
    )
    text = _lines("A message that you sent was not delivered to this address:", "", f"  {message.recipient}")
    text += _lines(f"    {text_of(message, answer) or 'delivery failed'}")
    return _report(
        head,
        f"{int(at)}-eximdsn-{int(message.queue[:8], 16)}",
        "delivery-status",
        ("text/plain; charset=us-ascii", text),
        _failed(message, answer, server, at),
        ("message/rfc822", f"Return-path: <{message.sender}>\r\n{_original(message, at)}\r\nHello!\r\n"),
    )


def _exchange(message: Message, answer: SampleReply, at: float) -> str:
    server = "DB5EUR01.prod.protection.example"
    head = _lines(
        f"From: <postmaster@{message.domain}>",
        f"To: <{message.sender}>",
        f"Date: {_date(at)}",
        f"Message-ID: <{message.queue}@{server}>",
        f"In-Reply-To: <{message.id}@example.com>",
        "Subject: Undeliverable: your message",
        "Auto-Submitted: auto-replied",
    )
    html = _lines("<html><body>", f"<p>Your message to {message.recipient} couldn't be delivered.</p>")
    html += _lines(f"<p>Remote Server returned '{answer.code} {text_of(message, answer)}'</p>", "</body></html>")
    return _report(
        head,
        f"b_{message.queue}",
        "delivery-status",
        ('text/html; charset="us-ascii"', html),
        _failed(message, answer, server, at),
        ("message/rfc822", f"{_original(message, at)}\r\nHello!\r\n"),
    )


_EXCHANGE: Final = ("RESOLVER.", "STOREDRV.")
_OTHERS: Final[tuple[Callable[[Message, SampleReply, float], str], ...]] = (_postfix, _postfix, _exim)


def notification(message: Message, answer: SampleReply, at: float, random: Random) -> str:
    """Return the delivery status notification (RFC 3464) of a failure, from a server that gives such answers."""
    drawn = random.random()
    if answer.provider == "microsoft" or any(word in answer.text for word in _EXCHANGE):
        return _exchange(message, answer, at)
    return _OTHERS[int(drawn * len(_OTHERS))](message, answer, at)


def delay(message: Message, _answer: SampleReply, at: float, _random: Random) -> str:
    """Return a notification (RFC 3464) of a delay: the server of the recipient's provider goes on trying."""
    server = f"relay.{message.domain}"
    problem = f"X-Postfix; connect to mailbox.{message.domain}: Connection timed out"
    return _report(
        _postfix_head(message, server, "Delayed Mail (still being retried)", at),
        f"{message.queue}.{int(at)}/{server}",
        "delivery-status",
        ("text/plain; charset=us-ascii", _lines("This is only a warning. You need not send your message again.")),
        _status(message, server, at, ("delayed", "4.4.1", problem)),
        ("text/rfc822-headers", _original(message, at)),
    )


_AWAY: Final = (
    ("Automatisch antwoord: Ons aanbod van deze week", "Ik ben deze week niet aanwezig en lees mijn e-mail maandag."),
    ("Automatic reply: News of this week", "I am out of the office and will read your message next week."),
    ("Out of Office: Your order has been shipped", "I am on leave. Please contact my colleagues."),
)


def auto_reply(message: Message, _answer: SampleReply, at: float, random: Random) -> str:
    """Return the automatic reply (RFC 3834) of a person who is away."""
    subject, text = _AWAY[int(random.random() * len(_AWAY))]
    return _lines(
        "Return-Path: <>",
        f"From: {message.recipient}",
        f"To: {message.sender}",
        f"Subject: {subject}",
        f"Date: {_date(at)}",
        f"Message-ID: <{message.queue}@{message.domain}>",
        f"In-Reply-To: <{message.id}@example.com>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        text,
    )


def challenge(message: Message, _answer: SampleReply, at: float, _random: Random) -> str:
    """Return the message of a filter such as TMDA, which delivers only mail that its sender confirms."""
    return _lines(
        "Return-Path: <>",
        f"From: {message.recipient}",
        f"To: {message.sender}",
        "Subject: Please confirm your message",
        f"Date: {_date(at)}",
        f"Message-ID: <{message.queue}.TMDA@{message.domain}>",
        f"Reply-To: confirm-{message.queue}@{message.domain}",
        "X-Delivery-Agent: TMDA/1.1.12 (Macallan)",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        "Your message is being held because your address is not on my list of accepted senders.",
        "To have it delivered, reply to this message. You need to confirm only once.",
    )


_NOTICES: Final = (
    "Sorry, no mailbox here by that name. (#5.1.1)",
    "The user's mailbox is full. (#5.2.2)",
    "This message looks like spam to our filter. It was rejected.",
)


def notice(message: Message, _answer: SampleReply, at: float, random: Random) -> str:
    """Return a notice of a failure in the format of qmail, which is older than RFC 3464, so SMTPeter ignores it."""
    return _lines(
        "Return-Path: <>",
        f"Date: {_date(at)}",
        f"From: MAILER-DAEMON@mail.{message.domain}",
        f"To: {message.sender}",
        "Subject: failure notice",
        "",
        f"Hi. This is the qmail-send program at mail.{message.domain}.",
        "I could not deliver your message to this address.",
        "",
        f"<{message.recipient}>:",
        one_of(_NOTICES, random),
        "",
        "--- Below this line is a copy of the message.",
        "",
    ) + _original(message, at)


def complaint(message: Message, _answer: SampleReply, at: float, _random: Random) -> str:
    """Return the report (RFC 5965) that a provider sends when a recipient marks a message as spam."""
    head = _lines(
        f"From: <feedback@{message.domain}>",
        "To: <abuse@example.com>",
        f"Date: {_date(at)}",
        f"Message-ID: <{message.queue}.arf@{message.domain}>",
        "Subject: Complaint about a message",
    )
    fields = _lines(
        "Feedback-Type: abuse",
        "User-Agent: FeedbackLoop/1.0",
        "Version: 1",
        f"Original-Mail-From: <{message.sender}>",
        f"Original-Rcpt-To: <{message.recipient}>",
        f"Arrival-Date: {_date(at)}",
        f"Reporting-MTA: dns; mx.{message.domain}",
        "Source-IP: 192.0.2.25",
    )
    return _report(
        head,
        f"arf_{message.queue}",
        "feedback-report",
        ("text/plain; charset=us-ascii", _lines("A recipient has marked this message as spam.")),
        ("message/feedback-report", fields),
        ("message/rfc822", f"{_original(message, at)}\r\nHello!\r\n"),
    )
