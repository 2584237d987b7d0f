"""One table of settings: it feeds flags, environment, file, ``check-config`` and the documentation."""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from exporter import setting_values as read_as
from exporter.errors import SettingError
from exporter.setting_values import Address

ENVIRONMENT_PREFIX: Final = "SMTPETER_EXPORTER_"
# What Kubernetes puts into every pod beside a Service that is called smtpeter-exporter, or smtpeter-exporter-metrics.
_KUBERNETES: Final = re.compile(
    r"(\w+_)?(SERVICE_(HOST|PORT\w*)=.*|PORT(_\d+_(TCP|UDP|SCTP))?=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*)"
)


@dataclass(frozen=True)
class Settings:
    """All settings of ``serve``, read and checked; a field is called as its setting, with ``_`` for dots and dashes."""

    webhook_listen_address: Address
    webhook_public_url: str
    web_listen_address: Address
    storage_url: Path
    webhook_verification_dir: Path | None
    web_config_file: Path | None
    signature_mode: str
    signature_account: tuple[str, ...]
    signature_key_domain: str
    signature_nameserver: tuple[Address, ...]
    signature_max_age: float
    metrics_birth_hold: float
    log_level: str
    log_format: str

    @property
    def public_path(self) -> str:
        """The path of the public URL, without a slash at the end; empty when there is none."""
        return urlsplit(self.webhook_public_url).path.rstrip("/")


@dataclass(frozen=True)
class Setting:
    """One row of the table. ``read`` takes the text and raises ValueError when it is not what is ``expected``."""

    name: str
    default: str
    expected: str
    help: str
    read: Callable[[str], Any]
    many: bool = False
    """Whether it may be given several times; the text then has the values with commas between them."""

    @property
    def field(self) -> str:
        """Name of the field in Settings."""
        return re.sub(r"[.-]", "_", self.name)

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.field.upper()


class Value(NamedTuple):
    """The text of a setting, and where it comes from (``--flag``, variable, file, ``default``)."""

    text: str
    origin: str


SETTINGS: Final = (
    Setting(
        "webhook.listen-address",
        "127.0.0.1:10125",
        "HOST:PORT",
        "Address of the public listener, which SMTPeter calls.",
        read_as.address,
    ),
    Setting(
        "webhook.public-url",
        "",
        "a URL such as https://mail.example.com/smtpeter, without user, query, % and the last /failures",
        "Base URL as SMTPeter calls it, when a proxy stands before the exporter; its path is served, too.",
        read_as.public_url,
    ),
    Setting(
        "webhook.verification-dir",
        "",
        "a folder",
        "Folder with the smtpeter-….txt files that SMTPeter hands out; they are served beside the callback.",
        read_as.path,
    ),
    Setting(
        "web.listen-address",
        "127.0.0.1:10126",
        "HOST:PORT",
        "Address of the private listener: metrics and health, for Prometheus and the operator.",
        read_as.address,
    ),
    Setting(
        "web.config.file",
        "",
        "a YAML file as Prometheus's exporter-toolkit documents it",
        "TLS and basic authentication of the private listener.",
        read_as.path,
    ),
    Setting(
        "storage.url",
        "sqlite:///smtpeter-exporter.db",
        "sqlite:///relative/path or sqlite:////absolute/path",
        "The ledger: what was counted. Under systemd the default lies in the unit's state directory.",
        read_as.storage,
    ),
    Setting(
        "signature.mode",
        "required",
        "required or off",
        "Which requests count: those that SMTPeter signed, or (off) all, for trials on a machine of your own.",
        read_as.one_of("required", "off"),
    ),
    Setting(
        "signature.account",
        "",
        "environment- and the number of your account, such as environment-1234",
        "Whose calls count: the X-Copernica-ID that SMTPeter sends. Needed where signatures are required.",
        read_as.many(read_as.account),
        many=True,
    ),
    Setting(
        "signature.key-domain",
        "copernica.com",
        "a domain name",
        "Domain that the names of SMTPeter's public keys lie under.",
        read_as.domain,
    ),
    Setting(
        "signature.nameserver",
        "",
        "an IP address with or without a port, such as 192.0.2.53:53",
        "Name servers to ask for public keys. Default: the system's.",
        read_as.many(read_as.nameserver),
        many=True,
    ),
    Setting(
        "signature.max-age",
        "300s",
        "a duration of 1s to 1d, such as 300s",
        "How old, or how far ahead, the Date of a signed call may be.",
        read_as.max_age,
    ),
    Setting(
        "metrics.birth-hold",
        "60s",
        "a duration such as 60s or 2m; 0s turns it off",
        "How long a new series is shown as 0 first, so that increase() sees its first failures.",
        read_as.duration,
    ),
    Setting(
        "log.level",
        "info",
        "debug, info, warning or error",
        "How much to log; debug also shows each failure (addresses masked) and each refusal.",
        read_as.one_of("debug", "info", "warning", "error"),
    ),
    Setting("log.format", "logfmt", "logfmt or json", "Form of the log lines.", read_as.one_of("logfmt", "json")),
)


