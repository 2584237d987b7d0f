"""Log lines: the local part of every address is masked, and one event is one line that can be parsed."""

import io
import logging
import re
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs import LineFormatter, configure, mask
from tests.support.log_lines import read_line

FORMATS: Final = {"logfmt": LineFormatter(as_json=False), "json": LineFormatter(as_json=True)}
each_format = pytest.mark.parametrize("form", FORMATS)


def read(form: str, line: str) -> dict[str, str]:
    """Parse a line, all of which must be fields."""
    return read_line(line, as_json=form == "json")


def line_of(form: str, message: str, *args: object, **fields: Any) -> str:
    """Return the line of a record of 2023, with ``fields`` as its ``extra``."""
    record = {"created": 1_700_000_000.25, "levelname": "DEBUG", "msg": message, "args": args}
    return FORMATS[form].format(logging.makeLogRecord(record | fields))


def fields_of(form: str, message: str, *args: object, **fields: Any) -> dict[str, str]:
    """Return the fields of the record's line, without time and level."""
    line = line_of(form, message, *args, **fields)
    assert line.splitlines() == [line]
    return {key: value for key, value in read(form, line).items() if key not in {"ts", "level"}}


# Masking.


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("", ""),
        ("no address", "no address"),
        ("jane.doe@example.com", "***@example.com"),
        ("550 5.1.1 <jane.doe@example.com>: unknown", "550 5.1.1 <***@example.com>: unknown"),
        ("jane@example.com,joe@example.org;(j@e.nl)", "***@example.com,***@example.org;(***@e.nl)"),
        ("first\njane@example.com\nlast", "first\n***@example.com\nlast"),
        ('to "jane doe"@example.com', "to ***@example.com"),
        (r'to "jane \"jr\" doe"@example.com', "to ***@example.com"),
        (r'to "jane \"jr\""@example.com', "to ***@example.com"),
        (r'to "\"\""@example.com', "to ***@example.com"),
        ('"jane@example.com" "@joe"@example.com', '"***@example.com" ***@example.com'),
        ('jane@example.com "@"@example.com', "***@example.com ***@example.com"),
        (r'"jane"@example.com "@\""@example.com', "***@example.com ***@example.com"),
        ('"Jane" <jane@example.com>', '"Jane" <***@example.com>'),
        ("o'brien+tag@example.com", "***@example.com"),
        ("jane=example.com@lists.example.org", "***@lists.example.org"),
        ("jane@example.com@example.org", "***@example.org"),
        ("id=1&recipient=jane%40example.com", "***@example.com"),
        ("用户@例子.cn", "***@例子.cn"),
        ("jane\uff20example.com", "***@example.com"),  # a full-width at sign, as CJK servers write it
        ("jane\ufe6bexample.com", "***@example.com"),  # a small one
        # Spellings of mail servers, of web pages, and of text that was encoded once too often.
        ("jane @ example.com", "***@example.com"),
        ("to jane \t@\t example.com now", "to ***@example.com now"),
        ('"jane doe" @ example.com', "***@example.com"),
        ("(jane)@example.com", "***@example.com"),
        ("to <jane>@example.com", "to ***@example.com"),
        ("x[jane]@example.com", "***@example.com"),
        ("jane=40example.com", "***@example.com"),
        ("jane&#64;example.com", "***@example.com"),
        ("jane&#x40;example.com", "***@example.com"),
        ("jane&#0064;example.com", "***@example.com"),
        ("jane&commat;example.com", "***@example.com"),
        ("jane%2540example.com", "***@example.com"),
        ("jane%252540example.com", "***@example.com"),
        (r"jane\u0040example.com", "***@example.com"),
        (r"jane\\u0040example.com", "***@example.com"),
        (r"jane\x40example.com", "***@example.com"),
        ("jane(at)example.com", "***@example.com"),
        ("jane (AT) example.com", "***@example.com"),
        ("jane [at] example.com", "***@example.com"),
        ("jane{at}example.com, joe<at>example.org", "***@example.com, ***@example.org"),
        ("rejected at example.com", "rejected at example.com"),  # no address
        ("status=404 size=40", "status=404 size=40"),
        ("@example.com", "***@example.com"),
        ("jane@", "***@"),
        ("jane@[192.0.2.1]", "***@[192.0.2.1]"),
        ("@", "***@"),
        ("jane@example.com/joe@example.org", "***@example.org"),
    ],
)
def test_masks_local_parts(text: str, masked: str) -> None:
    """The text before an at sign, up to a space or bracket, or a quoted part, becomes ``***``; the rest is kept."""
    assert mask(text) == masked
    assert mask(masked) == masked


