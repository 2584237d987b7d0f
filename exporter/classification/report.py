"""The report of one event, and how it differs from the reports of SMTPeter's other webhooks. Pure."""

import re
from typing import Final, NamedTuple

from exporter.classification.fields import Fields
from exporter.classification.loops import ABUSES, DELIVERIES, FAILURES, WEBHOOKS, Loop
from exporter.refusals import Refusal

_MAX_ADDRESS: Final = 512
_ACTIONS: Final = frozenset({"failure", "failed"})
# Any of these, even without a value, makes an event without a type a failure: the first generation has no type.
_OF_FAILURES: Final = ("state", "code", "extended", "description")
_DECIMAL_CODE: Final = re.compile(r"([0-9]{3})\.0+", re.ASCII)


class Report(NamedTuple):
    """One report as received; absent variables are empty. Only recipient and code are in canonical spelling.

    ``recipient``, ``description``, ``mime`` and ``emailfrom`` are personal data. ``repaired`` has the keys of
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
    mime: bytes = b""
    emailfrom: str = ""


def report_of(fields: Fields, loop: Loop = FAILURES) -> Report:
    """Return the report of an event of that loop.

    Raises :class:`Refusal` (400) for an event of another webhook, and as :meth:`Fields.identifier` and
    :meth:`Fields.content` do for the variables that the loop requires. Nothing else rejects a report.
    """
    type_ = _type_of(fields, loop)
    if loop is not FAILURES:
        return _report_of_other(fields, loop, type_)
    recipient, id_ = fields.identifier("recipient"), fields.identifier("id")
    if not type_ and not _has_action(fields) and not any(name in fields for name in _OF_FAILURES):
        raise Refusal(400, "other_loop", f"no type, no action of a failure, and no {' or '.join(_OF_FAILURES)}")
    return Report(id_, recipient, *answer_of(fields), fields.tags(), frozenset(fields.repaired))


def _report_of_other(fields: Fields, loop: Loop, type_: str) -> Report:
    if not type_ and ("state" in fields or _has_action(fields)):
        why = f"no type, but variables of a failure, expected {loop.type}"
        raise Refusal(400, "other_loop", why, loop=FAILURES.type)
    foreign = {DELIVERIES.name: "mime", ABUSES.name: "recipient"}.get(loop.name)
    if not type_ and foreign and foreign in fields:
        raise Refusal(400, "other_loop", f"no type, but the variable {foreign}, expected {loop.type}")
    recipient = fields.identifier("recipient") if "recipient" in loop.required else ""
    id_ = fields.identifier("id")
    mime = fields.content("mime") if "mime" in loop.required else b""
    emailfrom = fields.text("emailfrom")[:_MAX_ADDRESS]
    return Report(
        id_, recipient, tags=fields.tags(), repaired=frozenset(fields.repaired), mime=mime, emailfrom=emailfrom
    )


def answer_of(fields: Fields) -> tuple[str, str, str, str]:
    """Return state, code, extended and description: where the delivery failed, and the answer of the server."""
    code = fields.word("code")
    if decimal := _DECIMAL_CODE.fullmatch(code):  # 550.0 is how some JSON libraries write a number
        code = decimal[1]
    return fields.word("state"), code, fields.word("extended"), fields.text("description")


def _type_of(fields: Fields, loop: Loop) -> str:
    """Return the type of the event, empty if it has none. Raises :class:`Refusal` if it is not that of the loop."""
    word = fields.word("type").lower()
    if not word or word == loop.type:
        return word
    if word in WEBHOOKS:
        raise Refusal(400, "other_loop", f"event of type {word}, expected {loop.type}", loop=word)
    if loop is not FAILURES or not (fields.word("state") or fields.word("code") or _has_action(fields)):
        shown = f"the unknown type {word}" if word.isascii() and word.isalpha() else "an unknown type"
        raise Refusal(400, "other_loop", f"event of {shown}, expected {loop.type}")
    fields.repaired.add("unknown_type")
    return word


def _has_action(fields: Fields) -> bool:
    return fields.word("action").lower() in _ACTIONS
