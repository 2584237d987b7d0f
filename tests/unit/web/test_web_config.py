"""``--web.config.file``: what is told of a broken one, who is let in, and what a change of the files does."""

import logging
import os
import re
import shutil
import ssl
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Final

import bcrypt
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from exporter.errors import SettingError
from exporter.web.web_config import WebConfig, load

LONG: Final = "x" * 72


@cache
def authority(name: str = "") -> trustme.CA:
    """A certificate authority; the same one for the same name."""
    return trustme.CA(organization_name=name or None)


def write_pair(folder: Path, name: str = "") -> trustme.LeafCert:
    """Write a new certificate for loopback as ``{name}cert.pem`` and its key as ``{name}key.pem``."""
    pair = authority().issue_cert("localhost", "127.0.0.1", "::1")
    pair.private_key_pem.write_to_path(folder / f"{name}key.pem")
    (folder / f"{name}cert.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    return pair


@cache
def hashed(password: str) -> str:
    """A bcrypt hash of the password, quickly made."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def basic(text: str) -> str:
    """The header for ``user:password``."""
    return f"Basic {b64encode(text.encode()).decode()}"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with PEM files, good and bad."""
    folder = tmp_path_factory.mktemp("pems")
    pair = write_pair(folder)
    write_pair(folder, "other-")
    authority().cert_pem.write_to_path(folder / "ca.pem")
    key = load_pem_private_key(pair.private_key_pem.bytes(), None)
    (folder / "locked.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame"))
    )
    (folder / "words.pem").write_text("no PEM\n")
    return folder


@pytest.fixture
def web(pems: Path, tmp_path: Path) -> Path:
    """The file, still to be written, beside the PEM files."""
    shutil.copytree(pems, tmp_path, dirs_exist_ok=True)
    return tmp_path / "web.yml"


def message_of(file: Path) -> str:
    """What is told of the broken file, without what stands at the start of all messages and lines of OpenSSL's."""
    with pytest.raises(SettingError) as caught:
        load(file, {})
    prefix, text = f"web.config.file: '{file}': ", str(caught.value)
    assert text.startswith(prefix)
    assert len(text.splitlines()) == 1
    return re.sub(r" \(_ssl\.c:\d+\)", "", text.removeprefix(prefix)).replace(str(file), "FILE")


def tls(**keys: str) -> str:
    """A file with TLS set up; a key without text is left out."""
    keys = {"cert_file": "cert.pem", "key_file": "key.pem"} | keys
    return f"tls_server_config: {{{', '.join(f'{key}: {text}' for key, text in keys.items() if text)}}}\n"


def users(**texts: str) -> str:
    """A file with users."""
    return f"basic_auth_users: {{{', '.join(f'{user}: {text}' for user, text in texts.items())}}}\n"


TOP: Final = "not supported; expected some of basic_auth_users, tls_server_config"
TLS: Final = (
    "not supported; expected some of cert_file, client_auth_type, client_ca_file, key_file, max_version, min_version"
)
KEYS: Final = "expected keys with values"
HASH: Final = "expected a bcrypt hash, as htpasswd -nB makes it"
AUTH: Final = "expected NoClientCert or VerifyClientCertIfGiven or RequireAndVerifyClientCert"
CA: Final = "expected the PEM file to verify client certificates with, where they are asked for"
FITS: Final = "expected a PEM certificate that fits the unencrypted key_file"
VERSION: Final = "expected TLS12 or TLS13"
NONE: Final = "[Errno 2] No such file or directory"
REQUIRED: Final = "RequireAndVerifyClientCert"
GOOD: Final = "$2b$04$FU1kyLj29lc51mQu4qIVm.9ktRDuoy9HHAr6Gbgwj9iWSXX0hVU6S"

