"""``--web.config.file``: TLS and basic authentication of the private listener.

The format is the one of Prometheus's exporter-toolkit, so that one file does for all exporters of a house:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What is not supported here is an
error, never passed over. As there, a file that changed is read anew without a restart.
"""

import hashlib
import hmac
import logging
import os
import secrets
import ssl
from base64 import b64decode
from collections.abc import Mapping
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
# What a user that does not exist is compared with, so that it takes as long as one that does.
_NOBODY: Final = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))


class Loaded(NamedTuple):
    """One reading of the file: what the listener does with it, and the state of all files that it came from."""

    tls: ssl.SSLContext | None
    users: Mapping[str, bytes]
    stamps: Mapping[Path, tuple[int, int]]


class WebConfig:
    """The file as it is now. Raises SettingError when it can't be used at the start; later the last good one holds."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._loaded = load(file)
        self._failed_at: Mapping[Path, tuple[int, int]] = {}
        # Of credentials that were good, a keyed hash: bcrypt takes longer than a scrape.
        self._salt = secrets.token_bytes(32)
        self._known: dict[bytes, bytes] = {}

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What to wrap new connections with."""
        return self._loaded.tls

    def reload(self) -> None:
        """Read the file again if it, or a file it names, has changed. A file that can't be used is told of once."""
        stamps = _stamps(self._loaded.stamps)
        if stamps in (self._loaded.stamps, self._failed_at):
            return
        try:
            self._loaded = load(self._file)
        except SettingError as error:
            self._failed_at = stamps
            log.error("the web configuration in force stays", extra={"error": error})  # noqa: TRY400 -- one line
        else:
            self._known = {}
            log.info("web configuration read again", extra={"file": self._file})

    def admits(self, authorization: str | None) -> bool:
        """Whether a request with this header may see what is behind authentication."""
        users = self._loaded.users
        if not users:
            return True
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            user, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
            expected = users.get(user, _NOBODY)
            token = hmac.digest(self._salt, expected + password.encode(), hashlib.sha256)
            if scheme.lower() == "basic" and hmac.compare_digest(self._known.get(expected, b""), token):
                return True
            good = bcrypt.checkpw(password.encode(), expected)
        except ValueError:  # not base64, not UTF-8, more than the 72 bytes that bcrypt takes
            return False
        if not (good and colon and user in users and scheme.lower() == "basic"):
            return False
        self._known[expected] = token
        return True


def load(file: Path) -> Loaded:
    """Read the file and those it names. Raises SettingError."""
    try:
        content = yaml.safe_load(file.read_bytes()) or {}
    except OSError as error:
        raise SettingError(f"{_SETTING}: '{file}': {error.strerror}: expected a readable YAML file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingError(f"{_SETTING}: '{file}': not YAML: {' '.join(str(error).split())}") from error
    _only(content, {"tls_server_config", "basic_auth_users"}, file, "")
    users = content.get("basic_auth_users") or {}
    if not isinstance(users, dict):
        raise SettingError(f"{_SETTING}: '{file}': basic_auth_users: expected names with a bcrypt hash each")
    tls = content.get("tls_server_config")
    files = [file]
    context = None
    if tls is not None:
        _only(tls, _TLS_KEYS, file, "tls_server_config.")
        paths = {
            key: file.parent / str(tls[key]) for key in ("cert_file", "key_file", "client_ca_file") if tls.get(key)
        }
        files.extend(paths.values())
        context = _tls(tls, paths, file)
    stamps = _stamps(dict.fromkeys(files, (0, 0)))
    return Loaded(context, {str(user): _hash(user, users[user], file) for user in users}, stamps)


def _hash(user: object, text: object, file: Path) -> bytes:
    try:
        hashed = str(text).encode("ascii")
        bcrypt.checkpw(b"", hashed)
    except ValueError:
        raise SettingError(
            f"{_SETTING}: '{file}': basic_auth_users.{user}: expected a bcrypt hash, as htpasswd -nB makes it"
        ) from None
    return hashed


def _tls(tls: Mapping[str, Any], paths: Mapping[str, Path], file: Path) -> ssl.SSLContext:
    def wrong(key: str, expected: str) -> SettingError:
        return SettingError(f"{_SETTING}: '{file}': tls_server_config.{key}: {tls.get(key)!r}: expected {expected}")

    for key, known in (("client_auth_type", _CLIENT_AUTH), ("min_version", _VERSIONS), ("max_version", _VERSIONS)):
        if tls.get(key) not in {None, *known}:
            raise wrong(key, " or ".join(known))
    for key in ("cert_file", "key_file"):
        if key not in paths:
            raise wrong(key, "a PEM file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.get("min_version") or "TLS12"]
    context.maximum_version = _VERSIONS[tls.get("max_version") or "TLS13"]
    context.verify_mode = _CLIENT_AUTH[tls.get("client_auth_type") or "NoClientCert"]
    if (context.verify_mode == ssl.CERT_NONE) == ("client_ca_file" in paths):
        raise wrong("client_ca_file", "the PEM file to verify client certificates with, where they are asked for")
    try:
        context.load_cert_chain(paths["cert_file"], paths["key_file"], password=_no_password)
    except (OSError, ValueError) as error:
        raise wrong("cert_file", f"a PEM certificate that fits the unencrypted key_file: {error}") from error
    if "client_ca_file" in paths:
        try:
            context.load_verify_locations(paths["client_ca_file"])
        except OSError as error:
            raise wrong("client_ca_file", f"a PEM file: {error}") from error
    return context


def _no_password() -> str:
    # Without this OpenSSL asks at the terminal.
    raise ValueError("the key is encrypted")


def _only(content: object, known: set[str], file: Path, prefix: str) -> None:
    if not isinstance(content, dict):
        raise SettingError(f"{_SETTING}: '{file}': {prefix or 'the file'}: expected keys with values")
    for key in content:
        if key not in known:
            raise SettingError(
                f"{_SETTING}: '{file}': {prefix}{key}: not supported; expected some of {', '.join(sorted(known))}"
            )


def _stamps(files: Mapping[Path, object]) -> dict[Path, tuple[int, int]]:
    stamps = {}
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116 -- follows links, as mounted secrets are
            stamps[file] = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamps[file] = (0, 0)
    return stamps