# Only local parts contain Greek letters, so none of these may be in the masked text.
GREEK: Final = st.sampled_from("αβγδεζηθικλμνξοπρστυφχψω")
ATOM: Final = st.lists(GREEK | st.sampled_from("!#$%&'*+-/=?^_`{|}~."), min_size=1, max_size=30).map("".join)
QUOTED: Final = st.lists(
    GREEK | st.sampled_from([*" !#,;:<>()[]@.", r"\"", r"\\", r"\ "]), min_size=1, max_size=30
).map(lambda pieces: f'"{"".join(pieces)}"')
ADDRESS: Final = st.builds(
    "{}{}{}".format, ATOM | QUOTED, st.sampled_from(["@", "%40", "\uff20"]), st.just("example.com")
)
FRAMES: Final = st.sampled_from(
    [
        "{}",
        "<{}>",
        "({})",
        "[{}]",
        "mailto:{}",
        "rfc822;{}",
        "to={},",
        "5.1.1 {}: unknown",
        "'{}'",
        '"{}"',
        "a\r\n{}\tb",
    ]
)
ANSWER: Final = st.lists(st.builds(str.format, FRAMES, ADDRESS), min_size=1, max_size=4).map(" ".join)


@given(text=ANSWER)
def test_masks_any_address(text: str) -> None:
    """Addresses in all forms of RFC 5321 and RFC 6531, as mail servers write them, are masked."""
    masked = mask(text)
    assert re.findall("[\u03b1-\u03c9]", masked) == []
    assert masked.count("@example.com") == len(re.findall("(?:@|%40|\uff20)example\\.com", text))


PIECES: Final = st.sampled_from(
    ["%40", "%25", "=40", "&#64;", r"\u0040", "(at)", "[at]", "at", " @ ", "(a)@", "a.b", "***"]
)


@given(text=st.lists(st.characters() | st.sampled_from('@" \\<>()[]') | PIECES, max_size=60).map("".join))
def test_masks_any_text(text: str) -> None:
    """Any text can be masked; a text without an at sign is unchanged, and masking twice is the same as once."""
    masked = mask(text)
    assert mask(masked) == masked
    assert masked == text or re.search("[@\uff20\ufe6b]|40|64;|commat;|at", text, re.IGNORECASE)


@pytest.mark.parametrize(
    "piece",
    [
        "%25",
        " ",
        " @",
        "(",
        "(a",
        "(a)",
        "( at",
        "&#0",
        "\\",
        "=40",
        "***@",
        '"',
        '"\\',
        "@",
        "a@",
        '"a"',
        "%40",
        '"a\\"',
        "a",
        '@"',
        '@"\\',
        '@"a\\"b',
    ],
)
def test_masks_long_texts(piece: str) -> None:
    """A description as large as a request body is masked, too, whatever it repeats."""
    text = (piece * 65_536)[:65_536]
    assert mask(f"{text} jane@example.com").endswith("***@example.com")


# Lines.


def test_a_line_in_logfmt() -> None:
    """Time in UTC, level, message, then the fields in order; only values that need it are quoted."""
    line = line_of("logfmt", "counted %s", 1, id="1", why='a "b"\n', code=550, none=None, empty="", path="/a?b")
    assert line == (
        'ts=2023-11-14T22:13:20.250+00:00 level=debug msg="counted 1" id=1 why="a \\"b\\"\\n" code=550 path=/a?b'
    )


