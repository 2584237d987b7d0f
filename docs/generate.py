"""Write docs/reference.md from the code, or with ``--check`` fail when it is not what the code says."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from exporter import errors
from exporter import settings as all_settings
from exporter.cli import cli
from exporter.collector import LedgerCollector
from exporter.ledger import Ledger
from exporter.sqlite import SqliteLedger
from exporter.telemetry import Telemetry

TARGET = Path(__file__).with_name("reference.md")


def commands() -> Iterator[str]:
    """Tell of each command."""
    yield "## Commands"
    yield "`--help` after any of them lists its options; `smtpeter-exporter --version` tells the version."
    rows = ["| command | what |", "|---|---|"]
    with click.Context(cli, info_name="smtpeter-exporter") as context:
        rows += [f"| `{usage}` | {what} |" for usage, what in _usages(context)]
    yield "\n".join(rows)


def _usages(context: click.Context) -> Iterator[tuple[str, str]]:
    command = context.command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from _usages(click.Context(one, context, info_name=name))
    else:
        arguments = (part for part in command.collect_usage_pieces(context) if part != "[OPTIONS]")
        usage = " ".join([context.command_path, *arguments])
        yield usage.replace("|", "\\|"), command.get_short_help_str(limit=1_000)


def settings() -> Iterator[str]:
    """Tell of each setting."""
    yield "## Settings of `serve`"
    yield (
        "A setting is given as a flag, an environment variable, or a key in the TOML file that `--config.file` "
        "(or `SMTPETER_EXPORTER_CONFIG_FILE`) names; the first of these that has it wins. All values are text in "
        "quotes. An unknown key or variable is an error. `smtpeter-exporter check-config` shows the outcome, and "
        "where each value came from."
    )
    rows = ["| flag | variable | default | what |", "|---|---|---|---|"]
    for setting in all_settings.SETTINGS:
        default = f"`{setting.default}`" if setting.default else "none"
        rows.append(
            f"| `--{setting.name}` | `{setting.variable}` | {default} | {setting.help} Expected: {setting.expected}. |"
        )
    yield "\n".join(rows)


def metrics(ledger: Ledger) -> Iterator[str]:
    """Tell of each metric."""
    yield "## Metrics"
    yield (
        "On the private listener, `/metrics`. Counters of failures come from the ledger and go on after a restart; "
        "those of the exporter itself, as usual, begin anew with the process. `process_…` are the usual ones of the "
        "Python client."
    )
    telemetry = Telemetry()
    telemetry.registry.register(LedgerCollector(ledger, [], label_sets=lambda _totals: 0, trouble=lambda: None))
    rows = ["| metric | type | labels | what |", "|---|---|---|---|"]
    labels = {"smtpeter_failures": "`state`, `code_class`, `extended`", "smtpeter_exporter_refused": "`reason`"}
    for family in sorted(telemetry.registry.collect(), key=lambda family: family.name):
        if family.name.startswith("process_"):
            continue
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        rows.append(
            f"| `{family.name}{suffix}` | {family.type} | {labels.get(family.name, '')} | {family.documentation} |"
        )
    yield "\n".join(rows)


def refusals() -> Iterator[str]:
    """Tell of each reason for a refusal."""
    yield "## Reasons in `smtpeter_exporter_refused_total`"
    rows = ["| reason | what was refused | what to do |", "|---|---|---|"]
    rows += [f"| `{reason}` | {what} | {todo} |" for reason, (what, todo) in errors.REFUSAL_REASONS.items()]
    yield "\n".join(rows)


def exit_codes() -> Iterator[str]:
    """Tell of each exit code."""
    yield "## Exit codes"
    rows = ["| code | when |", "|---|---|", "| 0 | it did what it was told; for `serve`, it was told to stop |"]
    rows += [
        f"| {code} | {what} |"
        for code, what in (
            (
                errors.ExporterError.exit_code,
                "`send` was not answered 200, `classify` could not read a line, `assets` found changed files, a fault",
            ),
            (errors.SettingError.exit_code, "a setting or argument is wrong"),
            (errors.LedgerError.exit_code, "the ledger is damaged, unwritable, newer than this version, or in use"),
            (errors.ListenError.exit_code, "a listen address can't be bound"),
        )
    ]
    yield "\n".join(rows)


def main() -> None:
    """Write or check."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(Path(folder) / "ledger.db", now=0)
        parts = ["# Reference", "<!-- made by docs/generate.py: change the code, then run make docs -->"]
        parts += [*commands(), *settings(), *metrics(ledger), *refusals(), *exit_codes()]
        ledger.close()
    text = "\n\n".join(parts) + "\n"
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        sys.exit(f"{TARGET} is not what the code says: run make docs")


if __name__ == "__main__":
    main()
