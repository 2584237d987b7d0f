"""``--web.config.file``: TLS and basic authentication of the private listener.

The format is that of Prometheus's exporter-toolkit, so that several exporters can share one file:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. A key that is not supported here
is an error and is never ignored. As in the toolkit, a changed file is reloaded without a restart.
"""

import logging
import os
import re
import ssl
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from exporter.errors import Findings, SettingError
from exporter.web.passwords import MAX_COST, Passwords

log = logging.getLogger(__name__)

_SETTING: Final = "web.config.file"
_TLS_KEYS: Final = {"cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version"}
_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# The toolkit has five types; Python's ssl module supports these.
_CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
# With the cost as its group. Checked by pattern, because checking a password takes as long as a log-in. The salt has 16
# bytes, so that four bits of its last letter are unused.
_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)

Stamps = dict[Path, tuple[int, int]]
"""Modification time and inode of each file, to detect changes; zeros for a missing file."""


class Loaded(NamedTuple):
    """The content of the file: the TLS context, if any, and the bcrypt hash of each user's password."""

    tls: ssl.SSLContext | None
    users: Mapping[str, bytes]


class WebConfig:
    """The web configuration, reloaded when its file changes.

    Raises SettingError if the file is invalid at the start. Later, an invalid file leaves the last valid one in force.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamps: Stamps = {}  # of the files read last, even if they were invalid
        self._loaded = load(file, self._stamps)
        self._requested = False
        self.passwords = Passwords(self._loaded.users)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context for new connections, or None for plain HTTP."""
        return self._loaded.tls

    def request_reload(self) -> None:
        """Make the next call of ``reload`` read the file even if it has not changed. A signal handler may call this."""
        self._requested = True

    def reload(self) -> None:
        """Reload the file if it, or a file that it names, has changed. An invalid file is logged once per change."""
        if not self._requested and _stamps(self._stamps) == self._stamps:
            return
        self._requested = False
        self._stamps = {}
        try:
            self._loaded = load(self._file, self._stamps)
        except SettingError as error:
            log.error(  # noqa: TRY400 -- one line
                "could not reload web.config.file; keeping the previous configuration", extra={"error": error}
            )
        else:
            self.passwords.replace(self._loaded.users)
            log.info("reloaded web.config.file", extra={"file": self._file})


