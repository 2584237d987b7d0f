"""Variables become the report of an event of a loop, or belong to the event of another webhook."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.fields import Fields
from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LOOPS, WEBHOOKS, Loop
from exporter.classification.report import Report, report_of
from exporter.refusals import Refusal
from tests.support.bodies import FIELDS
from tests.support.texts import Texts

EVENT: Final = {"id": "1", "recipient": "r"}


def report(**fields: Any) -> Report:
    """Return the report with an id, a recipient and these variables."""
    return report_of(Fields((EVENT | fields).items()))


def refusal(loop: Loop = FAILURES, /, **fields: Any) -> Refusal:
    """Return the refusal of a report of a loop with an id, a recipient and these variables; its status is 400."""
    with pytest.raises(Refusal) as caught:
        report_of(Fields((EVENT | fields).items()), loop)
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
    assert refusal(**{"state": "data", missing: ""}).reason == "missing_field"


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


OTHERS: Final = [type_ for type_ in WEBHOOKS if type_ != "failure"]
REJECTED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    **{loop: ({"type": loop}, loop) for loop in OTHERS},
    **{
        f"{loop} with a state": ({"type": loop, "state": "data", "code": "550", "action": "failed"}, loop)
        for loop in OTHERS
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


# The other loops

MIME: Final = "Subject: Undelivered\r\n\r\nNo such user\r\n"
EVENTS: Final[dict[Loop, dict[str, str]]] = {
    DELIVERIES: EVENT,
    BOUNCES: EVENT | {"mime": MIME},
    ABUSES: {"id": "1", "mime": MIME, "emailfrom": "abuse@example.com"},
}
"""An event of each of the other loops, without a type."""
REPORTS: Final = {
    DELIVERIES: Report("1", "r"),
    BOUNCES: Report("1", "r", mime=MIME.encode()),
    ABUSES: Report("1", mime=MIME.encode(), emailfrom="abuse@example.com"),
}
each_other = pytest.mark.parametrize("loop", EVENTS, ids=lambda loop: loop.name)


@each_other
def test_an_event_of_another_loop(loop: Loop) -> None:
    """With the type of the loop or without a type, an event has the variables that its loop uses."""
    for type_ in ({}, {"type": loop.type}, {"type": ""}, {"type": f" {loop.type.upper()}\n"}):
        assert report_of(Fields((EVENTS[loop] | type_).items()), loop) == REPORTS[loop]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("type_", [*WEBHOOKS, "subscribe"])
def test_path_and_type_must_agree(loop: Loop, type_: str) -> None:
    """An event with the type of another webhook is rejected and named, whatever variables it has."""
    if type_ != loop.type:
        error = refusal(loop, mime=MIME, type=type_)
        assert (error.reason, error.loop) == ("other_loop", type_ if type_ in WEBHOOKS else "")


@each_other
@pytest.mark.parametrize("fields", [{"state": "rcptto"}, {"state": ""}, {"action": "failed"}], ids=str)
def test_a_failure_without_a_type_at_the_url_of_another_loop(loop: Loop, fields: dict[str, str]) -> None:
    """It is rejected because it has a state or the action of a failure."""
    error = refusal(loop, **({"mime": MIME} | fields))
    assert (error.reason, error.loop) == ("other_loop", "failure")


def test_a_returned_message_without_a_type_is_no_delivery() -> None:
    """It has a message, which deliveries lack."""
    assert refusal(DELIVERIES, mime=MIME).reason == "other_loop"


def test_a_returned_message_without_a_type_is_no_complaint() -> None:
    """It has a recipient, which a complaint lacks."""
    assert refusal(ABUSES, mime=MIME).reason == "other_loop"


def test_a_long_sender_of_a_complaint_is_cut() -> None:
    """No address is longer, and looking for its provider must stay quick."""
    made = report_of(Fields((EVENTS[ABUSES] | {"emailfrom": "a." * 500_000}).items()), ABUSES)
    assert made.emailfrom == ("a." * 500_000)[:512]


@pytest.mark.parametrize(("loop", "missing"), [(loop, name) for loop in EVENTS for name in loop.required], ids=str)
def test_what_identifies_an_event_is_required(loop: Loop, missing: str) -> None:
    """An event without one of the variables that identify it is rejected, and so is one with two values."""
    for empty in ("", None, " \r\n"):
        assert refusal(loop, **(EVENTS[loop] | {"type": loop.type, missing: empty})).reason == "missing_field"
    assert refusal(loop, **(EVENTS[loop] | {"type": loop.type, missing: ["x"]})).reason == "wrong_type"
    with pytest.raises(Refusal) as caught:
        report_of(Fields([*EVENTS[loop].items(), (missing, "another")]), loop)
    assert caught.value.reason == "duplicate_field"


def test_a_repeated_message_that_is_the_same() -> None:
    """It is used, and counted as repaired."""
    made = report_of(Fields([*EVENTS[BOUNCES].items(), ("mime", MIME)]), BOUNCES)
    assert made == REPORTS[BOUNCES]._replace(repaired=frozenset({"duplicate_field"}))


@pytest.mark.parametrize(
    ("text", "are_bytes", "content"),
    [
        ("h\udce9", True, b"h\xe9"),
        ("café", True, "café".encode()),
        ("h\udce9\ud800", True, b"h\xed\xb3\xa9\xed\xa0\x80"),
        ("h\udce9", False, b"h\xed\xb3\xa9"),
        (" x\0\n", True, b" x\0\n"),
    ],
    ids=ascii,
)
def test_a_message_keeps_its_bytes(text: str, are_bytes: bool, content: bytes) -> None:
    """Bytes that are not UTF-8 are kept; half of a surrogate pair that JSON escaped has its own bytes."""
    fields = Fields((EVENT | {"mime": text}).items(), surrogates_are_bytes=are_bytes)
    assert report_of(fields, BOUNCES).mime == content


@pytest.mark.parametrize("name", ["type", "tags", "emailfrom", "code", "description", "time"])
def test_nothing_else_rejects_an_event(name: str) -> None:
    """A detail of another type is ignored, in any loop."""
    for loop, event in EVENTS.items():
        report_of(Fields((event | {name: [1]}).items()), loop)


VALUES: Final = st.none() | st.booleans() | st.text(st.characters()) | st.lists(st.text())


NAMES: Final = [*FIELDS, "tags", "type", "action", "mime", "emailfrom", "x"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=10), st.sampled_from(list(LOOPS.values())))
def test_any_variables_are_a_report_or_rejected(pairs: list[tuple[str, Any]], loop: Loop) -> None:
    """No values raise anything but a refusal; a report has the variables that its loop requires."""
    try:
        made = report_of(Fields(pairs), loop)
    except Refusal:
        return
    assert all(made._asdict()[name] for name in loop.required)
