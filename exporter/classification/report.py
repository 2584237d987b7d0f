"""The report of one failed delivery, and how it differs from the reports of SMTPeter's other webhooks. Pure."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from exporter.classification.fields import Fields
from exporter.refusals import Refusal

OTHER_LOOPS: Final[Mapping[str, str]] = {
    "abuse": "abuses",
    "bounce": "bounces",
    "click": "clicks",
    "create": "created profiles",
    "delete": "deleted profiles",
    "delivery": "deliveries",
    "open": "opens",
    "unsubscribe": "unsubscribes",
    "update": "updated profiles",
}
"""The ``type`` of the events of SMTPeter's and Copernica's other webhooks, and what people call the webhook."""
_LOOP: Final = "failure"
_ACTIONS: Final = frozenset({"failure", "failed"})
# Any of these, even without a value, makes an event without a type a failure: the first generation has no type.
_OF_FAILURES: Final = ("state", "code", "extended", "description")
_DECIMAL_CODE: Final = re.compile(r"([0-9]{3})\.0+", re.ASCII)


class Report(NamedTuple):
    """One report as received; absent variables are empty. Only recipient and code are in canonical spelling.

    ``recipient`` and ``description`` are personal data. ``repaired`` has the keys of
    :data:`exporter.classification.fields.REPAIRS` that apply.
    """

    id: str = ""
    recipient: str = ""
    state: str = ""
    code: str = ""
    extended: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    repaired: frozenset[str] = frozenset()


def report_of(fields: Fields) -> Report:
    """Return the report with these variables.

    Raises :class:`Refusal` (400) for an event of another webhook, and as :meth:`Fields.identifier` does for id and
    recipient. Nothing else rejects a report.
    """
    type_ = _type_of(fields)
    recipient, id_ = fields.identifier("recipient"), fields.identifier("id")
    if not type_ and not _has_action(fields) and not any(name in fields for name in _OF_FAILURES):
        raise Refusal(400, "other_loop", f"no type, no action of a failure, and no {' or '.join(_OF_FAILURES)}")
    return Report(id_, recipient, *answer_of(fields), fields.tags(), frozenset(fields.repaired))


def answer_of(fields: Fields) -> tuple[str, str, str, str]:
    """Return state, code, extended and description: where the delivery failed, and the answer of the server."""
    code = fields.word("code")
    if decimal := _DECIMAL_CODE.fullmatch(code):  # 550.0 is how some JSON libraries write a number
        code = decimal[1]
    return fields.word("state"), code, fields.word("extended"), fields.text("description")


def _type_of(fields: Fields) -> str:
    """Return the type of the event, empty if it has none. Raises :class:`Refusal` if it is not that of a failure."""
    word = fields.word("type").lower()
    if not word or word == _LOOP:
        return word
    if word in OTHER_LOOPS:
        raise Refusal(400, "other_loop", f"event of type {word}, expected {_LOOP}", loop=word)
    if not (fields.word("state") or fields.word("code") or _has_action(fields)):
        shown = f"the unknown type {word}" if word.isascii() and word.isalpha() else "an unknown type"
        raise Refusal(400, "other_loop", f"event of {shown}, expected {_LOOP}")
    fields.repaired.add("unknown_type")
    return word


def _has_action(fields: Fields) -> bool:
    return fields.word("action").lower() in _ACTIONS
