"""Signed and forged requests to a running exporter: status, the one counter that is incremented, and nothing else."""

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click.testing
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from exporter.cli.group import cli
from exporter.errors import SettingError
from tests.support.guarded import Guarded, guarded_exporter, without_details
from tests.support.raw_http import refused
from tests.support.running import COUNTED, COUNTED_AGAIN, FORM, TIMEOUT, changes, environment, exchange, until
from tests.support.signing import ACCOUNT, KEY_ID, headers_for, key, record, short_record

HOST: Final = "mail.example.com"
PATH: Final = "/smtpeter/failures"
OTHER_KEY: Final = "two._domainkey.copernica.com"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield one exporter for all requests; it may log no error and no address."""
    flags = ("--log.level", "debug", "--webhook.public-url", f"https://{HOST}/smtpeter")
    with guarded_exporter(tmp_path_factory.mktemp("security"), *flags, path=PATH) as guarded:
        guarded.name_server.records |= {
            OTHER_KEY: [record(key(1)), record(key(2))],
            "revoked.copernica.com": ["v=DKIM1; k=rsa; p="],
            "weak.copernica.com": [short_record()],
            "evilcopernica.com": [record(key())],
        }
        yield guarded
        running = guarded.running
        assert running.stop() == 0
        assert [line for line in running.lines if "jane.doe" in line or "Traceback" in line] == []
        assert {line["msg"] for line in running.log() if line["level"] == "error"} == set()


def test_a_signed_request_is_counted_once(guarded: Guarded) -> None:
    """A signed request is answered 200 and counted; replayed, it is answered 200 and not counted."""
    body = guarded.new()
    headers = headers_for(HOST, PATH, body, FORM)
    assert guarded.change(headers, body) == (200, COUNTED)
    assert guarded.change(headers, body) == (200, COUNTED_AGAIN)


@pytest.fixture(scope="module")
def without_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield an exporter that requires signatures and has no public URL."""
    with guarded_exporter(tmp_path_factory.mktemp("without url")) as guarded:
        yield guarded


@pytest.mark.parametrize(
    "target", ["/failures?x=%41%2f", "/failures?x=%2F+a&&y=%zz?", "/failures?", "/%66ailures", "/failures?x=%20%C3%A9"]
)
def test_the_target_is_verified_as_sent(without_url: Guarded, target: str) -> None:
    """The signature covers path and query as they were sent, not decoded."""
    body = without_url.new()
    assert without_url.change(headers_for(HOST, target, body, FORM), body, target) == (200, COUNTED)


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("/failures?x=%41%2f", "/failures?x=A/"),
        ("/failures?x=%41%2f", "/failures?x=%41%2F"),
        ("/failures", "/failures?x"),
        ("/failures", "/failures?"),
        ("/failures", "/%66ailures"),
        ("/%66ailures", "/failures"),
    ],
)
def test_another_spelling_of_the_target_is_rejected(without_url: Guarded, signed: str, sent: str) -> None:
    """A target that means the same, but is not the one that was signed, does not fit the signature."""
    body = without_url.new()
    headers = headers_for(HOST, signed, body, FORM)
    assert without_url.change(headers, body, sent) == (403, refused("signature"))


@pytest.mark.parametrize("number", [1, 2])
def test_each_key_of_a_rotation_is_accepted(guarded: Guarded, number: int) -> None:
    """If a name has two keys, both are accepted."""
    body = guarded.new()
    headers = headers_for(HOST, PATH, body, FORM, private=key(number), key_id=OTHER_KEY)
    assert guarded.change(headers, body) == (200, COUNTED)


def test_a_proxy_may_rewrite_host_and_path(guarded: Guarded) -> None:
    """A request signed for the public URL is accepted at /failures with another Host."""
    body = guarded.new()
    headers = headers_for(HOST, PATH, body, FORM)
    assert guarded.change({**headers, "Host": "127.0.0.1"}, body, "/failures") == (200, COUNTED)


