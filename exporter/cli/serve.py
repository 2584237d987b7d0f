"""``serve`` and ``check-config``: the commands that read all settings."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from exporter import logs
from exporter.cli.options import values_of, with_settings
from exporter.errors import SettingError
from exporter.serve import serve
from exporter.settings import sources
from exporter.settings.table import SETTINGS, Settings
from exporter.web.web_config import WebConfig


@click.command("serve")
@with_settings
def serve_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- click gives text or several
    """Receive failures and expose them as metrics, until told to stop."""
    settings = _read(values_of(config_file, flags))
    logs.configure(settings.log_level, settings.log_format)
    sys.exit(serve(settings, os.environ.get("NOTIFY_SOCKET", "")))


@click.command("check-config")
@with_settings
def check_config_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- click gives text or several
    """Show the settings that serve would use, and where each comes from; exit with 2 when one is wrong."""
    values = values_of(config_file, flags)
    if web_config_file := _read(values).web_config_file:
        WebConfig(web_config_file)
    for setting in SETTINGS:
        text, origin = values[setting.name]
        click.echo(f"{setting.name} = {setting.shown(text)!r}  # {origin}")


def _read(values: Mapping[str, sources.Value]) -> Settings:
    settings = sources.read(values)
    if settings.webhook_server == "granian":
        try:
            import exporter.webhook.granian_listener  # noqa: F401, PLC0415 -- of an extra, which need not be installed
        except ImportError:
            raise SettingError(
                f"webhook.server: 'granian' (from {values['webhook.server'].origin}), but it is not installed in a "
                "fitting version: expected waitress, or pip install 'smtpeter-exporter[granian]'"
            ) from None
    return settings
