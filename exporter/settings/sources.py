"""Where settings come from, and whether they go together: flags, environment, a TOML file."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.errors import SettingError
from exporter.ledger.factory import check_engine
from exporter.settings.table import BY_NAME, ENVIRONMENT_PREFIX, SETTINGS, Setting, Settings

# What Kubernetes puts into every pod beside a Service that is called smtpeter-exporter, or smtpeter-exporter-metrics.
_KUBERNETES: Final = re.compile(
    r"(\w+_)?(SERVICE_(HOST|PORT\w*)=.*|PORT(_\d+_(TCP|UDP|SCTP))?=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*)"
)


class Value(NamedTuple):
    """The text of a setting, and where it comes from (``--flag``, variable, file, ``default``)."""

    text: str
    origin: str


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
    fields = {setting.field: _value(setting, values[setting.name]) for setting in SETTINGS}
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
    check_engine(settings.storage_url)
    return settings


def own_providers(file: Path | None) -> tuple[tuple[str, str], ...]:
    """Domains and names of the providers that the file adds. Raises SettingError."""
    text = _file(file).get("providers", "") if file else ""
    providers: tuple[tuple[str, str], ...] = _value(BY_NAME["providers"], Value(text, str(file)))
    return providers


def _value(setting: Setting, value: Value) -> Any:  # noqa: ANN401 -- what the setting means
    try:
        return setting.read(value.text)
    except ValueError:
        raise SettingError(
            f"{setting.name}: {setting.shown(value.text)!r} (from {value.origin}): expected {setting.expected}"
        ) from None


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
    found = {}
    if isinstance(own := content.get("providers"), dict):
        content["providers"] = [f"{name}={domain}" for name, domains in own.items() for domain in _listed(domains)]
    for name, value in _flat(content):
        if name not in BY_NAME:
            raise SettingError(f"config.file: '{file}': {name}: no such setting{_nearest(name, BY_NAME)}")
        if name in found:  # TOML sees no repetition in log.level and "log.level"
            raise SettingError(f"config.file: '{file}': {name}: given twice")
        setting = BY_NAME[name]
        if setting.many and isinstance(value, list) and all(isinstance(one, str) for one in value):
            found[name] = ",".join(value)
        elif isinstance(value, str):
            found[name] = value
        else:
            expected = "a list of texts" if setting.many else "text"
            raise SettingError(
                f"config.file: '{file}': {name}: {setting.shown(repr(value))}: expected {expected} in quotes"
            )
    return found


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found.extend(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)])
    return found


def _nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
