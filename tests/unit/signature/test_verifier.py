"""The signature of a request, without server and DNS: what is accepted, and the reason for each rejection."""

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from email.utils import formatdate
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.loops import LOOPS
from exporter.refusals import REFUSAL_REASONS, Refusal, reasons_of
from exporter.signature.keys import LookupPending
from exporter.signature.verifier import Policy, Request, Verifier, _digest, _split, signed_headers
from tests.support.signing import ACCOUNT, KEY_ID, getter, headers_for, key

NOW: Final = 1_795_449_709.0
BODY: Final = json.dumps({"id": "m1", "recipient": "jane@example.org"}).encode()
URL: Final = "https://mail.example.com/smtpeter"
HOST, PATH = "mail.example.com", "/smtpeter/failures"
POLICY: Final = Policy(frozenset({ACCOUNT}), "copernica.com", 300, URL)


class OneKey:
    """A source with one key at one name. ``newer`` are the keys that replaced it.

    ``pending`` are the methods that raise LookupPending if the request may wait. ``calls`` are the names of the methods
    that were called, each with its argument ``may_wait``.
    """

    def __init__(self, newer: Sequence[RSAPublicKey] = (), pending: Collection[str] = ()) -> None:
        self.asked: list[str] = []
        self.calls: list[tuple[str, bool]] = []
        self.lookup = Future[None]()
        self._newer = newer
        self._pending = pending

    def find(self, name: str, *, may_wait: bool) -> Sequence[RSAPublicKey]:
        """Return the key, or raise Refusal for another name."""
        self.asked.append(name)
        self._wait("find", may_wait=may_wait)
        if name != KEY_ID:
            raise Refusal(403, "key_unknown", name)
        return [key().public_key()]

    def find_newer(self, _name: str, _tried: Sequence[RSAPublicKey], *, may_wait: bool) -> Sequence[RSAPublicKey]:
        """Return the newer keys."""
        self._wait("find_newer", may_wait=may_wait)
        return self._newer

    def _wait(self, method: str, *, may_wait: bool) -> None:
        self.calls.append((method, may_wait))
        if may_wait and method in self._pending:
            raise LookupPending(self.lookup)


def signed(**changes: Any) -> dict[str, str]:
    """Return the headers of a valid request, signed at NOW."""
    return headers_for(HOST, PATH, BODY, "application/json", **({"at": NOW} | changes))


def outcome(  # noqa: PLR0913 -- all but one by name
    headers: Mapping[str, str],
    *,
    body: bytes = BODY,
    target: str = PATH,
    path: str = "/failures",
    policy: Policy = POLICY,
    keys: OneKey | None = None,
) -> str:
    """Return ``accepted``, or status and reason of the rejection."""
    try:
        request = Request("POST", target, getter(headers), body)
        Verifier(policy, keys or OneKey(), lambda: NOW).verify(request, path, may_wait=False)
    except Refusal as refusal:
        return f"{refusal.status} {refusal.reason}"
    return "accepted"


def resigned(headers: Mapping[str, str], text: bytes) -> dict[str, str]:
    """Return the headers with a signature of the text."""
    signature = base64.b64encode(key().sign(text, PKCS1v15(), SHA256())).decode()
    before = headers["Signature"].rpartition("signature=")[0]
    return {**headers, "Signature": f'{before}signature="{signature}"'}


def parameter(name: str, value: str) -> Callable[[dict[str, str]], dict[str, str]]:
    """Return a change that sets a parameter of the header Signature."""

    def change(headers: dict[str, str]) -> dict[str, str]:
        parts = dict(part.split("=", 1) for part in headers["Signature"].split(","))
        parts[name] = f'"{value}"'
        return {**headers, "Signature": ",".join(f"{one}={text}" for one, text in parts.items())}

    return change


def header(name: str, value: str) -> Callable[[dict[str, str]], dict[str, str]]:
    """Return a change that sets a header after signing."""
    return lambda headers: {**headers, name: value}


def without(name: str) -> Callable[[dict[str, str]], dict[str, str]]:
    """Return a change that removes a header after signing."""
    return lambda headers: {one: value for one, value in headers.items() if one != name}


def test_a_valid_request_is_accepted() -> None:
    """A request as SMTPeter signs it is accepted."""
    assert outcome(signed()) == "accepted"


EXAMPLE: Final = '''keyId="one._domainkey.copernica.com",algorithm="rsa-sha256",
     headers="(request-target) Host Date Content-length Content-type
       X-Copernica-ID Digest X-nonce"
     signature="{}"'''


