"""Parsing: how each content type and each shape of a variable is read, and which bodies are rejected."""

import gzip
import json
import zlib
from typing import Any, Final
from urllib.parse import unquote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.fields import REPAIRS, USED, canonical
from exporter.classification.loops import SMALL_BODY
from exporter.classification.report import Report
from exporter.refusals import REFUSAL_REASONS, Refusal
from exporter.webhook.parsing import _form, _unquoted, parse
from tests.support.bodies import (
    FIELDS,
    FORM,
    JSON,
    MULTIPART,
    REPORT,
    WRITERS,
    Pairs,
    as_form,
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
    assert parse(example.content_type, example.body, loop=example.loop) == example.report


@each_type
def test_all_variables(content_type: str) -> None:
    """Each variable keeps its text, with line ends and other scripts."""
    assert read(content_type, FIELDS.items()) == REPORT


@each_type
def test_order_and_unknown_variables_do_not_matter(content_type: str) -> None:
    """Variables may come in any order, and unknown ones are ignored."""
    unknown = {"type": "failure", "time": "1700000000", "ID": "2", "": "3", "naïve": "ü", "x" * 80: "4"}
    assert read(content_type, reversed((FIELDS | unknown).items())) == REPORT


@each_type
def test_white_space_around_a_value_is_removed(content_type: str) -> None:
    """White space around a value is not part of it."""
    assert read(content_type, [(name, f" \t{value}\n") for name, value in FIELDS.items()]) == REPORT


@each_type
def test_id_and_recipient_are_enough(content_type: str) -> None:
    """A missing variable is empty, and so is one without a value."""
    enough = {"id": "1", "recipient": "r", "type": "failure"}
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
        (b"&&id=1&recipient=a%2Bb@c+d&state=&&", Report("1", "a+b@c d")),
        (b"i%64=1&recipien%74=r&state", Report("1", "r")),
        (b"id=1&recipient=a=b&state", Report("1", "a=b")),
        (b"id=1&recipient=50%&code=%zz", Report("1", "50%", code="%zz")),
        ("id=1&recipient=用户&state=".encode(), Report("1", "用户")),
        (b"\r\nid=1&recipient=r&state=data\r\n", Report("1", "r", "data")),
    ],
    ids=["plus and empty items", "escaped names", "equals sign", "stray percent", "unescaped", "line ends"],
)
def test_spellings_of_a_form(body: bytes, report: Report) -> None:
    """A form is read as browsers read it: invalid escapes are literal."""
    assert parse(FORM, body) == report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (550, "550"),
        (0, "0"),
        (-1, "-1"),
        (None, ""),
        (5.5, "5.5"),
        (1e300, "1e+300"),
        (10**63, "1" + "0" * 63),
        (550.0, "550"),
    ],
    ids=str,
)
def test_numbers_and_null_in_json(value: float | None, text: str) -> None:
    """A number is its digits as written, and null is empty."""
    assert read_json(code=value) == Report("1", "r", code=text)


def test_headers_of_parts_are_ignored() -> None:
    """File names and content types of parts are ignored: a part's content is its value, in UTF-8."""
    body = (
        b'preamble\r\n--b\r\nContent-Disposition: form-data; name=id; filename="f"\r\n\r\n1\r\n'
        b'--b\r\nContent-Type: text/plain; charset=latin-1\r\ncontent-disposition: form-data; name="recipient"\r\n\r\n'
        b"\xc3\xbc\r\n--b  \r\nContent-Disposition:form-data;\r\n name=state\r\n\r\ndata\r\n--b--\r\nepilogue"
    )
    assert parse(MULTIPART, body) == Report("1", "ü", "data")


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
    pairs = [("id", "1"), ("recipient", "r"), ("state", ""), *((name, value) for value in values)]
    assert read(content_type, pairs) == Report("1", "r", tags=tags)


