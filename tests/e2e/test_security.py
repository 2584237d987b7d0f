"""Every way in to the real listener: status, the one counter that is raised, and that nothing is counted."""

import base64
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.e2e.test_cli import run
from tests.support.running import (
    COUNTED,
    COUNTED_AGAIN,
    FORM,
    Exporter,
    Response,
    Samples,
    changes,
    exchange,
    exporter,
    failure,
    until,
)
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, headers_for, key, record, short_record

HOST: Final = "mail.example.com"
PATH: Final = "/smtpeter/failures"
OTHER_KEY: Final = "two._domainkey.copernica.com"


class Guarded:
    """An exporter that wants signatures, with a name server of its own."""

    def __init__(self, running: Exporter, name_server: NameServer) -> None:
        self.running = running
        self.name_server = name_server
        self._number = 0

    def new(self) -> bytes:
        """A failure that no other call brings."""
        self._number += 1
        return urlencode(failure(self._number)).encode()

    def post(self, headers: Mapping[str, str], body: bytes, path: str = PATH) -> Response:
        """Send one call as it is."""
        with self.running.client() as client:
            return client.request("POST", path, body, headers)

    def change(self, headers: Mapping[str, str], body: bytes, path: str = PATH) -> tuple[int, Samples]:
        """The status that a call is answered, and the counters of calls that it raises."""
        before = self.running.samples()
        status = self.post(headers, body, path).status
        raised = changes(before, self.running.samples())
        return status, {name: by for name, by in raised.items() if "lookups" not in name}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One for all calls; it must not have logged more than refusals, nor an address."""
    flags = (
        *("--signature.mode", "required", "--signature.account", ACCOUNT, "--log.level", "debug"),
        *("--webhook.public-url", f"https://{HOST}/smtpeter"),
    )
    with NameServer() as name_server:
        name_server.records = {
            KEY_ID: [record(key())],
            OTHER_KEY: [record(key(1)), record(key(2))],
            "revoked.copernica.com": ["v=DKIM1; k=rsa; p="],
            "weak.copernica.com": [short_record()],
            "evilcopernica.com": [record(key())],
        }
        folder = tmp_path_factory.mktemp("security")
        with exporter(folder, *flags, "--signature.nameserver", name_server.address) as running:
            yield Guarded(running, name_server)
            assert running.stop() == 0
            assert [line for line in running.lines if "jane.doe" in line or "Traceback" in line] == []
            assert {line["msg"] for line in running.log() if line["level"] == "error"} == set()


def refused(reason: str) -> Samples:
    """What a refusal raises, and all that it raises."""
    return {f'smtpeter_exporter_refused_total{{reason="{reason}"}}': 1.0}


def test_a_signed_call_counts_once(guarded: Guarded) -> None:
    """It is answered 200 and counted; replayed, it is answered 200 and not counted."""
    body = guarded.new()
    headers = headers_for(HOST, PATH, body, FORM)
    assert guarded.change(headers, body) == (200, COUNTED)
    assert guarded.change(headers, body) == (200, COUNTED_AGAIN)


@pytest.mark.parametrize("number", [1, 2])
def test_each_key_of_a_rotation_is_good(guarded: Guarded, number: int) -> None:
    """Of two keys at one name both are accepted."""
    body = guarded.new()
    headers = headers_for(HOST, PATH, body, FORM, private=key(number), key_id=OTHER_KEY)
    assert guarded.change(headers, body) == (200, COUNTED)


def test_a_proxy_may_change_the_path(guarded: Guarded) -> None:
    """What was signed for the public URL is accepted at the root of the listener, under another Host."""
    body = guarded.new()
    headers = headers_for(HOST, PATH, body, FORM)
    assert guarded.change({**headers, "Host": "127.0.0.1"}, body, "/failures") == (200, COUNTED)


WAYS: Final = {
    "unsigned": ({}, {"Signature": None, "Digest": None}, "unsigned"),
    "wrong account": ({"account": "environment-4321"}, {}, "account"),
    "wrong host": ({"host": "evil.example"}, {}, "url"),
    "wrong path": ({"target": "/other/failures"}, {}, "signature"),
    "stale": ({"at": -400}, {}, "date"),
    "from the future": ({"at": 400}, {}, "date"),
    "uncovered": ({"covered": ["(request-target)", "host", "date", "digest"]}, {}, "uncovered"),
    "foreign key": ({"key_id": "evilcopernica.com"}, {}, "key_domain"),
    "foreign key below a name that looks like it": ({"key_id": "copernica.com.evil.org"}, {}, "key_domain"),
    "unknown key": ({"key_id": "none.copernica.com"}, {}, "key_unknown"),
    "revoked key": ({"key_id": "revoked.copernica.com"}, {}, "key_revoked"),
    "weak key": ({"key_id": "weak.copernica.com"}, {}, "key_unusable"),
    "key of another": ({"private": key(1)}, {}, "signature"),
    "other content type than signed": ({}, {"Content-Type": "application/json"}, "signature"),
    "oversized": ({}, {"Signature": "x" * 5_000}, "signature_malformed"),
    "malformed": ({}, {"Signature": 'keyId="'}, "signature_malformed"),
    "lies of a proxy": (
        {"host": "evil.example"},
        {"X-Forwarded-Host": HOST, "Forwarded": f"host={HOST}", "X-Forwarded-Proto": "https"},
        "url",
    ),
    **{
        f"algorithm {name}": ({}, {"Signature": ("rsa-sha256", name)}, "algorithm")
        for name in ("hs2019", "hmac-sha256", "none", "rsa-sha1")
    },
}


@pytest.mark.parametrize(("made", "changed", "reason"), WAYS.values(), ids=WAYS)
def test_turns_away(guarded: Guarded, made: dict[str, object], changed: dict[str, object], reason: str) -> None:
    """Each is answered 403 and counted under its reason, and raises nothing else."""
    body = guarded.new()
    arguments = {"host": HOST, "target": PATH} | made
    if isinstance(ahead := arguments.get("at"), int):
        arguments["at"] = time.time() + ahead
    headers = headers_for(body=body, content_type=FORM, **arguments)  # type: ignore[arg-type]  # of each its own type
    for name, value in changed.items():
        if value is None:
            del headers[name]
        elif isinstance(value, tuple):
            headers[name] = headers[name].replace(*value)
        else:
            headers[name] = str(value)
    assert guarded.change(headers, body) == (403, refused(reason))


def test_turns_a_swapped_body_away(guarded: Guarded) -> None:
    """A body that was not signed is refused, with its own digest, too."""
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
def test_turns_headers_that_come_twice_away(guarded: Guarded, name: str, reason: str) -> None:
    """Neither the first nor the last one of two is believed."""
    body = guarded.new()
    lines = [f"{one}: {value}" for one, value in headers_for(HOST, PATH, body, FORM).items()]
    twice = next(line for line in lines if line.startswith(f"{name}:"))
    other = twice if name != "Host" else "Host: evil.example"
    before = guarded.running.samples()
    raw = "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, other, "", ""]).encode() + body
    assert exchange(guarded.running.public, raw).status == 403
    raised = changes(before, guarded.running.samples())
    assert {name: by for name, by in raised.items() if "lookups" not in name} == refused(reason)


def test_a_key_that_takes_the_place_of_another_is_seen(guarded: Guarded) -> None:
    """Signed with a key that was put in DNS just now, a call counts as soon as the name may be looked up again."""
    name = "new._domainkey.copernica.com"
    guarded.name_server.records[name] = [record(key(3))]
    body = guarded.new()
    assert guarded.post(headers_for(HOST, PATH, body, FORM, private=key(3), key_id=name), body).status == 200
    guarded.name_server.records[name] = [record(key(4))]
    headers = headers_for(HOST, PATH, body, FORM, private=key(4), key_id=name)
    until(lambda: guarded.post(headers, body).status == 200)
    assert guarded.name_server.asked[name] == 2


def test_dns_that_is_down_does_not_matter_to_a_known_key(guarded: Guarded) -> None:
    """With DNS silent, known keys go on counting, and an unknown one is answered 503: come back later."""
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


def test_the_operator_reads_why(guarded: Guarded) -> None:
    """The log, at debug level, says what was wrong with a call; the stranger reads one word."""
    body = guarded.new()
    headers = headers_for("evil.example", PATH, body, FORM)
    assert guarded.post(headers, body).body == b"url\n"
    why = f"called as evil.example{PATH}, expected {HOST}{PATH}"
    line = until(lambda: next((line for line in guarded.running.log() if line.get("why") == why), None))
    assert [line[name] for name in ("level", "msg", "status", "reason")] == ["debug", "refused", "403", "url"]


def test_a_signed_body_may_still_be_garbage(guarded: Guarded) -> None:
    """Behind the signature the rules for reports hold: 400, under the reason for it."""
    body = base64.b64encode(b"no report")
    assert guarded.change(headers_for(HOST, PATH, body, FORM), body) == (400, refused("missing_field"))


def test_send_signs_as_smtpeter_does(guarded: Guarded, tmp_path: Path) -> None:
    """With a key of one's own, in one's own DNS, the command posts a failure that counts; in each form."""
    file = tmp_path / "key.pem"
    file.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    flags = ("--signature.mode", "required", "--signature.account", ACCOUNT)
    sign = ("--sign-key", str(file), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT)
    with exporter(tmp_path, *flags, "--signature.nameserver", guarded.name_server.address) as running:
        for form in ("form", "json", "multipart"):
            url = f"http://{running.public}/failures?a=1"
            assert run("send", url, *sign, "--format", form) == (0, "200 OK\n", "")
        assert run("send", f"http://{running.public}/failures") == (1, "403 Forbidden: unsigned\n", "")
        assert running.failures() == {"rcptto/5xx/5.1.1": 3.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory: expected a readable PEM file"),
        (b"no key", "expected an RSA private key without password"),
        (
            ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "expected an RSA private key",
        ),
        (
            key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
            "expected an RSA private key without password",
        ),
    ],
    ids=["no file", "no key", "no RSA", "encrypted"],
)
def test_send_tells_what_is_wrong_with_a_key(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A key that can't be used is one line and exit code 2."""
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    sign = ("--sign-key", str(file), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT)
    code, output, error = run("send", "http://127.0.0.1:9/failures", *sign)
    assert (code, output) == (2, "")
    assert error.startswith(f"smtpeter-exporter: --sign-key: '{file}': ")
    assert error.endswith(f"{message}\n")
    assert len(error.splitlines()) == 1


def test_send_wants_all_of_a_signature() -> None:
    """A key without its name, or without an account, is a mistake that is told."""
    code, _, error = run("send", "http://127.0.0.1:9/failures", "--sign-account", ACCOUNT)
    assert (code, error.splitlines()[-1]) == (2, "Error: --sign-key, --sign-key-id and --sign-account go together")
