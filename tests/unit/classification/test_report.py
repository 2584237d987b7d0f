"""Variables become a report, or the reason why they are rejected."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.report import MAX_FIELDS, MAX_TAGS, Report, json_pairs, report_of, tags_of, text_of
from exporter.refusals import Refusal
from tests.support.bodies import FIELDS
from tests.support.texts import Texts

MAX_LENGTHS: Final = {"id": 256, "recipient": 512, "state": 64, "code": 64, "extended": 64, "description": 65_536}


def refusal(pairs: list[tuple[str, Any]]) -> Refusal:
    """Return the refusal of a report with these variables; its status is 400."""
    with pytest.raises(Refusal) as caught:
        report_of(pairs)
    assert caught.value.status == 400
    return caught.value


# Reports


def test_a_report_has_the_variables_that_are_used() -> None:
    """Used variables are taken in any order; unknown ones are ignored."""
    unknown = {"type": "failure", "action": "failed", "time": "1700000000", "ID": "2", "": "3", "naïve": ["ü"]}
    assert report_of([*unknown.items(), *reversed(FIELDS.items()), ("tags", "a;b")]) == Report(
        **FIELDS, tags=("a", "b")
    )


def test_absent_variables_are_empty() -> None:
    """Only id and recipient are required; an absent variable and one without a value are the same."""
    required = {"id": "1", "recipient": "r"}
    assert report_of(list(required.items())) == Report("1", "r")
    assert report_of(list((dict.fromkeys(FIELDS) | dict.fromkeys(["tags"], "") | required).items())) == Report("1", "r")


REJECTED: Final[dict[str, tuple[list[tuple[str, Any]], str]]] = {
    "too many variables": ([(f"x{number}", "") for number in range(MAX_FIELDS + 1)], "too_many_fields"),
    "a repeated variable": ([("id", "1"), ("id", "1"), ("recipient", "r")], "duplicate_field"),
    "a repeated unknown variable": ([("y", ""), ("x", "")] * 2 + [("x", "")], "duplicate_field"),
    "a long repeated name": ([("x" * 80, "")] * 3, "duplicate_field"),
    "no recipient": ([("id", "1")], "missing_field"),
    "an empty id": ([("id", " "), ("recipient", "r")], "missing_field"),
    "the webhook for abuse": ([("id", "1"), ("type", "abuse")], "other_loop"),
    "the webhook for deliveries": ([*[("id", "1"), ("recipient", "r")], ("type", "delivery")], "other_loop"),
    "a NUL": ([("id", "1"), ("recipient", "r\0")], "encoding"),
    "a lone surrogate": ([("id", "1"), ("recipient", "\ud800")], "encoding"),
    "a truth value": ([("id", "1"), ("code", True)], "wrong_type"),
    "a list": ([("id", [])], "wrong_type"),
    "a long id": ([("id", "9" * 257)], "value_too_long"),
}


@pytest.mark.parametrize(("pairs", "reason"), REJECTED.values(), ids=REJECTED)
def test_rejected_reports(pairs: list[tuple[str, Any]], reason: str, texts: Texts) -> None:
    """A report that is not one of a failure is rejected with 400, a reason, and a text for the log."""
    error = refusal(pairs)
    assert error.reason == reason
    texts.check(error)


def test_100_variables_are_accepted() -> None:
    """The limit is more than SMTPeter sends."""
    pairs = [*FIELDS.items(), *((f"x{number}", "") for number in range(MAX_FIELDS - len(FIELDS)))]
    assert report_of(pairs) == Report(**FIELDS)


def test_a_report_with_a_state_is_a_failure() -> None:
    """The type alone does not make it a report of another webhook."""
    assert report_of([*FIELDS.items(), ("type", "bounce")]) == Report(**FIELDS)


def test_names_with_brackets_may_be_repeated() -> None:
    """PHP repeats a name with ``[]``; ``tags`` may be repeated as it is."""
    repeated = [("x[]", "1"), ("x[]", "2"), ("tags[]", "a"), ("tags", "b"), ("tags", "c"), ("tags[]", "a")]
    assert report_of([*FIELDS.items(), *repeated]) == Report(**FIELDS, tags=("a", "b", "c"))


# Values


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), ("", ""), (" \ta b\r\n", "a b"), (550, "550"), (-1, "-1"), (10**63, "1" + "0" * 63), ("ü", "ü")],
    ids=str,
)
def test_values_become_text(value: object, text: str) -> None:
    """None is empty, a number its digits, and surrounding whitespace is removed."""
    assert text_of("code", value) == text


@pytest.mark.parametrize("value", [True, False, 5.5, [], {}, b"1"], ids=str)
def test_values_of_other_types_are_rejected(value: object) -> None:
    """Only text and whole numbers are values; json_pairs keeps decimals as text."""
    with pytest.raises(Refusal) as caught:
        text_of("code", value)
    assert (caught.value.status, caught.value.reason) == (400, "wrong_type")


@pytest.mark.parametrize(("name", "longest"), MAX_LENGTHS.items(), ids=MAX_LENGTHS)
def test_the_longest_values(name: str, longest: int) -> None:
    """A value may be as long as its limit in characters, not longer."""
    assert text_of(name, "ü" * longest) == "ü" * longest
    with pytest.raises(Refusal) as caught:
        text_of(name, "x" * (longest + 1))
    assert (caught.value.status, caught.value.reason) == (400, "value_too_long")


# Tags


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        ([], ()),
        ([""], ()),
        (["a"], ("a",)),
        (["b;a; c d ;;b"], ("b", "a", "c d")),
        ([["a", "b;c"], "c", "d"], ("a", "b", "c", "d")),
        ([None, 3, True, {"a": "b"}, [["a"], None, "b"]], ("b",)),
    ],
    ids=str,
)
def test_tags(values: list[Any], tags: tuple[str, ...]) -> None:
    """Tags are separated by semicolons or in lists, each is kept once, and other values are ignored."""
    assert tags_of(values) == tags


@pytest.mark.parametrize(
    "values", [[";".join(map(str, range(200)))], [list(map(str, range(200)))], list(map(str, range(200)))]
)
def test_the_first_100_tags_are_kept(values: list[Any]) -> None:
    """The rest is ignored, in each format."""
    assert tags_of(values) == tuple(map(str, range(MAX_TAGS)))


# JSON


def test_json_keeps_order_repeated_names_and_decimals() -> None:
    """A decimal is the text that was written, so that 5.5 stays 5.5."""
    text = '{"id": 1, "code": 5.50, "id": null, "x": {"a": 1, "a": 2}, "e": 1e300}'
    assert json_pairs(text) == [("id", 1), ("code", "5.50"), ("id", None), ("x", [("a", 1), ("a", 2)]), ("e", "1e300")]


@pytest.mark.parametrize("text", ["", "{", '"id"', "[]", "null", "3", "NaN", '{"x":-Infinity}', '{"x":Infinity}'])
def test_invalid_json_is_rejected(text: str) -> None:
    """A text that is not a JSON object is malformed, as are NaN and Infinity, which Python accepts."""
    with pytest.raises(Refusal) as caught:
        json_pairs(text)
    assert (caught.value.status, caught.value.reason) == (400, "malformed")


@pytest.mark.parametrize("opening", ["[", '{"id":', '[{"a":'])
def test_deeply_nested_json_is_rejected(opening: str) -> None:
    """A text full of opening brackets is malformed, and does not crash the process."""
    with pytest.raises(Refusal) as caught:
        json_pairs(opening * 100_000)
    assert (caught.value.status, caught.value.reason) == (400, "malformed")


def test_the_type_of_other_json_is_named(texts: Texts) -> None:
    """The text for the log says which type the JSON has."""
    for text in ("[]", "null", '"id"'):
        with pytest.raises(Refusal) as caught:
            json_pairs(text)
        texts.check(caught.value)


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.lists(st.tuples(st.sampled_from([*FIELDS, "tags", "tags[]", "type", "x"]), VALUES), max_size=10))
def test_any_variables_are_a_report_or_rejected(pairs: list[tuple[str, Any]]) -> None:
    """No values raise anything but a refusal; a report has an id, a recipient, and text in UTF-8 without NUL."""
    try:
        report = report_of(pairs)
    except Refusal:
        return
    assert report.id
    assert report.recipient
    for name in FIELDS:
        assert "\0" not in getattr(report, name)
        getattr(report, name).encode()
