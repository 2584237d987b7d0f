"""Reports that are refused: where each limit is, and the status, the reason and the text of each refusal."""

from typing import Final

import pytest

from exporter.classification.report import Report
from exporter.refusals import Refusal
from exporter.webhook.parsing import MAX_BODY, parse
from tests.support.bodies import FIELDS, FORM, JSON, REPORT, WRITERS, Pairs, as_json, as_multipart, each_type, read


def refusal(content_type: str, body: bytes) -> tuple[int, str, str]:
    """Status, reason and text of the refusal of the body."""
    with pytest.raises(Refusal) as caught:
        parse(content_type, body)
    return caught.value.status, caught.value.reason, str(caught.value)


def test_other_content_types() -> None:
    """What is not form, JSON or multipart is refused with 415; the text repeats no more than 100 characters of it."""
    for content_type in ("", "text/plain", "application/json+x", "application", "multipart/mixed; boundary=b"):
        text = f"content type {content_type!r} is not form, JSON or multipart"
        assert refusal(content_type, as_json(FIELDS.items())) == (415, "content_type", text)
    assert refusal("x" * 9_000, b"") == (
        415,
        "content_type",
        f"content type '{'x' * 100}' is not form, JSON or multipart",
    )


LIMITS: Final = {"id": 256, "recipient": 512, "state": 64, "code": 64, "extended": 64}


@pytest.mark.parametrize(("name", "longest"), LIMITS.items(), ids=LIMITS)
@each_type
def test_longest_values(content_type: str, name: str, longest: int) -> None:
    """A value may be as long as its limit, in characters, and not one longer."""
    fields = FIELDS | {name: "ü" * longest}
    assert read(content_type, fields.items()) == Report(**fields)
    why = (400, "value_too_long", f"variable {name} is longer than {longest} characters")
    assert refusal(content_type, WRITERS[content_type]((FIELDS | {name: "x" * (longest + 1)}).items())) == why


def test_description_may_fill_the_body() -> None:
    """A description has no limit but the body's."""
    text = "x" * (MAX_BODY - len("id=1&recipient=r&description="))
    assert parse(FORM, f"id=1&recipient=r&description={text}".encode()) == Report("1", "r", description=text)


@each_type
def test_most_variables(content_type: str) -> None:
    """A body may have 100 variables, and not one more."""
    pairs = [*FIELDS.items(), *((f"x{number}", "") for number in range(94))]
    assert read(content_type, pairs) == REPORT
    status, reason, _ = refusal(content_type, WRITERS[content_type]([*pairs, ("y", "")]))
    assert (status, reason) == (400, "too_many_fields")


@each_type
@pytest.mark.parametrize(
    ("pairs", "reason", "text"),
    [
        ([("id", "1"), ("id", "1"), ("recipient", "r")], "duplicate_field", "variable 'id' comes 2 times"),
        ([("y", ""), ("x", "")] * 2 + [("x", "")], "duplicate_field", "variable 'y' comes 2 times"),
        ([("x" * 80, "")] * 3, "duplicate_field", f"variable '{'x' * 50}' comes 3 times"),
        ([("id", "1")], "missing_field", "variable recipient is missing or empty"),
        ([("id", " "), ("recipient", "r")], "missing_field", "variable id is missing or empty"),
        ([("id", "1"), ("recipient", "r\0")], "encoding", "variable recipient holds NUL"),
        ([("id", "1"), ("type", "abuse")], "other_loop", "a report of the loop abuse; expected one of failures"),
    ],
    ids=["id twice", "others twice", "long name", "no recipient", "no id", "NUL", "other loop"],
)
def test_refuses(content_type: str, pairs: Pairs, reason: str, text: str) -> None:
    """A body that can be read but is no failure is refused with 400, in each content type for the same reason."""
    assert refusal(content_type, WRITERS[content_type](pairs)) == (400, reason, text)


@each_type
def test_state_makes_a_failure_of_any_type(content_type: str) -> None:
    """Only what has no state is taken for a report of another loop, and other names may be repeated with ``[]``."""
    pairs = [*FIELDS.items(), ("type", "bounce"), ("x[]", "1"), ("x[]", "2")]
    assert read(content_type, pairs) == REPORT


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (b"", "malformed", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'"id"', "malformed", "the JSON is a str, expected an object"),
        (b"[]", "malformed", "the JSON is a list, expected an object"),
        (b"null", "malformed", "the JSON is a NoneType, expected an object"),
        (b"NaN", "malformed", "not JSON: NaN is not a JSON value"),
        (b'{"x":-Infinity}', "malformed", "not JSON: -Infinity is not a JSON value"),
        (b'{"id":"\xff"}', "encoding", "the JSON is not UTF-8: invalid start byte"),
        (b'{"id":"1","recipient":"\\ud800"}', "encoding", "variable recipient holds a lone surrogate"),
        (b'{"id":"1\\u0000"}', "encoding", "variable id holds NUL"),
        (b'{"id":"1","code":true}', "wrong_type", "variable code is neither text nor a number"),
        (b'{"id":{"a":1}}', "wrong_type", "variable id is neither text nor a number"),
        (b'{"id":[]}', "wrong_type", "variable id is neither text nor a number"),
        (b'{"id":%b}' % (b"9" * 257), "value_too_long", "variable id is longer than 256 characters"),
    ],
    ids=lambda value: value.decode("latin-1")[:20] if isinstance(value, bytes) else "",
)
def test_refuses_json(body: bytes, reason: str, text: str) -> None:
    """JSON that is none, or holds what no variable is, is refused with 400 and why."""
    assert refusal(JSON, body) == (400, reason, text)


@pytest.mark.parametrize("opening", [b"[", b'{"id":', b'[{"a":'], ids=["arrays", "objects", "both"])
def test_deep_nesting(opening: bytes) -> None:
    """A body full of opening brackets is malformed, and not a crash."""
    assert refusal(JSON, (opening * MAX_BODY)[:MAX_BODY])[:2] == (400, "malformed")


def test_number_of_all_digits() -> None:
    """A number that fills the body is malformed, also in a variable that is not used."""
    assert refusal(JSON, b'{"x":%b}' % (b"9" * (MAX_BODY - 6)))[:2] == (400, "malformed")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'b' * 71}",
        "multipart/form-data; boundary=ü",
        f"multipart/form-data; boundary=b; {'x' * 256}",
    ],
    ids=["none", "empty", "71 characters", "not ASCII", "long content type"],
)
def test_boundaries(content_type: str) -> None:
    """A multipart body needs a boundary of 1 to 70 ASCII characters, in a short content type."""
    assert refusal(content_type, as_multipart(FIELDS.items()))[:2] == (400, "malformed")
