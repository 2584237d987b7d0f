"""JSON lines and JSON arrays: laid out in any way, broken anywhere."""

import io
import re
from typing import Final

import pytest

from exporter.errors import LogFileError
from exporter.logfiles.json_records import read_array, read_lines
from exporter.logfiles.records import CHUNK, MAX_RECORD, TOO_LONG, Record, Unreadable
from tests.support.log_files import readings
from tests.support.texts import Texts


def test_numbers_and_texts_are_the_same() -> None:
    """SMTPeter documents neither, so both are read; repeated names, null and lists are read as from the webhook."""
    values = {"code": "550", "status": "5.1.1", "tags": "", "templateid": "0"}
    assert list(readings(b'[{"code":550,"status":"5.1.1","tags":null,"templateid":0}]')) == [("record 1", values)]
    assert next(readings(b'[{"code":"550","code":1,"status":"5.1.1","tags":{},"templateid":"0"}]'))[1] == values


LAYOUTS: Final = [b"[]", b" [ ] \n", b'[{"a":"1"},{"a":"2"}]', b'[\r\n{"a":"1"}\r\n,\t{"a":\n"2"}\n]\n\n']


@pytest.mark.parametrize("data", LAYOUTS)
def test_white_space_means_nothing_in_an_array(data: bytes) -> None:
    """An array may be on one line or on many."""
    expected = [("record 1", {"a": "1"}), ("record 2", {"a": "2"})]
    assert list(readings(data)) == (expected if b"a" in data else [])


@pytest.mark.parametrize("size", [CHUNK - 20, CHUNK - 8, CHUNK - 7, CHUNK - 6, CHUNK, 5 * CHUNK])
def test_a_record_may_cross_the_end_of_what_was_read(size: int) -> None:
    """A record is read as a whole wherever the parts in which the stream is read end."""
    text = ("é" * size).encode()[: size | 1]
    data = b'[{"a":"' + text + b'"},{"a":"2"},3]'
    assert [values for _, values in readings(data)][1:] == [
        {"a": "2"},
        "the JSON is of type string or number, expected an object",
    ]
    assert next(readings(data))[1]["a"].startswith("é" * (size // 2))


@pytest.mark.parametrize("at", range(CHUNK - 12, CHUNK + 2))
def test_a_number_may_cross_the_end_of_what_was_read(at: int) -> None:
    """Digits after the end of a part belong to the same number."""
    assert list(readings(b"[" + b" " * (at - 1) + b'1234567890,{"a":"2"}]'))[1:] == [("record 2", {"a": "2"})]


def test_an_element_that_is_not_an_object_does_not_end_the_array() -> None:
    """The elements after it are read."""
    found = list(readings(b'[1,"x",[],null,{"a":"1"}]'))
    assert [where for where, _ in found] == [f"record {number}" for number in range(1, 6)]
    assert [isinstance(values, dict) for _, values in found] == [False, False, False, False, True]


BROKEN: Final[dict[str, tuple[bytes, int]]] = {
    "the end is missing": (b'[{"a":"1"}', 1),
    "the end of a record is missing": (b'[{"a":"1"},\n {"a":', 1),
    "the end after a comma is missing": (b'[{"a":"1"},', 1),
    "nothing after the bracket": (b"[", 0),
    "no comma": (b'[{"a":"1"} {"a":"2"}]', 1),
    "a comma too many": (b'[{"a":"1"},]', 1),
    "no quotation marks": (b'[{"a":"1"},\n{"a":"2"},\n  {"a":x}]', 2),
    "an open quotation mark": (b'[{"a":"1"},{"a":"}]', 1),
    "more after the end": (b'[{"a":"1"}]\nx', 1),
    "more after an empty array": (b"[]]", 0),
    "too many brackets": (b"[" * 100_000, 0),
}


@pytest.mark.parametrize(("data", "number"), BROKEN.values(), ids=BROKEN)
def test_a_broken_array_is_an_error_with_its_position(data: bytes, number: int) -> None:
    """The records before the error are read."""
    *records, (where, error) = readings(data)
    assert ([one for one, _ in records], error) == ([f"record {one + 1}" for one in range(number)], LogFileError)
    assert re.fullmatch(r"record [1-9] \(line \d, column \d+\)|line \d, column \d+", where)


def test_the_errors_of_arrays_are_kept(texts: Texts) -> None:
    """They say where and why."""
    for data, _ in BROKEN.values():
        with pytest.raises(LogFileError) as caught:
            list(read_array(io.BytesIO(data)))
        texts.check(caught.value)


def test_a_position_is_that_in_the_file() -> None:
    """Line and column are right although only a part of the file is in memory."""
    data = b"[" + b'{"a":"1"},\n' * 20_000 + b'{"a":"1"},  {"a":x}]'
    assert list(readings(data))[-1] == ("record 20002 (line 20001, column 18)", LogFileError)
    one_line = b"[" + b'{"a":"1"},' * 20_000 + b'{"a":x}]'
    assert list(readings(one_line))[-1] == ("record 20001 (line 1, column 200007)", LogFileError)


def test_bytes_that_are_not_utf8_are_kept() -> None:
    """An id with Latin-1 letters is read as from the webhook, next to one with half of a surrogate pair."""
    data = b'[{"id":"\xe9"},{"id":"\\udce9"},{"id":"\xc3\xa9"}]'
    records = [record for record in read_array(io.BytesIO(data)) if isinstance(record, Record)]
    assert [record.fields.identifier("id") for record in records] == ["é", " \\udce9", "é"]


def test_nul_and_control_characters_are_read() -> None:
    """As in a report to the webhook, they become U+FFFD or stay."""
    assert list(readings(b'[{"a":"x\x00y\x01"}]')) == [("record 1", {"a": "x\ufffdy\x01"})]
    assert list(readings(b'{"a":"x\x00y\x01"}')) == [("line 1", {"a": "x\ufffdy\x01"})]


def test_a_record_that_is_too_long_is_an_error() -> None:
    """Lines after it are read; an array ends there."""
    text = b'{"a":"' + b"x" * MAX_RECORD
    first, second = read_lines(io.BytesIO(text + b'"}\n{}\n'))
    assert (first, second.where) == (Unreadable("line 1", TOO_LONG), "line 2")
    with pytest.raises(LogFileError, match=TOO_LONG):
        list(read_array(io.BytesIO(b"[" + text + b"x" * MAX_RECORD)))
