"""Write docs/reference.md from the code; with ``--check``, exit with 1 if the file is out of date."""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import click
import yaml

from exporter import errors
from exporter.classification.fields import REPAIRS
from exporter.classification.loops import LOOPS
from exporter.classification.series import FAMILIES
from exporter.cli.group import LazyCommand, cli
from exporter.ledger.contract import Ledger
from exporter.ledger.sqlite import SqliteLedger
from exporter.metrics.collector import LedgerCollector
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import REFUSAL_REASONS
from exporter.settings.table import SETTINGS
from exporter.web import resources

ROOT = Path(__file__).parent.parent
TARGET = Path(__file__).with_name("reference.md")


def settings() -> Iterator[str]:
    """Describe each setting."""
    yield "## Settings of `serve`"
    yield (
        "You can set each of these with a flag, with an environment variable, or as a key in the TOML file that "
        "`--config.file` (or `SMTPETER_EXPORTER_CONFIG_FILE`) names. A flag overrides a variable, and a variable "
        "overrides the file. In the file, all values are quoted strings. If a flag may be repeated, use a list in the "
        "file and commas in the variable, unless the description says otherwise. An unknown key or variable is an "
        "error. "
        "`smtpeter-exporter check-config` shows each value and where it comes from, and reports all errors at once."
    )
    rows = ["| flag, variable | default | description |", "|---|---|---|"]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else "none"
        rows.append(
            f"| `--{setting.name} {setting.metavar}`<br>`{setting.variable}` | {default} | {setting.description} |"
        )
    yield "\n".join(rows)


def commands() -> Iterator[str]:
    """Describe each command, and its options other than settings."""
    yield "## Commands"
    settings = {setting.field for setting in SETTINGS}
    rows = ["| command | description |", "|---|---|"]
    options: dict[tuple[str, str], list[str]] = {}
    for name, command in _leaves(cli):
        arguments = [item.make_metavar(click.Context(command)) for item in command.params if _is_argument(item)]
        text = " ".join((command.help or "").split())
        rows.append(f"| `{' '.join(('smtpeter-exporter', name, *arguments))}` | {text} |")
        for option in command.params:
            record = option.get_help_record(click.Context(command))
            if record and option.name not in settings and not _is_argument(option):
                options.setdefault(record, []).append(f"`{name}`")
    yield "\n".join(rows)
    yield (
        "Each command has `--help`, and the program has `--version`. `serve` and `check-config` have all settings as "
        "flags. The other options are:"
    )
    rows = ["| option | command | description |", "|---|---|---|"]
    for (flags, what), names in options.items():
        rows.append(f"| `{_cell(flags)}` | {', '.join(names)} | {_cell(what)} |")
    yield "\n".join(rows)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _leaves(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, entry in sorted(group.commands.items()):
        command = entry.load() if isinstance(entry, LazyCommand) else entry
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def _is_argument(parameter: click.Parameter) -> TypeGuard[click.Argument]:
    return isinstance(parameter, click.Argument)


def metrics(ledger: Ledger) -> Iterator[str]:
    """Describe each metric."""
    yield "## Metrics"
    yield (
        "The private listener exposes these metrics at `/metrics`. The counters of failures come from the ledger and "
        "continue after a restart; those of the exporter itself start again at 0. [Metrics](metrics.md) explains "
        "what the counters of failures count. The exporter also has the usual `process_…` metrics of Prometheus's "
        "Python client."
    )
    telemetry = Telemetry()
    collector = LedgerCollector(ledger, tuple(LOOPS.values()), [], label_sets=lambda _totals: 0, problem=lambda: None)
    telemetry.registry.register(collector)
    rows = ["| metric | type | labels | description |", "|---|---|---|---|"]
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
    """List the alerts and recorded series, as shipped."""
    yield "## Alerts"
    yield (
        "These are the alerts in `deploy/prometheus/alerts.yaml`. [Alerts](alerts.md) explains when each one fires and "
        "how to change it. An alert fires once its condition has been true for the time in the column *for*. It "
        "continues to fire for the time in the column *keep firing for* after the condition has become false."
    )
    rows = ["| alert | severity | for | keep firing for |", "|---|---|---|---|"]
    for rule in _rules("alerts.yaml"):
        name = rule["alert"]
        times = (rule.get("for", "0s"), rule.get("keep_firing_for", "0s"))
        rows.append(f"| [`{name}`](runbooks/{name}.md) | {rule['labels']['severity']} | {' | '.join(times)} |")
    yield "\n".join(rows)
    yield "## Recorded series"
    yield (
        "These are the series that `deploy/prometheus/rules.yaml` records for the dashboards and alerts. A name has "
        "three parts: the labels besides those of the target, the metric, and what was computed. `max` is the total "
        "over all replicas, `increase15m` the increase in 15 minutes, and `expected` the usual value. "
        "`ratio_increase1h` is a ratio of increases over an hour: failures and hard bounces divided by finished "
        "deliveries, or complaints divided by deliveries."
    )
    yield "\n".join(f"- `{rule['record']}`" for rule in _rules("rules.yaml"))


def _rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def http() -> Iterator[str]:
    """Describe the answers to each request."""
    yield "## HTTP"
    yield (
        "The public listener answers these requests at the root and below the path of `webhook.public-url`, and any "
        "other with 404. The [OpenAPI document](openapi.yaml) has the details. Requests with an answer other than 200 "
        "are counted by [reason](#reasons-in-smtpeter_exporter_refused_total)."
    )
    document = yaml.safe_load(TARGET.with_name("openapi.yaml").read_text())
    requests: dict[tuple[str, str], list[str]] = {}  # by answer, because all webhooks have the same answers
    for path, operations in document["paths"].items():
        for method in [name for name in operations if name in {"get", "post"}]:
            for status, response in operations[method]["responses"].items():
                if "$ref" in response:  # resolve the reference
                    response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]  # noqa: PLW2901 -- as above
                answer = status, _cell(response["description"])
                requests.setdefault(answer, []).append(f"`{method.upper()} {path}`")
    rows = ["| request | answer | when |", "|---|---|---|"]
    rows += [f"| {', '.join(asked)} | {status} | {when} |" for (status, when), asked in requests.items()]
    yield "\n".join(rows)
    yield (
        "The private listener answers the following requests. If `web.config.file` names users, a request without a "
        "password is answered 401, except for `/-/healthy` and `/-/ready`."
    )
    rows = ["| request | answer |", "|---|---|"]
    for resource in vars(resources).values():  # the first line of each docstring has path and answer
        if found := re.match(r"``(/\S*)``\W+(.*)", getattr(resource, "__doc__", None) or ""):
            rows.append(f"| `GET {found[1]}` | {found[2].replace('``', '`')} |")
    yield "\n".join(rows)