def test_tags_in_all_spellings() -> None:
    """``tags``, ``tags[]`` and ``tags[0]`` in one body are joined, in their order."""
    body = b"tags[]=b&id=1&tags=a;c&recipient=r&state=&tags%5B%5D=d&tags%5B0%5D=e&tags[x]=f"
    assert parse(FORM, body).tags == ("b", "a", "c", "d", "e", "f")


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


@pytest.mark.parametrize(
    "content_type",
    [
        f"{FORM}, {JSON}",
        f"{FORM}; a=b, {FORM}",
        f"{FORM},",
        f", {FORM}",
        f'{FORM}; a="b", {JSON}',
        FORM + ',"' + '\\"' * 8_000 + f'", {FORM}',  # in linear time
    ],
    ids=["two", "equal ones", "empty last", "empty first", "after a quote", "long"],
)
def test_content_types_that_a_proxy_joined(content_type: str) -> None:
    """Two content types are malformed, because they may contradict each other."""
    assert refusal(content_type, as_form(FIELDS.items())) == (400, "malformed")


@pytest.mark.parametrize(
    "content_type", [f'{FORM}; a="b, c/d"', f'{FORM}; a="b\\", c/d"', f"{FORM}; a=b,c", f'{FORM}; a="b, c/d']
)
def test_a_comma_in_a_parameter_is_no_second_content_type(content_type: str) -> None:
    """A comma may be part of a parameter, in quotes and without."""
    assert parse(content_type, as_form(FIELDS.items())) == REPORT


DETAILS: Final = {
    "content type": ("text/plain", b"x"),
    "long content type": ("x" * 9_000, b"x"),
    "no final boundary": (MULTIPART, b"--b\r\n\r\n\r\n--"),
    "long boundary": (f"multipart/form-data; boundary=b; {'x' * 256}", b"x"),
    "empty boundary": ("multipart/form-data; boundary=", b"x"),
    "compressed": (FORM, gzip.compress(b"id=1")),
}


@pytest.mark.parametrize(("content_type", "body"), DETAILS.values(), ids=DETAILS)
def test_details_for_the_log(content_type: str, body: bytes, texts: Texts) -> None:
    """The text of a refusal says what was expected, and repeats at most 100 characters of the request."""
    with pytest.raises(Refusal) as caught:
        parse(content_type, body)
    assert len(str(caught.value)) < 200
    texts.check(caught.value)


LIMITS: Final = {"id": 256, "recipient": 512}


@pytest.mark.parametrize(("name", "longest"), LIMITS.items(), ids=LIMITS)
@each_type
def test_longest_identifiers(content_type: str, name: str, longest: int) -> None:
    """An id or a recipient may have as many characters as its limit, and not one more."""
    fields = FIELDS | {name: "ü" * longest}
    assert read(content_type, fields.items()) == Report(**fields)
    too_long = WRITERS[content_type]((FIELDS | {name: "x" * (longest + 1)}).items())
    assert refusal(content_type, too_long) == (400, "value_too_long")


def test_description_may_fill_the_body() -> None:
    """A description is limited only by the size of the body."""
    text = "x" * (SMALL_BODY - len("id=1&recipient=r&description="))
    assert parse(FORM, f"id=1&recipient=r&description={text}".encode()) == Report("1", "r", description=text)


@each_type
def test_any_number_of_variables(content_type: str) -> None:
    """Unknown variables never reject a report, however many there are."""
    assert read(content_type, [*FIELDS.items(), *((f"x{number}", "") for number in range(900))]) == REPORT