FORGERIES: Final = {
    "unsigned": ({}, {"Signature": None, "Digest": None}, "unsigned"),
    "wrong account": ({"account": "environment-4321"}, {}, "account"),
    "wrong host": ({"host": "evil.example"}, {}, "url"),
    "wrong path": ({"target": "/other/failures"}, {}, "signature"),
    "stale": ({"at": -400}, {}, "date"),
    "from the future": ({"at": 400}, {}, "date"),
    "uncovered": ({"covered": ["(request-target)", "host", "date", "digest"]}, {}, "uncovered"),
    "foreign key": ({"key_id": "evilcopernica.com"}, {}, "key_domain"),
    "foreign key at a similar name": ({"key_id": "copernica.com.evil.org"}, {}, "key_domain"),
    "unknown key": ({"key_id": "none.copernica.com"}, {}, "key_unknown"),
    "revoked key": ({"key_id": "revoked.copernica.com"}, {}, "key_revoked"),
    "weak key": ({"key_id": "weak.copernica.com"}, {}, "key_unusable"),
    "another private key": ({"private": key(1)}, {}, "signature"),
    "other content type than signed": ({}, {"Content-Type": "application/json"}, "signature"),
    "oversized": ({}, {"Signature": "x" * 5_000}, "signature_malformed"),
    "malformed": ({}, {"Signature": 'keyId="'}, "signature_malformed"),
    "forged proxy headers": (
        {"host": "evil.example"},
        {"X-Forwarded-Host": HOST, "Forwarded": f"host={HOST}", "X-Forwarded-Proto": "https"},
        "url",
    ),
    **{
        f"algorithm {name}": ({}, {"Signature": ("rsa-sha256", name)}, "algorithm")
        for name in ("hs2019", "hmac-sha256", "none", "rsa-sha1")
    },
}


@pytest.mark.parametrize(("made", "changed", "reason"), FORGERIES.values(), ids=FORGERIES)
def test_rejects_forgeries(guarded: Guarded, made: dict[str, object], changed: dict[str, object], reason: str) -> None:
    """Each forgery is answered 403 and counted by its reason, and changes no other counter."""
    body = guarded.new()
    arguments = {"host": HOST, "target": PATH} | made
    if isinstance(ahead := arguments.get("at"), int):
        arguments["at"] = time.time() + ahead
    headers = headers_for(body=body, content_type=FORM, **arguments)  # type: ignore[arg-type]  # types differ by name
    for name, value in changed.items():
        if value is None:
            del headers[name]
        elif isinstance(value, tuple):
            headers[name] = headers[name].replace(*value)
        else:
            headers[name] = str(value)
    assert guarded.change(headers, body) == (403, refused(reason))


def test_rejects_another_body(guarded: Guarded) -> None:
    """A body that was not signed is rejected, even with its own digest."""
    headers = headers_for(HOST, PATH, guarded.new(), FORM)
    other = guarded.new()[: int(headers["Content-Length"])]
    headers["Content-Length"] = str(len(other))
    assert guarded.change(headers, other) == (403, refused("digest"))
    headers["Digest"] = headers_for(HOST, PATH, other, FORM)["Digest"]
    assert guarded.change(headers, other) == (403, refused("signature"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Date", "date"),
        ("X-Copernica-ID", "account"),
        ("Digest", "digest"),
        ("Signature", "signature_malformed"),
        ("Host", "signature_malformed"),
        ("X-Nonce", "signature"),
    ],
)
def test_rejects_repeated_headers(guarded: Guarded, name: str, reason: str) -> None:
    """If a header is repeated, neither value is used."""
    body = guarded.new()
    lines = [f"{one}: {value}" for one, value in headers_for(HOST, PATH, body, FORM).items()]
    twice = next(line for line in lines if line.startswith(f"{name}:"))
    other = twice if name != "Host" else "Host: evil.example"
    before = guarded.running.samples()
    raw = "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, other, "", ""]).encode() + body
    assert exchange(guarded.running.public, raw).status == 403
    assert without_details(changes(before, guarded.running.samples())) == refused(reason)


