"""Run commands of the exporter without a process."""

import os
from typing import NamedTuple

from click.testing import CliRunner

from exporter.cli.group import cli
from exporter.errors import ExporterError


class Outcome(NamedTuple):
    """How a command ended: exit code, standard output and standard error; ``error`` if it raised an ExporterError."""

    code: int
    out: str
    err: str
    error: ExporterError | None = None


def invoke(*words: str, stdin: str | bytes = "", variables: dict[str, str] | None = None) -> Outcome:
    """Run a command. Of the environment, it sees no settings other than ``variables``."""
    foreign = [name for name in os.environ if name.startswith(("SMTPETER_EXPORTER_", "STATE_DIRECTORY"))]
    result = CliRunner(env={**dict.fromkeys(foreign), **(variables or {})}).invoke(cli, words, input=stdin)
    error = result.exception
    if isinstance(error, ExporterError):
        return Outcome(error.exit_code, result.stdout, result.stderr, error)
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Outcome(result.exit_code, result.stdout, result.stderr)
