"""Parsing: how each content type and each shape of a variable is read, and which bodies are rejected."""

import json
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.report import Report
from exporter.refusals import REFUSAL_REASONS, Refusal
from exporter.webhook.parsing import MAX_BODY, parse
from tests.support.bodies import (
    FIELDS,
    FORM,
    JSON,
    MULTIPART,
    REPORT,
    WRITERS,
    Pairs,
    as_json,
    as_multipart,
    each_type,
    read,
)
from tests.support.reports import REPORTS, Example
from tests.support.texts import Texts


def read_json(**fields: Any) -> Report:
    """Return the report of a JSON object with an id, a recipient and these fields."""
    return parse(JSON, json.dumps({"id": "1", "recipient": "r"} | fields).encode())


@pytest.mark.parametrize("example", REPORTS.values(), ids=REPORTS)
def test_reports_in_files(example: Example) -> None:
    """Each example in tests/support/reports is read as its JSON file says."""
    assert parse(example.content_type, example.body) == example.report


@each_type
def test_all_variables(content_type: str) -> None:
    """Each variable keeps its text, with line ends and other scripts."""
    assert read(content_type, FIELDS.items()) == REPORT


@each_type
def test_order_and_unknown_variables_do_not_matter(content_type: str) -> None:
    """Variables may come in any order, and unknown ones are ignored."""
    unknown = {"type": "failure", "time": "1700000000", "ID": "2", "": "3", "naïve": "ü"}
    assert read(content_type, reversed((FIELDS | unknown).items())) == REPORT


@each_type
def test_white_space_around_a_value_is_removed(content_type: str) -> None:
    """White space around a value is not part of it."""
    assert read(content_type, [(name, f" \t{value}\n") for name, value in FIELDS.items()]) == REPORT


@each_type
def test_id_and_recipient_are_enough(content_type: str) -> None:
    """A missing variable is empty, and so is one without a value."""
    enough = {"id": "1", "recipient": "r"}
    assert read(content_type, enough.items()) == Report("1", "r")
    assert read(content_type, (dict.fromkeys([*FIELDS, "tags"], "") | enough).items()) == Report("1", "r")


@pytest.mark.parametrize(
    "content_type",
    [
        "APPLICATION/JSON",
        " application/json ",
        "application/json;charset=utf-8",
        "application/json ; charset=latin-1;;",
    ],
)
def test_parameters_and_case_of_the_content_type(content_type: str) -> None:
    """Only the media type matters, in any case; the text is UTF-8 whatever ``charset`` says."""
    assert parse(content_type, as_json(FIELDS.items())) == REPORT


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (b"&&id=1&recipient=a%2Bb@c+d&&", Report("1", "a+b@c d")),
        (b"i%64=1&recipien%74=r", Report("1", "r")),
        (b"id=1&recipient=a=b&state", Report("1", "a=b")),
        (b"id=1&recipient=50%&code=%zz", Report("1", "50%", code="%zz")),
        (b"id=1&recipient=r&other=%ff", Report("1", "r")),
        ("id=1&recipient=用户".encode(), Report("1", "用户")),
    ],
    ids=["plus and empty items", "escaped names", "equals sign", "stray percent", "unused value", "unescaped"],
)
def test_spellings_of_a_form(body: bytes, report: Report) -> None:
    """A form is read as browsers read it: invalid escapes are literal, and unused values are not decoded."""
    assert parse(FORM, body) == report


@pytest.mark.parametrize(
    ("value", "text"),
    [(550, "550"), (0, "0"), (-1, "-1"), (None, ""), (5.5, "5.5"), (1e300, "1e+300"), (10**63, "1" + "0" * 63)],
    ids=str,
)
def test_numbers_and_null_in_json(value: float | None, text: str) -> None:
    """A number is its digits as written, and null is empty."""
    assert read_json(code=value) == Report("1", "r", code=text)


def test_unused_json_variables_may_be_anything() -> None:
    """Only the variables in use must be text or numbers; a repeated name in a nested object is ignored."""
    body = b'{"id":1,"recipient":"r","time":true,"x":[{}],"y":{"a":1,"a":2},"z":1e999}'
    assert parse(JSON, body) == Report("1", "r")