@each_type
@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("id", "1"), ("id", "2"), ("recipient", "r")], "duplicate_field"),
        ([("id", "1"), ("recipient", "r"), ("recipient", "s")], "duplicate_field"),
        ([("id", "1"), ("state", "data")], "missing_field"),
        ([("id", " "), ("recipient", "r")], "missing_field"),
        ([("id", "1"), ("type", "abuse")], "other_loop"),
        ([("id", "1"), ("recipient", "r")], "other_loop"),
    ],
    ids=["two ids", "two recipients", "no recipient", "no id", "other loop", "nothing else"],
)
def test_reports_that_are_not_failures(content_type: str, pairs: Pairs, reason: str) -> None:
    """A readable body that is not a failure is rejected with 400, for the same reason in each content type."""
    assert refusal(content_type, WRITERS[content_type](pairs)) == (400, reason)


@pytest.mark.parametrize(
    "body", [b"", b'"id"', b"[]", b"null", b"NaN", b"{", b'{"id":"1"}{}', '{"id":1}'.encode("utf-16")]
)
def test_bodies_that_are_not_json_objects(body: bytes) -> None:
    """A body that is not a JSON object in UTF-8 is malformed."""
    assert refusal(JSON, body) == (400, "malformed")


@pytest.mark.parametrize("value", ["[]", "{}", "true", '["1"]', "NaN"])
def test_identifiers_of_another_type(value: str) -> None:
    """An id that is neither text nor a number is rejected with 400."""
    assert refusal(JSON, f'{{"id":{value},"recipient":"r","state":""}}'.encode()) == (400, "wrong_type")


@pytest.mark.parametrize("opening", [b"[", b'{"id":', b'[{"a":'], ids=["arrays", "objects", "both"])
def test_deep_nesting(opening: bytes) -> None:
    """A body of opening brackets is malformed and does not crash the parser."""
    assert refusal(JSON, (opening * SMALL_BODY)[:SMALL_BODY]) == (400, "malformed")


@pytest.mark.parametrize(
    ("content_type", "body", "content_encoding"),
    [
        (FORM, gzip.compress(as_form(FIELDS.items())), "gzip"),
        (JSON, gzip.compress(as_json(FIELDS.items())), "GZIP"),
        (MULTIPART, gzip.compress(as_multipart(FIELDS.items())), ""),
        (JSON, zlib.compress(as_json(FIELDS.items())), "deflate"),
        (FORM, b"\x28\xb5\x2f\xfd", " zstd"),
    ],
    ids=["form", "JSON", "without a header", "deflate", "zstd"],
)
def test_compressed_bodies(content_type: str, body: bytes, content_encoding: str) -> None:
    """A compressed body is rejected with 415 (RFC 9110 section 15.5.16), and a word that says so."""
    with pytest.raises(Refusal) as caught:
        parse(content_type, body, content_encoding)
    assert (caught.value.status, caught.value.reason) == (415, "content_encoding")


@pytest.mark.parametrize("content_encoding", ["utf-8", "8bit", "identity"])
def test_a_header_that_names_no_compression(content_encoding: str) -> None:
    """A body that cannot be read is not called compressed because of a header of another meaning."""
    with pytest.raises(Refusal) as caught:
        parse(FORM, b"recipient=r&state=", content_encoding)
    assert (caught.value.status, caught.value.reason) == (400, "missing_field")


@pytest.mark.parametrize("content_encoding", ["identity", "utf-8", "gzip"])
def test_a_header_alone_does_not_make_a_body_compressed(content_encoding: str) -> None:
    """A body that can be read is read, whatever the header Content-Encoding says."""
    assert parse(JSON, as_json(FIELDS.items()), content_encoding) == REPORT


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
ENOUGH: Final = {"id": "1", "recipient": "r", "state": ""}
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
    return bool(report.id and report.recipient and report.repaired <= REPAIRS.keys()) and all(
        "\0" not in text and text.encode().decode() == text for text in (*report[:6], *report.tags)
    )


@given(request=REQUESTS)
def test_any_bytes(request: tuple[str, bytes]) -> None:
    """Any bytes give either a sound report or a documented refusal, the same each time."""
    result = outcome(*request)
    assert outcome(*request) == result
    assert is_sound(result) if isinstance(result, Report) else result in REFUSALS


