"""Read a log file in any format in which SMTPeter serves it. The content tells the format, not the name."""

import io
import re
from collections.abc import Iterator
from typing import Any, Final

from exporter.errors import LogFileError
from exporter.logfiles.csv_records import read_csv
from exporter.logfiles.json_records import read_array, read_lines
from exporter.logfiles.records import CHUNK, COLUMNS, Record, Unreadable
from exporter.logfiles.xml_records import read_xml

_SPACE: Final = b"\xef\xbb\xbf \t\r\n"  # and the bytes of a byte order mark
_MAX_SPACE: Final = 1_048_576
# A line of JSON, in a file whose first line is damaged. A field of CSV may begin a line with a brace, but a quotation
# mark after that is doubled, or ends the field.
_JSON_LINE: Final = re.compile(rb'^(?:\xef\xbb\xbf)?\{"[^",\r\n]', re.MULTILINE)
_NOT_READ: Final = {
    b"\x1f\x8b": "compressed with gzip; decompress it first, for example with gunzip -c",
    b"\xff\xfe": "encoded in UTF-16, expected UTF-8",
    b"\xfe\xff": "encoded in UTF-16, expected UTF-8",
}


def read(stream: io.BufferedIOBase, prefix: str = "failures") -> Iterator[Record | Unreadable]:
    """Yield the records of a log file, or of JSON lines as webhooks send them, in constant memory.

    ``prefix`` is the kind of log file, a key of :data:`COLUMNS`: CSV without a header has its columns. A record is
    yielded as soon as its last byte was read; in JSON arrays and XML, as soon as a few more were. Raise
    :class:`LogFileError` when the rest cannot be read, and OSError as the stream does.
    """
    head = b""
    while len(head) < _MAX_SPACE and not head.lstrip(_SPACE) and (chunk := stream.read1(CHUNK)):
        head += chunk
    for magic, what in _NOT_READ.items():
        if head.startswith(magic):
            raise LogFileError("line 1", what)
    whole = io.BufferedReader(_Rewound(head, stream), CHUNK)
    match head.lstrip(_SPACE)[:1]:
        case b"[":
            yield from read_array(whole)
        case b"<":
            yield from read_xml(whole)
        case b"{" | b"":
            yield from read_lines(whole)
        case _:
            yield from read_lines(whole) if _JSON_LINE.search(head) else read_csv(whole, COLUMNS[prefix])


class _Rewound(io.RawIOBase):
    """A stream whose ``head`` was already read, from its beginning. Bytes are available as soon as they arrive."""

    def __init__(self, head: bytes, stream: io.BufferedIOBase) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 -- the type of a buffer has no name before Python 3.12
        data = self._head[: len(buffer)] or self._stream.read1(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