def load(file: Path, stamps: Stamps) -> Loaded:
    """Read the file and the files that it names; adds their state to ``stamps`` first. Raises SettingError."""
    stamps.update(_stamps([file]))
    try:
        with file.open("rb") as opened:  # opened as text, errors would quote lines with hashes
            content = yaml.load(opened, _Reader)  # noqa: S506 -- a SafeLoader
    except OSError as error:
        raise SettingError(f"{_SETTING}: '{file}': {error.strerror}: expected a readable YAML file") from error
    except Exception as error:  # yaml raises many types for tagged values such as !!int ''
        raise SettingError(f"{_SETTING}: '{file}': not YAML: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    _check_mapping(content, file, "the file")
    findings = Findings()
    _check_keys(content, {"tls_server_config", "basic_auth_users"}, file, "", findings)
    hashes = {}
    with findings.collecting():
        for user, text in _users(content, file).items():
            with findings.collecting():
                hashes[str(user)] = _hash(user, text, file)
    context = None
    with findings.collecting():
        if (tls := content.get("tls_server_config")) is not None:
            _check_mapping(tls, file, "tls_server_config")
            _check_keys(tls, _TLS_KEYS, file, "tls_server_config.", findings)
            paths = {
                key: file.parent / str(tls[key]) for key in ("cert_file", "key_file", "client_ca_file") if tls.get(key)
            }
            stamps.update(_stamps(paths.values()))
            context = _tls(tls, paths, file)
    findings.raise_errors()
    return Loaded(context, hashes)


class _Reader(yaml.SafeLoader):
    """A loader that rejects duplicate keys, as Go's does; otherwise the last one, perhaps empty, would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 -- as in PyYAML
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key.value}", problem_mark=key.start_mark)
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return the number. Python refuses to print one with thousands of digits, so errors could not name it."""
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > 64:
            raise yaml.MarkedYAMLError(problem="number too large", problem_mark=node.start_mark)
        return number


_Reader.add_constructor("tag:yaml.org,2002:int", _Reader.construct_yaml_int)


def _users(content: Mapping[str, Any], file: Path) -> Mapping[object, object]:
    users = content.get("basic_auth_users")
    if users is not None and not isinstance(users, dict):
        raise SettingError(f"{_SETTING}: '{file}': basic_auth_users: expected a bcrypt hash for each user name")
    return users or {}


def _hash(user: object, text: object, file: Path) -> bytes:
    found = _HASH.fullmatch(str(text))
    name = f"{_SETTING}: '{file}': basic_auth_users.{user}"
    if not found:
        raise SettingError(f"{name}: expected a bcrypt hash, such as htpasswd -nB prints")
    if int(found[1]) > MAX_COST:
        raise SettingError(f"{name}: cost {found[1]}: expected at most {MAX_COST}, such as htpasswd -nB -C 10 prints")
    return str(text).encode()


def _tls(tls: Mapping[str, Any], paths: Mapping[str, Path], file: Path) -> ssl.SSLContext:
    def wrong(key: str, expected: str) -> SettingError:
        value = repr(tls[key]) if tls.get(key) else "not set"
        return SettingError(f"{_SETTING}: '{file}': tls_server_config.{key}: {value}: expected {expected}")

    findings = Findings()
    for key, known in (("client_auth_type", _CLIENT_AUTH), ("min_version", _VERSIONS), ("max_version", _VERSIONS)):
        if tls.get(key) not in [None, *known]:  # not a set: the value may be a list, which cannot be hashed
            findings.errors.append(wrong(key, " or ".join(known)))
    findings.errors += [wrong(key, "a PEM file") for key in ("cert_file", "key_file") if key not in paths]
    findings.raise_errors()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.get("min_version") or "TLS12"]
    context.maximum_version = _VERSIONS[tls.get("max_version") or "TLS13"]
    if context.minimum_version > context.maximum_version:
        raise wrong("max_version", "a version not below min_version")
    context.verify_mode = _CLIENT_AUTH[tls.get("client_auth_type") or "NoClientCert"]
    if (context.verify_mode == ssl.CERT_NONE) == ("client_ca_file" in paths):
        raise wrong("client_ca_file", "a PEM file if client_auth_type verifies certificates, and none otherwise")
    with _wrapping_errors("cert_file", "a PEM certificate that matches the unencrypted key_file", wrong):
        context.load_cert_chain(paths["cert_file"], paths["key_file"], password=_no_password)
    if "client_ca_file" in paths:
        with _wrapping_errors("client_ca_file", "a PEM file", wrong):
            context.load_verify_locations(paths["client_ca_file"])
    return context


@contextmanager
def _wrapping_errors(key: str, expected: str, wrong: Callable[[str, str], SettingError]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: NUL in the name, or an encrypted key
        raise wrong(key, f"{expected}: {error}") from error


def _no_password() -> str:
    # Without this, OpenSSL prompts for a password on the terminal.
    raise ValueError("the key is encrypted")


def _check_mapping(content: object, file: Path, what: str) -> None:
    if not isinstance(content, dict):
        raise SettingError(f"{_SETTING}: '{file}': {what}: expected a mapping")


def _check_keys(content: Iterable[object], known: set[str], file: Path, prefix: str, findings: Findings) -> None:
    for key in content:
        if key not in known:
            error = f"{_SETTING}: '{file}': {prefix}{key}: not supported; expected one of {', '.join(sorted(known))}"
            findings.errors.append(SettingError(error))


def _stamps(files: Iterable[Path]) -> Stamps:
    stamps: Stamps = {}
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116 -- follows links, as mounted secrets are links
            stamps[file] = (status.st_mtime_ns, status.st_ino)
        except (OSError, ValueError):
            stamps[file] = (0, 0)
    return stamps
