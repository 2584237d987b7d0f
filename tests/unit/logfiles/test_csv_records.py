"""CSV with and without names."""

import io
from typing import Final

import pytest

from exporter.logfiles.csv_records import read_csv
from exporter.logfiles.records import COLUMNS, MAX_RECORD, TOO_LONG, Record
from tests.support.log_files import RECORDS, WRITERS, readings
from tests.support.texts import Texts

ROW: Final = WRITERS["CSV"](RECORDS[1:2])


def test_positions_are_those_of_the_first_lines() -> None:
    """A field may hold newlines, so the records have these lines."""
    assert [where for where, _ in readings(WRITERS["CSV"](RECORDS))] == ["line 1", "line 3", "line 4"]
    assert [where for where, _ in readings(WRITERS["CSV with a header"](RECORDS))] == ["line 2", "line 4", "line 5"]


def test_lines_may_end_in_lf_and_be_empty() -> None:
    """Empty lines have no record."""
    data = b"\n" + ROW.replace(b"\r\n", b"\n\n") + ROW.removesuffix(b"\r\n")
    assert [where for where, _ in readings(b'"x",y\n' + data)][1:] == ["line 3", "line 5"]


def test_a_header_may_have_other_columns() -> None:
    """A table of the user's own is read by its names, in any case and order."""
    data = b'\xef\xbb\xbfDescription, Code ,"STATE",mine\r\nuser unknown,550,rcptto,\r\n'
    assert list(readings(data)) == [
        ("line 2", {"description": "user unknown", "code": "550", "state": "rcptto", "mine": ""})
    ]


def test_a_tag_is_no_header() -> None:
    """A first row in which a value is the name of a column is still a row."""
    record = {**RECORDS[1], "tags": "code"}
    assert [values["tags"] for _, values in readings(WRITERS["CSV"]([record]))] == ["code"]


ODD: Final = {
    "too few columns": b"a,b,c\n",
    "too many columns": ROW.strip() + b",x,y\n",
    "the columns of deliveries": b"a,2026-11-23 10:00:00,b@c.nl,d@e.nl,192.0.2.1,192.0.2.2,0,,0\n",
    "one column": b"no such file\n",
    "a carriage return": b"a,b\rc,d\n",
    "fewer than in the header": b"code,state,description\n550,rcptto\n",
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_an_odd_row_is_an_error_with_its_line(data: bytes) -> None:
    """The row after it is read."""
    first, second = readings(data + (b"451,data,x\n" if data.startswith(b"code") else ROW))
    line = data.count(b"\n")
    assert (first[0], second[0], isinstance(second[1], dict)) == (f"line {line}", f"line {line + 1}", True)


def test_the_errors_of_rows_are_kept(texts: Texts) -> None:
    """They name the expected columns."""
    for data in ODD.values():
        texts.check("; ".join(map(": ".join, readings(data))))


def test_an_open_quotation_mark_ends_with_the_file() -> None:
    """All that follows it is one row, which is an error at its first line."""
    found = list(readings(ROW + b'"x,' + ROW + ROW))
    assert [where for where, _ in found] == ["line 1", "line 2"]


def test_bytes_that_are_not_utf8_and_nul_are_read() -> None:
    """They are read as from the webhook."""
    rows = [record for record in read_csv(io.BytesIO(b"\xe9,a\x00b\n"), ["id", "state"]) if isinstance(record, Record)]
    assert [(row.fields.identifier("id"), row.fields.word("state")) for row in rows] == [("é", "a\ufffdb")]


def test_a_field_may_be_long() -> None:
    """The standard library's limit of 131,072 characters is not in force."""
    record = {**RECORDS[1], "description": "x\n" * 100_000}
    assert [len(values["description"]) for _, values in readings(WRITERS["CSV"]([record]))] == [199_999]


@pytest.mark.parametrize("start", [b"x", b'"x\n', b'"' + b"x\n" * 1_000])
def test_a_row_that_is_too_long_is_an_error(start: bytes) -> None:
    """The row that begins on the next line is read."""
    data = start + b"x" * MAX_RECORD + b"\na,b\n"
    found = [tuple(record) for record in read_csv(io.BytesIO(data), ["id", "state"])]
    assert found[0] == ("line 1", TOO_LONG)
    assert [where for where, _ in found[1:]] == [f"line {data[:-1].count(10) + 1}"]


def test_the_names_of_all_columns_make_a_header() -> None:
    """Each documented log file is read with a header, whatever the default columns are."""
    for names in COLUMNS.values():
        data = f"{','.join(names)}\n{','.join(names)}1\n".encode()
        assert [list(values) for _, values in readings(data)] == [list(names)]