def test_a_line_in_json() -> None:
    """The same keys in the same order; all values are strings."""
    line = line_of("json", "counted %s", 1, id="1", why='a "b"\n', code=550, none=None, empty="", path="/a?b")
    assert line == (
        '{"ts": "2023-11-14T22:13:20.250+00:00", "level": "debug", "msg": "counted 1", "id": "1", '
        '"why": "a \\"b\\"\\n", "code": "550", "path": "/a?b"}'
    )


@each_format
def test_descriptions_are_masked(form: str) -> None:
    """Addresses are masked in every field, in the message and its arguments, and in values that are not strings."""
    fields = {"recipient": "jane@e.com", "description": "no <jane@e.com>\r\nhere", "tags": ("jane@e.com", 1), "id": "1"}
    assert fields_of(form, "lost %s", "jane@e.com", **fields) == {
        "msg": "lost ***@e.com",
        "recipient": "***@e.com",
        "description": "no <***@e.com>\r\nhere",
        "tags": "***@e.com;1",
        "id": "1",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (("x",), "x"),
        (["a b", "c"], "a b;c"),
        ((), None),
        (("", ""), ";"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (2.5, "2.5"),
        (HTTPStatus.NOT_FOUND, "404"),
        (OSError("no file"), "no file"),
        (Path("/x"), "/x"),
        (None, None),
        ("", None),
    ],
)
@each_format
def test_no_value_is_a_python_literal(form: str, value: object, text: str | None) -> None:
    """The elements of a sequence are separated by semicolons, and booleans are in lower case, as in JSON and TOML."""
    assert fields_of(form, "x", value=value).get("value") == text


@each_format
def test_exceptions(form: str) -> None:
    """An exception gives its type and text, masked, and its frames, innermost first; there is no traceback."""

    def fail() -> None:
        raise ValueError("bad\n<jane@example.com>")

    try:
        fail()
    except ValueError:
        fields = fields_of(form, "failed", exc_info=sys.exc_info())
    places = fields.pop("at").split(" < ")
    assert fields == {"msg": "failed", "error": "ValueError: bad\n<***@example.com>"}
    assert [re.sub(r"[0-9]+", "N", place) for place in places] == [
        "fail (test_logs.py:N)",
        "test_exceptions (test_logs.py:N)",
    ]


TEXTS: Final = st.text(st.characters() | st.sampled_from('\r\n\x85\u2028\0="\\ \x1b@\ud800'), max_size=30)


@each_format
@given(message=TEXTS, why=TEXTS, answer=ANSWER)
def test_any_line_can_be_parsed(form: str, message: str, why: str, answer: str) -> None:
    """Any texts give one printable line, which parses to the masked texts without the empty ones."""
    line = line_of(form, message.replace("%", "%%"), why=why, answer=answer)
    written = {"msg": mask(message.replace("%", "%%")), "why": mask(why), "answer": mask(answer)}
    fields = read(form, line)
    assert (fields.pop("ts"), fields.pop("level")) == ("2023-11-14T22:13:20.250+00:00", "debug")
    assert fields == {key: value for key, value in written.items() if value}


# The process.


@pytest.fixture
def _root() -> Iterator[None]:
    """Restore the loggers after a test that configures them."""
    loggers = [logging.getLogger(), logging.getLogger("waitress")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    logging.getLogger().handlers.clear()
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["d", "i", "w", "waits", "breaks"]),
        ("info", ["i", "w", "breaks"]),
        ("warning", ["w", "breaks"]),
        ("error", ["breaks"]),
    ],
)
@each_format
def test_levels(form: str, level: str, shown: list[str]) -> None:
    """Lines of the level and above are written, of any logger; waitress's warnings only at debug."""
    stream = io.StringIO()
    configure(level, form, stream)
    log, waitress = logging.getLogger("exporter.test"), logging.getLogger("waitress.queue")
    for write, message in [(log.debug, "d"), (log.info, "i"), (log.warning, "w")]:
        write(message)
    waitress.warning("waits")
    waitress.error("breaks")
    assert [read(form, line)["msg"] for line in stream.getvalue().splitlines()] == shown
