"""The options that commands share, their help, and the way in which a command fails."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from exporter.cli.main import COMMAND
from exporter.errors import Findings
from exporter.logs import mask
from exporter.settings.setting import ENVIRONMENT_PREFIX
from exporter.settings.sources import Value, gather_values
from exporter.settings.table import SETTINGS
from exporter.settings.values import OneOf

CONFIG_FILE = click.option(
    "--config.file",
    "config_file",
    envvar=f"{ENVIRONMENT_PREFIX}CONFIG_FILE",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="TOML file with settings. Flags and environment variables override it. "
    f"Variable: {ENVIRONMENT_PREFIX}CONFIG_FILE.",
)


class SettingsCommand(click.Command):
    """A command of :func:`with_settings`. Its help has a section for each group of settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each option, with its text, default and variable below it: the names are too long for two columns."""
        settings = {setting.field: setting for setting in SETTINGS}
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            setting = settings.get(parameter.name or "")
            rows = sections.setdefault(setting.section if setting else "options", [])
            rows += filter(None, [parameter.get_help_record(ctx)])
            if setting:
                rows += [("", f"Default: {setting.default}")] if setting.default else []
                rows += [("", f"Variable: {setting.variable}")]
        for name, rows in sections.items():
            with formatter.section(name.capitalize()):
                formatter.write_dl(rows, col_max=4)


def _completing(words: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    return lambda _context, _parameter, text: [word for word in words if word.startswith(text)]


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each setting to a command, and one for the configuration file."""
    for setting in reversed(SETTINGS):
        command = click.option(
            f"--{setting.name}",
            setting.field,
            multiple=setting.repeatable,
            metavar=setting.metavar,
            help=setting.description,
            shell_complete=_completing(setting.parse.words) if isinstance(setting.parse, OneOf) else None,
        )(command)
    return CONFIG_FILE(command)


def values_of(config_file: Path | None, flags: dict[str, Any], findings: Findings) -> dict[str, Value]:
    """Return the values of all settings from the arguments of a :func:`with_settings` command."""
    by_name = {
        setting.name: setting.separator.join(flags[setting.field]) or None
        if setting.repeatable
        else flags[setting.field]
        for setting in SETTINGS
    }
    return gather_values(by_name, os.environ, config_file, findings)


def fail(text: str, code: int) -> NoReturn:
    """Print each line of the error with addresses masked, and exit with the code."""
    for line in mask(text).splitlines():
        click.echo(f"{COMMAND}: {line}", err=True)
    sys.exit(code)
