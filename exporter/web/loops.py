"""The lines of the status page about the loops besides failures, which have a step of their own.

Pure, as ``checks.py``.
"""

from typing import Final

from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, Loop
from exporter.web.facts import Facts
from exporter.web.lines import Line, State

DAY: Final = 86_400
SILENT: Final = DAY
"""Seconds without a delivery after which failures are odd, unless they are late ones of an earlier mailing."""
BROKEN: Final = 7 * DAY
"""Seconds after which they are no late failures any more: mail servers give up sooner (RFC 5321 section 4.5.4.1)."""
_EVENTS: Final = {DELIVERIES: "delivery", BOUNCES: "returned message", ABUSES: "complaint"}
_DOCS: Final = "page.md#other-loops"


def loop_lines(facts: Facts) -> list[Line]:
    """Return a line for each loop that is on, except for failures."""
    lines = [(loop.name.capitalize(), _line(loop, facts)) for loop in facts.loops if loop is not FAILURES]
    return [line.titled(title) for title, line in lines]


def _line(loop: Loop, facts: Facts) -> Line:
    at = facts.last_counted(loop)
    state, text, todo = _judged(loop, facts, at)
    event = _EVENTS[loop]
    counted = f"The last {event} was counted" if at else f"No {event} has been counted yet"
    requested = facts.requests.get(loop.name)
    return Line(state, f"{text}{counted}", at or None, todo, _DOCS, requested=requested)


def _judged(loop: Loop, facts: Facts, at: float) -> tuple[State, str, str]:
    """Return the state of a loop, what is wrong (a sentence, or nothing) and what to do."""
    url = f"the URL `{facts.public_url}{loop.path}`" if facts.public_url else f"the URL that ends in `{loop.path}`"
    for webhook in facts.misdirected:
        if webhook.type == loop.type:
            wrong = f"SMTPeter's webhook for {loop.name} calls the URL that ends in `/{webhook.called}`. "
            return State.PROBLEM, wrong, f"In SMTPeter's dashboard, let it call {url}."
    if facts.problem:
        wrong = "Requests are answered 503 because the ledger is not writable. "
        return State.PROBLEM, wrong, "Fix the ledger (see below). Counting then resumes automatically."
    if facts.only_failures:
        wrong = "Requests are answered 503 because space is short. "
        return State.PROBLEM, wrong, "Free space for the ledger (see below). Counting then resumes automatically."
    if at:
        return _silence(facts, at) if loop is DELIVERIES else (State.OK, "", "")
    if loop.name in facts.requests:
        return State.UNKNOWN, "Requests arrive. ", "If this does not change, see the rejected requests below."
    todo = (
        f"In SMTPeter's dashboard, add a webhook of the type {loop.name} with {url}, and verify it with its own file."
    )
    return State.NOT_YET, "", todo


def _silence(facts: Facts, at: float) -> tuple[State, str, str]:
    """Return the same for deliveries that were counted at some time, which should not stop while failures arrive."""
    silent = facts.now - at
    if silent <= SILENT or facts.now - facts.last_failure > SILENT:
        return State.OK, "", ""
    todo = "In SMTPeter's dashboard, check that the webhook for deliveries is on. Failure ratios are wrong without it."
    if silent > BROKEN:
        return State.PROBLEM, "Failures arrive, but deliveries do not. ", todo
    return State.UNKNOWN, "Only failures arrive. They may be late failures of an earlier mailing. ", todo
