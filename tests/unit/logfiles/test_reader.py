"""Log files of each format give the same records, and nothing that is read ends in an unexpected error."""

import io
import tracemalloc
from itertools import islice
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import LogFileError
from exporter.logfiles.reader import read
from exporter.logfiles.records import COLUMNS
from tests.support.log_files import RECORDS, WRITERS, Endless, readings
from tests.support.texts import Texts

TEXT: Final = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\t\n"), max_size=30)
"""Texts that each format can hold: XML has no other control characters."""
ANY_RECORD: Final = st.fixed_dictionaries(
    dict.fromkeys(COLUMNS["failures"], TEXT) | {"id": st.from_regex("[0-9]{1,9}[a-z]?", fullmatch=True)}
)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf", b" \r\n\t"], ids=["", "byte order mark", "white space"])
def test_each_format_is_recognized(form: str, prefix: bytes) -> None:
    """The first bytes tell the format; a byte order mark does no harm, and white space none where it means nothing."""
    if form.startswith(("JSON lines", "CSV")) and prefix.isspace():
        prefix = b""
    found = [values for _, values in readings(prefix + WRITERS[form](RECORDS))]
    assert found == [{name: value.strip() for name, value in record.items()} for record in RECORDS]


@settings(max_examples=60)
@given(st.lists(ANY_RECORD, max_size=2), st.sampled_from(sorted(WRITERS)))
def test_records_survive_each_format(records: list[dict[str, str]], form: str) -> None:
    """Whatever a record contains, its variables are read as they were written."""
    expected = [{name: value.strip() for name, value in record.items()} for record in records]
    assert [values for _, values in readings(WRITERS[form](records))] == expected


BEGINNINGS: Final = [
    b"",
    b"[",
    b'[{"a":"',
    b"<records><record>",
    b"<",
    b'{"code":',
    b"1,2\n",
    b'id,"',
    b"\xff\xfe",
    b"\n",
]
PIECES: Final = [*WRITERS["XML"](RECORDS[:1]).split(b">"), b'{"id":"1"}', b",", b"]", b"\n", b"\r", b'"', b"<![CDATA["]


@settings(max_examples=300)
@given(
    st.sampled_from(BEGINNINGS),
    st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=20).map(b">".join)),
)
def test_any_bytes_are_read_or_an_error_with_a_position(beginning: bytes, data: bytes) -> None:
    """No input raises anything but the reader's error."""
    where = [where for where, _ in readings(beginning + data)]
    assert [one for one in where if not one.startswith(("line ", "record "))] == []


@settings(max_examples=100)
@given(st.data())
def test_a_changed_byte_is_read_or_an_error_with_a_position(data: st.DataObject) -> None:
    """A log file in which a byte differs, or whose end is missing, raises nothing but the reader's error."""
    log = bytearray(WRITERS[data.draw(st.sampled_from(sorted(WRITERS)))](RECORDS))
    log[data.draw(st.integers(0, len(log) - 1))] = data.draw(st.integers(0, 255))
    where = [where for where, _ in readings(bytes(log[: data.draw(st.integers(0, len(log)))]))]
    assert [one for one in where if not one.startswith(("line ", "record "))] == []


def test_a_damaged_first_line_does_not_hide_json_lines() -> None:
    """The end of a log file, which begins in the middle of a line, is still JSON lines."""
    assert list(readings(b'ient":"a@b.nl","code":550}\n{"code":"1"}\n{"code":"2"}\n'))[1:] == [
        ("line 2", {"code": "1"}),
        ("line 3", {"code": "2"}),
    ]
    assert next(readings(b'"x\n{"code":"1"}\n'))[0] == "line 1"


@pytest.mark.parametrize("text", ["x\n{}", "x\n{", 'x\n{"a": 1}', "{"])
def test_lines_within_a_csv_field_do_not_hide_csv(text: str) -> None:
    """Mail servers write the descriptions. None of them makes CSV look like JSON lines."""
    row = dict.fromkeys(COLUMNS["failures"], "1") | {"description": text}
    assert [fields for _, fields in readings(WRITERS["CSV"]([row]))] == [row]


def test_an_encoding_that_is_not_read_is_named(texts: Texts) -> None:
    """The error is one, not one for each line."""
    for data in (b"\x1f\x8b\x08\x00", b"\xff\xfe{\x00\n\x00", b"\xfe\xff\x00{\x00\n"):
        with pytest.raises(LogFileError) as caught:
            list(read(io.BytesIO(data)))
        texts.check(caught.value)


def test_the_columns_of_other_log_files_are_known() -> None:
    """With another prefix, CSV has other columns."""
    assert list(readings(b"a,2026-11-23 10:00:00,b@c.nl,d@e.nl,,0\n", "abuses")) == [
        (
            "line 1",
            dict(zip(COLUMNS["abuses"], ["a", "2026-11-23 10:00:00", "b@c.nl", "d@e.nl", "", "0"], strict=True)),
        )
    ]


ENDLESS: Final = {
    "JSON lines": (b"", b'{"code": "550"}\n'),
    "JSON array": (b"[", b'{"code": "550"},\n'),
    "CSV": (b"code,status\n", b"550,5.1.1\n"),
    "XML": (b"<records>", b"<record><code>550</code></record>"),
}


@pytest.mark.parametrize(("head", "body"), ENDLESS.values(), ids=ENDLESS)
def test_a_long_file_takes_little_memory(head: bytes, body: bytes) -> None:
    """Records are yielded while the file is read, and nothing that was read is kept."""
    stream = Endless(head, body)
    records = islice(read(io.BufferedReader(stream)), 20_000)
    next(records)
    assert stream.size < 200_000
    tracemalloc.start()
    assert sum(1 for _ in records) == 19_999
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (stream.size > 200_000, peak < 2_000_000) == (True, True)


def test_a_line_is_read_as_soon_as_it_arrives() -> None:
    """From a pipe that stays open, such as one of ``tail -f``, lines are read without waiting for more."""

    class Pipe(io.RawIOBase):
        parts = iter([b"\xef\xbb\xbf", b'{"code": "1"}\n', b'{"code": "2"}\n{"co'])

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            part = next(self.parts)  # StopIteration if more is read
            buffer[: len(part)] = part
            return len(part)

    records = read(io.BufferedReader(Pipe()))
    assert [record.where for record in islice(records, 2)] == ["line 1", "line 2"]