def test_headers_of_parts_are_ignored() -> None:
    """File names and content types of parts are ignored: a part's content is its value, in UTF-8."""
    body = (
        b'preamble\r\n--b\r\nContent-Disposition: form-data; name=id; filename="f"\r\n\r\n1\r\n'
        b'--b\r\nContent-Type: text/plain; charset=latin-1\r\ncontent-disposition: form-data; name="recipient"\r\n\r\n'
        b"\xc3\xbc\r\n--b--\r\nepilogue"
    )
    assert parse(MULTIPART, body) == Report("1", "ü")


SHAPES: Final = {
    "one text": (["a;b; c "], ("a", "b", "c")),
    "one tag": (["a"], ("a",)),
    "empty": ([""], ()),
    "only separators": ([" ; ;;"], ()),
    "repeated": (["a", "b;c"], ("a", "b", "c")),
    "the same twice": (["b;a;b", "a"], ("b", "a")),
    "other scripts": (["naïve;用户"], ("naïve", "用户")),
    "a comma is part of a tag": (["a,b"], ("a,b",)),
}


@pytest.mark.parametrize(("values", "tags"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["tags", "tags[]"])
@each_type
def test_shapes_of_tags(content_type: str, name: str, values: list[str], tags: tuple[str, ...]) -> None:
    """Tags are one text with ``;`` or repeated variables, with or without ``[]``; each is kept once."""
    pairs = [("id", "1"), ("recipient", "r"), *((name, value) for value in values)]
    assert read(content_type, pairs) == Report("1", "r", tags=tags)


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (["a", "b;c", " d", ""], ("a", "b", "c", "d")),
        ([], ()),
        (None, ()),
        (["a", None, 7, True, ["b"], {"c": "d"}, "e"], ("a", "e")),
        (7, ()),
        ({"0": "a"}, ()),
        (["x" * 10_000], ("x" * 10_000,)),
    ],
    ids=["list", "empty list", "null", "mixed list", "number", "object", "long"],
)
def test_shapes_of_tags_in_json(value: object, tags: tuple[str, ...]) -> None:
    """A list of texts is tags; anything else is ignored, so that no failure is lost because of its tags."""
    assert read_json(tags=value) == Report("1", "r", tags=tags)


def test_tags_in_both_spellings() -> None:
    """``tags`` and ``tags[]`` in one body are joined, in their order."""
    assert parse(FORM, b"tags[]=b&id=1&tags=a;c&recipient=r&tags%5B%5D=d").tags == ("b", "a", "c", "d")


@pytest.mark.parametrize(
    "value",
    [";".join(map(str, range(200))), [str(number) for number in range(200)]],
    ids=["text", "list"],
)
def test_first_hundred_tags(value: object) -> None:
    """Of more than 100 tags, the first 100 are kept."""
    assert read_json(tags=value).tags == tuple(str(number) for number in range(100))


def test_tags_after_the_hundredth_are_ignored() -> None:
    """The 101st tag of a text is ignored, even if those before it are all the same."""
    assert read_json(tags=";".join(["a"] * 99 + ["b", "c"])).tags == ("a", "b")


def outcome(content_type: str, body: bytes) -> Report | tuple[int, str]:
    """Return the report, or status and reason of the refusal."""
    try:
        return parse(content_type, body)
    except Refusal as error:
        return error.status, error.reason


def refusal(content_type: str, body: bytes) -> tuple[int, str]:
    """Return status and reason of the refusal of the body."""
    result = outcome(content_type, body)
    assert not isinstance(result, Report)
    return result


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json+x", "application", "multipart/mixed; boundary=b", "x" * 9_000]
)
def test_other_content_types(content_type: str) -> None:
    """A content type other than form, JSON and multipart is rejected with 415."""
    assert refusal(content_type, as_json(FIELDS.items())) == (415, "content_type")


