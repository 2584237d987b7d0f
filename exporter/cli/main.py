"""The command line. Only here is the environment read, and the exit code of an error chosen."""

import io
import sys
from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from exporter import __version__
from exporter.cli.assets import assets_command
from exporter.cli.classify import classify_command
from exporter.cli.ledger import ledger_group
from exporter.cli.options import COMMAND, fail
from exporter.cli.post import send_command, simulate_command
from exporter.cli.serve import check_config_command, serve_command
from exporter.errors import ExporterError

_SHELLS: Final = {shell.name: shell for shell in (BashComplete, FishComplete, ZshComplete)}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=COMMAND)
def cli() -> None:
    """Count the failed deliveries that SMTPeter reports, for Prometheus."""


@cli.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete the arguments of this command."""
    variable = f"_{COMMAND}_COMPLETE".replace("-", "_").upper()  # the name that click expects
    click.echo(_SHELLS[shell](cli, {}, COMMAND, variable).source())


for _command in (
    serve_command,
    check_config_command,
    classify_command,
    assets_command,
    ledger_group,
    send_command,
    simulate_command,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line and exit; see errors.py for the exit codes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as for standard error: answers may be in any script
    try:
        cli.main(prog_name=COMMAND, standalone_mode=False)
    except ExporterError as error:
        fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        fail("interrupted", 130)
    except OSError as error:  # such as an unreadable input file, or standard output on a full disk
        fail(str(error), 1)
