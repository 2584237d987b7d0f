"""``serve`` and ``check-config``: the commands that read all settings."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import SettingsCommand, values_of, with_settings
from exporter.errors import SettingError
from exporter.logs import configure
from exporter.settings.sources import Value, parse_settings
from exporter.settings.table import SETTINGS, Settings


@click.command("serve", cls=SettingsCommand)
@with_settings
def serve_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- a string or several, from click
    """Receive failures and expose them as metrics, until stopped."""
    settings = _checked(values_of(config_file, flags))
    configure(settings.log_level, settings.log_format)

    from exporter.serve import serve  # noqa: PLC0415 -- takes a while; the help and a completion must not wait for it

    sys.exit(serve(settings, os.environ.get("NOTIFY_SOCKET", "")))


@click.command("check-config", cls=SettingsCommand)
@with_settings
def check_config_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- a string or several
    """Show the value and origin of each setting that serve would use. Exits with 2 if one is invalid."""
    values = values_of(config_file, flags)
    if web_config_file := _checked(values).web_config_file:
        from exporter.web.web_config import WebConfig  # noqa: PLC0415 -- as above

        WebConfig(web_config_file)
    for setting in SETTINGS:
        text, origin = values[setting.name]
        click.echo(f"{setting.name} = {setting.redact(text)!r}  # {origin}")


def _checked(values: Mapping[str, Value]) -> Settings:
    settings = parse_settings(values)
    if settings.webhook_server == "granian":
        try:
            import exporter.webhook.granian_listener  # noqa: F401, PLC0415 -- needs an extra that may not be installed
        except ImportError:
            raise SettingError(
                f"webhook.server: 'granian' (from {values['webhook.server'].origin}), but no supported version of "
                "granian is installed: expected waitress, or run pip install 'smtpeter-exporter[granian]'"
            ) from None
    return settings
