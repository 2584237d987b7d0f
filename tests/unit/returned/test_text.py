"""Bytes become text, whatever charset they claim, and HTML becomes its visible text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.returned.text import _CHARSETS, MAX_TEXT, decoded, decoded_header, without_tags


@pytest.mark.parametrize(
    ("raw", "charset", "text"),
    [
        (b"\xe9", "iso-8859-1", "é"),
        (b"\x80", "windows-1252", "€"),
        ("наш".encode("koi8-r"), "koi8-r", "наш"),
        ("宛先".encode("iso-2022-jp"), "iso-2022-jp", "宛先"),
        ("宛先".encode("iso-2022-jp"), "us-ascii", "宛先"),
        ("é".encode(), "us-ascii", "é"),
        ("é".encode(), "", "é"),
        (b"\xe9t\xe9", "", "été"),
        (b"\xe9t\xe9", "utf-8", "été"),
        ("é".encode(), "x-unknown", "é"),
        (b"abc", "punycode", "abc"),
        ("éé".encode()[:-1], "utf-8", "é"),
        ("宛先".encode("gb18030")[:-1], "gb18030", "宛"),
        (b"a\0b", "", "a\ufffdb"),
        (b"+2D0-", "utf-7", "\ufffd"),
        (b"\x81", "", "\ufffd"),
    ],
)
def test_charsets(raw: bytes, charset: str, text: str) -> None:
    """A charset that is unknown or wrong is UTF-8, or else Windows-1252. Half of a last character is dropped."""
    assert decoded(raw, charset) == text


@pytest.mark.parametrize("charset", sorted(_CHARSETS))
def test_python_knows_the_charsets(charset: str) -> None:
    """Each charset encodes text, and decodes any bytes without another error than those of Unicode."""
    assert "abc".encode(charset).decode(charset) == "abc"
    assert isinstance(decoded(bytes(range(256)), charset), str)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("=?UTF-8?Q?a_=C3=A9?= b", "a é b"),
        ("=?utf-8?b?w6k=?= =?utf-8?b?w6k=?=", "éé"),
        ("=?utf-8?b?w6k?=", "é"),
        ("=?x-unknown?q?=C3=A9?=", "é"),
        ("=?utf-8?b?w?=", "=?utf-8?b?w?="),
        ("=?utf-8?q?", "=?utf-8?q?"),
        ("\udce9", "é"),
        ("\udcc3\udca9 =?utf-8?q?x?=", "é x"),
    ],
    ids=ascii,
)
def test_headers(value: str, text: str) -> None:
    """Encoded words are decoded, and so are bytes outside of them. Damaged words stay as they are."""
    assert decoded_header(value) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a<b>b</b>c", "a b c"),
        ("a<br/>b<BR>c", "a\nb\nc"),
        ('<p class="x">a</p>b', "\na\nb"),
        ("<style type='x'>a{}<b></style>b", " b"),
        ("<script\nx>1 < 2</script>a", " a"),
        ("a<style>b", "a "),
        ("1 &lt; 2 &amp;&#233;", "1 < 2 &é"),
        ("&#99999999999;&#xFFFFFFFFFFFF;&#55296;&#0;", " ; ;\ufffd\ufffd"),
        ("a < b", "a "),
        ("a\t  b", "a b"),
    ],
)
def test_html(html: str, text: str) -> None:
    """Tags, styles and scripts are removed, references are replaced."""
    assert without_tags(html) == text


@given(st.text(alphabet="<>/&#;x9 \nbrstyle", max_size=300))
def test_any_html(html: str) -> None:
    """Any text has a visible text, which is not longer."""
    assert len(without_tags(html)) <= len(html)


def test_text_of_html_is_bounded() -> None:
    """References can't make the text longer than allowed."""
    assert len(without_tags("&nGt;" * MAX_TEXT)) <= MAX_TEXT
