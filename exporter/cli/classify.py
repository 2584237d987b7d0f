"""``smtpeter-exporter classify``: classify failures in JSON lines, without counting them.

Each line has the variables that the webhook accepts. SMTPeter's log files of failures work unchanged: their field
``status`` is read as ``extended``.
"""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from exporter.classification.fields import fold_recipient, read_json
from exporter.classification.labels import Labels, labels_of
from exporter.classification.own_reasons import OwnReasons
from exporter.classification.providers import Providers
from exporter.classification.reason import Decision, reason_of
from exporter.classification.report import Report, answer_of
from exporter.cli.options import CONFIG_FILE, fail
from exporter.logs import mask
from exporter.refusals import Refusal
from exporter.settings.sources import providers_in_file, reasons_in_file

_MAX_EXAMPLE: Final = 100
"""Maximum length of an example in the table."""


class Classified(NamedTuple):
    """The classification of a line; ``answer`` is the mail server's, with addresses masked."""

    labels: Labels
    decision: Decision
    provider: str
    answer: str

    def as_json(self) -> str:
        """Return the line of output."""
        return json.dumps(self.labels._asdict() | self.decision._asdict() | {"provider": self.provider})


class Unreadable(NamedTuple):
    """A line that could not be read, and why."""

    error: str

    def as_json(self) -> str:
        """Return the line of output."""
        return json.dumps(self._asdict(), ensure_ascii=False)


def classify(
    lines: Iterable[bytes], providers: Providers, own_reasons: OwnReasons
) -> Iterator[Classified | Unreadable]:
    """Yield one result for each line, in order."""
    for number, line in enumerate(lines, start=1):
        try:
            fields = read_json(line.removeprefix(BOM_UTF8))
        except Refusal as error:
            yield Unreadable(f"line {number}: {error}")
        else:
            report = Report("", "", *answer_of(fields))
            if "extended" not in fields:
                report = report._replace(extended=fields.word("status"))
            yield Classified(
                labels_of(report.state, report.code, report.extended),
                own_reasons.decision_of(report.description) or reason_of(report),
                providers.provider_of(fold_recipient(fields.text("recipient"))),
                mask(" ".join((report.description or f"{report.code} {report.extended}").split())),
            )


def summarize(failures: Iterable[Classified]) -> Iterator[str]:
    """Yield the lines of a table: each reason, most frequent first, with count, share and an example answer."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for failure in failures:
        counts[failure.decision.reason] += 1
        examples.setdefault(failure.decision.reason, failure.answer)
    yield f"{'reason':20} {'failures':>9} {'share':>6}  example"
    for reason, count in counts.most_common():
        example = examples[reason]
        short = example if len(example) <= _MAX_EXAMPLE else f"{example[: _MAX_EXAMPLE - 1]}…"
        yield f"{reason:20} {count:9,} {count / counts.total():6.1%}  {short}".rstrip()
    yield f"{'all':20} {counts.total():9,}"


@click.command("classify")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--summary", is_flag=True, help="Print a table of reasons instead of JSON.")
@CONFIG_FILE
def classify_command(file: Any, config_file: Path | None, *, summary: bool) -> None:  # noqa: ANN401 -- any stream
    """Classify failures without counting them.

    Reads one JSON object per line, such as SMTPeter's log files have, from FILE or standard input. Prints one JSON
    object per line with the labels, the reason and the provider. The only settings used are providers and reasons.
    Exits with 1 if a line could not be read.
    """
    providers, own_reasons = Providers(dict(providers_in_file(config_file))), reasons_in_file(config_file)
    unreadable: list[Unreadable] = []

    def readable() -> Iterator[Classified]:
        for result in classify(file, providers, own_reasons):
            if not summary:
                click.echo(result.as_json())
            if isinstance(result, Unreadable):
                unreadable.append(result)
            else:
                yield result

    table = list(summarize(readable()))
    for line in table if summary else []:
        click.echo(line)
    if unreadable:
        fail(f"lines that could not be read: {len(unreadable)}; first: {unreadable[0].error}", 1)
