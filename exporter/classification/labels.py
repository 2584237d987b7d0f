"""A report to the closed values of the labels ``state``, ``code_class`` and ``extended``. Pure.

No address, domain, id or free text gets through: what is not in a table becomes a fixed word.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.classification.status_codes import SUBJECTS, is_known

STATES: Final = frozenset(
    # MailerQ 4.x to 5.13, in the order of a delivery; then SMTPeter's word for a failure told by a later DSN.
    "amqp process suppression storage responsive personalize rewrite dns bind connect handshake intro ehlo helo "
    "starttls authplain authlogin authusername authpassword authcram authresponse mailfrom rcptto data message idle "
    "unknown bounce".split(),
)

NONE: Final = "none"
"""The value is absent or empty."""
OTHER: Final = "other"
"""The value is not in the table, or there are too many label sets already."""
INVALID: Final = "invalid"
"""The value is not of the form that RFC 3463 gives."""

# RFC 3463 section 2: class "." subject "." detail, no leading zeros, at most three digits each.
_ENHANCED: Final = re.compile(r"[245]\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})", re.ASCII)
_REPLY: Final = re.compile(r"[2-5][0-9]{2}", re.ASCII)  # RFC 5321 section 4.2.1; some servers say 571


class Labels(NamedTuple):
    """The label set of ``smtpeter_failures_total``."""

    state: str
    code_class: str
    extended: str


OVERFLOW: Final = Labels(OTHER, OTHER, OTHER)
"""Where all label sets past the limit are counted together."""


@lru_cache(maxsize=4096)
def labels_of(state: str, code: str, extended: str) -> Labels:
    """The label set for the variables ``state``, ``code`` and ``extended`` as received (empty when absent)."""
    return Labels(_state(state), _code_class(code), _extended(extended))


def fold_state(state: str) -> str:
    """One spelling for a state: MailerQ 3 wrote ``rcpt to`` where later versions write ``rcptto``."""
    return state.replace(" ", "").lower()


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
    """The label sets in use: those that were learnt of, then at most ``limit`` in all besides :data:`OVERFLOW`.

    Safe to use from several threads: two that bring a new set at once may at worst pass the limit by one each.
    """

    def __init__(self, *, limit: int = 500) -> None:
        self._limit = limit
        self._known = {OVERFLOW}

    def __len__(self) -> int:
        """How many label sets are in use, the overflow not counted."""
        return len(self._known) - 1

    def learn(self, known: Iterable[Labels]) -> None:
        """Know sets that the ledger has, which another exporter may have brought, though they pass the limit."""
        self._known.update(known)

    def admit(self, labels: Labels) -> Labels:
        """The set itself when it is known or there is room for it, else :data:`OVERFLOW`."""
        if labels in self._known:
            return labels
        if len(self) >= self._limit:
            return OVERFLOW
        self._known.add(labels)
        return labels