def test_a_replaced_key_is_looked_up_again(guarded: Guarded) -> None:
    """A request signed with a new key is accepted as soon as its name may be looked up again."""
    name = "new._domainkey.copernica.com"
    guarded.name_server.records[name] = [record(key(3))]
    body = guarded.new()
    assert guarded.post(headers_for(HOST, PATH, body, FORM, private=key(3), key_id=name), body).status == 200
    guarded.name_server.records[name] = [record(key(4))]
    headers = headers_for(HOST, PATH, body, FORM, private=key(4), key_id=name)
    until(lambda: guarded.post(headers, body).status == 200)
    assert guarded.name_server.asked[name] == 2


def test_a_cached_key_survives_a_dns_outage(guarded: Guarded) -> None:
    """While DNS does not answer, cached keys are accepted, and an unknown key is answered 503 with Retry-After."""
    guarded.name_server.silent = True
    try:
        body = guarded.new()
        assert guarded.change(headers_for(HOST, PATH, body, FORM), body) == (200, COUNTED)
        unknown = headers_for(HOST, PATH, body, FORM, key_id="three.copernica.com")
        before = guarded.running.samples()
        answer = guarded.post(unknown, body)
        assert (answer.status, answer.headers["Retry-After"], answer.body) == (503, "5", b"key_unavailable\n")
        assert changes(before, guarded.running.samples()) == {
            **refused("key_unavailable"),
            'smtpeter_exporter_key_lookups_total{result="failed"}': 1.0,
        }
    finally:
        guarded.name_server.silent = False


def test_the_log_says_why(guarded: Guarded) -> None:
    """The debug log has the details of a refusal; the client gets one word."""
    body = guarded.new()
    headers = headers_for("evil.example", PATH, body, FORM)
    assert guarded.post(headers, body).body == b"url\n"
    line = until(lambda: next((one for one in guarded.running.log() if "evil.example" in one.get("why", "")), None))
    assert f"{HOST}{PATH}" in line["why"]
    assert [line[name] for name in ("level", "msg", "status", "reason")] == ["debug", "refused", "403", "url"]


def test_a_signed_body_may_be_invalid(guarded: Guarded) -> None:
    """A signed body that is not a report is answered 400 and counted by its reason."""
    body = base64.b64encode(b"no report")
    assert guarded.change(headers_for(HOST, PATH, body, FORM), body) == (400, refused("missing_field"))


def send(*words: str) -> tuple[int, str, str]:
    """Run the command ``send`` in a process; return exit code, standard output and standard error."""
    command = [sys.executable, "-m", "exporter", "send", *words]
    done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True, timeout=TIMEOUT)
    return done.returncode, done.stdout, done.stderr


def test_send_signs_as_smtpeter_does(tmp_path: Path) -> None:
    """With a key that the exporter finds in DNS, the command posts a failure that is counted, in each format."""
    file = tmp_path / "key.pem"
    file.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    sign = ("--sign-key", str(file), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT)
    with guarded_exporter(tmp_path) as guarded:
        url = f"http://{guarded.running.public}/failures"
        for form in ("form", "json", "multipart"):
            assert send(f"{url}?a=1", *sign, "--format", form) == (0, "200 OK: counted\n", "")
        assert send(url)[:2] == (1, "403 Forbidden: unsigned\n")
        assert guarded.running.failures() == {"rcptto/5xx/5.1.1": 3.0}


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"no key",
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
    ],
    ids=["no file", "no key", "not RSA", "encrypted"],
)
def test_send_needs_an_rsa_key(tmp_path: Path, content: bytes | None) -> None:
    """A key that cannot be used is an error of the setting, in one line that names the file."""
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    sign = ["--sign-key", str(file), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT]
    result = click.testing.CliRunner().invoke(cli, ["send", "http://127.0.0.1:9/failures", *sign])
    assert isinstance(result.exception, SettingError)
    assert str(result.exception).startswith(f"--sign-key: '{file}': ")
    assert len(str(result.exception).splitlines()) == 1


def test_send_needs_all_of_a_signature() -> None:
    """An account without a key is a usage error."""
    result = click.testing.CliRunner().invoke(cli, ["send", "http://127.0.0.1:9/failures", "--sign-account", ACCOUNT])
    assert (result.exit_code, "--sign-key-id" in result.stderr) == (2, True)
