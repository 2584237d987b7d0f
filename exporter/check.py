"""``check-config``: check that ``serve`` could start, with the code of ``serve``, but change nothing.

Whatever a running exporter holds is no error, because the check before an upgrade runs next to one.
"""

import errno
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Final

from exporter.errors import ExporterError, Findings, ListenError, SettingError
from exporter.healthcheck import ask
from exporter.ledger.factory import inspect_ledger
from exporter.net import Address, bind, naming_setting
from exporter.serve import warnings_of
from exporter.settings.sources import Value
from exporter.settings.table import BY_NAME, Settings
from exporter.signature.key_records import DnsDown, resolver
from exporter.web.web_config import WebConfig, load
from exporter.webhook.verification_files import VerificationFiles

Values = Mapping[str, Value]

_ANSWERS: Final = {(200, b"healthy\n"), (404, b"not_found\n")}
"""What the listeners of an exporter answer to ``/-/healthy``: the private one, and the public one."""


def check(settings: Settings, values: Values, findings: Findings) -> None:
    """Check everything that ``serve`` needs, except for what depends on an invalid setting."""
    for names, look in _CHECKS:
        if findings.invalid.isdisjoint(names):
            with findings.collecting():
                findings.notes += look(settings, values)


def _check_security(settings: Settings, _values: Values) -> list[str]:
    return warnings_of(settings)


def _check_verification_files(settings: Settings, values: Values) -> list[str]:
    directory = settings.webhook_verification_dir
    if not directory:
        return []
    found = VerificationFiles(directory).look()
    if found.problem:
        raise SettingError(f"{_shown('webhook.verification-dir', values)}: {found.problem}")
    return [] if found.files else [f"webhook.verification-dir: there is no smtpeter-….txt in {directory} yet"]


def _check_web_config(settings: Settings, _values: Values) -> list[str]:
    if settings.web_config_file:
        WebConfig(settings.web_config_file)
    return []


def _check_dns(settings: Settings, values: Values) -> list[str]:
    if settings.signature_mode == "off":
        return []
    try:
        # The names of keys are not known yet, but any answer, also that there is no record, shows that DNS works.
        resolver(settings.signature_nameserver)(settings.signature_key_domain)
    except DnsDown as error:
        raise ExporterError(f"{_shown('signature.key-domain', values)}: DNS lookup failed: {error}") from error
    return []


def _check_ledger(settings: Settings, _values: Values) -> list[str]:
    return inspect_ledger(settings.storage_url)


def _check_public_address(settings: Settings, _values: Values) -> list[str]:
    return _check_address("webhook.listen-address", settings.webhook_listen_address, None)


def _check_private_address(settings: Settings, _values: Values) -> list[str]:
    return _check_address("web.listen-address", settings.web_listen_address, settings.web_config_file)


def _check_address(name: str, address: Address, web_config_file: Path | None) -> list[str]:
    try:
        bind(*address).close()
    except ListenError as error:
        if getattr(error.__cause__, "errno", None) == errno.EADDRINUSE:
            if any(_is_exporter(address, tls=tls) for tls in ((False, True) if web_config_file else (False,))):
                return [f"{name}: a running exporter is using {address}"]
            if web_config_file and _requires_client_certificate(web_config_file):
                why = "this check has no client certificate to ask whether it is a running exporter"
                return [f"{name}: {address} is in use; {why}"]
        with naming_setting(name):
            raise
    return []


def _is_exporter(address: Address, *, tls: bool) -> bool:
    try:
        return ask(address, tls=tls) in _ANSWERS
    except (OSError, HTTPException):
        return False


def _requires_client_certificate(web_config_file: Path) -> bool:
    try:
        tls = load(web_config_file, {}).tls
    except SettingError:  # which was found before
        return False
    return tls is not None and tls.verify_mode == ssl.CERT_REQUIRED


def _check_user(_settings: Settings, _values: Values) -> list[str]:
    if os.geteuid():
        return []
    return ["this check ran as root, so it does not show whether the exporter's user may use the files"]


def _shown(name: str, values: Values) -> str:
    text, origin = values[name]
    return f"{name}: {BY_NAME[name].redact(text)!r} (from {origin})"


_CHECKS: Final[tuple[tuple[Sequence[str], Callable[[Settings, Values], list[str]]], ...]] = (
    (("signature.mode", "webhook.public-url", "web.listen-address", "web.config.file"), _check_security),
    (("webhook.verification-dir",), _check_verification_files),
    (("web.config.file",), _check_web_config),
    (("signature.mode", "signature.key-domain", "signature.nameserver"), _check_dns),
    (("storage.url",), _check_ledger),
    (("webhook.listen-address",), _check_public_address),
    (("web.listen-address",), _check_private_address),
    ((), _check_user),
)
"""The checks, with the names of the settings that each needs."""