FORM_NAMES: Final = st.sampled_from(
    [*sorted(USED), "i%64", "tags[]", "tags%5B0%5D", "tags[a+b]", "ta%67s[é]", "+id", "ID"]
)
ODD: Final = st.one_of(
    st.sampled_from(
        ["%", "+", "=", "&", "%2", "%zz", "%e9", "%C3%A9", "%c3", "%00", "%ED%A0%80", "%25", "é", " ", "\n"]
    ),
    st.text(max_size=4),
)
FORMS: Final = st.lists(
    st.one_of(
        st.builds(lambda name, value: f"{name}={value}&".encode(), FORM_NAMES, st.lists(ODD, max_size=4).map("".join)),
        st.lists(ODD, max_size=4).map(lambda texts: "".join(texts).encode()),
        st.binary(max_size=6),
    ),
    max_size=5,
).map(b"".join)


@given(FORMS)
def test_forms_are_decoded_as_the_standard_library_does(body: bytes) -> None:
    """Names and values are decoded as by ``unquote_plus``, and the variables that are not used are left out."""
    pairs = [item.partition("=")[::2] for item in body.decode(errors="surrogateescape").strip().split("&")]
    read = [tuple(unquote_plus(text, errors="surrogateescape") for text in pair) for pair in pairs]
    assert list(_form(body)) == [(canonical(name), value) for name, value in read if canonical(name) in USED]


@given(
    st.lists(st.one_of(ODD, st.binary(max_size=4).map(lambda data: data.decode(errors="surrogateescape")))).map("".join)
)
def test_texts_are_decoded_as_the_standard_library_does(text: str) -> None:
    """The same holds for any text, with bytes that are not UTF-8 as such or percent-encoded."""
    assert _unquoted(text) == unquote_plus(text, errors="surrogateescape")


TEXTS: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=64).map(str.strip)


@given(fields=st.fixed_dictionaries(dict.fromkeys(FIELDS, TEXTS)))
def test_content_types_agree(fields: dict[str, str]) -> None:
    """The same variables give the same report, or the same refusal, in form, JSON and multipart."""
    one, *others = (outcome(content_type, writer(fields.items())) for content_type, writer in WRITERS.items())
    assert others == [one, one]


# Details that identify nothing

R: Final = "id=1&recipient=r&state=data"
J: Final = '"id":"1","recipient":"r","state":"data"'
PLAIN: Final = Report("1", "r", "data")
BOM: Final = b"\xef\xbb\xbf"


def part(name: str, content: bytes, *headers: str) -> bytes:
    """Return one part of a multipart body, with headers of its own."""
    lines = [f'Content-Disposition: form-data; name="{name}"', *headers]
    return "\r\n".join(["--b", *lines, "", ""]).encode() + content + b"\r\n"


def parts(*more: bytes) -> bytes:
    """Return a multipart body with the variables of PLAIN and more parts."""
    return b"".join([part("id", b"1"), part("recipient", b"r"), part("state", b"data"), *more, b"--b--\r\n"])


def repaired(*what: str, **fields: Any) -> Report:
    """Return PLAIN with other fields, and what was repaired."""
    return PLAIN._replace(**fields, repaired=frozenset(what))


