"""Tell what a message without a report is: by its headers, or else by its words. Pure, never raises."""

from collections.abc import Sequence
from typing import Final

from exporter.returned import words
from exporter.returned.answers import extended_in
from exporter.returned.mime import Part, text_of
from exporter.returned.words import folded

# Headers of responders, and one that asks other responders not to answer
_AUTO_HEADERS: Final = (
    "x-autoreply x-autorespond x-auto-reply x-auto-reply-from x-autoresponder x-mail-autoreply x-autoreply-domain "
    "x-amazon-auto-reply x-ms-exchange-inbox-rules-loop x-auto-response-suppress"
).split()
# People write no such header. RFC 3834 section 3.1.8 asks responders not to use them, but older ones do.
_AUTO_PRECEDENCES: Final = frozenset({"auto_reply", "auto-reply", "bulk", "junk"})
_REPLIES: Final = ("re:", "aw:", "antw:", "sv:", "rv:", "r:", "res:", "tr:", "fw:", "fwd:", "wg:", "i:")


def kind_by_words(parts: Sequence[Part]) -> str:
    """Return the kind of a message without a report, a key of :data:`exporter.returned.returned.KINDS`."""
    root, text = parts[0], text_of(parts)
    quoted = words.QUOTING.search(text)
    subject = folded(root.header("subject"))
    said = f"{subject}. {folded(text[: quoted.start()] if quoted else text)}"
    reports_failures = _is_from_daemon(root)
    if _is_challenge(root, said, by_words=not reports_failures and "list-id" not in root):
        return "challenge"
    if words.AUTO_SUBJECT.match(subject):
        return "auto_reply"
    if reports_failures or words.FAILED_SUBJECT.search(subject):
        return "delay" if words.DELAYED.search(subject if words.FINAL_SUBJECT.search(subject) else said) else "other"
    if extended_in(said) or words.FAILED_TEXT.search(said):
        return "other"
    if _is_automatic(root) or (words.AUTO_TEXT.search(said) and not _is_personal(root, text)):
        return "auto_reply"
    return "other"


def is_notice(parts: Sequence[Part]) -> bool:
    """Return whether a message of kind ``other`` may report a failure: it is no person's reply or mail to a list."""
    return _is_from_daemon(parts[0]) or not _is_personal(parts[0], text_of(parts))


def _is_from_daemon(root: Part) -> bool:
    return "x-failed-recipients" in root or words.DAEMON.search(folded(root.header("from"))) is not None


def _is_challenge(root: Part, said: str, *, by_words: bool) -> bool:
    names = " ".join(root.header(name) for name in ("from", "reply-to", "subject", "x-mailer", "x-delivery-agent"))
    if words.CHALLENGERS.search(folded(names)):
        return True
    if any(name.lower().startswith(words.CHALLENGE_HEADERS) for name in root):
        return True
    return by_words and words.CHALLENGE_TEXT.search(said) is not None


def _is_automatic(root: Part) -> bool:
    """Return whether the headers say that no person wrote the message (RFC 3834 section 5, and older conventions)."""
    submitted = root.header("auto-submitted").lower()
    precedences = {root.header(name).lower() for name in ("precedence", "x-precedence")}
    return (
        (submitted != "" and not submitted.startswith("no"))
        or any(name in root for name in _AUTO_HEADERS)
        or ("list-id" not in root and not _AUTO_PRECEDENCES.isdisjoint(precedences))
    )


def _is_personal(root: Part, text: str) -> bool:
    """Return whether a person wrote the message, in reply to another or to a mailing list."""
    if "list-id" in root or root.header("precedence").lower() == "list":
        return True
    replied = "in-reply-to" in root or folded(root.header("subject")).startswith(_REPLIES)
    return replied and words.QUOTING.search(text) is not None
