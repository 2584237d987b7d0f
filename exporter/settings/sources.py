"""The sources of the settings: flags, environment variables and a TOML file; and the checks of their values."""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.classification.own_reasons import OwnReasons
from exporter.errors import Findings, SettingError
from exporter.ledger.factory import check_engine
from exporter.settings.setting import ENVIRONMENT_PREFIX, Setting
from exporter.settings.table import BY_NAME, SETTINGS, Settings

# Kubernetes sets such variables in every pod for a Service named smtpeter-exporter, or smtpeter-exporter-metrics.
_KUBERNETES: Final = re.compile(
    r"(\w+_)?(SERVICE_(HOST|PORT\w*)=.*|PORT(_\d+_(TCP|UDP|SCTP))?=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*)"
)


class Value(NamedTuple):
    """The text of a setting and its origin: ``--flag``, the name of a variable, the path of a file, or ``default``."""

    text: str
    origin: str


def gather_values(
    flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None, findings: Findings
) -> dict[str, Value]:
    """Return each setting's value by name. A flag overrides the environment, the file and the default, in this order.

    ``flags`` has the text of each flag by the name of its setting, or None if it was not given. An unknown setting in
    the environment or the file is an error. A setting whose value is unknown, because of an error, is missing.
    """
    from_environment = _from_environment(environment, findings)
    from_file = _from_file(file, findings) if file else {}
    values = {}
    for setting in SETTINGS:
        name = setting.name
        if (flag := flags.get(name)) is not None:
            values[name] = Value(flag, f"--{name}")
        elif name in from_environment:
            values[name] = Value(from_environment[name], setting.variable)
        elif name in from_file:
            values[name] = Value(from_file[name], str(file))
        elif name in findings.invalid:  # the file has a value that cannot be read
            continue
        elif name == "storage.url" and (directory := environment.get("STATE_DIRECTORY", "").partition(":")[0]):
            values[name] = Value(f"sqlite:///{directory}/smtpeter-exporter.db", "STATE_DIRECTORY")
        else:
            values[name] = Value(setting.default, "default")
    findings.invalid -= values.keys()
    return values


def parse_settings(values: Mapping[str, Value], findings: Findings) -> Settings:
    """Parse all values, and check that they fit together. An invalid or missing value is replaced by the default."""
    fields = {setting.field: setting.parse(setting.default) for setting in SETTINGS}
    for setting in SETTINGS:
        if setting.name in values:
            with findings.collecting(setting.name):
                fields[setting.field] = _parse(setting, values[setting.name])
    settings = Settings(**fields)
    for names, check in _CHECKS:
        if findings.invalid.isdisjoint(names):
            with findings.collecting(names[0]):
                check(settings, values)
    return settings


def _check_addresses(settings: Settings, _values: Mapping[str, Value]) -> None:
    public, private = settings.webhook_listen_address, settings.web_listen_address
    if public == private and public.port:
        raise SettingError(
            f"web.listen-address: '{private}' is also webhook.listen-address: expected two different addresses"
        )
    hosts = {public.host, private.host}
    overlap = "0.0.0.0" in hosts and all(re.fullmatch("[0-9.]+", host) for host in hosts)  # noqa: S104 -- only compared
    if public.port == private.port != 0 and (overlap or ("::" in hosts and all(":" in host for host in hosts))):
        raise SettingError(
            f"web.listen-address: '{private}' and webhook.listen-address '{public}' are the same port: "
            "expected two different ports, because one address includes the other"
        )


def _check_signature(settings: Settings, values: Mapping[str, Value]) -> None:
    if settings.signature_mode == "required" and not settings.signature_account:
        raise SettingError(
            f"signature.account: not set, but signature.mode is required (from {values['signature.mode'].origin}): "
            f"expected {BY_NAME['signature.account'].expected}"
        )
    if settings.signature_mode == "off" and settings.signature_account:
        raise SettingError(
            f"signature.mode: 'off' (from {values['signature.mode'].origin}), but signature.account is set "
            f"to {values['signature.account'].text!r}: expected required, or no account"
        )


def _check_keep_deliveries(settings: Settings, values: Mapping[str, Value]) -> None:
    if settings.storage_keep_deliveries < 2 * settings.signature_max_age:
        text, origin = values["storage.keep-deliveries"]
        raise SettingError(
            f"storage.keep-deliveries: {text!r} (from {origin}), but signature.max-age is "
            f"{values['signature.max-age'].text!r}: expected at least twice as long, so that a recorded request that "
            "is sent again is recognized"
        )


def _check_directory(settings: Settings, values: Mapping[str, Value]) -> None:
    directory = settings.webhook_verification_dir
    if directory and not directory.is_dir():
        raise _error(BY_NAME["webhook.verification-dir"], values["webhook.verification-dir"])


