"""Decide the reason for a failure: what went wrong, in one word of a closed vocabulary. Pure and deterministic.

:data:`REASONS` are the values of the label ``reason``, :data:`DECIDERS` those of ``decided_by``. The tables are in
``reason_codes`` and ``reason_phrases``.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.classification.labels import fold_state, separate
from exporter.classification.phrase_matcher import LONGEST_TEXT, hint_of
from exporter.classification.reason_codes import (
    CODE_AND_STATE,
    CODES,
    EXTENDED,
    MISUSED,
    OVERRIDES,
    SETTLED,
    STATES,
    UNLIKELY,
    VENDOR_REASONS,
)
from exporter.classification.report import Report

UNCLASSIFIED: Final = "unclassified"

REASONS: Final[Mapping[str, str]] = {
    "recipient_unknown": "The address does not exist at that domain, or no longer exists.",
    "mailbox_unavailable": "The mailbox exists but accepts no mail now: it is disabled, suspended or busy.",
    "mailbox_full": "The mailbox is over its quota.",
    "message_too_large": "The message is larger than the recipient's server or mailbox allows.",
    "domain_invalid": "The recipient's domain does not exist or accepts no mail.",
    "routing": "No route to the recipient's server was found: DNS failed, or the message was caught in a mail loop.",
    "connection": "The recipient's server could not be reached, or the connection was lost.",
    "expired": "The message was retried for as long as allowed, and was never accepted.",
    "remote_system": "The recipient's server has an internal problem.",
    "rate_limited": "The recipient's server says that it was sent too much mail in too short a time.",
    "sender_rejected": "The sender's address or domain is not accepted, or may not write to this recipient.",
    "authentication": "SPF, DKIM, DMARC or the reverse DNS of the sender is missing or wrong.",
    "blocked": "The sending IP address or network is on a block list or has a bad reputation.",
    "policy": "A rule of the recipient's server forbids the message, and the answer gives no details.",
    "security": "TLS or a login failed, or is required.",
    "content": "The message itself was rejected: spam, a virus, a link, or its format.",
    "protocol": "The two servers did not understand each other's SMTP.",
    "platform": "The sending platform failed before it sent the message.",
    "suppressed": "The sending platform did not try: the address is on its suppression list.",
    UNCLASSIFIED: "Neither the codes nor the words of the answer are known.",
}
"""Each reason and its meaning in one sentence."""

DECIDERS: Final[Mapping[str, str]] = {
    "configured": "A pattern of your own, in `[reasons]`.",
    "state": "The state alone decides, whatever the codes are.",
    "vendor": "A vendor's own meaning of an enhanced code, or of codes and state together.",
    "extended": "The registered meaning of the enhanced status code.",
    "code_and_state": "The SMTP code and the state.",
    "state_alone": "The state, because no code helps.",
    "description": "The words of the answer, because the codes were vague.",
    UNCLASSIFIED: "No step decided.",
}
"""Each step that can decide, in the order in which they are tried."""

# Reasons so unspecific that the words of the answer may always replace them. Many servers answer 5.5.1, 5.5.2 and
# 5.5.4 to anything they dislike.
_VAGUE: Final = frozenset({"policy", "remote_system", "protocol", UNCLASSIFIED})
_ANY: Final = frozenset(REASONS)
_OF_RECIPIENTS: Final = frozenset({"recipient_unknown", "mailbox_unavailable", "mailbox_full", "domain_invalid"})
_OF_SENDERS: Final = frozenset({"rate_limited", "blocked", "policy"})
# An enhanced code in the text is better than a guess from the SMTP code, unless it says less.
_WITHOUT_ENHANCED_CODE: Final = frozenset({"code_and_state", UNCLASSIFIED})
_NONE: Final[frozenset[str]] = frozenset()

# An enhanced code in a text, of class 4 or 5 and with a known subject; not part of an IP address or a version.
_CODE_IN_TEXT: Final = re.compile(r"(?<![0-9.])[45]\.[0-7]\.[0-9]{1,3}(?!\.?[0-9])", re.ASCII)


class Decision(NamedTuple):
    """Why a delivery failed (a key of :data:`REASONS`), and which step decided (a key of :data:`DECIDERS`)."""

    reason: str
    decided_by: str


_NOTHING: Final = Decision(UNCLASSIFIED, UNCLASSIFIED)


def reason_of(report: Report) -> Decision:
    """Return the reason of a failure, and how it was determined. Accepts any text, never raises."""
    decision, alternatives = _by_codes(report.state, report.code, report.extended)
    if not alternatives or not report.description:
        return decision
    reason = hint_of(report.description)
    if reason is None and decision.decided_by in _WITHOUT_ENHANCED_CODE:
        reason = _by_code_in(report, decision.reason)
    if reason is None or reason == decision.reason or reason not in alternatives:
        return decision
    # "5.1.1 No such user. Further attempts may get you blacklisted": the words also say what the code says.
    precise = decision.decided_by == "extended" and decision.reason in _OF_RECIPIENTS
    if precise and reason in _OF_SENDERS and hint_of(report.description, decision.reason):
        return decision
    return Decision(reason, "description")


@lru_cache(maxsize=4096)
def _by_codes(state: str, code: str, extended: str) -> tuple[Decision, frozenset[str]]:
    """Return the decision by state and codes, and the reasons with which the text may replace it."""
    state = fold_state(state)
    code, extended = separate(code, extended)
    if state in SETTLED:
        return Decision(SETTLED[state], "state"), _NONE
    reason = OVERRIDES.get((code, extended, state)) or OVERRIDES.get(("", extended, state))
    if reason:  # a guess from unspecific codes, so the text may be better
        return Decision(reason, "vendor"), _possible_in(state) - UNLIKELY.get(extended[2:], _NONE)
    if extended in VENDOR_REASONS:
        return Decision(VENDOR_REASONS[extended], "vendor"), _NONE
    reason, alternatives = _by_extended(extended)
    if reason != UNCLASSIFIED:
        return Decision(reason, "extended"), alternatives & _possible_in(state)
    return _by_code_and_state(code, state), _possible_in(state)


def _possible_in(state: str) -> frozenset[str]:
    """Return the reasons that a text can mean in a state. Before RCPT TO, the server does not know the recipient."""
    return _ANY - _OF_RECIPIENTS if state in {"connect", "intro", "ehlo", "helo", "mailfrom"} else _ANY


def _by_code_and_state(code: str, state: str) -> Decision:
    """Decide without an enhanced code."""
    reason = CODE_AND_STATE.get((code, state)) or CODES.get(code)
    if reason:
        return Decision(reason, "code_and_state")
    # In "process" without a code the platform gave up. With a code that is in no table, the reason is unknown.
    if state in STATES and not (state == "process" and code):
        return Decision(STATES[state], "state_alone")
    return _NOTHING


def _by_extended(extended: str) -> tuple[str, frozenset[str]]:
    """Return the reason of a registered code in any class, and the reasons with which the text may replace it.

    A code with an unknown detail has the reason of its subject (X.0).
    """
    class_, _, rest = extended.partition(".")
    subject, _, detail = rest.partition(".")
    if class_ not in {"4", "5"} or not detail:
        return UNCLASSIFIED, _ANY
    reason = EXTENDED.get(rest)
    if reason is None:
        return EXTENDED.get(f"{subject}.0", UNCLASSIFIED), _ANY
    if detail == "0" or reason in _VAGUE:
        return reason, _ANY
    return reason, MISUSED.get(rest, _NONE)


def _by_code_in(report: Report, guess: str) -> str | None:
    """Return the reason that the first enhanced code in the text would give as a field, if better than the guess."""
    match = _CODE_IN_TEXT.search(report.description[:LONGEST_TEXT])
    if match is None:
        return None
    reason = _by_codes(report.state, report.code, match[0])[0].reason
    if reason in _VAGUE and guess != UNCLASSIFIED and (reason != "policy" or guess not in _OF_RECIPIENTS):
        return None
    return reason
