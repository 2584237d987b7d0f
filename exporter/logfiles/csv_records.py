"""Read CSV, without names as SMTPeter serves it, or with a header line."""

import csv
import io
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from typing import Final

from exporter.classification.fields import Fields
from exporter.logfiles.records import CHUNK, COLUMNS, MAX_RECORD, TOO_LONG, Record, Unreadable

_NAMES: Final = frozenset(name for names in COLUMNS.values() for name in names) | {"extended"}
_NO_NAME: Final = re.compile("[0-9@]")  # each record has a time or an address


def read_csv(stream: io.BufferedIOBase, columns: Sequence[str]) -> Iterator[Record | Unreadable]:
    """Yield a record for each row. ``columns`` are its names, unless the first row is a header with other ones."""
    lines = _Lines(stream)
    rows = csv.reader(lines)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))  # of the process; _Lines has the same limit
    expected = f"{len(columns)}: {', '.join(columns)}"
    first = True
    while True:
        where = lines.begin()
        try:
            row = next(rows)
        except StopIteration:
            return
        except _TooLongError:
            yield Unreadable(where, TOO_LONG)
            continue
        except csv.Error:
            yield Unreadable(where, "a carriage return outside quotation marks")
            continue
        if first and _is_header(row):
            columns = [name.strip().lower() for name in row]
            expected = f"{len(columns)} as in the header"
        elif len(row) == len(columns):
            yield Record(where, Fields(zip(columns, row, strict=True)))
        elif row:  # an empty line has no columns
            others = [prefix for prefix, names in COLUMNS.items() if len(names) == len(row)]
            like = f" (as in log files of {' and '.join(others)})" if others else ""
            yield Unreadable(where, f"columns: {len(row)}{like}, expected {expected}")
        first = False


def _is_header(row: Sequence[str]) -> bool:
    return any(name.strip().lower() in _NAMES for name in row) and not any(map(_NO_NAME.search, row))


class _TooLongError(Exception):
    """A row is too long. The next one begins after the line that has been read last."""


class _Lines:
    """The lines of a stream as text, in which bytes that are not UTF-8 are escaped.

    Not a generator, which could not go on after an exception.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._number = 0
        self._size = 0

    def begin(self) -> str:
        """Return the position of the next row."""
        self._size = 0
        return f"line {self._number + 1}"

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_RECORD)
        if not line:
            raise StopIteration
        self._number += 1
        self._size += len(line)
        if self._size >= MAX_RECORD:
            while not line.endswith(b"\n") and line:
                line = self._stream.readline(CHUNK)
            raise _TooLongError
        if self._number == 1:
            line = line.removeprefix(BOM_UTF8)
        return line.decode(errors="surrogateescape")