ODD_DETAILS: Final[dict[str, tuple[str, bytes, Report]]] = {
    # bytes that are not UTF-8
    "Latin-1 in a form": (FORM, f"{R}&description=Bo%EEte".encode(), repaired("encoding", description="Bo\ufffdte")),
    "half a character in a form": (FORM, f"{R}&description=%C3".encode(), repaired("encoding", description="\ufffd")),
    "raw Latin-1 in a form": (FORM, R.encode() + b"&description=\xee", repaired("encoding", description="\ufffd")),
    "FF in an unknown variable": (FORM, R.encode() + b"&foo=\xff", PLAIN),
    "FF in an unknown name": (FORM, R.encode() + b"&\xff=foo&%ff=", PLAIN),
    "FF in a tag": (FORM, R.encode() + b"&tags=a;%FF", repaired("encoding", tags=("a", "\ufffd"))),
    "FF in the code": (FORM, R.encode() + b"&code=%FF", repaired("encoding", code="\ufffd")),
    "a surrogate in a form": (FORM, f"{R}&extended=%ed%a0%80".encode(), repaired("encoding", extended="\ufffd" * 3)),
    "Latin-1 in JSON": (
        JSON,
        f'{{{J},"description":"Boîte"}}'.encode("latin-1"),
        repaired("encoding", description="Bo\ufffdte"),
    ),
    "Latin-1 in an unknown JSON variable": (JSON, f'{{{J},"foo":"Boîte"}}'.encode("latin-1"), PLAIN),
    "half a pair in JSON": (
        JSON,
        f'{{{J},"description":"x\\ud83d"}}'.encode(),
        repaired("encoding", description="x\ufffd"),
    ),
    "NUL in JSON": (JSON, f'{{{J},"description":"a\\u0000b"}}'.encode(), repaired("encoding", description="a\ufffdb")),
    "NUL in an unknown JSON variable": (JSON, f'{{{J},"foo\\u0000":"\\u0000\\udc80"}}'.encode(), PLAIN),
    "a part in Latin-1": (
        MULTIPART,
        parts(part("description", b"Bo\xeete")),
        repaired("encoding", description="Bo\ufffdte"),
    ),
    "a part that declares Latin-1": (
        MULTIPART,
        parts(part("description", b"Bo\xeete", "Content-Type: text/plain; charset=iso-8859-1")),
        repaired("encoding", description="Bo\ufffdte"),
    ),
    "a binary part": (MULTIPART, parts(part("file", bytes(range(256)), "Content-Type: image/png")), PLAIN),
    # other types in JSON
    "a truth value as extended": (JSON, f'{{{J},"extended":false}}'.encode(), repaired("wrong_type")),
    "an object as code": (JSON, f'{{{J},"code":{{"a":"b"}}}}'.encode(), repaired("wrong_type")),
    "a list as state": (JSON, b'{"id":"1","recipient":"r","state":["data"]}', repaired("wrong_type", state="")),
    "NaN as code": (JSON, f'{{{J},"code":NaN}}'.encode(), repaired("wrong_type")),
    "a list as type": (JSON, f'{{{J},"type":["failure"]}}'.encode(), repaired("wrong_type")),
    "an empty list as description": (JSON, f'{{{J},"description":[]}}'.encode(), repaired("wrong_type")),
    "lines as description": (
        JSON,
        f'{{{J},"description":["550-a","550 b",null,["c"]]}}'.encode(),
        repaired("wrong_type", description="550-a\n550 b"),
    ),
    "an object as description": (JSON, f'{{{J},"description":{{"a":"b"}}}}'.encode(), repaired("wrong_type")),
    "a truth value among tags": (
        JSON,
        f'{{{J},"tags":["a",true,7,null]}}'.encode(),
        repaired("wrong_type", tags=("a", "7")),
    ),
    "an object as tags": (JSON, f'{{{J},"tags":{{"0":"a","2":"b;c"}}}}'.encode(), PLAIN._replace(tags=("a", "b", "c"))),
    "NaN in an unknown variable": (JSON, f'{{{J},"x":NaN,"y":-Infinity,"z":[{{}}]}}'.encode(), PLAIN),
    "numbers that Python cannot hold": (JSON, f'{{{J},"x":{"9" * 5_000},"y":1e999999}}'.encode(), PLAIN),
    # names that come more than once
    "an unknown name twice": (FORM, f"{R}&foo=1&foo=2".encode(), PLAIN),
    "an unknown name twice in JSON": (JSON, f'{{{J},"x":1,"x":2,"y":{{"a":1,"a":2}}}}'.encode(), PLAIN),
    "two states": (FORM, f"{R}&state=dns".encode(), repaired("duplicate_field")),
    "two codes in JSON": (JSON, f'{{{J},"code":"550","code":[]}}'.encode(), repaired("duplicate_field", code="550")),
    "two descriptions": (
        MULTIPART,
        parts(*[part("description", b"a"), part("description", b"b")]),
        repaired("duplicate_field", description="a"),
    ),
    "the same id twice": (FORM, f"{R}&id=1".encode(), repaired("duplicate_field")),
    "the same id twice in JSON": (JSON, f'{{{J},"id":1}}'.encode(), repaired("duplicate_field")),
    "the same recipient in two spellings": (
        FORM,
        f"{R}&recipient=%3CR%3E".encode(),
        repaired("duplicate_field", recipient="R"),
    ),
    # many and long
    "98 tags in a form": (FORM, R.encode() + b"&tags[]=a" * 98, PLAIN._replace(tags=("a",))),
    "120 tags in a form": (
        FORM,
        R.encode() + b"".join(b"&tags[]=%d" % number for number in range(120)),
        PLAIN._replace(tags=tuple(map(str, range(100)))),
    ),
    "10,000 unknown variables": (FORM, R.encode() + b"&x=" * 10_000, PLAIN),
    "a long unknown value": (FORM, f"{R}&foo={'x' * 60_000}".encode(), PLAIN),
    "a long unknown name": (JSON, f'{{{J},"{"x" * 60_000}":1}}'.encode(), PLAIN),
    "a long type": (FORM, f"{R}&type={'x' * 65}".encode(), repaired("unknown_type", "value_too_long")),
    # framing
    "a byte order mark before JSON": (JSON, BOM + f"{{{J}}}".encode(), repaired("malformed")),
    "a byte order mark before a form": (FORM, BOM + R.encode(), repaired("malformed")),
    "an escaped byte order mark before a form": (FORM, b"%ef%bb%bf" + R.encode(), repaired("malformed")),
    "a byte order mark before a multipart body": (MULTIPART, BOM + parts(), repaired("malformed")),
    "a raw newline and a raw tab in JSON": (
        JSON,
        f'{{{J},"description":"a\n\tb"}}'.encode(),
        repaired("malformed", description="a\n\tb"),
    ),
    **{
        f"a part in {encoding}": (
            MULTIPART,
            parts(part("description", content, f"Content-Transfer-Encoding: {encoding}")),
            PLAIN._replace(description="Boîte"),
        )
        for encoding, content in {
            "7bit": "Boîte".encode(),
            "8bit": "Boîte".encode(),
            "BINARY": "Boîte".encode(),
            "binary": "Boîte".encode(),
            "": "Boîte".encode(),
            "base64": b"Qm/D\r\nrnRl",
            "BASE64": b"Qm/DrnRl==",
            "quoted-printable": b"Bo=C3=AE=\r\nte",
        }.items()
    },
    "a part in broken base64": (
        MULTIPART,
        parts(part("description", b"a", "Content-Transfer-Encoding: base64")),
        repaired("encoding", description="a"),
    ),
    "a part in an alphabet that is not base64": (
        MULTIPART,
        parts(part("description", b"Qm_DrnRl", "Content-Transfer-Encoding: base64")),
        repaired("encoding", description="Qm_DrnRl"),
    ),
    "a part in an unknown encoding": (
        MULTIPART,
        parts(part("description", b"abc", "Content-Transfer-Encoding: uuencode")),
        repaired("encoding", description="abc"),
    ),
    "an unused part in an unknown encoding": (
        MULTIPART,
        parts(part("foo", b"abc", "Content-Transfer-Encoding: uuencode")),
        PLAIN,
    ),
    "a part in base64 without padding": (
        MULTIPART,
        parts(part("description", b"Qm/DrnQ", "Content-Transfer-Encoding: base64")),
        PLAIN._replace(description="Boît"),
    ),
    "a recipient in base64": (
        MULTIPART,
        parts().replace(
            b'name="recipient"\r\n\r\nr', b'name="recipient"\r\nContent-Transfer-Encoding: Base64\r\n\r\ncg=='
        ),
        PLAIN,
    ),
    "lines that end in LF": (MULTIPART, parts().replace(b"\r\n", b"\n"), PLAIN),
    "a part without a name": (
        MULTIPART,
        parts(b"--b\r\n\r\nx\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\n"),
        PLAIN,
    ),
    "a part with long headers": (MULTIPART, parts(part("foo", b"x", f"X-Long: {'x' * 2_000}")), PLAIN),
    "a part with odd headers": (MULTIPART, parts(part("foo", b"x", "no colon", "X Y: z", ": x")), PLAIN),
}


