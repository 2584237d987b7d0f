"""``serve`` and ``check-config``: the commands that read all settings."""

import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from exporter.cli.options import SettingsCommand, values_of, with_settings
from exporter.errors import Findings
from exporter.logs import configure, mask
from exporter.settings.sources import Value, parse_settings
from exporter.settings.table import SETTINGS, Settings

log = logging.getLogger(__name__)

_SERVER_DEPRECATED: Final = (
    "webhook.server has no effect and will be removed in the next release, so remove it from your settings. There is "
    "only one server now, which is faster than before. For more throughput, run several exporters on one PostgreSQL "
    "ledger; see docs/postgresql.md"
)


@click.command("serve", cls=SettingsCommand)
@with_settings
def serve_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- a string or several, from click
    """Receive SMTPeter's events and expose them as metrics, until stopped."""
    findings = Findings()
    _, settings = _read(config_file, flags, findings)
    findings.raise_errors()
    configure(settings.log_level, settings.log_format)
    for note in findings.notes:
        log.warning(note)

    from exporter.serve import serve  # noqa: PLC0415 -- takes a while; the help and a completion must not wait for it

    sys.exit(serve(settings, os.environ.get("NOTIFY_SOCKET", "")))


@click.command("check-config", cls=SettingsCommand)
@with_settings
def check_config_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- a string or several
    """Check that serve could start, and show the value and origin of each setting.

    Reports all errors at once: in settings, verification files, web configuration, DNS, ledger and addresses. Changes
    nothing, and does not disturb a running exporter. Ends with "configuration is valid", or with the errors.
    """
    findings = Findings()
    values, settings = _read(config_file, flags, findings)
    if not findings.errors:
        for setting in SETTINGS:
            text, origin = values[setting.name]
            click.echo(f"{setting.name} = {setting.redact(text)!r}  # {origin}")

    from exporter.check import check  # noqa: PLC0415 -- as above

    check(settings, values, findings)
    for note in findings.notes:
        click.echo(f"note: {mask(note)}")
    findings.raise_errors()
    click.echo("configuration is valid")


def _read(config_file: Path | None, flags: dict[str, Any], findings: Findings) -> tuple[dict[str, Value], Settings]:
    values = values_of(config_file, flags, findings)
    settings = parse_settings(values, findings)
    if "webhook.server" not in findings.invalid and values["webhook.server"].origin != "default":
        findings.notes.append(_SERVER_DEPRECATED)
    return values, settings