def refusals() -> Iterator[str]:
    """Describe each reason for which a request is rejected."""
    yield "## Reasons in `smtpeter_exporter_refused_total`"
    rows = ["| reason | what was rejected | what to do |", "|---|---|---|"]
    rows += [f"| `{reason}` | {what} | {todo} |" for reason, (_, what, todo) in REFUSAL_REASONS.items()]
    yield "\n".join(rows)


def repairs() -> Iterator[str]:
    """Describe each detail that does not reject a report."""
    yield "## Repairs in `smtpeter_exporter_repaired_total`"
    yield (
        "Only an unusable id, recipient or body rejects a failure. Any other invalid detail is repaired: the failure "
        "counts, and this metric says what was wrong. Labels and reason come from the details that could be read. If "
        "it increases with most failures, SMTPeter may have changed what it sends: report it to this project."
    )
    rows = ["| what | meaning |", "|---|---|"]
    rows += [f"| `{what}` | {meaning} |" for what, meaning in REPAIRS.items()]
    yield "\n".join(rows)


def exit_codes() -> Iterator[str]:
    """Describe each exit code."""
    yield "## Exit codes"
    rows = [
        "| code | meaning |",
        "|---|---|",
        "| 0 | success; for `serve`, stopped by a signal; or the output was closed early, as by `head` |",
    ]
    rows += [
        f"| {code} | {what} |"
        for code, what in (
            (
                errors.ExporterError.exit_code,
                "another error: unreadable records, no 200 for `send` or `simulate`, changes for `assets`, no DNS",
            ),
            (errors.SettingError.exit_code, "a setting or an argument is invalid"),
            (
                errors.LedgerError.exit_code,
                "the ledger is damaged, not writable, of a newer version, in use, hard-linked or mounted as a file",
            ),
            (errors.ListenError.exit_code, "an address cannot be listened on"),
            (
                errors.NoStatusPage.exit_code,
                "`status` found no status page; it exits with 1 if the page shows a problem",
            ),
            (130, "interrupted by Ctrl-C, except for `simulate` and a `serve` that has started, which end as usual"),
            (143, "terminated by SIGTERM, with the same exceptions"),
        )
    ]
    yield "\n".join(rows)
    yield (
        "`check-config` exits with the code of the first error that it prints. It checks the settings, then the "
        "verification files, the web configuration, DNS, the ledger and the addresses."
    )


def main() -> None:
    """Write or check the file."""
    with tempfile.TemporaryDirectory() as directory:
        ledger = SqliteLedger(Path(directory) / "ledger.db", now=0)
        parts = ["# Reference", "<!-- generated by docs/generate.py: change the code, then run make docs -->"]
        parts += [
            *settings(),
            *commands(),
            *metrics(ledger),
            *refusals(),
            *repairs(),
            *alerts(),
            *http(),
            *exit_codes(),
        ]
        ledger.close()
    text = "\n\n".join(parts) + "\n"
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        sys.exit(f"{TARGET} is out of date: run make docs")


if __name__ == "__main__":
    main()