DETAILS: Final = {
    "content type": ("text/plain", b"x"),
    "long content type": ("x" * 9_000, b"x"),
    "too many variables": (FORM, b"&" * 101),
    "form that is not UTF-8": (FORM, b"id=%ff"),
    "JSON that is not UTF-8": (JSON, b'{"id":"\xff"}'),
    "multipart that is not UTF-8": (MULTIPART, as_multipart([("id", "1")]).replace(b"1", b"\xff")),
    "part without a name": (MULTIPART, b"--b\r\n\r\n\r\n--b--"),
    "long boundary": (f"multipart/form-data; boundary=b; {'x' * 256}", b"x"),
}


@pytest.mark.parametrize(("content_type", "body"), DETAILS.values(), ids=DETAILS)
def test_details_for_the_log(content_type: str, body: bytes, texts: Texts) -> None:
    """The text of a refusal says what was expected, and repeats at most 100 characters of the request."""
    with pytest.raises(Refusal) as caught:
        parse(content_type, body)
    assert len(str(caught.value)) < 200
    texts.check(caught.value)


LIMITS: Final = {"id": 256, "recipient": 512, "state": 64, "code": 64, "extended": 64}


@pytest.mark.parametrize(("name", "longest"), LIMITS.items(), ids=LIMITS)
@each_type
def test_longest_values(content_type: str, name: str, longest: int) -> None:
    """A value may have as many characters as its limit, and not one more."""
    fields = FIELDS | {name: "ü" * longest}
    assert read(content_type, fields.items()) == Report(**fields)
    too_long = WRITERS[content_type]((FIELDS | {name: "x" * (longest + 1)}).items())
    assert refusal(content_type, too_long) == (400, "value_too_long")


def test_description_may_fill_the_body() -> None:
    """A description is limited only by the size of the body."""
    text = "x" * (MAX_BODY - len("id=1&recipient=r&description="))
    assert parse(FORM, f"id=1&recipient=r&description={text}".encode()) == Report("1", "r", description=text)


@each_type
def test_most_variables(content_type: str) -> None:
    """A body may have 100 variables, and not one more."""
    pairs = [*FIELDS.items(), *((f"x{number}", "") for number in range(94))]
    assert read(content_type, pairs) == REPORT
    assert refusal(content_type, WRITERS[content_type]([*pairs, ("y", "")])) == (400, "too_many_fields")


@each_type
@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("id", "1"), ("id", "1"), ("recipient", "r")], "duplicate_field"),
        ([("y", ""), ("x", "")] * 2 + [("x", "")], "duplicate_field"),
        ([("x" * 80, "")] * 3, "duplicate_field"),
        ([("id", "1")], "missing_field"),
        ([("id", " "), ("recipient", "r")], "missing_field"),
        ([("id", "1"), ("recipient", "r\0")], "encoding"),
        ([("id", "1"), ("type", "abuse")], "other_loop"),
    ],
    ids=["id twice", "others twice", "long name", "no recipient", "no id", "NUL", "other loop"],
)
def test_reports_that_are_not_failures(content_type: str, pairs: Pairs, reason: str) -> None:
    """A readable body that is not a failure is rejected with 400, for the same reason in each content type."""
    assert refusal(content_type, WRITERS[content_type](pairs)) == (400, reason)


@each_type
def test_a_report_with_a_state_is_a_failure(content_type: str) -> None:
    """Only a report without a state can be from another type of webhook. Names with ``[]`` may be repeated."""
    pairs = [*FIELDS.items(), ("type", "bounce"), ("x[]", "1"), ("x[]", "2")]
    assert read(content_type, pairs) == REPORT


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b'"id"', "malformed"),
        (b"[]", "malformed"),
        (b"null", "malformed"),
        (b"NaN", "malformed"),
        (b'{"x":-Infinity}', "malformed"),
        (b'{"id":"\xff"}', "encoding"),
        (b'{"id":"1","recipient":"\\ud800"}', "encoding"),
        (b'{"id":"1\\u0000"}', "encoding"),
        (b'{"id":"1","code":true}', "wrong_type"),
        (b'{"id":{"a":1}}', "wrong_type"),
        (b'{"id":[]}', "wrong_type"),
        (b'{"id":%b}' % (b"9" * 257), "value_too_long"),
    ],
    ids=lambda value: value.decode("latin-1")[:20] if isinstance(value, bytes) else "",
)
def test_invalid_json(body: bytes, reason: str) -> None:
    """A body that is not a JSON object, or a variable that is not text or a number, is rejected with 400."""
    assert refusal(JSON, body) == (400, reason)


