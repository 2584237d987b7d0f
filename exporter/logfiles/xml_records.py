"""Read XML: ``<records><record><NAME>value</NAME>…</record>…</records>``, in constant memory.

Uses expat itself, because the parsers that build a tree cannot refuse a document type before it does harm.
"""

import codecs
import io
import re
from collections.abc import Iterator
from typing import Final, NoReturn
from xml.parsers import expat

from exporter.classification.fields import Fields
from exporter.errors import LogFileError
from exporter.logfiles.records import CHUNK, MAX_RECORD, TOO_LONG, Record, position

_FORBIDDEN: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML 1.0 section 2.2
_NO_MORE: Final = expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]
_MAX_DEPTH: Final = 16
_MAX_TAG: Final = 1_048_576
_ELEMENT: Final = 64  # memory of an element without text, roughly
_RECORD: Final = 2
"""Depth of a record, whose parent is the root."""


def read_xml(stream: io.BufferedIOBase) -> Iterator[Record]:
    """Yield a record for each child of the root ``records``.

    Characters that XML forbids and bytes that are not UTF-8 become U+FFFD, whatever encoding is declared. Raise
    :class:`LogFileError` where the text stops being XML, and for a document type: it could declare entities.
    """
    decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
    document = _Document()
    begun = ended = False
    while not ended:
        data = stream.read1(CHUNK)
        ended = not data
        text = _FORBIDDEN.sub("\ufffd", decode(data, ended))
        if not begun:
            text = text.lstrip()
            begun = bool(text)
        error = document.parse(text, ended=ended)
        yield from document.records
        document.records.clear()
        if error:
            raise error


class _Document:
    """Collects the records of a document."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        """Those that are complete."""
        self._number = 0
        self._depth = 0
        self._pairs: list[tuple[str, str]] = []
        self._value: list[str] = []
        self._size = 0
        self._unparsed = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def parse(self, text: str, *, ended: bool) -> LogFileError | None:
        """Parse the next part of the document; return an error if the rest cannot be read."""
        self._unparsed += len(text)
        try:
            self._parser.Parse(text, ended)
            if self._unparsed > _MAX_TAG:
                self._fail("a tag or a comment that is too long")
        except LogFileError as error:
            return error
        except expat.ExpatError as error:
            ends = error.code == _NO_MORE
            what = "the input ends too early" if ends else f"invalid XML: {expat.ErrorString(error.code)}"
            return self._error(error.lineno, error.offset, what)
        return None

    def _error(self, line: int, column: int, why: str) -> LogFileError:
        return LogFileError(position(self._number, line, column + 1), why)

    def _fail(self, why: str) -> NoReturn:
        raise self._error(self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber, why)

    def _doctype(self, *_arguments: object) -> None:
        self._fail("a document type, which log files do not have; is this a web page?")

    def _start(self, name: str, _attributes: object) -> None:
        self._depth += 1
        if self._depth == 1 and name != "records":
            self._fail(f"the XML begins with <{name[:40]}>, expected <records>")
        if self._depth > _MAX_DEPTH:
            self._fail(f"elements nested more than {_MAX_DEPTH} deep")
        if self._depth == _RECORD:
            self._number += 1
            self._size = 0
        if self._depth == _RECORD + 1:
            self._value.clear()
        self._add(len(name) + _ELEMENT)

    def _end(self, name: str) -> None:
        if self._depth == _RECORD + 1:
            self._pairs.append((name, "".join(self._value)))
        if self._depth == _RECORD:
            self.records.append(Record(f"record {self._number}", Fields(self._pairs)))
            self._pairs = []
        self._depth -= 1
        self._add(0)

    def _characters(self, text: str) -> None:
        if self._depth > _RECORD:
            self._value.append(text)
        self._add(len(text))

    def _add(self, size: int) -> None:
        self._unparsed = 0
        self._size += size + 1
        if self._size > MAX_RECORD:
            self._fail(TOO_LONG)
