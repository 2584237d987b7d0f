"""The command line. Only here the environment is read and an exit code decided."""

import io
import sys
from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from exporter import __version__
from exporter.cli.assets import assets_command
from exporter.cli.classify import classify_command
from exporter.cli.ledger import ledger_group
from exporter.cli.options import COMMAND, end
from exporter.cli.post import send_command, simulate_command
from exporter.cli.serve import check_config_command, serve_command
from exporter.errors import ExporterError

_SHELLS: Final = {shell.name: shell for shell in (BashComplete, FishComplete, ZshComplete)}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=COMMAND)
def cli() -> None:
    """Count the deliveries that SMTPeter reports as failed, for Prometheus."""


@cli.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes the words of this command."""
    variable = f"_{COMMAND}_COMPLETE".replace("-", "_").upper()  # the one that click looks for
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
    """Run the command line; ends the process. Exit codes are in errors.py."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is: a server may answer in any script
    try:
        cli.main(prog_name=COMMAND, standalone_mode=False)
    except ExporterError as error:
        end(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        end("interrupted", 130)
    except OSError as error:  # a file that can't be read to its end, standard output on a full disk
        end(str(error), 1)
