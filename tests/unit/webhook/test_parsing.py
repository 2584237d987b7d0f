"""Bytes to a report: what each content type, and each shape of a variable, is read as."""

import json
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.report import Report
from exporter.refusals import REFUSAL_REASONS, Refusal
from exporter.webhook.parsing import parse
from tests.support.bodies import FIELDS, FORM, JSON, MULTIPART, REPORT, WRITERS, as_json, as_multipart, each_type, read
from tests.support.reports import REPORTS, Example


def read_json(**fields: Any) -> Report:
    """The report of a JSON object with these fields besides id and recipient."""
    return parse(JSON, json.dumps({"id": "1", "recipient": "r"} | fields).encode())


# What is read.


@pytest.mark.parametrize("example", REPORTS.values(), ids=REPORTS)
def test_reports_in_files(example: Example) -> None:
    """Each report in a file is read as the JSON file beside it says."""
    assert parse(example.content_type, example.body) == example.report


@each_type
def test_all_variables(content_type: str) -> None:
    """Each variable arrives as it was written, line ends and other scripts included."""
    assert read(content_type, FIELDS.items()) == REPORT


@each_type
def test_variables_in_any_order_and_unknown_ones(content_type: str) -> None:
    """The order means nothing, and variables that are not used change nothing."""
    unknown = {"type": "failure", "time": "1700000000", "ID": "2", "": "3", "naïve": "ü"}
    assert read(content_type, reversed((FIELDS | unknown).items())) == REPORT


@each_type
def test_blanks_around_a_value(content_type: str) -> None:
    """White space around a value is no part of it."""
    assert read(content_type, [(name, f" \t{value}\n") for name, value in FIELDS.items()]) == REPORT


@each_type
def test_id_and_recipient_are_enough(content_type: str) -> None:
    """What is absent is empty, as is what is there without a value."""
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
    """Only the media type counts, without case; the text is UTF-8 whatever ``charset`` says."""
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
    ids=["plus and empty items", "escaped names", "equals sign", "stray percent", "escapes of no use", "unescaped"],
)
def test_forms_as_they_may_be_written(body: bytes, report: Report) -> None:
    """A form is read as browsers read it; what is no escape stands for itself, and unused values are not decoded."""
    assert parse(FORM, body) == report


@pytest.mark.parametrize(
    ("value", "text"),
    [(550, "550"), (0, "0"), (-1, "-1"), (None, ""), (5.5, "5.5"), (1e300, "1e+300"), (10**63, "1" + "0" * 63)],
    ids=str,
)
def test_numbers_and_null_in_json(value: float | None, text: str) -> None:
    """A number is its digits as they are written, null is nothing."""
    assert read_json(code=value) == Report("1", "r", code=text)


def test_what_json_says_of_other_variables() -> None:
    """Only the variables in use must be text or numbers; a name twice further in is not looked at."""
    body = b'{"id":1,"recipient":"r","time":true,"x":[{}],"y":{"a":1,"a":2},"z":1e999}'
    assert parse(JSON, body) == Report("1", "r")


def test_parts_with_headers_of_their_own() -> None:
    """File names and content types of parts are ignored: a part's content is its value, in UTF-8."""
    body = (
        b'preamble\r\n--b\r\nContent-Disposition: form-data; name=id; filename="f"\r\n\r\n1\r\n'
        b'--b\r\nContent-Type: text/plain; charset=latin-1\r\ncontent-disposition: form-data; name="recipient"\r\n\r\n'
        b"\xc3\xbc\r\n--b--\r\nepilogue"
    )
    assert parse(MULTIPART, body) == Report("1", "ü")


# Tags.

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
    """Tags are one text with ``;``, or repeated variables, with and without ``[]``; each counts once."""
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
    """A list of texts is tags; what is not text is left out, and never a reason to lose a failure."""
    assert read_json(tags=value) == Report("1", "r", tags=tags)


def test_tags_in_both_spellings() -> None:
    """``tags`` and ``tags[]`` in one body are added up, in their order."""
    assert parse(FORM, b"tags[]=b&id=1&tags=a;c&recipient=r&tags%5B%5D=d").tags == ("b", "a", "c", "d")


@pytest.mark.parametrize(
    "value",
    [";".join(map(str, range(200))), [str(number) for number in range(200)]],
    ids=["text", "list"],
)
def test_first_hundred_tags(value: object) -> None:
    """Of more than 100 tags the first 100 are looked at."""
    assert read_json(tags=value).tags == tuple(str(number) for number in range(100))


def test_tags_past_the_hundredth_are_not_looked_at() -> None:
    """A tag that comes 101st in a text is not found, even if those before it are all the same."""
    assert read_json(tags=";".join(["a"] * 99 + ["b", "c"])).tags == ("a", "b")


# What any input gives.

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
CALLS: Final = (
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


def outcome(content_type: str, body: bytes) -> Report | tuple[int, str]:
    """The report, or status and reason of the refusal."""
    try:
        return parse(content_type, body)
    except Refusal as error:
        return error.status, error.reason


def is_sound(report: Report) -> bool:
    """Whether all that comes after can rely on the report."""
    return bool(report.id and report.recipient) and all(
        text == text.strip() and "\0" not in text and text.encode().decode() == text for text in report[:-1]
    )


@given(call=CALLS)
def test_any_bytes(call: tuple[str, bytes]) -> None:
    """Any bytes give a sound report, the same each time, or a refusal that is documented; nothing else."""
    result = outcome(*call)
    assert outcome(*call) == result
    assert is_sound(result) if isinstance(result, Report) else result in REFUSALS


TEXTS: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=64).map(str.strip)


@given(fields=st.fixed_dictionaries(dict.fromkeys(FIELDS, TEXTS)).filter(lambda one: one["id"] and one["recipient"]))
def test_content_types_agree(fields: dict[str, Any]) -> None:
    """The same variables give the same report in form, JSON and multipart."""
    expected = dict.fromkeys(WRITERS, Report(**fields))
    assert {content_type: read(content_type, fields.items()) for content_type in WRITERS} == expected
