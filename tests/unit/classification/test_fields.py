"""Variables become text: without loss if they identify the event, and as well as possible otherwise."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.fields import MAX_TAGS, REPAIRS, Fields, Pairs, fold_recipient, read_json
from exporter.refusals import Refusal
from tests.support.texts import Texts


def values_of(fields: Fields, *names: str) -> list[str]:
    """Return the texts of some variables."""
    return [fields.text(name) for name in names]


def test_names_are_in_their_order() -> None:
    """Each variable is named once, unknown ones too."""
    assert Fields([("x", "1"), ("tags[]", "a"), ("x", "2"), ("tags[]", "b")]).names() == ["x", "tags"]


# Identifiers


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (" \ta b\r\n", "a b"), ("ü", "ü"), ("\udcee", "î"), ("\udcc3\udcae", "î")],
    ids=ascii,
)
def test_identifiers(value: str, text: str) -> None:
    """An identifier is its text without surrounding whitespace; bytes that are not UTF-8 are Latin-1."""
    assert Fields([("id", value), ("recipient", value)]).identifier("id") == text


def test_surrogates_of_json_are_no_bytes() -> None:
    """Half of a surrogate pair that JSON escapes differs from a byte that is not UTF-8, and from its Latin-1 letter."""
    bodies = [b'{"id":"a\\udcff"}', b'{"id":"a\xff"}', '{"id":"aÿ"}'.encode(), b'{"id":"a\\udc00","x":"\xff"}']
    assert [read_json(body).identifier("id") for body in bodies] == [" a\\udcff", "aÿ", "aÿ", " a\\udc00"]


REJECTED: Final[dict[str, tuple[str, list[Any], str]]] = {
    "no value": ("id", [], "missing_field"),
    "null": ("id", [None], "missing_field"),
    "blanks": ("recipient", [" \t"], "missing_field"),
    "invisible characters": ("recipient", ["\ufeff"], "missing_field"),
    "a list": ("id", [["1"]], "wrong_type"),
    "an object": ("id", [Pairs([("a", "1")])], "wrong_type"),
    "a truth value": ("recipient", [True], "wrong_type"),
    "NaN": ("id", [float("nan")], "wrong_type"),
    "a list after a text": ("id", ["1", []], "wrong_type"),
    "two ids": ("id", ["1", "2"], "duplicate_field"),
    "two ids in another case": ("id", ["a", "A"], "duplicate_field"),
    "three recipients": ("recipient", ["a@b.nl", "A@B.NL", "b@b.nl"], "duplicate_field"),
    "a long id": ("id", ["9" * 257], "value_too_long"),
    "a long recipient": ("recipient", ["x" * 513], "value_too_long"),
}


@pytest.mark.parametrize(("name", "values", "reason"), REJECTED.values(), ids=REJECTED)
def test_rejected_identifiers(name: str, values: list[Any], reason: str, texts: Texts) -> None:
    """An id or a recipient that cannot identify the event rejects the report with 400, and a text for the log."""
    with pytest.raises(Refusal) as caught:
        Fields([(name, value) for value in values]).identifier(name)
    assert (caught.value.status, caught.value.reason) == (400, reason)
    texts.check(caught.value)


@pytest.mark.parametrize("values", [["1", "1"], ["1", " 1 "], ["", "1"], [None, "1"]], ids=str)
def test_equal_identifiers_are_one(values: list[Any]) -> None:
    """A repeated identifier with one value is that value, and counts as repaired."""
    fields = Fields([("id", value) for value in values])
    assert (fields.identifier("id"), fields.repaired) == ("1", {"duplicate_field"})


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("jan@example.com", "jan@example.com"),
        ("<jan@example.com>", "jan@example.com"),
        ("< jan@example.com >", "jan@example.com"),
        ("jan@example.com.", "jan@example.com"),
        ("<jan@example.com.>", "jan@example.com"),
        ("\ufeffjan@example.com", "jan@example.com"),
        ("jan\u200b@example\u2060.com\u200d", "jan@example.com"),
        ("\ufeff <jan@example.com>", "jan@example.com"),
        ("jan.", "jan."),
        ("<jan@example.com>.", "jan@example.com"),
        ("<\tjan@example.com\t>", "jan@example.com"),
        ("\u202ajan@exam\u00adple.com\u202c\u200e", "jan@example.com"),
        ("<<jan@example.com.>>", "jan@example.com"),
        ("<jan>", "jan"),
        ("<>", "<>"),
        (">jan@example.com", ">jan@example.com"),
        ("j\u00e4n@example.com", "jän@example.com"),
    ],
    ids=ascii,
)
def test_spellings_of_a_recipient(text: str, folded: str) -> None:
    """Angle brackets, the dot of the root and invisible characters are not part of an address."""
    assert fold_recipient(text) == folded
    assert Fields([("recipient", text)]).identifier("recipient") == folded


# Other variables


@pytest.mark.parametrize(
    ("value", "text", "repaired"),
    [
        (None, "", set()),
        ("", "", set()),
        (" \ta b\r\n", "a b", set()),
        ("ü", "ü", set()),
        ("a\0b", "a\ufffdb", {"encoding"}),
        ("\udcee", "\ufffd", {"encoding"}),
        ("x" * 64, "x" * 64, set()),
        (True, "", {"wrong_type"}),
        (5.5, "", {"wrong_type"}),
        (Pairs([("a", "b")]), "", {"wrong_type"}),
    ],
    ids=ascii,
)
def test_values(value: object, text: str, repaired: set[str]) -> None:
    """None is empty, whitespace around a text is removed, and what cannot be read is replaced."""
    for read in (Fields.word, Fields.text):
        fields = Fields([("state", value)])
        assert (read(fields, "state"), fields.repaired) == (text, repaired)


def test_a_list_of_lines() -> None:
    """The texts of a list are the lines of a text; a word has no lines."""
    fields = Fields([("description", ["550-a", 5, None, "550 b"])])
    assert (fields.text("description"), fields.repaired) == ("550-a\n550 b", {"wrong_type"})
    assert fields.word("description") == ""


def test_long_words_stay_different_and_take_no_space() -> None:
    """A word of more than 64 characters is its beginning and a hash."""
    fields = Fields([("code", "5" * 64 + "a"), ("state", "5" * 64 + "b"), ("extended", "x" * 65_000)])
    words = [fields.word(name) for name in ("code", "state", "extended")]
    assert [(word[:33], len(word)) for word in words] == [(f"{letter * 32}…", 49) for letter in "55x"]
    assert len(set(words)) == 3
    assert fields.repaired == {"value_too_long"}


def test_the_first_of_several_values_counts() -> None:
    """The first value counts, even if it is empty."""
    fields = Fields([("code", "550"), ("code", "551"), ("state", ""), ("state", "data")])
    assert (fields.word("code"), fields.word("state"), fields.repaired) == ("550", "", {"duplicate_field"})


def test_names() -> None:
    """Only the exact name counts, and names of tags with an index."""
    fields = Fields([("id", "1"), (" state", "data"), ("CODE", "550"), ("tags[x", "a")])
    assert [name in fields for name in ("id", "state", "code", "tags")] == [True, False, False, False]


# Tags


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        ([], ()),
        ([""], ()),
        ([None], ()),
        ([[]], ()),
        (["a"], ("a",)),
        (["b;a; c d ;;b"], ("b", "a", "c d")),
        ([["a", "b;c"], "c", "d"], ("a", "b", "c", "d")),
        ([Pairs([("0", "a"), ("1", "b")])], ("a", "b")),
        ([["x" * 10_000]], ("x" * 10_000,)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_tags(values: list[Any], tags: tuple[str, ...]) -> None:
    """Tags are separated by semicolons, or in lists or objects; each is kept once."""
    fields = Fields([("tags", value) for value in values])
    assert (fields.tags(), fields.repaired) == (tags, set())


@pytest.mark.parametrize("name", ["tags", "tags[]", "tags[0]", "tags[a]"])
def test_names_of_tags(name: str) -> None:
    """PHP writes a list as ``tags[]`` or ``tags[0]``."""
    assert Fields([("tags", "a"), (name, "b"), (name, "c")]).tags() == ("a", "b", "c")


def test_values_that_are_not_tags() -> None:
    """A value of another type is not a tag, and counts as repaired."""
    fields = Fields([("tags", ["a", True, None, ["b"], Pairs()]), ("tags", float("inf"))])
    assert (fields.tags(), fields.repaired) == (("a",), {"wrong_type"})


@pytest.mark.parametrize(
    "values",
    [[";".join(map(str, range(200)))], [list(map(str, range(200)))], list(map(str, range(200)))],
    ids=["text", "list", "repeated"],
)
def test_the_first_100_tags_are_kept(values: list[Any]) -> None:
    """The rest is ignored, in each format."""
    assert Fields([("tags", value) for value in values]).tags() == tuple(map(str, range(MAX_TAGS)))


def test_tags_after_the_hundredth_are_ignored() -> None:
    """The 101st tag of a text is ignored, even if those before it are all the same."""
    assert Fields([("tags", ";".join(["a"] * 99 + ["b", "c"]))]).tags() == ("a", "b")


# JSON


def test_json_keeps_numbers_as_they_are_written() -> None:
    """A number is the text that was written, so that none is too large and 5.50 stays 5.50."""
    fields = read_json(b'{"id": 1, "code": 5.50, "x": {"a": 1, "a": 2}, "e": 1e999, "n": %b}' % (b"9" * 5_000))
    assert values_of(fields, "id", "code", "e", "n") == ["1", "5.50", "1e999", "9" * 5_000]
    assert fields.repaired == set()


@pytest.mark.parametrize(
    "body", [b"", b"{", b'"id"', b"[]", b"null", b"3", b"true", b"NaN", b"\xff", b'{"a":1}x', b"\xef\xbb\xbf"], ids=str
)
def test_invalid_json_is_rejected(body: bytes, texts: Texts) -> None:
    """A body that is not a JSON object is malformed, and the text for the log says what it is."""
    with pytest.raises(Refusal) as caught:
        read_json(body)
    assert (caught.value.status, caught.value.reason) == (400, "malformed")
    texts.check(caught.value)


@pytest.mark.parametrize("opening", [b"[", b'{"id":', b'[{"a":'])
def test_deeply_nested_json_is_rejected(opening: bytes) -> None:
    """A text full of opening brackets is malformed, and does not crash the process."""
    with pytest.raises(Refusal) as caught:
        read_json(opening * 100_000)
    assert (caught.value.status, caught.value.reason) == (400, "malformed")


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.lists(st.tuples(st.text(), inner)).map(Pairs),
    max_leaves=5,
)
NAMES: Final = ("id", "recipient", "state", "code", "extended", "description", "tags", "tags[]", "type", "x")


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=10))
def test_any_values_can_be_read(pairs: list[tuple[str, Any]]) -> None:
    """Only an identifier is ever rejected; each text can be encoded and has no NUL."""
    fields = Fields(pairs)
    texts = [fields.word("state"), fields.text("description"), *fields.tags()]
    for name in ("id", "recipient"):
        try:
            texts.append(fields.identifier(name))
        except Refusal:
            continue
        assert texts[-1]
    for text in texts:
        text.encode()
        assert "\0" not in text
    assert fields.repaired <= REPAIRS.keys()
