"""``--web.config.file``: TLS and basic authentication of the private listener.

The format is the one of Prometheus's exporter-toolkit, so that one file does for all exporters of a house:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What is not supported here is an
error, never passed over. As there, a file that changed is read anew without a restart.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import ssl
from base64 import b64decode
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import bcrypt
import yaml

from exporter.errors import SettingError

log = logging.getLogger(__name__)

_SETTING: Final = "web.config.file"
_TLS_KEYS: Final = {"cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version"}
_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# Of the toolkit's five types, those that Python's ssl module can be told to do.
_CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
# Trying one would take as long as a log-in. The salt of 16 bytes leaves four bits of its last letter unused.
_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)

Stamps = dict[Path, tuple[int, int]]
"""The state of files, by which a change is seen."""


class Loaded(NamedTuple):
    """One reading of the file: what the listener does with it."""

    tls: ssl.SSLContext | None
    users: Mapping[str, bytes]


class WebConfig:
    """The file as it is now. Raises SettingError when it can't be used at the start; later the last good one holds."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamps: Stamps = {}  # of what was read last, even if it was of no use
        self._loaded = load(file, self._stamps)
        # What a user that does not exist is compared with, so that it takes as long as one that does.
        self._dummy_hash = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))
        # Of credentials that were good, a keyed hash: bcrypt takes longer than a scrape.
        self._salt = secrets.token_bytes(32)
        self._verified: dict[bytes, bytes] = {}

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What to wrap new connections with."""
        return self._loaded.tls

    def reload(self) -> None:
        """Read the file again if it, or a file it names, has changed. A file that can't be used is told of once."""
        if _stamps(self._stamps) == self._stamps:
            return
        self._stamps = {}
        try:
            self._loaded = load(self._file, self._stamps)
        except SettingError as error:
            log.error("the web configuration in force stays", extra={"error": error})  # noqa: TRY400 -- one line
        else:
            self._verified = {}
            log.info("web configuration read again", extra={"file": self._file})

    def admits(self, authorization: str | None) -> bool:
        """Whether a request with this header may see what is behind authentication."""
        users = self._loaded.users
        if not users:
            return True
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            user, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
            expected = users.get(user, self._dummy_hash)
            token = hmac.digest(self._salt, expected + password.encode(), hashlib.sha256)
            basic = colon and scheme.lower() == "basic"
            if basic and hmac.compare_digest(self._verified.get(expected, b""), token):
                return True
            good = bcrypt.checkpw(password.encode(), expected)
        except ValueError:  # not base64, not UTF-8, more than the 72 bytes that bcrypt takes
            return False
        if not (good and basic and user in users):
            return False
        self._verified[expected] = token
        return True


def load(file: Path, stamps: Stamps) -> Loaded:
    """Read the file and those it names, each of which is noted in ``stamps`` first. Raises SettingError."""
    stamps.update(_stamps([file]))
    try:
        with file.open("rb") as opened:  # of bytes, errors would quote lines, with the hashes in them
            content = yaml.load(opened, _Reader)  # noqa: S506 -- a SafeLoader
    except OSError as error:
        raise SettingError(f"{_SETTING}: '{file}': {error.strerror}: expected a readable YAML file") from error
    except Exception as error:  # for some values with a tag, such as !!int '', it raises whatever comes
        raise SettingError(f"{_SETTING}: '{file}': not YAML: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    _check_keys(content, {"tls_server_config", "basic_auth_users"}, file, "")
    users = content.get("basic_auth_users")
    users = {} if users is None else users
    if not isinstance(users, dict):
        raise SettingError(f"{_SETTING}: '{file}': basic_auth_users: expected names with a bcrypt hash each")
    tls = content.get("tls_server_config")
    context = None
    if tls is not None:
        _check_keys(tls, _TLS_KEYS, file, "tls_server_config.")
        paths = {
            key: file.parent / str(tls[key]) for key in ("cert_file", "key_file", "client_ca_file") if tls.get(key)
        }
        stamps.update(_stamps(paths.values()))
        context = _tls(tls, paths, file)
    return Loaded(context, {str(user): _hash(user, users[user], file) for user in users})


class _Reader(yaml.SafeLoader):
    """As Go's, it does not take a key that stands twice: the later one, perhaps an empty one, would win unseen."""

    # The signature is that of its base.
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def _hash(user: object, text: object, file: Path) -> bytes:
    if not _HASH.fullmatch(str(text)):
        raise SettingError(
            f"{_SETTING}: '{file}': basic_auth_users.{user}: expected a bcrypt hash, as htpasswd -nB makes it"
        )
    return str(text).encode()


def _tls(tls: Mapping[str, Any], paths: Mapping[str, Path], file: Path) -> ssl.SSLContext:
    def wrong(key: str, expected: str) -> SettingError:
        return SettingError(f"{_SETTING}: '{file}': tls_server_config.{key}: {tls.get(key)!r}: expected {expected}")

    for key, known in (("client_auth_type", _CLIENT_AUTH), ("min_version", _VERSIONS), ("max_version", _VERSIONS)):
        if tls.get(key) not in [None, *known]:  # in a set, a list would be a fault
            raise wrong(key, " or ".join(known))
    for key in ("cert_file", "key_file"):
        if key not in paths:
            raise wrong(key, "a PEM file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.get("min_version") or "TLS12"]
    context.maximum_version = _VERSIONS[tls.get("max_version") or "TLS13"]
    if context.minimum_version > context.maximum_version:
        raise wrong("max_version", "no version below min_version")
    context.verify_mode = _CLIENT_AUTH[tls.get("client_auth_type") or "NoClientCert"]
    if (context.verify_mode == ssl.CERT_NONE) == ("client_ca_file" in paths):
        raise wrong("client_ca_file", "the PEM file to verify client certificates with, where they are asked for")
    with _wrapping_errors("cert_file", "a PEM certificate that fits the unencrypted key_file", wrong):
        context.load_cert_chain(paths["cert_file"], paths["key_file"], password=_no_password)
    if "client_ca_file" in paths:
        with _wrapping_errors("client_ca_file", "a PEM file", wrong):
            context.load_verify_locations(paths["client_ca_file"])
    return context


@contextmanager
def _wrapping_errors(key: str, expected: str, wrong: Callable[[str, str], SettingError]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, an encrypted key
        raise wrong(key, f"{expected}: {error}") from error


def _no_password() -> str:
    # Without this OpenSSL asks at the terminal.
    raise ValueError("the key is encrypted")


def _check_keys(content: object, known: set[str], file: Path, prefix: str) -> None:
    if not isinstance(content, dict):
        raise SettingError(f"{_SETTING}: '{file}': {prefix.rstrip('.') or 'the file'}: expected keys with values")
    for key in content:
        if key not in known:
            raise SettingError(
                f"{_SETTING}: '{file}': {prefix}{key}: not supported; expected some of {', '.join(sorted(known))}"
            )


def _stamps(files: Iterable[Path]) -> Stamps:
    stamps: Stamps = {}
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116 -- follows links, as mounted secrets are
            stamps[file] = (status.st_mtime_ns, status.st_ino)
        except (OSError, ValueError):
            stamps[file] = (0, 0)
    return stamps