@pytest.mark.parametrize("opening", [b"[", b'{"id":', b'[{"a":'], ids=["arrays", "objects", "both"])
def test_deep_nesting(opening: bytes) -> None:
    """A body of opening brackets is malformed and does not crash the parser."""
    assert refusal(JSON, (opening * MAX_BODY)[:MAX_BODY]) == (400, "malformed")


def test_number_of_all_digits() -> None:
    """A number that fills the body is malformed, even in an unused variable."""
    assert refusal(JSON, b'{"x":%b}' % (b"9" * (MAX_BODY - 6))) == (400, "malformed")


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
    assert refusal(content_type, as_multipart(FIELDS.items())) == (400, "malformed")


VALUES: Final[st.SearchStrategy[object]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES: Final = st.sampled_from([*FIELDS, "tags", "tags[]", "type"]) | st.text(max_size=5)
LINES: Final = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"",
        b'Content-Disposition: form-data; name="state"\r\n\r\nrcptto\r\n--b',
        b'Content-Disposition: form-data; name="id"',
        b'Content-Disposition: form-data; name="code"',
        b"Content-Disposition: form-data; name=recipient",
        b"Content-Disposition: form-data; name*=utf-8''%ff",
        b"Content-Transfer-Encoding: base64",
        b"Content-Type: \xff",
    ]
)
REFUSALS: Final = {(415 if reason == "content_type" else 400, reason) for reason in REFUSAL_REASONS}
ENOUGH: Final = {"id": "1", "recipient": "r"}
REQUESTS: Final = (
    st.tuples(st.sampled_from([*WRITERS]) | st.text(max_size=40), st.binary(max_size=200))
    | st.tuples(
        st.just(JSON),
        st.dictionaries(NAMES, VALUES, max_size=8).map(lambda fields: json.dumps(ENOUGH | fields).encode()),
    )
    | st.tuples(
        st.just(FORM),
        st.lists(st.tuples(NAMES, st.binary(max_size=10)), max_size=8).map(
            lambda pairs: urlencode([*ENOUGH.items(), *pairs]).encode()
        ),
    )
    | st.tuples(
        st.sampled_from([MULTIPART, 'multipart/form-data; boundary="b']),
        st.lists(LINES | st.binary(max_size=10), max_size=12).map(
            lambda lines: (
                as_multipart(ENOUGH.items()).removesuffix(b"--\r\n") + b"\r\n".join([b"", *lines, b"", b"x", b"--b--"])
            )
        ),
    )
)


def is_sound(report: Report) -> bool:
    """Return whether the report fulfills what later steps rely on."""
    return bool(report.id and report.recipient) and all(
        text == text.strip() and "\0" not in text and text.encode().decode() == text for text in report[:-1]
    )


@given(request=REQUESTS)
def test_any_bytes(request: tuple[str, bytes]) -> None:
    """Any bytes give either a sound report or a documented refusal, the same each time."""
    result = outcome(*request)
    assert outcome(*request) == result
    assert is_sound(result) if isinstance(result, Report) else result in REFUSALS


TEXTS: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=64).map(str.strip)


@given(fields=st.fixed_dictionaries(dict.fromkeys(FIELDS, TEXTS)).filter(lambda one: one["id"] and one["recipient"]))
def test_content_types_agree(fields: dict[str, Any]) -> None:
    """The same variables give the same report in form, JSON and multipart."""
    expected = dict.fromkeys(WRITERS, Report(**fields))
    assert {content_type: read(content_type, fields.items()) for content_type in WRITERS} == expected
