"""TXT records with public keys: which of them are usable."""

import base64
import logging
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from exporter.signature.key_records import read_records
from tests.support.signing import KEY_ID, key, record, short_record
from tests.support.texts import Texts

OLD, NEW = key(0), key(1)


def der(public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> str:
    """Return the record of the key."""
    raw = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; p={base64.b64encode(raw).decode()}"


RECORDS: Final = {
    "documented": ([record(OLD)], (1, "found")),
    "PKCS#1": ([record(OLD, PublicFormat.PKCS1)], (1, "found")),
    "no version, no type": ([record(OLD).partition("rsa; ")[2]], (1, "found")),
    "spaces within": ([record(OLD).replace("A", "A ")], (1, "found")),
    "1024 bits": ([record(key(0, 1_024))], (1, "found")),
    "1023 bits": ([short_record()], (0, "unusable")),
    "final semicolon": ([record(OLD) + "; "], (1, "found")),
    "sha256 among the hashes": (["h=sha1:sha256; " + record(OLD)], (1, "found")),
    "sha1 only": (["h=sha1; " + record(OLD)], (0, "unusable")),
    "not RSA by its tag": ([record(OLD).replace("rsa", "ed25519")], (0, "unusable")),
    "elliptic curve": ([der(ec.generate_private_key(ec.SECP256R1()).public_key())], (0, "unusable")),
    "Ed25519": ([der(ed25519.Ed25519PrivateKey.generate().public_key())], (0, "unusable")),
    "not base64": (["v=DKIM1; p=***"], (0, "unusable")),
    "not a key": (["v=DKIM1; p=AAAA"], (0, "unusable")),
    "revoked": (["v=DKIM1; p="], (0, "revoked")),
    "another version": ([record(OLD).replace("DKIM1", "DKIM2")], (0, "unknown")),
    "other records": (["v=spf1 -all", ""], (0, "unknown")),
    "none": ([], (0, "unknown")),
}


@pytest.mark.parametrize(("texts", "expected"), RECORDS.values(), ids=RECORDS)
def test_records_are_parsed(texts: list[str], expected: tuple[int, str]) -> None:
    """Records are parsed as RFC 6376 says. Only RSA keys with 1024 bits or more are used."""
    found, result = read_records(KEY_ID, [text.encode() for text in texts])
    assert (len(found), result) == expected


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_any_record_has_a_result(texts: list[bytes]) -> None:
    """Whatever DNS returns, the result is a known one."""
    found, result = read_records(KEY_ID, texts)
    assert (found, result) in [((), "unknown"), ((), "revoked"), ((), "unusable")]


def test_all_valid_keys_of_a_name_are_used() -> None:
    """While keys rotate, a name has several records. Other records don't affect those with valid keys."""
    texts = [record(OLD), record(NEW), "v=DKIM1; p=", "v=spf1 -all", "v=DKIM1; p=AAAA"]
    found, result = read_records(KEY_ID, [text.encode() for text in texts])
    expected = [private.public_key().public_numbers() for private in (OLD, NEW)]
    assert ([public.public_numbers() for public in found], result) == (expected, "found")


@pytest.mark.parametrize("text", ["v=DKIM1; p=AAAA", record(key(0, 1_024))], ids=["unusable", "short"])
def test_a_doubtful_key_is_logged(text: str, caplog: pytest.LogCaptureFixture, texts: Texts) -> None:
    """A key that is unusable or short is a warning with its name."""
    read_records(KEY_ID, [text.encode()])
    [entry] = caplog.records
    assert (entry.levelno, vars(entry)["key"]) == (logging.WARNING, KEY_ID)
    texts.check(entry.getMessage())
