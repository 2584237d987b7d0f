"""Read JSON: an object per line, or one array of objects. Both are read in constant memory."""

import codecs
import io
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any, Final

from exporter.classification.fields import LENIENT_JSON, fields_of, read_json
from exporter.errors import LogFileError
from exporter.logfiles.records import CHUNK, MAX_RECORD, TOO_LONG, Record, Unreadable, position
from exporter.refusals import Refusal

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_ESCAPED_BYTE: Final = re.compile("[\udc80-\udcff]")


def read_lines(stream: io.BufferedIOBase) -> Iterator[Record | Unreadable]:
    """Yield a record for each line, as soon as the line was read."""
    number = 0
    while line := stream.readline(MAX_RECORD):
        number += 1
        where = f"line {number}"
        if len(line) == MAX_RECORD and not line.endswith(b"\n"):
            while (rest := stream.readline(CHUNK)) and not rest.endswith(b"\n"):
                pass
            yield Unreadable(where, TOO_LONG)
            continue
        try:
            fields = read_json(line.removeprefix(BOM_UTF8))
        except Refusal as error:
            yield Unreadable(where, str(error))
        else:
            yield Record(where, fields)


def read_array(stream: io.BufferedIOBase) -> Iterator[Record | Unreadable]:
    """Yield a record for each element of an array, however the array is laid out.

    Raise :class:`LogFileError` where the text stops being an array.
    """
    text = _Text(stream)
    text.expect("[")
    ended = text.peek() == "]"
    while not ended:
        text.number += 1
        value = text.value()
        where = f"record {text.number}"
        try:
            fields = fields_of(value, surrogates_are_bytes=text.has_escaped_bytes())
        except Refusal as error:
            yield Unreadable(where, str(error))
        else:
            yield Record(where, fields)
        ended = text.expect(",]") == "]"
    if ended and text.number == 0:
        text.expect("]")
    if text.peek():
        raise text.error("there is more after the end of the array")


class _Text:
    """The text of an array. Only a few records of it are in memory; bytes that are not UTF-8 are escaped."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self.number = 0
        """The number of the current record, for errors."""
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self._text = ""
        self._at = self._start = 0
        self._line = self._column = 1

    def peek(self) -> str:
        """Skip white space, and return the next character; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or not self._read_more():
                return self._text[self._at : self._at + 1]

    def expect(self, characters: str) -> str:
        """Return the next character, which must be one of these."""
        found = self.peek()
        if not found:
            raise self.error("the input ends too early")
        if found not in characters:
            raise self.error(f"invalid JSON: expected {' or '.join(characters)}")
        self._at += 1
        return found

    def value(self) -> Any:  # noqa: ANN401 -- JSON holds anything
        """Return the value that begins at the next character."""
        if not self.peek():
            raise self.error("the input ends too early")
        while True:
            too_long = len(self._text) - self._at > MAX_RECORD
            try:
                value, end = LENIENT_JSON.raw_decode(self._text, self._at)
            except RecursionError:
                raise self.error("invalid JSON: nested too deeply") from None
            except json.JSONDecodeError as error:
                offset = error.pos - self._at
                if too_long or not self._read_more():
                    what = f"invalid JSON, or {TOO_LONG}" if too_long else "invalid JSON"
                    raise self.error(f"{what}: {error.msg}", self._at + offset) from None
            else:
                if end < len(self._text) or not self._read_more():  # otherwise, a number may go on
                    self._start, self._at = self._at, end
                    return value

    def has_escaped_bytes(self) -> bool:
        """Return whether the last value has bytes that are not UTF-8."""
        return not self._text.isascii() and _ESCAPED_BYTE.search(self._text, self._start, self._at) is not None

    def error(self, why: str, at: int | None = None) -> LogFileError:
        """Return an error with the number of the record, the line and the column."""
        line, column = self._position(self._at if at is None else at)
        return LogFileError(position(self.number, line, column), why)

    def _position(self, at: int) -> tuple[int, int]:
        lines = self._text.count("\n", 0, at)
        return self._line + lines, at - self._text.rfind("\n", 0, at) if lines else self._column + at

    def _read_more(self) -> bool:
        """Forget the text before the current place, and read as much as is left of it; False at the end."""
        self._line, self._column = self._position(self._at)
        left = self._text[self._at :]
        more = ""
        ended = False
        while not more and not ended:  # the bytes may be only a part of a character
            data = self._stream.read(max(CHUNK, min(len(left), MAX_RECORD - len(left))))
            ended = not data
            more = self._decode(data, ended)
        self._text, self._at = left + more, 0
        return bool(more)