_CHECKS: Final[tuple[tuple[Sequence[str], Callable[[Settings, Mapping[str, Value]], object]], ...]] = (
    (("web.listen-address", "webhook.listen-address"), _check_addresses),
    (("signature.account", "signature.mode"), _check_signature),
    (("storage.keep-deliveries", "signature.max-age"), _check_keep_deliveries),
    (("webhook.verification-dir",), _check_directory),
    (("storage.url",), lambda settings, _values: check_engine(settings.storage_url)),
    (("reasons",), lambda settings, values: _own_reasons(settings.reasons, values["reasons"].origin)),
)
"""The checks of settings that were parsed, with the names of the settings that each needs."""


def providers_in_file(file: Path | None) -> tuple[tuple[str, str], ...]:
    """Return the domains and names of the providers that the file adds. Raises SettingError."""
    providers: tuple[tuple[str, str], ...] = _parsed_from(file, "providers")
    return providers


def reasons_in_file(file: Path | None) -> OwnReasons:
    """Return the rules for reasons that the file has. Raises SettingError."""
    return _own_reasons(_parsed_from(file, "reasons"), str(file))


def _own_reasons(rules: tuple[tuple[str, str], ...], origin: str) -> OwnReasons:
    try:
        return OwnReasons(rules)
    except ImportError as error:
        raise SettingError(
            f"reasons: set (from {origin}), but the extra reasons is not installed ({error}): "
            "pip install 'smtpeter-exporter[reasons]'"
        ) from error
    except ValueError as error:
        lines = [f"reasons: {line} (from {origin})" for line in str(error).splitlines()]
        raise SettingError("\n".join(lines)) from None


def _parsed_from(file: Path | None, name: str) -> Any:  # noqa: ANN401 -- of the type of the setting
    findings = Findings()
    text = _from_file(file, findings).get(name, "") if file else ""
    findings.raise_errors()
    return _parse(BY_NAME[name], Value(text, str(file)))


def _parse(setting: Setting, value: Value) -> Any:  # noqa: ANN401 -- of the type of the setting
    try:
        return setting.parse(value.text)
    except ValueError:
        raise _error(setting, value) from None


def _error(setting: Setting, value: Value) -> SettingError:
    text = setting.redact(value.text)
    return SettingError(f"{setting.name}: {text!r} (from {value.origin}): expected {setting.expected}")


def _from_environment(environment: Mapping[str, str], findings: Findings) -> dict[str, str]:
    names = {setting.variable.removeprefix(ENVIRONMENT_PREFIX): setting.name for setting in SETTINGS}
    names["CONFIG_FILE"] = ""
    found = {}
    for variable, text in environment.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or _KUBERNETES.fullmatch(f"{name}={text}"):
            continue
        if name not in names:
            near = _nearest(name, names, prefix=ENVIRONMENT_PREFIX)
            findings.errors.append(SettingError(f"environment variable {variable}: no such setting{near}"))
        else:
            found[names[name]] = text
    return found


def _from_file(file: Path, findings: Findings) -> dict[str, str]:
    """Return the texts of the settings in the file. If it cannot be read, no value is known, so all are invalid."""
    content: dict[str, Any] = {}
    with findings.collecting(*BY_NAME):
        content = _load(file)
    found: dict[str, str] = {}
    if isinstance(table := content.get("providers"), dict):
        content["providers"] = [f"{name}={domain}" for name, domains in table.items() for domain in _as_list(domains)]
    if isinstance(table := content.get("reasons"), dict):
        content["reasons"] = rules = []
        for pattern, reason in table.items():
            with findings.collecting():
                rules.append(_rule(file, pattern, reason))
    for name, value in _flattened(content):
        with findings.collecting(name):
            if name not in BY_NAME:
                raise SettingError(f"config.file: '{file}': {name}: no such setting{_nearest(name, BY_NAME)}")
            if name in found:  # in TOML, log.level and "log.level" are different keys
                raise SettingError(f"config.file: '{file}': {name}: set twice")
            found[name] = _text(BY_NAME[name], value, file)
    return found


def _load(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        raise SettingError(f"config.file: '{file}': {error.strerror}: expected a readable TOML file") from error
    except (ValueError, RecursionError) as error:
        raise SettingError(f"config.file: '{file}': {error}: expected TOML") from error


def _text(setting: Setting, value: object, file: Path) -> str:
    if setting.repeatable and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return setting.separator.join(value)
    if isinstance(value, str):
        return value
    expected = "a list of quoted strings" if setting.repeatable else "a quoted string"
    raise SettingError(f"config.file: '{file}': {setting.name}: {setting.redact(repr(value))}: expected {expected}")


def _rule(file: Path, pattern: str, reason: object) -> str:
    if isinstance(reason, str) and "=" not in reason and "\n" not in pattern + reason:
        return f"{pattern}={reason}"
    expected = "a pattern in quotes, without line break, and a reason in quotes"  # a.b without quotes is a table
    raise SettingError(f"config.file: '{file}': reasons: {pattern!r} = {reason!r}: expected {expected}")


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _flattened(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found.extend(_flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)])
    return found


def _nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
