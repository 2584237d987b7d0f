"""The commands, and the exit code of each error. A command is imported when it is used."""

import sys
from importlib import import_module
from typing import Any, Final, NoReturn

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from exporter import __version__
from exporter.cli.main import COMMAND
from exporter.errors import ExporterError

_SHELLS: Final = {shell.name: shell for shell in (BashComplete, FishComplete, ZshComplete)}
_COMMANDS: Final = {
    "assets": (
        "assets",
        "assets_command",
        "Write dashboards, rules and deployment files to DIR, and print the path of each written file.",
    ),
    "check-config": (
        "serve",
        "check_config_command",
        "Check that serve could start, and show the value and origin of each setting.",
    ),
    "classify": ("classify", "classify_command", "Classify failures without counting them."),
    "ledger": ("ledger", "ledger_group", "Commands on a ledger that no exporter is using."),
    "send": ("send", "send_command", "Post one failure to URL as SMTPeter would, and print the answer."),
    "serve": ("serve", "serve_command", "Receive SMTPeter's events and expose them as metrics, until stopped."),
    "simulate": (
        "simulate",
        "simulate_command",
        "Post a realistic stream of failures to URL, as SMTPeter would, until interrupted.",
    ),
    "status": ("status", "status_command", "Print the status page of the exporter at URL, by default on this host."),
}
"""For each command: its module, its name there, and its line in the help of the program."""


class LazyCommand(click.Command):
    """A command that is imported when it is used. Until then, it has only a name and a short help."""

    def __init__(self, name: str, module: str, attribute: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._module, self._attribute = module, attribute

    def load(self) -> click.Command:
        """Import the command."""
        command: click.Command = getattr(import_module(f"exporter.cli.{self._module}"), self._attribute)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 -- passed on
    ) -> click.Context:
        """Parse the arguments. The context is that of the imported command, which click then runs or completes."""
        return self.load().make_context(info_name, args, parent, **extra)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name=COMMAND)
def cli() -> None:
    """Count the failed deliveries that SMTPeter reports, for Prometheus."""


@cli.command(short_help="Print the script for completion in a shell.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete the arguments of this command."""
    variable = f"_{COMMAND}_COMPLETE".replace("-", "_").upper()  # the name that click expects
    click.echo(_SHELLS[shell](cli, {}, COMMAND, variable).source())


for _name, _row in _COMMANDS.items():
    cli.add_command(LazyCommand(_name, *_row))


def run() -> NoReturn:
    """Run the command line and exit; see errors.py for the exit codes."""
    try:
        try:
            code = cli.main(prog_name=COMMAND, standalone_mode=False)
        finally:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except ExporterError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.Abort:
        _fail("interrupted", 130)
    except OSError as error:  # such as an unreadable input file, or standard output on a full disk
        _fail(str(error), 1)
    sys.exit(code)


def _fail(text: str, code: int) -> NoReturn:
    from exporter.cli.options import fail  # noqa: PLC0415 -- imports the settings, which --version does not need

    fail(text, code)
