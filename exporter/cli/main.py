"""The command line. Only here is the environment read, and the exit code of an error chosen."""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

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
_STDOUT: Final = 1


@contextmanager
def _ending_with_the_reader() -> Iterator[None]:
    """Exit with 0 if the program that reads standard output has ended, as ``head`` does."""
    try:
        yield
    except BrokenPipeError:
        broken = select.poll()
        broken.register(_STDOUT, 0)
        if not broken.poll(0):  # another pipe, or a connection
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # the interpreter flushes once more
        sys.exit(0)


class _Group(click.Group):
    """The program. Click itself would exit with 1 if standard output was closed."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:  # noqa: ANN401 -- passed on
        with _ending_with_the_reader():  # of --help or --version
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- as in click
        with _ending_with_the_reader():
            return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
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
