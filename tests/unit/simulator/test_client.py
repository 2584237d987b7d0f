"""Requests are written as SMTPeter writes them, and signed if there is a key. tests/e2e sends them."""

import io
import json
import re
import urllib.request
from collections.abc import Callable
from email.message import Message
from http.client import BadStatusLine
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from exporter.errors import ExporterError, SettingError
from exporter.simulator import client
from exporter.simulator.client import FORMS, Response, Signing, body_of, headers_and_body, send, signing
from exporter.webhook.parsing import parse
from tests.support.bodies import FIELDS, REPORT
from tests.support.signing import ACCOUNT, KEY_ID, key
from tests.support.texts import Texts

URL: Final = "http://127.0.0.1:10125/failures"


@pytest.mark.parametrize("form", FORMS)
def test_each_format_can_be_parsed(form: str) -> None:
    """The exporter reads the same variables from each format."""
    assert parse(*body_of(FIELDS, form)) == REPORT


def test_tags_are_a_list() -> None:
    """They are added as tags[] to a form and to multipart, in their order, and as an array to JSON."""
    fields, tags = {"id": "1"}, ("may", "news")
    assert body_of(fields, "form", tags)[1] == b"id=1&tags%5B%5D=may&tags%5B%5D=news"
    assert json.loads(body_of(fields, "json", tags)[1]) == {"id": "1", "tags": ["may", "news"]}
    names = re.findall(rb'name="(.*)"\r\n\r\n(.*)\r\n', body_of(fields, "multipart", tags)[1])
    assert names == [(b"id", b"1"), (b"tags[]", b"may"), (b"tags[]", b"news")]


def test_undecodable_bytes_are_sent_unchanged() -> None:
    """A byte of the command line that is not UTF-8 is the same byte in a form and in multipart."""
    field = {"state": b"\xff".decode(errors="surrogateescape")}
    assert body_of(field, "form")[1] == b"state=%FF"
    assert b"\r\n\r\n\xff\r\n" in body_of(field, "multipart")[1]


def test_an_unsigned_request_has_no_signature() -> None:
    """It has only the headers that HTTP needs."""
    headers, body = headers_and_body("example.com", "/failures", FIELDS, form="json")
    assert headers == {"Host": "example.com", "Content-Type": "application/json", "Content-Length": str(len(body))}
    assert json.loads(body) == FIELDS


def test_a_signed_request_has_the_headers_of_smtpeter() -> None:
    """The account, a new nonce and the name of the key are in the headers; tests/e2e verifies the signature."""
    signer = Signing(key(), KEY_ID, ACCOUNT)
    one, other = (headers_and_body("example.com", "/a?b=c", FIELDS, form="form", signer=signer)[0] for _ in range(2))
    assert {"Date", "Digest", "Signature", "X-Copernica-ID", "X-Nonce"} <= one.keys()
    assert one["X-Copernica-ID"] == ACCOUNT
    assert f'keyId="{KEY_ID}"' in one["Signature"]
    assert one["X-Nonce"] != other["X-Nonce"]
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", one["Date"])


# Keys


def pem(private: Any, encryption: KeySerializationEncryption) -> bytes:
    """Return the private key as PEM."""
    return bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    """The key, its name and the account are those given."""
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key(), NoEncryption()))
    found = signing(file, KEY_ID, ACCOUNT)
    assert found.key.private_numbers() == key().private_numbers()
    assert found[1:] == (KEY_ID, ACCOUNT)


UNUSABLE: Final[dict[str, Callable[[], bytes | None]]] = {
    "no file": lambda: None,
    "no PEM": lambda: b"nonsense",
    "with a password": lambda: pem(key(), BestAvailableEncryption(b"secret")),
    "not RSA": lambda: pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()),
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_key_is_an_error(content: Callable[[], bytes | None], tmp_path: Path) -> None:
    """The error names the option and the file."""
    file = tmp_path / "key.pem"
    if (text := content()) is not None:
        file.write_bytes(text)
    with pytest.raises(SettingError, match=f"^--sign-key: '{re.escape(str(file))}': "):
        signing(file, KEY_ID, ACCOUNT)


def test_the_error_says_which_key_was_expected(tmp_path: Path, texts: Texts) -> None:
    """The error about a key of another type."""
    file = tmp_path / "key.pem"
    file.write_bytes(pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()))
    with pytest.raises(SettingError) as caught:
        signing(file, KEY_ID, ACCOUNT)
    texts.check(caught.value)


# Answers


class Opener:
    """Answers requests in place of a server."""

    def __init__(self, result: object) -> None:
        self.requests: list[urllib.request.Request] = []
        self._result = result

    def open(self, request: urllib.request.Request, *, timeout: float) -> object:
        """Return the result, or raise it if it is an exception."""
        assert timeout == client.TIMEOUT
        self.requests.append(request)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class Answer(io.BytesIO):
    """An answer 200."""

    status = 200
    reason = "OK"


def test_the_answer_has_status_phrase_and_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A POST to the URL returns the answer, only the first line of its body."""
    opener = Opener(Answer(b"thanks \nmore\n"))
    monkeypatch.setattr(client, "_OPENER", opener)
    assert send(URL, FIELDS, form="json") == Response(200, "OK", "thanks")
    (request,) = opener.requests
    body = json.loads(request.data or "")  # type: ignore[arg-type]  # it is bytes
    assert (request.get_method(), request.full_url, body) == ("POST", URL, FIELDS)


def test_an_error_status_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another status than 200 is returned, not raised."""
    monkeypatch.setattr(
        client, "_OPENER", Opener(HTTPError(URL, 403, "Forbidden", Message(), io.BytesIO(b"unsigned\n")))
    )
    assert send(URL, FIELDS, form="form") == Response(403, "Forbidden", "unsigned")


@pytest.mark.parametrize(
    "error", [URLError("no route"), TimeoutError("timed out"), ConnectionError("reset"), BadStatusLine("SSH-2.0\n")]
)
def test_no_answer_is_an_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the URL and the cause on one line, whatever the server sent."""
    monkeypatch.setattr(client, "_OPENER", Opener(error))
    with pytest.raises(ExporterError) as caught:
        send(URL, FIELDS, form="form")
    assert URL in str(caught.value)
    assert str(getattr(error, "reason", error)).strip() in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "file:///etc/passwd", "ftp://example.com/", "http://", "http:///x"])
def test_other_urls_are_errors(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only HTTP and HTTPS URLs with a host are opened."""
    opener = Opener(AssertionError("opened"))
    monkeypatch.setattr(client, "_OPENER", opener)
    with pytest.raises(ExporterError):
        send(url, FIELDS, form="form")
    assert opener.requests == []
