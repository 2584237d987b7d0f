"""Tell what a returned message is, and what it says about a failed delivery. Pure, never raises.

The structure of the message decides first, then its headers, and its words only if nothing else does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from exporter.returned import words
from exporter.returned.answers import MAX_DESCRIPTION, Answer, answer_in, code_in, extended_in, has_words
from exporter.returned.kinds import is_notice, kind_by_words
from exporter.returned.mime import Part, forwarded_in, leaves, parts_of, text_of
from exporter.returned.reports import (
    feedback_in,
    first_fields,
    receipt_in,
    recipients,
    status_in,
    status_within,
    value_of,
)
from exporter.returned.words import folded

KINDS: Final[Mapping[str, str]] = {
    "dsn": "A delivery status notification (RFC 3464) with the final result for at least one recipient.",
    "delay": "A notification that the message was delayed and is still being retried.",
    "auto_reply": "An automatic reply (RFC 3834), such as an out-of-office message, or a read receipt (RFC 8098).",
    "complaint": "A feedback report (RFC 5965), mostly because the recipient marked the message as spam.",
    "challenge": "A request to the sender to confirm the message before it is delivered.",
    "other": "Anything else: failure notices in a format of their own, and replies that people wrote.",
}
"""Each kind of returned message and its meaning in one sentence."""

# Actions of RFC 3464 section 2.3.3 besides "failed", or what they begin with
_NOT_FAILED: Final = ("delay", "deliver", "relay", "expand")
_EXPIRED: Final = ".4.7"

# Outlook.com's complaints (JMRP) have no report, only this subject, and a header in the returned message.
_JMRP_SUBJECT: Final = "complaint about message from "
_JMRP_RECIPIENT: Final = re.compile(
    r"^X-HmXmrOriginalRecipient:[ \t]{0,9}<?([^\s<>]{1,320})", re.IGNORECASE | re.MULTILINE
)
_MAX_ADDRESS: Final = 320


class Returned(NamedTuple):
    """A returned message: its kind (a key of :data:`KINDS`), and the answer of the server if a delivery ``failed``.

    That is so if the kind is ``dsn`` and the action of a recipient is ``failed``, and may be if the kind is ``other``.
    ``code`` is the SMTP reply code and ``extended`` the enhanced status code (RFC 3463) of the first recipient that
    failed. ``description`` has the words to find a reason in, at most :data:`MAX_DESCRIPTION` characters: personal
    data. Each may be empty, and all are empty if no delivery failed.
    """

    kind: str
    failed: bool
    code: str = ""
    extended: str = ""
    description: str = ""


def returned_of(mime: bytes) -> Returned:
    """Return what a message is. Accepts any bytes, never raises."""
    parts = parts_of(mime)
    if reported := _by_report(parts):
        return reported
    kind = kind_by_words(parts)
    if kind != "other":
        return Returned(kind, failed=False)
    if reported := _by_report(forwarded_in(parts)):
        return reported
    return _failed("other", _answer_of_notice(parts))


def complaint_recipient(mime: bytes) -> str:
    """Return the address that complained in a feedback report, or the host that reports it; empty if there is neither.

    They are the fields Original-Rcpt-To and Reporting-MTA (RFC 5965 section 3.2). Accepts any bytes, never raises.
    """
    parts = parts_of(mime)
    fields = first_fields(feedback_in(parts) or feedback_in(forwarded_in(parts)) or text_of(parts))
    for name in ("original-rcpt-to", "reporting-mta"):
        value = value_of(fields.get(name, "")).replace(",", " ").split()
        if value and (address := value[0].strip("<>;")):
            return address[:_MAX_ADDRESS]
    found = next(filter(None, (_JMRP_RECIPIENT.search(part.text) for part in leaves(parts))), None)
    return found[1] if found else ""


def _by_report(parts: Sequence[Part]) -> Returned | None:
    """Return what a message is by the report in it, None if there is none."""
    if not parts:
        return None
    is_jmrp = folded(parts[0].header("subject")).startswith(_JMRP_SUBJECT)
    if is_jmrp or feedback_in(parts) is not None:
        return Returned("complaint", failed=False)
    if receipt_in(parts) is not None:
        return Returned("auto_reply", failed=False)
    status = status_in(parts)
    return None if status is None else _by_status(parts, status)


def _by_status(parts: Sequence[Part], status: str) -> Returned:
    """Return what a delivery status says. The first recipient that failed counts, if any did."""
    found = recipients(status)
    actions = [recipient.get("action", "").lower() for recipient in found]
    for recipient, action in zip(found, actions, strict=True):
        if action.startswith("fail"):
            return _failed("dsn", _answer_of(recipient, text_of(parts)))
    others = [action for action in actions if action.startswith(_NOT_FAILED)]
    if others:
        return Returned("delay" if all(action.startswith("delay") for action in others) else "dsn", failed=False)
    # No action is known.
    recipient = found[0] if found else {}
    if words.DELAYED.search(folded(parts[0].header("subject"))):
        return Returned("delay", failed=False)
    if recipient.get("status", "").startswith("2"):
        return Returned("dsn", failed=False)
    return _failed("dsn", _answer_of(recipient, text_of(parts)))


def _answer_of(recipient: Mapping[str, str], text: str) -> Answer:
    """Return the answer in a recipient's fields, or else in the text for people.

    The codes in the Diagnostic-Code are those of the remote server. The Status is often only 5.0.0, but says more if
    the reporting server gave up (X.4.7): the remote server only asked it to try again.
    """
    diagnostic, status = value_of(recipient.get("diagnostic-code", "")), recipient.get("status", "")
    code, extended = code_in(diagnostic) or code_in(status), extended_in(status)
    if extended[1:] != _EXPIRED:
        extended = extended_in(diagnostic, status)
    for description in (diagnostic, status):
        if has_words(description):
            return Answer(code, extended, description[:MAX_DESCRIPTION])
    answer = answer_in(text)
    return Answer(code or answer.code, extended_in(extended, answer.extended), answer.description)


def _answer_of_notice(parts: Sequence[Part]) -> Answer:
    """Return the answer in a failure notice without a report; empty if a person wrote the message."""
    if not is_notice(parts):
        return Answer("", "", "")
    text, subject = text_of(parts), parts[0].header("subject")
    if found := recipients(status_within(text)):
        return _answer_of(found[0], text)
    answer = answer_in(text)
    # After a colon, the subject is mostly that of the returned message.
    if answer.code or answer.extended or ":" in subject:
        return answer
    return answer._replace(description=f"{subject}\n{answer.description}"[:MAX_DESCRIPTION])


def _failed(kind: str, answer: Answer) -> Returned:
    return Returned(kind, failed=True, code=answer.code, extended=answer.extended, description=answer.description)