def gather(flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None) -> dict[str, Value]:
    """The text of every setting by name: from the flag, else the environment, else the file, else the default.

    ``flags`` are the texts of the flags by name of the setting, None where not given. Raises SettingError for what is
    in environment or file and is no setting.
    """
    from_environment = _environment(environment)
    from_file = _file(file) if file else {}
    values = {}
    for setting in SETTINGS:
        name = setting.name
        if (flag := flags.get(name)) is not None:
            values[name] = Value(flag, f"--{name}")
        elif name in from_environment:
            values[name] = Value(from_environment[name], setting.variable)
        elif name in from_file:
            values[name] = Value(from_file[name], str(file))
        elif name == "storage.url" and (folder := environment.get("STATE_DIRECTORY", "").partition(":")[0]):
            values[name] = Value(f"sqlite:///{folder}/smtpeter-exporter.db", "STATE_DIRECTORY")
        else:
            values[name] = Value(setting.default, "default")
    return values


def read(values: Mapping[str, Value]) -> Settings:
    """Check all values and what they mean together. Raises SettingError naming setting, value and what was expected."""
    fields = {}
    for setting in SETTINGS:
        text, origin = values[setting.name]
        try:
            fields[setting.field] = setting.read(text)
        except ValueError:
            raise SettingError(f"{setting.name}: {text!r} (from {origin}): expected {setting.expected}") from None
    settings = Settings(**fields)
    public, private = settings.webhook_listen_address, settings.web_listen_address
    if public == private and public.port:
        raise SettingError(
            f"web.listen-address: '{private}' is webhook.listen-address as well: expected two different addresses"
        )
    if settings.signature_mode == "required" and not settings.signature_account:
        raise SettingError(
            f"signature.account: not given, but signature.mode is required (from {values['signature.mode'].origin}): "
            "expected the account whose calls count, such as environment-1234"
        )
    if settings.signature_mode == "off" and settings.signature_account:
        raise SettingError(
            f"signature.mode: 'off' (from {values['signature.mode'].origin}), but signature.account is "
            f"{values['signature.account'].text!r}: expected required, or no account"
        )
    folder = settings.webhook_verification_dir
    if folder and not folder.is_dir():
        raise SettingError(
            f"webhook.verification-dir: '{folder}' (from {values['webhook.verification-dir'].origin}): "
            "expected a folder that exists"
        )
    return settings


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    names = {setting.variable.removeprefix(ENVIRONMENT_PREFIX): setting.name for setting in SETTINGS}
    names["CONFIG_FILE"] = ""
    found = {}
    for variable, text in environment.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or _KUBERNETES.fullmatch(f"{name}={text}"):
            continue
        if name not in names:
            near = _nearest(name, names, prefix=ENVIRONMENT_PREFIX)
            raise SettingError(f"environment variable {variable}: no such setting{near}")
        found[names[name]] = text
    return found


def _file(file: Path) -> dict[str, str]:
    try:
        with file.open("rb") as opened:
            content = tomllib.load(opened)
    except OSError as error:
        raise SettingError(f"config.file: '{file}': {error.strerror}: expected a readable TOML file") from error
    except (ValueError, RecursionError) as error:
        raise SettingError(f"config.file: '{file}': {error}: expected TOML") from error
    many = {setting.name: setting.many for setting in SETTINGS}
    found = {}
    for name, value in _flat(content):
        if name not in many:
            raise SettingError(f"config.file: '{file}': {name}: no such setting{_nearest(name, many)}")
        if name in found:  # TOML sees no repetition in log.level and "log.level"
            raise SettingError(f"config.file: '{file}': {name}: given twice")
        if many[name] and isinstance(value, list) and all(isinstance(one, str) for one in value):
            found[name] = ",".join(value)
        elif isinstance(value, str):
            found[name] = value
        else:
            expected = "a list of texts" if many[name] else "text"
            raise SettingError(f"config.file: '{file}': {name}: {value!r}: expected {expected} in quotes")
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found.extend(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)])
    return found


def _nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
