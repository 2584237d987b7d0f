"""Variables become a report of a failure, or belong to the event of another webhook."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.fields import Fields
from exporter.classification.report import OTHER_LOOPS, Report, report_of
from exporter.refusals import Refusal
from tests.support.bodies import FIELDS
from tests.support.texts import Texts

EVENT: Final = {"id": "1", "recipient": "r"}


def report(**fields: Any) -> Report:
    """Return the report with an id, a recipient and these variables."""
    return report_of(Fields((EVENT | fields).items()))


def refusal(**fields: Any) -> Refusal:
    """Return the refusal of a report with an id, a recipient and these variables; its status is 400."""
    with pytest.raises(Refusal) as caught:
        report(**fields)
    assert caught.value.status == 400
    return caught.value


def test_a_report_has_the_variables_that_are_used() -> None:
    """Used variables are taken in any order; unknown ones are ignored."""
    unknown = {"type": "failure", "action": "failed", "time": "1700000000", "ID": "2", "": "3", "naïve": ["ü"]}
    pairs = [*unknown.items(), *reversed(FIELDS.items()), ("tags", "a;b")]
    assert report_of(Fields(pairs)) == Report(**FIELDS, tags=("a", "b"))


def test_absent_variables_are_empty() -> None:
    """An absent variable and one without a value are the same."""
    assert report(type="failure") == Report("1", "r")
    assert report(**dict.fromkeys(["state", "code", "extended", "description", "tags", "type", "action"])) == Report(
        "1", "r"
    )


@pytest.mark.parametrize("missing", ["id", "recipient"])
def test_identifiers_are_required(missing: str) -> None:
    """A report without an id or without a recipient is rejected."""
    assert refusal(state="data", **{missing: ""}).reason == "missing_field"


@pytest.mark.parametrize(
    ("code", "read"),
    [("550.0", "550"), ("550.00", "550"), ("550", "550"), ("550.5", "550.5"), ("55.0", "55.0"), ("550.", "550.")],
)
def test_a_code_with_decimals(code: str, read: str) -> None:
    """A code that a JSON library wrote as a decimal number is the code."""
    assert report(code=code).code == read


COUNTED: Final[dict[str, tuple[dict[str, Any], set[str]]]] = {
    "failure": ({"type": "failure"}, set()),
    "capitals and blanks": ({"type": " Failure\r\n"}, set()),
    "no type, but a state": ({"state": "rcptto"}, set()),
    "no type, but a code": ({"code": "550"}, set()),
    "no type, but a status": ({"extended": "5.1.1"}, set()),
    "no type, but a description": ({"description": "no such user"}, set()),
    "no type, but an action": ({"action": "failed"}, set()),
    "an empty type, but an action": ({"type": "", "action": "Failure"}, set()),
    "no type, and a state without a value": ({"state": ""}, set()),
    "an empty type, and a state": ({"type": "", "state": "rcptto"}, set()),
    "an unknown type with a state": ({"type": "mislukt", "state": "rcptto"}, {"unknown_type"}),
    "an unknown type with a code": ({"type": "failed", "code": 550}, {"unknown_type"}),
    "an unknown type with an action": ({"type": "failures", "action": "Failure"}, {"unknown_type"}),
    "another unknown type with an action": ({"type": "5", "action": " FAILED "}, {"unknown_type"}),
    "an unreadable type": ({"type": "\udcff", "code": "550"}, {"unknown_type", "encoding"}),
    "a type that is not text": ({"type": ["click"], "state": "data"}, {"wrong_type"}),
}


@pytest.mark.parametrize(("fields", "repaired"), COUNTED.values(), ids=COUNTED)
def test_events_that_are_failures(fields: dict[str, Any], repaired: set[str]) -> None:
    """An event counts if its type is failure, or its variables are those of a failure and its type is not known."""
    strings = {name: str(value) if isinstance(value, int) else value for name, value in fields.items()}
    assert report(**strings).repaired == repaired


REJECTED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    **{loop: ({"type": loop}, loop) for loop in OTHER_LOOPS},
    **{
        f"{loop} with a state": ({"type": loop, "state": "data", "code": "550", "action": "failed"}, loop)
        for loop in OTHER_LOOPS
    },
    "capitals and blanks": ({"type": "\tClick "}, "click"),
    "a byte order mark": ({"type": "\ufeffclick", "state": "data"}, "click"),
    "abuse without a recipient": ({"type": "abuse", "recipient": None}, "abuse"),
    "a type that is not text": ({"type": ["click"], "url": "x"}, ""),
    "null as the type": ({"type": None, "ip": "192.0.2.1"}, ""),
    "no type, but the action of another webhook": ({"action": "click"}, ""),
    "an unknown type": ({"type": "subscribe"}, ""),
    "an unknown type with another action": ({"type": "subscribe", "action": "subscribed", "state": ""}, ""),
    "an unknown type without an id": ({"type": "subscribe", "id": ""}, ""),
    "a long type": ({"type": "x" * 10_000}, ""),
    "no type and nothing else": ({"time": "1700000000", "tags": "a"}, ""),
}


@pytest.mark.parametrize(("fields", "loop"), REJECTED.values(), ids=REJECTED)
def test_events_of_other_webhooks(fields: dict[str, Any], loop: str) -> None:
    """An event of another webhook is rejected, whatever other variables it has; a known type is named."""
    error = refusal(**fields)
    assert (error.reason, error.loop) == ("other_loop", loop)


@pytest.mark.parametrize("name", ["click", "an unknown type", "a long type", "no type and nothing else"])
def test_the_log_says_which_webhook_it_is(name: str, texts: Texts) -> None:
    """The text for the log names a type only if it is a word, because an unknown one may hold anything."""
    texts.check(refusal(**REJECTED[name][0]))


VALUES: Final = st.none() | st.booleans() | st.text(st.characters()) | st.lists(st.text())


@given(st.lists(st.tuples(st.sampled_from([*FIELDS, "tags", "type", "action", "x"]), VALUES), max_size=10))
def test_any_variables_are_a_report_or_rejected(pairs: list[tuple[str, Any]]) -> None:
    """No values raise anything but a refusal; a report has an id and a recipient."""
    try:
        made = report_of(Fields(pairs))
    except Refusal:
        return
    assert made.id
    assert made.recipient
