"""Write docs/reference.md from the code, or with ``--check`` fail when it is not what the code says."""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import click
import yaml

from exporter import errors
from exporter.classification.series import FAMILIES
from exporter.cli.main import cli
from exporter.ledger.contract import Ledger
from exporter.ledger.sqlite import SqliteLedger
from exporter.metrics.collector import LedgerCollector
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import REFUSAL_REASONS
from exporter.settings import table as all_settings
from exporter.web import resources as private

ROOT = Path(__file__).parent.parent
TARGET = Path(__file__).with_name("reference.md")


def settings() -> Iterator[str]:
    """Tell of each setting."""
    yield "## Settings of `serve`"
    yield (
        "A setting is given as a flag, an environment variable, or a key in the TOML file that `--config.file` "
        "(or `SMTPETER_EXPORTER_CONFIG_FILE`) names; the first of these that has it wins. All values are text in "
        "quotes. An unknown key or variable is an error. `smtpeter-exporter check-config` shows the outcome, and "
        "where each value came from."
    )
    rows = ["| flag, variable | default | what |", "|---|---|---|"]
    for setting in all_settings.SETTINGS:
        default = f"`{setting.default}`" if setting.default else "none"
        rows.append(
            f"| `--{setting.name}`<br>`{setting.variable}` | {default} | {setting.help} Expected: {setting.expected}. |"
        )
    yield "\n".join(rows)


def commands() -> Iterator[str]:
    """Tell of each command, and of its options other than settings."""
    yield "## Commands"
    settings = {setting.field for setting in all_settings.SETTINGS}
    rows = ["| command | what |", "|---|---|"]
    options: dict[tuple[str, str], list[str]] = {}
    for name, command in _leaves(cli):
        arguments = [one.make_metavar(click.Context(command)) for one in command.params if _is_argument(one)]
        text = " ".join((command.help or "").split())
        rows.append(f"| `{' '.join(('smtpeter-exporter', name, *arguments))}` | {text} |")
        for option in command.params:
            record = option.get_help_record(click.Context(command))
            if record and option.name not in settings and not _is_argument(option):
                options.setdefault(record, []).append(f"`{name}`")
    yield "\n".join(rows)
    yield "Each has `--help`, the program `--version`; `serve` and `check-config` take all settings. Other options:"
    rows = ["| option | of | what |", "|---|---|---|"]
    for (flags, what), names in options.items():
        rows.append(f"| `{_cell(flags)}` | {', '.join(names)} | {_cell(what)} |")
    yield "\n".join(rows)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _leaves(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def _is_argument(parameter: click.Parameter) -> TypeGuard[click.Argument]:
    return isinstance(parameter, click.Argument)


def metrics(ledger: Ledger) -> Iterator[str]:
    """Tell of each metric."""
    yield "## Metrics"
    yield (
        "On the private listener, `/metrics`. Counters of failures come from the ledger and go on after a restart; "
        "those of the exporter itself, as usual, begin anew with the process. `process_…` are the usual ones of the "
        "Python client. What those about failures count is told in [metrics](metrics.md)."
    )
    telemetry = Telemetry()
    telemetry.registry.register(LedgerCollector(ledger, [], label_sets=lambda _totals: 0, problem=lambda: None))
    rows = ["| metric | type | labels | what |", "|---|---|---|---|"]
    of_the_ledger = {f"smtpeter_{name}": labels for name, (_, labels) in FAMILIES.items()}
    for family in sorted(telemetry.registry.collect(), key=lambda family: family.name):
        if family.name.startswith("process_"):
            continue
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        seen = {label: None for sample in family.samples for label in sample.labels if label != "le"}
        labels = ", ".join(f"`{label}`" for label in of_the_ledger.get(family.name, seen))
        rows.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {family.documentation} |")
    yield "\n".join(rows)


def alerts() -> Iterator[str]:
    """Tell of each alert and each recorded series, as they are shipped."""
    yield "## Alerts"
    yield (
        "As shipped in `deploy/prometheus/alerts.yaml`; what each means, when it fires and how to change it is told in "
        "[alerts](alerts.md). *Waits* is how long its condition must last, *lingers* how long it goes on firing after."
    )
    rows = ["| alert | severity | waits | lingers |", "|---|---|---|---|"]
    for rule in _rules("alerts.yaml"):
        name = rule["alert"]
        times = (rule.get("for", "0s"), rule.get("keep_firing_for", "0s"))
        rows.append(f"| [`{name}`](runbooks/{name}.md) | {rule['labels']['severity']} | {' | '.join(times)} |")
    yield "\n".join(rows)
    yield "## Recorded series"
    yield (
        "As shipped in `deploy/prometheus/rules.yaml`; the dashboards and alerts use them. A name says by which labels "
        "there is a series besides those of the target, of what it is made, and how: `max` is the true total over "
        "replicas, `increase15m` by how much it rose in 15 minutes, `expected` what is usual."
    )
    yield "\n".join(f"- `{rule['record']}`" for rule in _rules("rules.yaml"))


def _rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def http() -> Iterator[str]:
    """Tell of what is answered to which request."""
    yield "## HTTP"
    yield (
        "On the public listener, at the root and below the path of `webhook.public-url`; all else is 404. The [OpenAPI "
        "document](openapi.yaml) tells it in full. What is not answered 200 is counted by "
        "[reason](#reasons-in-smtpeter_exporter_refused_total)."
    )
    document = yaml.safe_load(TARGET.with_name("openapi.yaml").read_text())
    rows = ["| request | answer | when |", "|---|---|---|"]
    for path, operations in document["paths"].items():
        for method in [name for name in operations if name in {"get", "post"}]:
            for status, response in operations[method]["responses"].items():
                if "$ref" in response:  # what that stands for takes its place
                    response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]  # noqa: PLW2901
                rows.append(f"| `{method.upper()} {path}` | {status} | {_cell(response['description'])} |")
    yield "\n".join(rows)
    yield (
        "On the private listener; 401 without a password where `web.config.file` names users, but for `/-/healthy` and "
        "`/-/ready`:"
    )
    rows = ["| request | what |", "|---|---|"]
    for resource in vars(private).values():  # each says in its first line where it is, and what
        if found := re.match(r"``(/\S*)``\W+(.*)", getattr(resource, "__doc__", None) or ""):
            rows.append(f"| `GET {found[1]}` | {found[2].replace('``', '`')} |")
    yield "\n".join(rows)


def refusals() -> Iterator[str]:
    """Tell of each reason for a refusal."""
    yield "## Reasons in `smtpeter_exporter_refused_total`"
    rows = ["| reason | what was refused | what to do |", "|---|---|---|"]
    rows += [f"| `{reason}` | {what} | {todo} |" for reason, (_, what, todo) in REFUSAL_REASONS.items()]
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
            (130, "interrupted before its end; `serve` and `simulate` end with 0"),
        )
    ]
    yield "\n".join(rows)


def main() -> None:
    """Write or check."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(Path(folder) / "ledger.db", now=0)
        parts = ["# Reference", "<!-- made by docs/generate.py: change the code, then run make docs -->"]
        parts += [*settings(), *commands(), *metrics(ledger), *refusals(), *alerts(), *http(), *exit_codes()]
        ledger.close()
    text = "\n\n".join(parts) + "\n"
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        sys.exit(f"{TARGET} is not what the code says: run make docs")


if __name__ == "__main__":
    main()
