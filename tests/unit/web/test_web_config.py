"""``--web.config.file``: errors of an invalid one, users, TLS, and reloading."""

import logging
import os
import shutil
import ssl
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from exporter.errors import SettingError
from exporter.web.web_config import WebConfig, load
from tests.support.texts import Texts
from tests.support.web_config import authority, basic, hashed, tls, users, write_pair


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with valid and invalid PEM files."""
    directory = tmp_path_factory.mktemp("pems")
    pair = write_pair(directory)
    write_pair(directory, "other-")
    authority().cert_pem.write_to_path(directory / "ca.pem")
    key = load_pem_private_key(pair.private_key_pem.bytes(), None)
    (directory / "locked.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame"))
    )
    (directory / "words.pem").write_text("no PEM\n")
    return directory


@pytest.fixture
def web(pems: Path, tmp_path: Path) -> Path:
    """Return the path of a configuration that does not exist yet, beside copies of the PEM files."""
    shutil.copytree(pems, tmp_path, dirs_exist_ok=True)
    return tmp_path / "web.yml"


def message_of(file: Path) -> str:
    """Return the error for an invalid file: one line that names the setting and the file."""
    with pytest.raises(SettingError) as caught:
        load(file, {})
    text = str(caught.value)
    assert text.startswith(f"web.config.file: '{file}': ")
    assert len(text.splitlines()) == 1
    return text


REQUIRED: Final = "RequireAndVerifyClientCert"
GOOD: Final = "$2b$04$FU1kyLj29lc51mQu4qIVm.9ktRDuoy9HHAr6Gbgwj9iWSXX0hVU6S"

INVALID: Final = {
    "unknown key": ("colour: red", "colour"),
    "unsupported key of the toolkit": ("http_server_config: {http2: true}", "http_server_config"),
    "key that is a number": ("1: x", "1"),
    "unknown key of TLS": (tls(curve_preferences="[X25519]"), "tls_server_config.curve_preferences"),
    "list": ("- tls_server_config", "the file"),
    "empty list": ("[]", "the file"),
    "false": ("false", "the file"),
    "word": ("basic_auth_users", "the file"),
    "TLS that is a word": ("tls_server_config: on", "tls_server_config"),
    "users without hashes": ("basic_auth_users: [alice]", "basic_auth_users"),
    "users that are false": ("basic_auth_users: false", "basic_auth_users"),
    "password instead of hash": (users(alice="sesame"), "basic_auth_users.alice"),
    "no hash": (users(alice=""), "basic_auth_users.alice"),
    "hash of another kind": (users(alice="$apr1$Q4.n$cgVs"), "basic_auth_users.alice"),
    "hash too short": (users(alice=GOOD[:-1]), "basic_auth_users.alice"),
    "hash too long": (users(alice=GOOD + "x"), "basic_auth_users.alice"),
    "hash with an invalid cost": (users(alice=GOOD.replace("$04$", "$32$")), "basic_auth_users.alice"),
    "hash that takes hours to check": (users(alice=GOOD.replace("$04$", "$31$")), "basic_auth_users.alice"),
    "hash that takes two seconds to check": (users(alice=GOOD.replace("$04$", "$15$")), "basic_auth_users.alice"),
    "hash beyond ASCII": (users(alice=GOOD.replace("F", "é")), "basic_auth_users.alice"),
    "second user": (users(alice=GOOD, bob="x"), "basic_auth_users.bob"),
    "key without certificate": (tls(cert_file=""), "tls_server_config.cert_file"),
    "certificate without key": (tls(key_file=""), "tls_server_config.key_file"),
    "encrypted key": (tls(key_file="locked.pem"), "tls_server_config.cert_file"),
    "type of client authentication": (
        tls(client_auth_type="RequireAnyClientCert"),
        "tls_server_config.client_auth_type",
    ),
    "list of types of client authentication": (
        tls(client_auth_type=f"[{REQUIRED}]"),
        "tls_server_config.client_auth_type",
    ),
    "no authority": (tls(client_auth_type=REQUIRED), "tls_server_config.client_ca_file"),
    "unused authority": (tls(client_ca_file="ca.pem"), "tls_server_config.client_ca_file"),
    "minimum version too old": (tls(min_version="TLS11"), "tls_server_config.min_version"),
    "maximum version too old": (tls(max_version="TLS10"), "tls_server_config.max_version"),
    "version that is a number": (tls(min_version="1.2"), "tls_server_config.min_version"),
    "version that is a mapping": (tls(max_version="{a: b}"), "tls_server_config.max_version"),
    "minimum version above the maximum": (
        tls(min_version="TLS13", max_version="TLS12"),
        "tls_server_config.max_version",
    ),
}


@pytest.mark.parametrize(("content", "key"), INVALID.values(), ids=INVALID)
def test_an_invalid_file_is_an_error(web: Path, content: str, key: str, texts: Texts) -> None:
    """The error names the file and the key, says what was expected, and shows no hash."""
    web.write_text(content)
    message = message_of(web)
    assert message.startswith(f"web.config.file: '{web}': {key}: ")
    assert GOOD[7:20] not in message
    texts.check(message)


def test_all_errors_are_reported(web: Path) -> None:
    """Each key with an error has a line; that of TLS files is added once the other keys of TLS are valid."""
    web.write_text(
        f"{users(alice='sesame', bob=GOOD, carol='')}"
        "colour: red\ntls_server_config: {min_version: TLS10, sauce: hot, client_auth_type: none}\n"
    )
    with pytest.raises(SettingError) as caught:
        load(web, {})
    lines = [line.removeprefix(f"web.config.file: '{web}': ") for line in str(caught.value).splitlines()]
    assert [line.partition(": ")[0] for line in lines] == [
        "colour",
        "basic_auth_users.alice",
        "basic_auth_users.carol",
        "tls_server_config.sauce",
        "tls_server_config.client_auth_type",
        "tls_server_config.min_version",
        "tls_server_config.cert_file",
        "tls_server_config.key_file",
    ]


# The rest of these messages comes from PyYAML or OpenSSL, whose versions differ.
UNREADABLE: Final = {
    "not YAML": (f"basic_auth_users: alice: {GOOD}", "not YAML"),
    "NUL": ("\0", "not YAML"),
    "invalid date": ("2026-13-01", "not YAML"),
    "Python object": ("!!python/object:os.system x", "not YAML"),
    "duplicate key": (f"{users(alice=GOOD)}basic_auth_users:", "not YAML: duplicate key basic_auth_users"),
    "duplicate user": (f"basic_auth_users:\n  alice: {GOOD}\n  alice: {GOOD}", "not YAML: duplicate key alice"),
    "nested without end": ("[" * 1_000, "not YAML"),
    "number with thousands of digits": (tls(min_version=f"0x{'f' * 5_000}"), "not YAML"),
    "key of another certificate": (tls(key_file="other-key.pem"), "tls_server_config.cert_file: 'cert.pem'"),
    "certificate without PEM": (tls(cert_file="words.pem"), "tls_server_config.cert_file: 'words.pem'"),
    "missing certificate": (tls(cert_file="gone.pem"), "tls_server_config.cert_file: 'gone.pem'"),
    "missing key": (tls(key_file="gone.pem"), "tls_server_config.cert_file: 'cert.pem'"),
    "NUL in a file name": (tls(cert_file=r'"\0"'), r"tls_server_config.cert_file: '\x00'"),
    "missing authority": (
        tls(client_auth_type=REQUIRED, client_ca_file="gone.pem"),
        "tls_server_config.client_ca_file: 'gone.pem'",
    ),
    "authority without PEM": (
        tls(client_auth_type=REQUIRED, client_ca_file="words.pem"),
        "tls_server_config.client_ca_file: 'words.pem'",
    ),
    "NUL in the name of the authority": (
        tls(client_auth_type=REQUIRED, client_ca_file=r'"\0"'),
        r"tls_server_config.client_ca_file: '\x00'",
    ),
}


@pytest.mark.parametrize(("content", "key"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_error_of_a_library_is_one_line(web: Path, content: str, key: str) -> None:
    """What PyYAML or OpenSSL cannot read is an error that names the key, in one line without a hash."""
    web.write_text(content)
    message = message_of(web)
    assert message.startswith(f"web.config.file: '{web}': {key}")
    assert GOOD[7:20] not in message


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path, texts: Texts) -> None:
    """A missing file and a directory are no traceback."""
    texts.check(message_of(tmp_path / "web.yml"))
    texts.check(message_of(tmp_path))


RELOADED: Final = "reloaded web.config.file"
KEPT: Final = "could not reload web.config.file; keeping the previous configuration"


def test_the_highest_cost_is_accepted(tmp_path: Path) -> None:
    """A hash of cost 14 is valid; checking it takes about a second."""
    file = tmp_path / "web.yml"
    file.write_text(users(alice=GOOD.replace("$04$", "$14$")))
    assert load(file, {}).users == {"alice": GOOD.replace("$04$", "$14$").encode()}


@pytest.mark.parametrize(
    "content",
    ["", "# nothing\n", "---\n...\n", "{}", "basic_auth_users:\ntls_server_config:\n", "basic_auth_users: {}"],
)
def test_an_empty_file_configures_nothing(tmp_path: Path, content: str) -> None:
    """As in the toolkit, an empty file means plain HTTP without authentication."""
    file = tmp_path / "web.yml"
    file.write_text(content)
    config = WebConfig(file)
    assert (config.tls, config.passwords.admits(None), config.passwords.admits("Basic !")) == (None, True, True)


@pytest.mark.parametrize(
    ("keys", "versions", "verify"),
    [
        ({}, (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3), ssl.CERT_NONE),
        ({"min_version": "TLS13"}, (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3), ssl.CERT_NONE),
        ({"max_version": "TLS12"}, (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2), ssl.CERT_NONE),
        ({"client_auth_type": "NoClientCert"}, (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3), ssl.CERT_NONE),
        (
            {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": "ca.pem"},
            (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
            ssl.CERT_OPTIONAL,
        ),
        (
            {"client_auth_type": REQUIRED, "client_ca_file": "ca.pem", "min_version": "TLS13", "max_version": "TLS13"},
            (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
            ssl.CERT_REQUIRED,
        ),
    ],
)
def test_tls_follows_the_file(
    web: Path, keys: dict[str, str], versions: tuple[ssl.TLSVersion, ssl.TLSVersion], verify: ssl.VerifyMode
) -> None:
    """Versions and client certificates follow the file; relative paths start at its directory."""
    web.write_text(tls(**keys))
    context = load(web, {}).tls
    assert context is not None
    assert (context.minimum_version, context.maximum_version, context.verify_mode) == (*versions, verify)


def serial_of(config: WebConfig) -> int:
    """Return the serial number of the certificate that a client gets."""
    assert config.tls is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    authority().configure_trust(context)
    server = config.tls.wrap_bio(to_server, to_client, server_side=True)
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for step in (client.do_handshake, server.do_handshake):
        with pytest.raises(ssl.SSLWantReadError):
            step()
    client.do_handshake()
    certificate = client.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


def test_a_new_certificate_is_loaded(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A replaced certificate is used for the next client; without a change nothing is reloaded."""
    caplog.set_level(logging.INFO)
    web.write_text(tls())
    config = WebConfig(web)
    first, context = serial_of(config), config.tls
    config.reload()
    assert config.tls is context
    write_pair(web.parent)
    config.reload()
    config.reload()
    assert serial_of(config) != first
    assert [record.getMessage() for record in caplog.records] == [RELOADED]


