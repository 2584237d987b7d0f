"""``serve`` and ``check-config``: the commands that read all settings."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from exporter import logs
from exporter.cli.options import values_of, with_settings
from exporter.serve import serve
from exporter.settings import sources
from exporter.settings.table import SETTINGS
from exporter.web.web_config import WebConfig


@click.command("serve")
@with_settings
def serve_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- click gives text or several
    """Receive failures and expose them as metrics, until told to stop."""
    settings = sources.read(values_of(config_file, flags))
    logs.configure(settings.log_level, settings.log_format)
    sys.exit(serve(settings, os.environ.get("NOTIFY_SOCKET", "")))


@click.command("check-config")
@with_settings
def check_config_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- click gives text or several
    """Show the settings that serve would use, and where each comes from; exit with 2 when one is wrong."""
    values = values_of(config_file, flags)
    if web_config_file := sources.read(values).web_config_file:
        WebConfig(web_config_file)
    for setting in SETTINGS:
        text, origin = values[setting.name]
        click.echo(f"{setting.name} = {setting.shown(text)!r}  # {origin}")
