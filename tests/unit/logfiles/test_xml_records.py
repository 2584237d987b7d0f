"""XML: what is read, and hostile documents."""

import io
import re
from typing import Final

import pytest

from exporter.errors import LogFileError
from exporter.logfiles.reader import read
from exporter.logfiles.records import MAX_RECORD
from exporter.logfiles.xml_records import read_xml
from tests.support.log_files import Endless, readings
from tests.support.texts import Texts


def test_names_are_those_of_the_elements() -> None:
    """Empty elements, CDATA, references, comments and attributes are read as XML means them."""
    data = b"""<?xml version="1.0" encoding="ISO-8859-1"?>
        <!-- x --><records n="1"> <record>
            <code>550</code><status/><description>a &lt;b&gt; &#233; <![CDATA[<c>]]><!-- x --></description>
        </record>x<record></record></records>"""
    values = {"code": "550", "status": "", "description": "a <b> é <c>"}
    assert list(readings(data)) == [("record 1", values), ("record 2", {})]


def test_characters_that_xml_forbids_do_not_end_the_run() -> None:
    """Control characters and bytes that are not UTF-8 become U+FFFD, even between the parts that are read."""
    data = b"<records><record><a>x\x00\x01\xe9\xef\xbf\xbe\xc3\xa9</a></record></records>"
    assert list(readings(data)) == [("record 1", {"a": "x\ufffd\ufffd\ufffd\ufffdé"})]
    long = b"<records><record><a>" + b"x" * 65_515 + b"\xc3\xa9</a></record></records>"
    assert list(readings(long)) == [("record 1", {"a": "x" * 65_515 + "é"})]


RECORD: Final = b"<record><a>1</a></record>"
BROKEN: Final[dict[str, tuple[bytes, int]]] = {
    "the end is missing": (b"<records>" + RECORD, 1),
    "the end of a record is missing": (b"<records>" + RECORD + b"<record><a>", 1),
    "another end": (b"<records>" + RECORD + b"<record><a></b>", 1),
    "an ampersand": (b"<records>" + RECORD + b"\n <record><a>x & y</a></record></records>", 1),
    "more after the end": (b"<records>" + RECORD + b"</records><records>", 1),
    "an undefined entity": (b"<records>" + RECORD + b"<record><a>&x;</a></record></records>", 1),
    "a web page": (b"<html><body>Forbidden</body></html>", 0),
    "a web page with a document type": (b"<!DOCTYPE html>\n<html><body>Forbidden</body></html>", 0),
    "only the beginning of a tag": (b"<", 0),
    "elements in each other": (b"<records>" + b"<a>" * 100_000, 0),
    "an external entity": (
        b'<!DOCTYPE records [<!ENTITY x SYSTEM "file:///etc/passwd">]><records><record><a>&x;</a></record></records>',
        0,
    ),
    "an external document type": (b'<!DOCTYPE records SYSTEM "http://127.0.0.1:1/x"><records></records>', 0),
    "a billion laughs": (
        b'<?xml version="1.0"?><!DOCTYPE records [<!ENTITY a "ha">'
        + b"".join(b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 10) for c in b"bcdefghij")
        + b"]><records><record><a>&j;</a></record></records>",
        0,
    ),
}


@pytest.mark.parametrize(("data", "number"), BROKEN.values(), ids=BROKEN)
def test_a_document_that_cannot_be_read_is_an_error(data: bytes, number: int) -> None:
    """The error has record, line and column. The records before it are read, even if they were read with it."""
    *records, (where, error) = readings(data)
    assert (records, error) == ([("record 1", {"a": "1"})] * number, LogFileError)
    assert re.fullmatch(r"record [1-9] \(line \d, column \d+\)|line \d, column \d+", where)


def test_the_errors_of_documents_are_kept(texts: Texts) -> None:
    """They say where and why."""
    for data, _ in BROKEN.values():
        with pytest.raises(LogFileError) as caught:
            list(read_xml(io.BytesIO(data)))
        texts.check(caught.value)


ENDLESS: Final = {
    "text": (b"<records><record><a>", b"x"),
    "elements": (b"<records><record>", b"<a/>"),
    "a tag": (b"<records><record><", b"a"),
    "an attribute": (b'<records><record a="', b"x"),
    "a comment": (b"<records><!-- ", b"x"),
    "spaces in a tag": (b"<records", b" "),
}


@pytest.mark.parametrize(("head", "body"), ENDLESS.values(), ids=ENDLESS)
def test_a_document_without_an_end_is_an_error(head: bytes, body: bytes) -> None:
    """What belongs together is limited, so the memory is, too."""
    stream = Endless(head, body)
    with pytest.raises(LogFileError):
        list(read(io.BufferedReader(stream)))
    assert stream.size < 2 * MAX_RECORD