def test_links_are_followed(web: Path) -> None:
    """A certificate behind a link to another directory, as Kubernetes replaces it, has changed."""
    for name in ("one", "two"):
        (web.parent / name).mkdir()
        write_pair(web.parent / name)
    current = web.parent / "current"
    current.symlink_to("one")
    web.write_text(tls(cert_file="current/cert.pem", key_file="current/key.pem"))
    config = WebConfig(web)
    first = serial_of(config)
    (web.parent / "new").symlink_to("two")
    (web.parent / "new").rename(current)
    config.reload()
    assert serial_of(config) != first


@pytest.mark.parametrize(
    "content",
    [
        None,
        "colour: red",
        "tls_server_config: {min_version: [TLS12]}",
        "\0",
        "[]",
        "basic_auth_users: !!int ''",
        users(bob=GOOD.replace("$04$", "$15$")),
    ],
)
def test_an_invalid_change_keeps_the_last_valid_file(
    web: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    """The error is logged once, the previous users stay, and the fixed file is loaded."""
    caplog.set_level(logging.INFO)
    web.write_text(users(alice=hashed("sesame")))
    config = WebConfig(web)
    if content is None:
        web.unlink()
    else:
        web.write_text(content)
    for _ in range(3):
        config.reload()
        assert [config.passwords.admits(basic(f"{user}:sesame")) for user in ("alice", "bob")] == [True, False]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("ERROR", KEPT)]
    web.write_text(users(bob=hashed("sesame")))
    config.reload()
    assert [config.passwords.admits(basic(f"{user}:sesame")) for user in ("alice", "bob")] == [False, True]
    assert caplog.records[-1].getMessage() == RELOADED