def test_the_documented_example_is_accepted() -> None:
    """The header on the vendor's page has folded lines, capitals in the list, and no comma before the signature."""
    headers = signed(covered=EXAMPLE.split('"')[5].split())
    signature = headers["Signature"].split('"')[-2]
    folded = "\r\n       ".join(signature[at : at + 60] for at in range(0, len(signature), 60))
    assert outcome({**headers, "Signature": EXAMPLE.format(folded)}) == "accepted"


def test_a_request_of_the_vendors_library_is_accepted() -> None:
    """The vendor's library writes a lower-case algorithm and a two-digit year, and has its own order of headers."""
    headers = signed()
    date = "Mon, 23 Nov 26 16:01:49 +0000"
    digest = headers["Digest"].replace("SHA-256", "sha-256")
    text = f"(request-target): post {PATH}\nhost: {HOST}\ndate: {date}\ndigest: {digest}\nx-copernica-id: {ACCOUNT}"
    changed = parameter("headers", "(request-target) host date digest x-copernica-id")(headers)
    assert outcome(resigned({**changed, "Date": date, "Digest": digest}, text.encode())) == "accepted"


ACCEPTED: Final[dict[str, tuple[dict[str, Any], Callable[[dict[str, str]], dict[str, str]]]]] = {
    "other spelling of the account": ({"account": "environment_1234"}, dict),
    "300 s old": ({"at": NOW - 300}, dict),
    "300 s ahead": ({"at": NOW + 300}, dict),
    "unknown parameter": ({}, parameter("version", "2")),
    "time of signing as a number": ({}, lambda headers: {**headers, "Signature": "created=1," + headers["Signature"]}),
    "spaces between parameters": (
        {},
        lambda headers: {**headers, "Signature": headers["Signature"].replace(",", " , ")},
    ),
    "algorithm in capitals": ({}, parameter("algorithm", "RSA-SHA256")),
    "key id with a final dot": ({}, parameter("keyId", f"{KEY_ID.upper()}.")),
    "header that is not covered": ({}, header("X-Forwarded-Host", "evil.example")),
    "host that a proxy rewrote": ({}, header("Host", "127.0.0.1:10125")),
}


