"""The options that commands share, and how a command exits."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from exporter import logs
from exporter.settings import sources
from exporter.settings.table import ENVIRONMENT_PREFIX, SETTINGS
from exporter.settings.values import OneOf

COMMAND: Final = "smtpeter-exporter"
CONFIG_FILE = click.option(
    "--config.file",
    "config_file",
    envvar=f"{ENVIRONMENT_PREFIX}CONFIG_FILE",
    type=click.Path(path_type=Path),
    help="TOML file with settings; flags and SMTPETER_EXPORTER_… variables go before it.",
)


def _begun(words: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    return lambda _context, _parameter, text: [word for word in words if word.startswith(text)]


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each setting, and one for the file."""
    for setting in reversed(SETTINGS):
        command = click.option(
            f"--{setting.name}",
            setting.field,
            multiple=setting.many,
            metavar=setting.expected.split(",")[0].split(" such")[0].upper(),
            help=f"{setting.help} Expected: {setting.expected}. Default: {setting.default or 'none'}.",
            shell_complete=_begun(setting.read.words) if isinstance(setting.read, OneOf) else None,
        )(command)
    return CONFIG_FILE(command)


def values_of(config_file: Path | None, flags: dict[str, Any]) -> dict[str, sources.Value]:
    """The values of all settings, from what :func:`with_settings` gave the command. Raises SettingError."""
    by_name = {
        setting.name: ",".join(flags[setting.field]) or None if setting.many else flags[setting.field]
        for setting in SETTINGS
    }
    return sources.gather(by_name, os.environ, config_file)


def end(text: str, code: int) -> NoReturn:
    """Print why the command failed, addresses masked, and exit with the code."""
    click.echo(f"{COMMAND}: {logs.mask(text)}", err=True)
    sys.exit(code)
