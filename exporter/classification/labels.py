"""Map a report to the closed sets of values of the labels ``state``, ``code_class`` and ``extended``. Pure.

No address, domain, id or free text becomes a label: a value that is in no table becomes a fixed word.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.classification.status_codes import SUBJECTS, is_known

STATES: Final = frozenset(
    # States of MailerQ 4.x to 5.13, in the order of a delivery. SMTPeter adds "bounce" for a later DSN.
    "amqp process suppression storage responsive personalize rewrite dns bind connect handshake intro ehlo helo "
    "starttls authplain authlogin authusername authpassword authcram authresponse mailfrom rcptto data message idle "
    "unknown bounce".split(),
)

NONE: Final = "none"
"""Label of an absent or empty value."""
OTHER: Final = "other"
"""Label of a value that is in no table, and of failures past the limit on label sets."""
INVALID: Final = "invalid"
"""Label of an enhanced status code that does not have the syntax of RFC 3463."""

# RFC 3463 section 2: class "." subject "." detail, without leading zeros, at most three digits each.
_ENHANCED: Final = re.compile(r"[245]\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})", re.ASCII)
_REPLY: Final = re.compile(r"[2-5][0-9]{2}", re.ASCII)  # RFC 5321 section 4.2.1, but also codes such as 571
# A code, a status, or both, as a reply begins with them: "550 5.1.1". RFC 5321 section 4.2, RFC 2034 section 4.
_CODES: Final = re.compile(r"([2-5][0-9]{2})?[ ,/-]*([245]\.[0-9]{1,3}\.[0-9]{1,3})?(?![0-9.])", re.ASCII)
_BETWEEN_WORDS: Final = re.compile(r"[\s_-]+")


class Labels(NamedTuple):
    """The label set of ``smtpeter_failures_total``."""

    state: str
    code_class: str
    extended: str


OVERFLOW: Final = Labels(OTHER, OTHER, OTHER)
"""The label set in which all label sets past the limit are counted."""


@lru_cache(maxsize=4096)
def labels_of(state: str, code: str, extended: str) -> Labels:
    """Return the label set for these variables as received (empty if absent)."""
    code, extended = separate(code, extended)
    return Labels(_state(state), _code_class(code), _extended(extended))


def fold_state(state: str) -> str:
    """Return the state in its later spelling: MailerQ 3 wrote ``rcpt to`` where later versions write ``rcptto``."""
    return (state if state.isalpha() else _BETWEEN_WORDS.sub("", state) or state).lower()


def separate(code: str, extended: str) -> tuple[str, str]:
    """Return the SMTP code and the enhanced status code, if ``code`` has both ("550 5.1.1") or only the latter."""
    match = None if _REPLY.fullmatch(code) else _CODES.match(code)
    if match is None or not any(match.groups()):
        return code, extended
    return match[1] or "", extended or match[2] or ""


def _state(state: str) -> str:
    if not state:
        return NONE
    folded = fold_state(state)
    return folded if folded in STATES else OTHER


def _code_class(code: str) -> str:
    if not code:
        return NONE
    return f"{code[0]}xx" if _REPLY.fullmatch(code) else OTHER


def _extended(extended: str) -> str:
    if not extended:
        return NONE
    match = _ENHANCED.fullmatch(extended)
    if match is None:
        return INVALID
    if is_known(extended):
        return extended
    subject = match[1]
    return f"{extended[0]}.{subject if subject in SUBJECTS else 'x'}.x"


class LabelSets:
    """The label sets in use, at most ``limit`` besides :data:`OVERFLOW` and those that the ledger already has.

    One thread calls ``admit``; any thread may call the rest.
    """

    def __init__(self, *, limit: int = 500) -> None:
        self._limit = limit
        self._known = {OVERFLOW}

    def __len__(self) -> int:
        """Return the number of label sets in use, without :data:`OVERFLOW`."""
        return len(self._known) - 1

    def learn(self, known: Iterable[Labels]) -> None:
        """Add label sets that the ledger already has, even past the limit. Another replica may have added them."""
        self._known.update(known)

    def admit(self, labels: Labels) -> Labels:
        """Return the label set if it is in use or below the limit, otherwise :data:`OVERFLOW`."""
        if labels in self._known:
            return labels
        if len(self) >= self._limit:
            return OVERFLOW
        self._known.add(labels)
        return labels