@pytest.mark.parametrize(("content_type", "body", "report"), ODD_DETAILS.values(), ids=ODD_DETAILS)
def test_odd_details_do_not_reject_a_report(content_type: str, body: bytes, report: Report) -> None:
    """What does not identify the event is read as well as possible, and the report says what was repaired."""
    assert parse(content_type, body) == report


IDENTIFIERS: Final[dict[str, tuple[str, bytes, str]]] = {
    "UTF-8 in a form": (FORM, b"id=%C3%AE&recipient=r&state=", "î"),
    "Latin-1 in a form": (FORM, b"id=a%EE&recipient=r&state=", "aî"),
    "raw Latin-1 in a form": (FORM, b"id=a\xee&recipient=r&state=", "aî"),
    "Latin-1 that ends in a space": (FORM, b"id=a%A0&recipient=r&state=", "a"),
    "half raw and half escaped": (FORM, b"id=%C3\xae&recipient=r&state=", "î"),
    "Latin-1 in JSON": (JSON, '{"id":"aî","recipient":"r","state":""}'.encode("latin-1"), "aî"),
    "Latin-1 elsewhere in JSON": (JSON, b'{"id":"\xc3\xae","recipient":"r","state":"\xee"}', "î"),
    "Latin-1 in a part": (MULTIPART, parts().replace(b"\r\n1\r\n", b"\r\na\xee\r\n"), "aî"),
    "NUL": (FORM, b"id=a%00b&recipient=r&state=", " a\\x00b"),
    "the characters of that escape": (FORM, b"id=+a\\x00b&recipient=r&state=", "a\\x00b"),
    "NUL and a backslash": (FORM, b"id=a%00\\x00&recipient=r&state=", " a\\x00\\\\x00"),
    "half a pair": (JSON, b'{"id":"a\\ud83d","recipient":"r","state":""}', " a\\ud83d"),
    "the other half": (JSON, b'{"id":"a\\ude48","recipient":"r","state":""}', " a\\ude48"),
    "both halves": (JSON, b'{"id":"a\\ud83d\\ude48","recipient":"r","state":""}', "a🙈"),
}


@pytest.mark.parametrize(("content_type", "body", "identifier"), IDENTIFIERS.values(), ids=IDENTIFIERS)
def test_identifiers_are_read_without_loss(content_type: str, body: bytes, identifier: str) -> None:
    """An id is UTF-8, else Latin-1; NUL and half of a surrogate pair are spelled out. Nothing is replaced."""
    assert parse(content_type, body).id == identifier


@given(st.lists(st.text(st.characters(), min_size=1, max_size=6), min_size=2, max_size=2, unique_by=str.strip))
def test_different_identifiers_stay_different(ids: list[str]) -> None:
    """Two ids that differ by more than the white space around them are two ids, whatever characters they have."""
    results = [outcome(JSON, json.dumps({"id": each, "recipient": "r", "state": ""}).encode()) for each in ids]
    one, other = (result.id if isinstance(result, Report) else result for result in results)
    assert one != other
