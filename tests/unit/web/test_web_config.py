"""``--web.config.file``: errors of an invalid one, authentication, TLS, and reloading."""

import logging
import os
import shutil
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Final

import bcrypt
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

LONG: Final = "x" * 72


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
    "hash beyond ASCII": (users(alice=GOOD.replace("F", "é")), "basic_auth_users.alice"),
    "second user": (users(alice=GOOD, bob="x"), "basic_auth_users.bob"),
    "nothing in TLS": ("tls_server_config: {}", "tls_server_config.cert_file"),
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


# The rest of these messages comes from PyYAML or OpenSSL, whose versions differ.
UNREADABLE: Final = {
    "not YAML": (f"basic_auth_users: alice: {GOOD}", "not YAML"),
    "NUL": ("\0", "not YAML"),
    "invalid date": ("2026-13-01", "not YAML"),
    "Python object": ("!!python/object:os.system x", "not YAML"),
    "duplicate key": (f"{users(alice=GOOD)}basic_auth_users:", "not YAML: duplicate key basic_auth_users"),
    "duplicate user": (f"basic_auth_users:\n  alice: {GOOD}\n  alice: {GOOD}", "not YAML: duplicate key alice"),
    "nested without end": ("[" * 1_000, "not YAML"),
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


@pytest.mark.parametrize(
    "content",
    ["", "# nothing\n", "---\n...\n", "{}", "basic_auth_users:\ntls_server_config:\n", "basic_auth_users: {}"],
)
def test_an_empty_file_configures_nothing(tmp_path: Path, content: str) -> None:
    """As in the toolkit, an empty file means plain HTTP without authentication."""
    file = tmp_path / "web.yml"
    file.write_text(content)
    config = WebConfig(file)
    assert (config.tls, config.admits(None), config.admits("Basic !")) == (None, True, True)


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


PEOPLE: Final = {"alice": "sesame", "bob": "", "carol": "a:b", "dave": LONG, "erin": "ünïcode", "frank": "a\0b"}

CREDENTIALS: Final = {
    "right": (basic("alice:sesame"), True),
    "scheme in capitals": (basic("alice:sesame").replace("Basic", "BASIC"), True),
    "more spaces": (basic("alice:sesame").replace(" ", "   "), True),
    "empty password": (basic("bob:"), True),
    "colon in the password": (basic("carol:a:b"), True),
    "password of 72 bytes": (basic(f"dave:{LONG}"), True),
    "password beyond ASCII": (basic("erin:ünïcode"), True),
    "NUL in the password": (basic("frank:a\0b"), True),
    "cut off at NUL": (basic("frank:a"), False),
    "wrong password": (basic("alice:Sesame"), False),
    "password of another user": (basic("bob:sesame"), False),
    "password and more": (basic("alice:sesame:"), False),
    "no password": (basic("alice:"), False),
    "no colon": (basic("bob"), False),
    "unknown user": (basic("mallory:sesame"), False),
    "no user": (basic(":sesame"), False),
    "nothing": (basic(""), False),
    "user with NUL": (basic("alice\0:sesame"), False),
    "user in capitals": (basic("Alice:sesame"), False),
    "password of 73 bytes": (basic(f"dave:{LONG}x"), False),
    "very long password": (basic(f"dave:{LONG * 1_000}"), False),
    "no header": (None, False),
    "empty header": ("", False),
    "scheme only": ("Basic", False),
    "other scheme": (basic("alice:sesame").replace("Basic", "Bearer"), False),
    "no scheme": (b64encode(b"alice:sesame").decode(), False),
    "not base64": ("Basic alice:sesame", False),
    "base64 without padding": (basic("alice:sesame1").rstrip("="), False),
    "two of them": (f"{basic('alice:sesame')}, {basic('alice:sesame')}", False),
    "not UTF-8": (f"Basic {b64encode(b'alice:' + bytes([0xFF])).decode()}", False),
    "header beyond ASCII": ("Basic ÿ", False),
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> WebConfig:
    """Return a configuration with users."""
    file = tmp_path_factory.mktemp("people") / "web.yml"
    file.write_text(users(**{user: hashed(password) for user, password in PEOPLE.items()}))
    return WebConfig(file)


@pytest.mark.parametrize(("header", "admitted"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_authentication(people: WebConfig, header: str | None, *, admitted: bool) -> None:
    """Only the right password of a known user is accepted, the first time and later."""
    assert [people.admits(header) for _ in range(3)] == [admitted] * 3


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_all_tools_are_accepted(tmp_path: Path, kind: str) -> None:
    """The prefixes of htpasswd ($2y$), Go ($2a$) and Python ($2b$) mean the same."""
    file = tmp_path / "web.yml"
    file.write_text(users(alice=hashed("sesame").replace("$2b$", kind)))
    config = WebConfig(file)
    assert [config.admits(basic(f"alice:{password}")) for password in ("sesame", "other")] == [True, False]


def test_a_user_name_with_a_colon_never_matches(tmp_path: Path) -> None:
    """The header cannot name such a user, and the part before the colon is not a user."""
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users: {{"alice:x": {hashed("sesame")}}}')
    config = WebConfig(file)
    assert [config.admits(basic(text)) for text in ("alice:x:sesame", "alice:sesame", "x:sesame")] == [False] * 3


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the passwords that bcrypt has checked."""
    passwords = []
    check = bcrypt.checkpw

    def recording(password: bytes, hashed_password: bytes) -> bool:
        passwords.append(password)
        return check(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", recording)
    return passwords


def test_bcrypt_checks_right_credentials_once(web: Path, checked: list[bytes]) -> None:
    """Right credentials are cached; wrong ones cost the same each time, whether the user exists or not."""
    web.write_text(users(alice=hashed("sesame"), bob=hashed("sesame2")))
    config = WebConfig(web)
    checked.clear()
    tries = ["alice:sesame", "bob:sesame2"] * 3 + ["alice:wrong", "mallory:sesame"] * 2 + ["bob:sesame", "alice:sesame"]
    assert [config.admits(basic(text)) for text in tries] == [True] * 6 + [False] * 5 + [True]
    assert checked == [b"sesame", b"sesame2", *[b"wrong", b"sesame"] * 2, b"sesame"]


def test_cached_credentials_end_with_the_user(web: Path) -> None:
    """After a reload, an old password is rejected, and so is that of a removed user."""
    web.write_text(users(alice=hashed("old"), bob=hashed("sesame")))
    config = WebConfig(web)
    tries = [basic(text) for text in ("alice:old", "alice:new", "bob:sesame")]
    assert [config.admits(header) for header in tries] == [True, False, True]
    web.write_text(users(alice=hashed("new")))
    assert [config.admits(header) for header in tries] == [True, False, True]
    config.reload()
    assert [config.admits(header) for header in tries] == [False, True, False]


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
    [None, "colour: red", "tls_server_config: {min_version: [TLS12]}", "\0", "[]", "basic_auth_users: !!int ''"],
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
        assert [config.admits(basic(f"{user}:sesame")) for user in ("alice", "bob")] == [True, False]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("ERROR", KEPT)]
    web.write_text(users(bob=hashed("sesame")))
    config.reload()
    assert [config.admits(basic(f"{user}:sesame")) for user in ("alice", "bob")] == [False, True]
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
    assert [config.admits(basic(f"{user}:sesame")) for user in ("alice", "bob")] == [False, True]
