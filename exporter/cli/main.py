"""The command line. Only here the environment is read and an exit code decided."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from exporter import __version__, logs
from exporter.classification.providers import Providers
from exporter.cli.assets import assets_command
from exporter.cli.classify import Meaning, Unreadable, classify, summary
from exporter.cli.post import send_command, simulate_command
from exporter.errors import ExporterError
from exporter.ledger.copy import ledger_group
from exporter.serve import serve
from exporter.settings import sources as config
from exporter.settings.table import ENVIRONMENT_PREFIX, SETTINGS
from exporter.settings.values import OneOf
from exporter.web.web_config import WebConfig

_COMMAND: Final = "smtpeter-exporter"
_SHELLS: Final = {shell.name: shell for shell in (BashComplete, FishComplete, ZshComplete)}
_CONFIG_FILE = click.option(
    "--config.file",
    "config_file",
    envvar=f"{ENVIRONMENT_PREFIX}CONFIG_FILE",
    type=click.Path(path_type=Path),
    help="TOML file with settings; flags and SMTPETER_EXPORTER_… variables go before it.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=_COMMAND)
def cli() -> None:
    """Count the deliveries that SMTPeter reports as failed, for Prometheus."""


def _begun(words: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    return lambda _context, _parameter, text: [word for word in words if word.startswith(text)]


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    for setting in reversed(SETTINGS):
        command = click.option(
            f"--{setting.name}",
            setting.field,
            multiple=setting.many,
            metavar=setting.expected.split(",")[0].split(" such")[0].upper(),
            help=f"{setting.help} Expected: {setting.expected}. Default: {setting.default or 'none'}.",
            shell_complete=_begun(setting.read.words) if isinstance(setting.read, OneOf) else None,
        )(command)
    return _CONFIG_FILE(command)


def _values(config_file: Path | None, flags: dict[str, Any]) -> dict[str, config.Value]:
    by_name = {
        setting.name: ",".join(flags[setting.field]) or None if setting.many else flags[setting.field]
        for setting in SETTINGS
    }
    return config.gather(by_name, os.environ, config_file)


@cli.command("serve")
@_with_settings
def serve_command(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- click gives text or several
    """Receive failures and expose them as metrics, until told to stop."""
    settings = config.read(_values(config_file, flags))
    logs.configure(settings.log_level, settings.log_format)
    sys.exit(serve(settings, os.environ.get("NOTIFY_SOCKET", "")))


@cli.command()
@_with_settings
def check_config(config_file: Path | None, **flags: Any) -> None:  # noqa: ANN401 -- click gives text or several
    """Show the settings that serve would use, and where each comes from; exit with 2 when one is wrong."""
    values = _values(config_file, flags)
    if web_config_file := config.read(values).web_config_file:
        WebConfig(web_config_file)
    for setting in SETTINGS:
        text, origin = values[setting.name]
        click.echo(f"{setting.name} = {setting.shown(text)!r}  # {origin}")


@cli.command("classify")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--summary", "summarised", is_flag=True, help="Print a table of reasons instead, for people.")
@_CONFIG_FILE
def classify_command(file: Any, config_file: Path | None, *, summarised: bool) -> None:  # noqa: ANN401 -- any stream
    """Print what failures mean: JSON lines in, such as SMTPeter's log files; JSON lines out.

    FILE is the file to read; standard input when there is none. Of the configuration only the providers are used. Exits
    with 1 when a line could not be read.
    """
    providers = Providers(dict(config.own_providers(config_file)))
    unreadable: list[Unreadable] = []

    def readable() -> Iterator[Meaning]:
        for result in classify(file, providers):
            if not summarised:
                click.echo(result.as_json())
            if isinstance(result, Unreadable):
                unreadable.append(result)
            else:
                yield result

    table = list(summary(readable()))
    for line in table if summarised else []:
        click.echo(line)
    if unreadable:
        _end(f"{len(unreadable)} lines could not be read; {unreadable[0].error}", 1)


@cli.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes the words of this command."""
    variable = f"_{_COMMAND}_COMPLETE".replace("-", "_").upper()  # the one that click looks for
    click.echo(_SHELLS[shell](cli, {}, _COMMAND, variable).source())


for _command in (assets_command, ledger_group, send_command, simulate_command):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; ends the process. Exit codes are in errors.py."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is: a server may answer in any script
    try:
        cli.main(prog_name=_COMMAND, standalone_mode=False)
    except ExporterError as error:
        _end(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        _end("interrupted", 130)
    except OSError as error:  # a file that can't be read to its end, standard output on a full disk
        _end(str(error), 1)


def _end(text: str, code: int) -> NoReturn:
    click.echo(f"{_COMMAND}: {logs.mask(text)}", err=True)
    sys.exit(code)