BROKEN: Final = {
    "unknown key": ("colour: red", f"colour: {TOP}"),
    "key of the toolkit that is not supported": ("http_server_config: {http2: true}", f"http_server_config: {TOP}"),
    "key that is a number": ("1: x", f"1: {TOP}"),
    "unknown key of TLS": (tls(curve_preferences="[X25519]"), f"tls_server_config.curve_preferences: {TLS}"),
    "list": ("- tls_server_config", f"the file: {KEYS}"),
    "empty list": ("[]", f"the file: {KEYS}"),
    "false": ("false", f"the file: {KEYS}"),
    "word": ("basic_auth_users", f"the file: {KEYS}"),
    "TLS that is a word": ("tls_server_config: on", f"tls_server_config: {KEYS}"),
    "not YAML": (
        f"basic_auth_users: alice: {GOOD}",
        'not YAML: mapping values are not allowed here in "FILE", line 1, column 24',
    ),
    "NUL": ("\0", 'not YAML: unacceptable character #x0000: special characters are not allowed in "FILE", position 0'),
    "no date": ("2026-13-01", "not YAML: month must be in 1..12"),
    "object": (
        "!!python/object:os.system x",
        (
            "not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system' "
            'in "FILE", line 1, column 1'
        ),
    ),
    "key twice": (
        f"{users(alice=GOOD)}basic_auth_users:",
        'not YAML: basic_auth_users stands twice in "FILE", line 2, column 1',
    ),
    "user twice": (
        f"basic_auth_users:\n  alice: {GOOD}\n  alice: {GOOD}",
        'not YAML: alice stands twice in "FILE", line 3, column 3',
    ),
    "users without hashes": ("basic_auth_users: [alice]", "basic_auth_users: expected names with a bcrypt hash each"),
    "users that are false": ("basic_auth_users: false", "basic_auth_users: expected names with a bcrypt hash each"),
    "password instead of hash": (users(alice="sesame"), f"basic_auth_users.alice: {HASH}"),
    "no hash": (users(alice=""), f"basic_auth_users.alice: {HASH}"),
    "hash of another kind": (users(alice="$apr1$Q4.n$cgVs"), f"basic_auth_users.alice: {HASH}"),
    "hash cut off": (users(alice=GOOD[:-1]), f"basic_auth_users.alice: {HASH}"),
    "hash too long": (users(alice=GOOD + "x"), f"basic_auth_users.alice: {HASH}"),
    "hash with a wrong cost": (users(alice=GOOD.replace("$04$", "$32$")), f"basic_auth_users.alice: {HASH}"),
    "hash beyond ASCII": (users(alice=GOOD.replace("F", "é")), f"basic_auth_users.alice: {HASH}"),
    "the second user": (users(alice=GOOD, bob="x"), f"basic_auth_users.bob: {HASH}"),
    "nothing in TLS": ("tls_server_config: {}", "tls_server_config.cert_file: None: expected a PEM file"),
    "key without certificate": (tls(cert_file=""), "tls_server_config.cert_file: None: expected a PEM file"),
    "certificate without key": (tls(key_file=""), "tls_server_config.key_file: None: expected a PEM file"),
    "encrypted key": (
        tls(key_file="locked.pem"),
        f"tls_server_config.cert_file: 'cert.pem': {FITS}: the key is encrypted",
    ),
    "another certificate's key": (
        tls(key_file="other-key.pem"),
        f"tls_server_config.cert_file: 'cert.pem': {FITS}: [X509: KEY_VALUES_MISMATCH] key values mismatch",
    ),
    "certificate that is none": (
        tls(cert_file="words.pem"),
        f"tls_server_config.cert_file: 'words.pem': {FITS}: [SSL] PEM lib",
    ),
    "no such certificate": (tls(cert_file="gone.pem"), f"tls_server_config.cert_file: 'gone.pem': {FITS}: {NONE}"),
    "no such key": (tls(key_file="gone.pem"), f"tls_server_config.cert_file: 'cert.pem': {FITS}: {NONE}"),
    "NUL in a file name": (
        tls(cert_file=r'"\0"'),
        f"tls_server_config.cert_file: '\\x00': {FITS}: embedded null byte",
    ),
    "type of client authentication": (
        tls(client_auth_type="RequireAnyClientCert"),
        f"tls_server_config.client_auth_type: 'RequireAnyClientCert': {AUTH}",
    ),
    "list of types of client authentication": (
        tls(client_auth_type=f"[{REQUIRED}]"),
        f"tls_server_config.client_auth_type: ['{REQUIRED}']: {AUTH}",
    ),
    "no authority": (tls(client_auth_type=REQUIRED), f"tls_server_config.client_ca_file: None: {CA}"),
    "authority for nothing": (tls(client_ca_file="ca.pem"), f"tls_server_config.client_ca_file: 'ca.pem': {CA}"),
    "no such authority": (
        tls(client_auth_type=REQUIRED, client_ca_file="gone.pem"),
        f"tls_server_config.client_ca_file: 'gone.pem': expected a PEM file: {NONE}",
    ),
    "authority that is none": (
        tls(client_auth_type=REQUIRED, client_ca_file="words.pem"),
        (
            "tls_server_config.client_ca_file: 'words.pem': expected a PEM file: "
            "[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found"
        ),
    ),
    "NUL in the name of the authority": (
        tls(client_auth_type=REQUIRED, client_ca_file=r'"\0"'),
        "tls_server_config.client_ca_file: '\\x00': expected a PEM file: embedded null byte",
    ),
    "lowest version too old": (tls(min_version="TLS11"), f"tls_server_config.min_version: 'TLS11': {VERSION}"),
    "highest version too old": (tls(max_version="TLS10"), f"tls_server_config.max_version: 'TLS10': {VERSION}"),
    "version that is a number": (tls(min_version="1.2"), f"tls_server_config.min_version: 1.2: {VERSION}"),
    "versions that are a mapping": (
        tls(max_version="{a: b}"),
        f"tls_server_config.max_version: {{'a': 'b'}}: {VERSION}",
    ),
    "versions the wrong way round": (
        tls(min_version="TLS13", max_version="TLS12"),
        "tls_server_config.max_version: 'TLS12': expected no version below min_version",
    ),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_of(web: Path, content: str, message: str) -> None:
    """The error names file, key and what was expected, in one line, and shows no hash."""
    web.write_text(content)
    assert message_of(web) == message


def test_a_file_that_can_not_be_read_is_told_of(tmp_path: Path) -> None:
    """No file, a folder, and nesting without end are no traceback."""
    assert message_of(tmp_path / "web.yml") == "No such file or directory: expected a readable YAML file"
    assert message_of(tmp_path) == "Is a directory: expected a readable YAML file"
    deep = tmp_path / "deep.yml"
    deep.write_text("[" * 1_000)
    assert message_of(deep).startswith("not YAML: maximum recursion depth exceeded")


@pytest.mark.parametrize(
    "content",
    ["", "# nothing\n", "---\n...\n", "{}", "basic_auth_users:\ntls_server_config:\n", "basic_auth_users: {}"],
)
def test_an_empty_file_asks_for_nothing(tmp_path: Path, content: str) -> None:
    """As with the toolkit, a file that sets nothing means plain HTTP for everybody."""
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
def test_tls_is_as_the_file_says(
    web: Path, keys: dict[str, str], versions: tuple[ssl.TLSVersion, ssl.TLSVersion], verify: ssl.VerifyMode
) -> None:
    """Versions and client certificates follow the file; files are sought beside it."""
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
    """A configuration with users."""
    file = tmp_path_factory.mktemp("people") / "web.yml"
    file.write_text(users(**{user: hashed(password) for user, password in PEOPLE.items()}))
    return WebConfig(file)


@pytest.mark.parametrize(("header", "admitted"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_who_is_let_in(people: WebConfig, header: str | None, *, admitted: bool) -> None:
    """Only who has the password of the user that the header names, the first time as well as later."""
    assert [people.admits(header) for _ in range(3)] == [admitted] * 3


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_all_tools_are_taken(tmp_path: Path, kind: str) -> None:
    """What htpasswd writes $2y$, Go's $2a$, Python's $2b$; they are the same."""
    file = tmp_path / "web.yml"
    file.write_text(users(alice=hashed("sesame").replace("$2b$", kind)))
    config = WebConfig(file)
    assert [config.admits(basic(f"alice:{password}")) for password in ("sesame", "other")] == [True, False]


def test_a_user_with_a_colon_is_nobody(tmp_path: Path) -> None:
    """The header has no way to name such a user; nobody gets in as what stands before the colon."""
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users: {{"alice:x": {hashed("sesame")}}}')
    config = WebConfig(file)
    assert [config.admits(basic(text)) for text in ("alice:x:sesame", "alice:sesame", "x:sesame")] == [False] * 3


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that bcrypt is asked to check."""
    passwords = []
    check = bcrypt.checkpw

    def noting(password: bytes, hashed_password: bytes) -> bool:
        passwords.append(password)
        return check(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", noting)
    return passwords


def test_good_credentials_are_asked_of_bcrypt_once(web: Path, asked: list[bytes]) -> None:
    """What was good once costs no more; what was not, costs as much each time, whether the user exists or not."""
    web.write_text(users(alice=hashed("sesame"), bob=hashed("sesame2")))
    config = WebConfig(web)
    asked.clear()
    tries = ["alice:sesame", "bob:sesame2"] * 3 + ["alice:wrong", "mallory:sesame"] * 2 + ["bob:sesame", "alice:sesame"]
    assert [config.admits(basic(text)) for text in tries] == [True] * 6 + [False] * 5 + [True]
    assert asked == [b"sesame", b"sesame2", *[b"wrong", b"sesame"] * 2, b"sesame"]


def test_credentials_that_were_good_are_forgotten_with_the_user(web: Path) -> None:
    """After a change of the password the old one is worth nothing, nor is that of a user who is gone."""
    web.write_text(users(alice=hashed("old"), bob=hashed("sesame")))
    config = WebConfig(web)
    tries = [basic(text) for text in ("alice:old", "alice:new", "bob:sesame")]
    assert [config.admits(header) for header in tries] == [True, False, True]
    web.write_text(users(alice=hashed("new")))
    assert [config.admits(header) for header in tries] == [True, False, True]
    config.reload()
    assert [config.admits(header) for header in tries] == [False, True, False]


def serial_of(config: WebConfig) -> int:
    """Serial number of the certificate that a client is shown."""
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


def test_a_new_certificate_is_taken_up(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Certificate and key that were replaced are shown to the next client; without a change nothing is read again."""
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
    assert [record.getMessage() for record in caplog.records] == ["web configuration read again"]


def test_links_are_followed_to_what_changed(web: Path) -> None:
    """A certificate behind a link that is turned to another folder, as Kubernetes does, counts as changed."""
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
def test_a_broken_change_leaves_the_last_good_one(
    web: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    """It is told of once, the users of before stay, and what is mended is read."""
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
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "the web configuration in force stays")
    ]
    web.write_text(users(bob=hashed("sesame")))
    config.reload()
    assert [config.admits(basic(f"{user}:sesame")) for user in ("alice", "bob")] == [False, True]
    assert caplog.records[-1].getMessage() == "web configuration read again"


def test_what_was_broken_is_read_once_its_files_are_there(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate that comes, or becomes good, later than the file that names it is noticed, without a new file."""
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
    stays, again = "the web configuration in force stays", "web configuration read again"
    assert [record.getMessage() for record in caplog.records] == [stays, stays, again]


def test_a_file_put_back_is_read_again(web: Path) -> None:
    """The good file moved back, with its old time, ends the trouble."""
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