@pytest.mark.parametrize(("changes", "change"), ACCEPTED.values(), ids=ACCEPTED)
def test_harmless_differences_are_accepted(
    changes: dict[str, Any], change: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    """Differences from the example that don't change its meaning are accepted."""
    assert outcome(change(signed(**changes))) == "accepted"


SHA_512: Final = f"SHA-512={base64.b64encode(hashlib.sha512(BODY).digest()).decode()}"


def with_digest(form: str) -> dict[str, str]:
    """Return the headers of a request that is signed with this header Digest, in which ``{}`` is the right value."""
    headers = signed()
    digest = form.replace("{}", headers["Digest"].partition("=")[2])
    values = {name.lower(): value for name, value in (headers | {"Digest": digest}).items()}
    values["(request-target)"] = f"post {PATH}"
    names = headers["Signature"].split('headers="')[1].partition('"')[0].lower().split()
    return resigned(
        headers | {"Digest": digest}, "\n".join(f"{name}: {values[name].strip()}" for name in names).encode()
    )


DIGESTS: Final = {
    "alone": ("SHA-256={}", "accepted"),
    "first in a list": (f"SHA-256={{}},{SHA_512}", "accepted"),
    "last in a list": (f"{SHA_512},SHA-256={{}}", "accepted"),
    "spaces": (f"{SHA_512} ,\tsha-256={{}} , unixsum=30637", "accepted"),
    "unknown algorithms": ("x=y,SHA-256={},md5=,a-b=c==", "accepted"),
    "empty elements": (",SHA-256={}, ,", "accepted"),
    "wrong value for another algorithm": ("SHA-512=AAAA,SHA-256={}", "accepted"),
    "wrong SHA-256 in a list": (f"SHA-256=AAAA,{SHA_512}", "403 digest"),
    "no SHA-256": (SHA_512, "403 digest"),
    "no SHA-256 in a list": (f"{SHA_512},MD5=1B2M2Y8AsgTpgAmY7PhCfg==", "403 digest"),
    "SHA-256 twice": ("SHA-256={},SHA-256={}", "403 digest"),
    "another SHA-256 first": ("SHA-256=AAAA,SHA-256={}", "403 digest"),
    "another SHA-256 last": ("SHA-256={},sha-256=AAAA", "403 digest"),
    "no value": ("SHA-256", "403 digest"),
    "similar name": ("xSHA-256={}", "403 digest"),
    "512 characters": ("SHA-256={},x=" + "y" * (512 - 55), "accepted"),
    "513 characters": ("SHA-256={},x=" + "y" * (513 - 55), "403 signature_malformed"),
}


@pytest.mark.parametrize(("form", "expected"), DIGESTS.values(), ids=DIGESTS)
def test_a_list_of_digests(form: str, expected: str) -> None:
    """RFC 3230 section 4.3.2: Digest may list several algorithms. Exactly one must be SHA-256, and that must match."""
    assert outcome(with_digest(form)) == expected


REJECTED: Final[dict[str, tuple[dict[str, Any], Callable[[dict[str, str]], dict[str, str]], str]]] = {
    **{
        f"no {name}": ({}, without(name), "unsigned")
        for name in ("Host", "Date", "Digest", "X-Copernica-ID", "Signature")
    },
    "empty signature": ({}, header("Signature", ""), "unsigned"),
    "signature of 5 KiB": ({}, lambda h: {**h, "Signature": h["Signature"] + " " * 5_000}, "signature_malformed"),
    "date of 65 characters": ({}, header("Date", "x" * 65), "signature_malformed"),
    "stale": ({"at": NOW - 301}, dict, "date"),
    "ahead": ({"at": NOW + 301}, dict, "date"),
    "date that is none": ({}, header("Date", "yesterday"), "date"),
    "31st of February": ({}, header("Date", "Tue, 31 Feb 2026 16:01:49 GMT"), "date"),
    "date without a zone": ({}, header("Date", "Mon, 23 Nov 2026 16:01:49"), "date"),
    "last second": ({}, header("Date", "Fri, 31 Dec 9999 23:59:59 -0000"), "date"),
    "date of the year 99999": ({}, header("Date", "Mon, 23 Nov 99999 16:01:49 GMT"), "date"),
    "two dates": ({}, lambda h: {**h, "Date": f"{h['Date']}, {h['Date']}"}, "date"),
    "date that was not signed": ({"at": NOW - 1_000}, header("Date", formatdate(NOW, usegmt=True)), "signature"),
    "other account": ({"account": "environment-999"}, dict, "account"),
    "two accounts": ({}, header("X-Copernica-ID", f"environment-999, {ACCOUNT}"), "account"),
    "account that was not signed": ({"account": "environment-999"}, header("X-Copernica-ID", ACCOUNT), "signature"),
    "garbage": ({}, header("Signature", "Bearer abc"), "signature_malformed"),
    "quote left open": ({}, header("Signature", 'keyId="one'), "signature_malformed"),
    "parameter missing": (
        {},
        lambda h: {**h, "Signature": h["Signature"].replace("keyId", "kid")},
        "signature_malformed",
    ),
    "parameter twice": ({}, lambda h: {**h, "Signature": h["Signature"] + ',keyId="x"'}, "signature_malformed"),
    "two signatures": ({}, lambda h: {**h, "Signature": f"{h['Signature']}, {h['Signature']}"}, "signature_malformed"),
    "a second, empty signature": ({}, lambda h: {**h, "Signature": f"{h['Signature']}, "}, "signature_malformed"),
    "a first, empty signature": ({}, lambda h: {**h, "Signature": f", {h['Signature']}"}, "signature_malformed"),
    "signature that is not base64": ({}, parameter("signature", "*" * 344), "signature_malformed"),
    "no algorithm": (
        {},
        lambda h: {**h, "Signature": h["Signature"].replace("algorithm", "kind")},
        "signature_malformed",
    ),
    **{
        name: ({}, parameter("algorithm", name), "algorithm")
        for name in ("hs2019", "hmac-sha256", "rsa-sha1", "rsa-sha512", "none", "")
    },
    **{
        f"{name} not covered": (
            {
                "covered": [
                    one for one in ("(request-target)", "host", "date", "x-copernica-id", "digest") if one != name
                ]
            },
            dict,
            "uncovered",
        )
        for name in ("(request-target)", "host", "date", "x-copernica-id", "digest")
    },
    "empty list": ({}, parameter("headers", ""), "uncovered"),
    "header covered twice": (
        {},
        parameter("headers", "(request-target) host date x-copernica-id digest date"),
        "signature_malformed",
    ),
    "33 covered headers": (
        {},
        parameter(
            "headers", "(request-target) host date x-copernica-id digest " + " ".join(f"x{n}" for n in range(28))
        ),
        "signature_malformed",
    ),
    "covered header that is not there": (
        {},
        parameter("headers", "(request-target) host date x-copernica-id digest x-y"),
        "signature_malformed",
    ),
    "pseudo header": (
        {},
        parameter("headers", "(request-target) (created) host date x-copernica-id digest"),
        "signature_malformed",
    ),
    **{
        f"key at {name!r}": ({}, parameter("keyId", name), "key_domain")
        for name in (
            "one._domainkey.evilcopernica.com",
            "copernica.com.evil.org",
            "one.copernica.com.evil.org",
            "copernica.com",
            ".copernica.com",
            "..copernica.com",
            "one copernica.com",
            "one/copernica.com",
            "https://one._domainkey.copernica.com",
            "x" * 64 + ".copernica.com",
            "",
        )
    },
    "unknown key": ({}, parameter("keyId", "two._domainkey.copernica.com"), "key_unknown"),
    "other digest": ({}, header("Digest", f"SHA-256={base64.b64encode(bytes(32)).decode()}"), "digest"),
    "two digests": ({}, lambda h: {**h, "Digest": f"{h['Digest']}, {h['Digest']}"}, "digest"),
    "digest of another kind": ({}, header("Digest", "MD5=1B2M2Y8AsgTpgAmY7PhCfg=="), "digest"),
    "digest that is not base64": ({}, header("Digest", "SHA-256=***"), "digest"),
    "short digest": ({}, header("Digest", "SHA-256="), "digest"),
    "changed covered header": ({}, header("Content-Type", "text/plain"), "signature"),
    "signed with another key": ({"private": key(1)}, dict, "signature"),
    "empty signature parameter": ({}, parameter("signature", ""), "signature"),
    "order of covered headers changed": (
        {},
        parameter("headers", "date host (request-target) x-copernica-id digest"),
        "signature",
    ),
}


@pytest.mark.parametrize(("changes", "change", "reason"), REJECTED.values(), ids=REJECTED)
def test_any_other_request_is_rejected(
    changes: dict[str, Any], change: Callable[[dict[str, str]], dict[str, str]], reason: str
) -> None:
    """A request that SMTPeter did not sign like this is rejected with the reason for it."""
    assert outcome(change(signed(**changes))) == f"403 {reason}"


def test_a_changed_body_is_rejected() -> None:
    """A body that does not match its signed digest is rejected before a key is looked up."""
    keys = OneKey()
    assert outcome(signed(), body=BODY + b" ", keys=keys) == "403 digest"
    assert keys.asked == []


def test_keys_are_looked_up_last() -> None:
    """Requests that are wrong for another reason cause no lookup."""
    keys = OneKey()
    for name, (changes, change, reason) in REJECTED.items():
        if reason not in {"signature", "key_unknown"} and "covered" not in name and "pseudo" not in name:
            outcome(change(signed(**changes)), keys=keys)
    assert keys.asked == []


def test_a_request_for_another_url_is_rejected() -> None:
    """A request that was signed for another host or path than those of the public URL is rejected."""
    foreign = headers_for("evil.example", PATH, BODY, "application/json", at=NOW)
    other = headers_for(HOST, "/other/failures", BODY, "application/json", at=NOW)
    assert outcome(foreign) == "403 url"
    assert outcome({**foreign, "Host": HOST}) == "403 signature"
    assert outcome(other, target="/other/failures") == "403 url"
    assert outcome(other) == "403 signature"


def test_a_proxy_may_rewrite_host_and_path() -> None:
    """The public URL has the host and path that SMTPeter signed. The query must be unchanged."""
    headers = headers_for(HOST, f"{PATH}?a=1", BODY, "application/json", at=NOW)
    assert outcome({**headers, "Host": "10.0.0.7"}, target="/failures?a=1") == "accepted"
    assert outcome({**headers, "Host": "10.0.0.7"}, target="/failures?a=2") == "403 url"


@pytest.mark.parametrize("host", ["mail.example.com", "MAIL.example.com", "mail.example.com:443"])
def test_a_proxy_may_normalize_the_host(host: str) -> None:
    """SMTPeter signed the host of the public URL, either as it is written there or normalized."""
    for written in ("mail.example.com", "Mail.Example.com"):
        policy = POLICY._replace(url=URL.replace(HOST, "Mail.Example.com"))
        headers = headers_for(written, PATH, BODY, "application/json", at=NOW)
        assert outcome({**headers, "Host": host}, policy=policy) == "accepted"


COVERED: Final = ("(request-target)", "date", "x-copernica-id", "digest", "content-type")


@pytest.mark.parametrize("place", range(len(COVERED) + 1))
def test_each_host_that_smtpeter_may_have_signed_is_tried(place: int) -> None:
    """Wherever the host is in the signed text, it may be the one received, or that of the URL in one of its spellings.

    Nothing else in the text varies.
    """
    policy = POLICY._replace(url=URL.replace(HOST, "Mail.Example.com:443"))
    covered = (*COVERED[:place], "host", *COVERED[place:])
    for host in ("MAIL.example.com", "Mail.Example.com:443", "mail.example.com", "Mail.Example.com", "x.example"):
        made = headers_for(host, PATH, BODY, "application/json", at=NOW, covered=covered)
        received = {**made, "Host": "MAIL.example.com"}
        expected = "403 signature" if host in {"Mail.Example.com", "x.example"} else "accepted"
        assert outcome(received, policy=policy) == expected
        assert outcome({**received, "Content-Type": "text/plain"}, policy=policy) == "403 signature"


@pytest.fixture
def _amsterdam(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set another time zone than UTC."""
    monkeypatch.setenv("TZ", "Europe/Amsterdam")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_amsterdam")
def test_a_date_with_an_unknown_zone_is_utc() -> None:
    """The zone -0000 means an unknown local zone, but a time in UTC (RFC 5322 section 3.3)."""
    headers = signed()
    request = Request("POST", PATH, getter(headers | {"Date": formatdate(NOW)}), BODY)
    headers |= {"Date": formatdate(NOW)} | signed_headers(key(), request, key_id=KEY_ID)
    assert headers["Date"].endswith("-0000")
    assert outcome(headers) == "accepted"


@pytest.mark.parametrize("host", ["mail.example.com", "MAIL.example.com", "mail.example.com:443"])
def test_the_signed_host_may_be_written_in_several_ways(host: str) -> None:
    """Case and the default port of the signed host don't matter."""
    assert outcome(headers_for(host, PATH, BODY, "application/json", at=NOW)) == "accepted"


def test_without_a_public_url_the_request_has_host_and_path() -> None:
    """If no public URL is set, host and path are those of the request, and the signature covers them."""
    policy = POLICY._replace(url="")
    headers = headers_for("any.example", "/failures", BODY, "application/json", at=NOW)
    assert outcome(headers, target="/failures", policy=policy) == "accepted"
    assert outcome(headers, target="/failures?x", policy=policy) == "403 signature"
    assert outcome({**headers, "Host": "other.example"}, target="/failures", policy=policy) == "403 signature"


@pytest.mark.parametrize(("waited", "expected"), [(0.0, "403 date"), (3.5, "accepted"), (603.0, "403 date")])
def test_waiting_does_not_make_a_date_old(waited: float, expected: str) -> None:
    """The date is compared with the time at which the request was received, before it waited for a key."""
    request = Request("POST", PATH, getter(signed(at=NOW - POLICY.max_age - 2)), BODY, waited)
    try:
        Verifier(POLICY, OneKey(), lambda: NOW).verify(request, "/failures", may_wait=False)
        found = "accepted"
    except Refusal as refusal:
        found = f"{refusal.status} {refusal.reason}"
    assert found == expected


def test_a_key_that_was_replaced_is_looked_up_again() -> None:
    """A signature that does not match the cached key is verified with the key that replaced it."""
    headers = signed(private=key(1))
    assert outcome(headers, keys=OneKey(newer=[key(1).public_key()])) == "accepted"
    assert outcome(signed(private=key(2)), keys=OneKey(newer=[key(1).public_key()])) == "403 signature"


@pytest.mark.parametrize(("method", "private"), [("find", 0), ("find_newer", 1)])
def test_a_request_that_may_wait_learns_for_which_lookup(method: str, private: int) -> None:
    """LookupPending comes from the source of keys, for the key itself or for a newer one."""
    keys = OneKey(newer=[key(1).public_key()], pending={method})
    request = Request("POST", PATH, getter(signed(private=key(private))), BODY)
    with pytest.raises(LookupPending) as caught:
        Verifier(POLICY, keys, lambda: NOW).verify(request, "/failures", may_wait=True)
    assert caught.value.lookup is keys.lookup
    assert keys.calls == [("find", True), ("find_newer", True)][: private + 1]


def test_a_request_does_not_wait_unless_it_may() -> None:
    """For a request that may not wait, the source of keys never raises LookupPending."""
    keys = OneKey(newer=[key(1).public_key()], pending={"find", "find_newer"})
    assert outcome(signed(private=key(1)), keys=keys) == "accepted"
    assert keys.calls == [("find", False), ("find_newer", False)]


def test_a_valid_request_causes_no_second_lookup() -> None:
    """A signature that matches the cached key needs no newer one."""
    keys = OneKey(pending={"find_newer"})
    Verifier(POLICY, keys, lambda: NOW).verify(
        Request("POST", PATH, getter(signed()), BODY), "/failures", may_wait=True
    )
    assert keys.calls == [("find", True)]


@given(st.text(max_size=300), st.sampled_from(["Signature", "Digest", "Date", "Host", "X-Copernica-ID"]))
def test_any_header_is_accepted_or_rejected(text: str, name: str) -> None:
    """Whatever a header contains, the request is rejected with a known reason, or accepted if it means the same."""
    result = outcome({**signed(), name: text})
    assert result == "accepted" or result.removeprefix("403 ") in REFUSAL_REASONS
    if name in {"Digest", "Date", "X-Copernica-ID"} and text.strip() != signed()[name]:
        assert result != "accepted"


@given(st.data())
def test_a_changed_signature_is_rejected(data: st.DataObject) -> None:
    """A signature with any changed byte is rejected."""
    headers = signed()
    before, _, rest = headers["Signature"].partition('signature="')
    raw = bytearray(base64.b64decode(rest.removesuffix('"')))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    changed = f'{before}signature="{base64.b64encode(raw).decode()}"'
    assert outcome({**headers, "Signature": changed}) == "403 signature"


# Base64 with what may be wrong in it: characters, spaces, padding, and bits after the last byte.
BASE64: Final = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
ODD_BASE64: Final = st.lists(st.one_of(BASE64, st.text("AQgwz+/=-_ \n\té*\0", max_size=6)), max_size=3).map("".join)


def decoded(text: str) -> bytes | None:
    """Return the bytes of text in strict base64, as the standard library reads it, or None if it is invalid."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def decoded_by(decode: Callable[[str], Any], header: str) -> Any:
    """Return what the verifier decodes, or None if it rejects the header."""
    try:
        return decode(header)
    except Refusal:
        return None


@given(ODD_BASE64)
def test_the_signature_is_strict_base64(text: str) -> None:
    """A signature is read as strict base64, except for white space, with which the vendor's example is folded."""
    signature = decoded("".join(text.split()))
    expected = None if signature is None else ('keyId="x",signature="",a="b"', signature)
    assert decoded_by(_split, f'keyId="x",signature="{text}",a="b"') == expected


@given(ODD_BASE64)
def test_a_digest_is_strict_base64(text: str) -> None:
    """A digest is read as strict base64, except for white space around it."""
    assert decoded_by(_digest, f"MD5=x, SHA-256= {text}") == decoded(text.strip())


def test_every_reason_is_tested() -> None:
    """Each reason for which a signature can be rejected occurs above, except for those of the source of keys."""
    of_keys = {"key_revoked", "key_unusable"}  # see test_key_records.py
    tested = {reason for _, _, reason in REJECTED.values()} | {"url"}  # see test_a_request_for_another_url_is_rejected
    assert tested == reasons_of("unsigned", "foreign", "signed") - of_keys


PATHS: Final = [loop.path for loop in LOOPS.values()]


@pytest.mark.parametrize("policy", [POLICY, POLICY._replace(url="")], ids=["public URL", "no public URL"])
@pytest.mark.parametrize("received", [f"/smtpeter{path}" for path in PATHS] + PATHS)
@pytest.mark.parametrize("signed_for", PATHS)
def test_a_request_of_one_loop_is_rejected_by_the_others(signed_for: str, received: str, policy: Policy) -> None:
    """A recorded request verifies only at the path of its own loop, wherever a proxy may have moved it."""
    path = received.removeprefix("/smtpeter")
    target = f"/smtpeter{signed_for}"
    headers = headers_for(HOST, target, BODY, "application/json", at=NOW)
    moved = received != target and (not policy.url or path != signed_for)
    reason = outcome(headers, target=received, path=path, policy=policy)
    if not moved:
        assert reason == "accepted"
    elif policy.url and received != f"/smtpeter{path}":
        assert reason == "403 url"
    else:
        assert reason == "403 signature"
