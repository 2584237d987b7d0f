"""A report to its reason: what went wrong, in a word that people use. Pure; the same report has the same reason.

The vocabulary is closed: :data:`REASONS` are the values of the label ``reason``, :data:`DECIDERS` those of
``decided_by``. Tables of codes are in ``reason_codes``, of words in ``reason_phrases``.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.classification.labels import fold_state
from exporter.classification.phrase_matcher import LONGEST_TEXT, hint_of
from exporter.classification.reason_codes import (
    CODE_AND_STATE,
    CODES,
    EXTENDED,
    MISUSED,
    OVERRIDES,
    SETTLED,
    STATES,
    VENDOR,
)
from exporter.classification.report import Report

UNCLASSIFIED: Final = "unclassified"

REASONS: Final[Mapping[str, str]] = {
    "recipient_unknown": "The address does not exist at that domain, or no longer.",
    "mailbox_unavailable": "The mailbox exists but takes no mail now: disabled, suspended or busy.",
    "mailbox_full": "The mailbox is over its quota.",
    "message_too_large": "The message is larger than the recipient's side allows.",
    "domain_invalid": "The recipient's domain does not exist or takes no mail.",
    "routing": "No way to the recipient's server was found: DNS failed, or the mail went in a loop.",
    "connection": "The recipient's server could not be reached, or the connection broke off.",
    "expired": "The message was tried for as long as allowed and never taken.",
    "remote_system": "The recipient's server has a problem of its own.",
    "rate_limited": "Too much mail in too short a time, says the recipient's side.",
    "sender_rejected": "The sender's address or domain is not accepted, or may not write to this recipient.",
    "authentication": "SPF, DKIM, DMARC or the reverse DNS of the sender is missing or wrong.",
    "blocked": "The sending IP address or network is on a block list or has a bad reputation.",
    "policy": "A rule of the recipient's side forbids it, and the answer does not say more.",
    "security": "TLS or a login failed or is required.",
    "content": "The message itself was refused: spam, a virus, a link, or its format.",
    "protocol": "The two servers did not understand each other's SMTP.",
    "platform": "The sending platform failed before the message left it.",
    "suppressed": "The sending platform did not try: the address is on its suppression list.",
    UNCLASSIFIED: "Neither codes nor words of the answer are known.",
}
"""The closed vocabulary, each with what it means in a sentence."""

DECIDERS: Final[Mapping[str, str]] = {
    "state": "The state alone settles it, whatever the codes say.",
    "vendor": "A vendor's own sense of an enhanced code, or of codes and state together.",
    "extended": "The enhanced status code, in the registry's sense.",
    "code_and_state": "The SMTP code, together with the state it came in.",
    "state_alone": "The state, for want of a code that helps.",
    "description": "The words of the answer, because the codes were vague.",
    UNCLASSIFIED: "Nothing did.",
}
"""The closed steps, in the order in which they are asked."""

# These say so little that the words of the answer may always say more.
_VAGUE: Final = frozenset({"policy", "remote_system", UNCLASSIFIED})
_ANY: Final = frozenset(REASONS)
_OF_RECIPIENTS: Final = frozenset({"recipient_unknown", "mailbox_unavailable", "mailbox_full", "domain_invalid"})
_NONE: Final[frozenset[str]] = frozenset()

# An enhanced code amid words, with one class and a known subject; not a part of an IP address or a version.
_CODE_IN_TEXT: Final = re.compile(r"(?<![0-9.])[45]\.[0-7]\.[0-9]{1,3}(?!\.?[0-9])", re.ASCII)


class Decision(NamedTuple):
    """Why a delivery failed (a key of :data:`REASONS`), and which step said so (a key of :data:`DECIDERS`)."""

    reason: str
    decided_by: str


_NOTHING: Final = Decision(UNCLASSIFIED, UNCLASSIFIED)


def reason_of(report: Report) -> Decision:
    """Decide on the reason of a failure. Takes any text, never raises."""
    decision, movable = _by_codes(report.state, report.code, report.extended)
    if not movable or not report.description:
        return decision
    reason = hint_of(report.description)
    if reason is None and decision.reason == UNCLASSIFIED:
        reason = _by_code_in(report.description[:LONGEST_TEXT])
    if reason is None or reason == decision.reason or reason not in movable:
        return decision
    return Decision(reason, "description")


@lru_cache(maxsize=4096)
def _by_codes(state: str, code: str, extended: str) -> tuple[Decision, frozenset[str]]:
    """What state and codes say, and to which reasons the text may move it."""
    state = fold_state(state)
    if state in SETTLED:
        return Decision(SETTLED[state], "state"), _NONE
    reason = OVERRIDES.get((code, extended, state)) or OVERRIDES.get(("", extended, state))
    if reason:  # made from coarse signs together, so the text may know better
        return Decision(reason, "vendor"), _sayable_in(state)
    if extended in VENDOR:
        return Decision(VENDOR[extended], "vendor"), _NONE
    reason, movable = _by_extended(extended)
    if reason != UNCLASSIFIED:
        return Decision(reason, "extended"), movable & _sayable_in(state)
    return _by_code_and_state(code, state), _sayable_in(state)


def _sayable_in(state: str) -> frozenset[str]:
    """The reasons that words can mean in a state: before RCPT TO nobody was told of a recipient, only of a sender."""
    return _ANY - _OF_RECIPIENTS if state in {"connect", "intro", "ehlo", "helo", "mailfrom"} else _ANY


def _by_code_and_state(code: str, state: str) -> Decision:
    """What is left when no enhanced code helps."""
    reason = CODE_AND_STATE.get((code, state)) or CODES.get(code)
    if reason:
        return Decision(reason, "code_and_state")
    # In "process" without a code the platform gave up; with one that no table knows, nobody can tell.
    if state in STATES and not (state == "process" and code):
        return Decision(STATES[state], "state_alone")
    return _NOTHING


def _by_extended(extended: str) -> tuple[str, frozenset[str]]:
    """The registry's sense of an enhanced code, whatever its class; an unlisted detail has that of its subject."""
    class_, _, rest = extended.partition(".")
    subject, _, detail = rest.partition(".")
    if class_ not in {"4", "5"} or not detail:
        return UNCLASSIFIED, _ANY
    reason = EXTENDED.get(rest)
    if reason is None:
        return EXTENDED.get(f"{subject}.0", UNCLASSIFIED), _ANY
    if detail == "0" or rest == "5.1" or reason in _VAGUE:  # 5.5.1 is many a server's answer to all it dislikes
        return reason, _ANY
    return reason, MISUSED.get(rest, _NONE)


def _by_code_in(text: str) -> str | None:
    """The registry's sense of the first enhanced code in the words of an answer that came without one."""
    match = _CODE_IN_TEXT.search(text)
    if match is None:
        return None
    return VENDOR.get(match[0]) or _by_extended(match[0])[0]
