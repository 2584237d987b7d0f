"""Write log files in each format in which SMTPeter serves them, and read them."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from exporter.errors import LogFileError
from exporter.logfiles.reader import read
from exporter.logfiles.records import COLUMNS, Unreadable

LogRecord = Mapping[str, str]
"""A record with all columns of a log file of failures."""

RECORDS: Final[tuple[LogRecord, ...]] = tuple(
    dict(zip(COLUMNS["failures"], row, strict=True))
    for row in (
        (
            *(
                "a",
                "2026-11-22 23:59:59",
                "news@shop.example",
                "jane@gmail.com",
                "0",
                "192.0.2.1",
                "192.0.2.2",
                "failure",
            ),
            *("550", "5.1.1", "5.1.1 The email account <jane@gmail.com>\n does not exist", "rcptto", "news;may", "7"),
        ),
        (
            *("b", "2026-11-23 00:00:00", "news@shop.example", "joe@school.example", "3", "192.0.2.1", "", "failure"),
            *("", "4.4.7", "", "bounce", "", "0"),
        ),
        (
            *("c", "", "", "用户@gmx.de", "0", "192.0.2.1", "192.0.2.3", "failure"),
            *("554", "", 'Ihre "Mail", wurde <abgelehnt> & gelöscht: spam', "data", "", "0"),
        ),
    )
)


def _csv(records: Sequence[LogRecord], *, header: bool) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS["failures"])
    if header:
        writer.writeheader()
    writer.writerows(records)
    return file.getvalue().encode()


def _xml(records: Sequence[LogRecord]) -> bytes:
    inner = (
        "".join(f"<{name}>{escape(value)}</{name}>" for name, value in record.items()) if record else ""
        for record in records
    )
    return f'<?xml version="1.0"?>\n<records>{"".join(f"<record>{one}</record>" for one in inner)}</records>\n'.encode()


WRITERS: Final[Mapping[str, Callable[[Sequence[LogRecord]], bytes]]] = {
    "JSON lines": lambda records: "".join(json.dumps(record) + "\n" for record in records).encode(),
    "JSON array": lambda records: json.dumps(records, ensure_ascii=False, separators=(",", ":")).encode(),
    "JSON array on many lines": lambda records: json.dumps(records, indent=4).encode(),
    "CSV": lambda records: _csv(records, header=False),
    "CSV with a header": lambda records: _csv(records, header=True),
    "XML": _xml,
}
"""Functions that write a log file of failures, by format."""


def readings(data: bytes, prefix: str = "failures") -> Iterator[tuple[str, Any]]:
    """Yield the position of each record and its variables, or why it cannot be read; LogFileError for the rest."""
    try:
        for record in read(io.BytesIO(data), prefix):
            if isinstance(record, Unreadable):
                yield record.where, record.why
            else:
                yield record.where, {name: record.fields.text(name) for name in record.fields.names()}
    except LogFileError as error:
        yield error.where, LogFileError


class Endless(io.RawIOBase):
    """A stream that begins with ``head`` and repeats ``body``; ``size`` is how much of it was read."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self._left = head
        self._body = body * (65_536 // len(body) + 1)
        self.size = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read a part that is smaller than wanted, as from a pipe."""
        self._left = self._left or self._body
        data = self._left[: min(len(buffer), 10_000)]
        self._left = self._left[len(data) :]
        buffer[: len(data)] = data
        self.size += len(data)
        return len(data)