def test_an_invalid_file_is_reloaded_when_its_certificate_changes(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate that appears, or becomes valid, after the file that names it is noticed."""
    caplog.set_level(logging.INFO)
    web.write_text(tls())
    config = WebConfig(web)
    first = serial_of(config)
    web.write_text(tls(cert_file="late-cert.pem", key_file="late-key.pem"))
    config.reload()
    write_pair(web.parent, "late-")
    shutil.copy(web.parent / "key.pem", web.parent / "late-key.pem")
    for _ in range(2):
        config.reload()
    assert serial_of(config) == first
    write_pair(web.parent, "late-")
    for _ in range(2):
        config.reload()
    assert serial_of(config) != first
    assert [record.getMessage() for record in caplog.records] == [KEPT, KEPT, RELOADED]


def test_an_unchanged_file_is_reloaded_on_request(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A request reloads the file once."""
    caplog.set_level(logging.INFO)
    web.write_text(users(alice=hashed("sesame")))
    config = WebConfig(web)
    config.reload()
    config.request_reload()
    for _ in range(3):
        config.reload()
    assert [record.getMessage() for record in caplog.records] == [RELOADED]


def test_a_restored_file_is_reloaded(web: Path) -> None:
    """A valid file that is moved back, with its old modification time, is in force again."""
    web.write_text(users(alice=hashed("sesame")))
    kept = web.with_name("kept.yml")
    os.link(web, kept)
    config = WebConfig(web)
    web.unlink()
    config.reload()
    kept.rename(web)
    config.reload()
    web.write_text(users(bob=hashed("sesame")))
    config.reload()
    assert [config.passwords.admits(basic(f"{user}:sesame")) for user in ("alice", "bob")] == [False, True]
