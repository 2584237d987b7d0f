"""``smtpeter-exporter classify``: classify the failures in a log file or in JSON lines, without counting them.

Records have the variables that the webhook accepts. SMTPeter's log files of failures work unchanged: their column
``status`` is read as ``extended``.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from exporter.classification.fields import Fields, fold_recipient
from exporter.classification.labels import Labels, labels_of
from exporter.classification.own_reasons import OwnReasons
from exporter.classification.providers import Providers
from exporter.classification.reason import Decision, reason_of
from exporter.classification.report import Report, answer_of
from exporter.cli.options import CONFIG_FILE, fail
from exporter.cli.summary import Summary, day_of
from exporter.errors import LogFileError
from exporter.logfiles.reader import read
from exporter.logfiles.records import Record, Unreadable
from exporter.logs import mask
from exporter.settings.sources import providers_in_file, reasons_in_file

_T = TypeVar("_T")
_USED: Final = ("state", "code", "extended", "status", "description")
"""A record without any of these is not that of a failure."""
_MAX_NAMES: Final = 20
_MAX_NAME: Final = 40
_PROGRESS_INTERVAL: Final = 2.0
"""Seconds between two lines of progress."""
_PROGRESS_STEP: Final = 1_000
"""Records between two looks at the clock, so that a trickle of records has no progress."""


class Classified(NamedTuple):
    """The classification of a record."""

    labels: Labels
    decision: Decision
    provider: str
    report: Report
    fields: Fields

    def as_json(self) -> str:
        """Return the line of output."""
        return json.dumps(self.labels._asdict() | self.decision._asdict() | {"provider": self.provider})

    def answer(self) -> str:
        """Return the answer of the mail server on one line, with addresses masked."""
        report = self.report
        return mask(" ".join((report.description or f"{report.code} {report.extended}").split()))


def classify(
    records: Iterable[Record | Unreadable], providers: Providers, own_reasons: OwnReasons
) -> Iterator[Classified | Unreadable]:
    """Yield one result for each record, in order."""
    for record in records:
        if isinstance(record, Unreadable):
            yield record
            continue
        fields = record.fields
        if not any(name in fields for name in _USED):
            yield Unreadable(record.where, _no_failure(fields))
            continue
        report = Report("", "", *answer_of(fields))
        if "extended" not in fields:
            report = report._replace(extended=fields.word("status"))
        yield Classified(
            labels_of(report.state, report.code, report.extended),
            own_reasons.decision_of(report.description) or reason_of(report),
            providers.provider_of(fold_recipient(fields.text("recipient"))),
            report,
            fields,
        )


def _no_failure(fields: Fields) -> str:
    names = [name[:_MAX_NAME] for name in fields.names()]
    found = ", ".join([*names[:_MAX_NAMES], *(["…"] if len(names) > _MAX_NAMES else [])])
    return mask(f"not a failure: expected {', '.join(_USED[:-1])} or {_USED[-1]}; found {found or 'nothing'}")


def with_progress(
    results: Iterable[_T], say: Callable[[str], object], clock: Callable[[], float] = time.monotonic
) -> Iterator[_T]:
    """Yield the results. Meanwhile, ``say`` gets lines of progress if it takes long."""
    reported = clock()
    for number, result in enumerate(results, start=1):
        yield result
        if number % _PROGRESS_STEP == 0 and clock() >= reported + _PROGRESS_INTERVAL:
            reported = clock()
            say(f"{number:,} records read")


@click.command("classify")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--summary", is_flag=True, help="Print tables by reason, by provider and by day instead of JSON.")
@CONFIG_FILE
def classify_command(file: Any, config_file: Path | None, *, summary: bool) -> None:  # noqa: ANN401 -- any stream
    """Classify failures without counting them.

    Reads one of SMTPeter's log files of failures, as JSON, CSV or XML, or one JSON object per line, from FILE or
    standard input. Prints one JSON object per line with the labels, the reason and the provider. The only settings
    used are providers and reasons. Exits with 1 if a record could not be read.
    """
    results = classify(read(file), Providers(dict(providers_in_file(config_file))), reasons_in_file(config_file))
    tables, found, unreadable, problems = Summary(), 0, 0, list[str]()
    try:
        for result in with_progress(results, lambda line: click.echo(line, err=True)):
            found += 1
            if not summary:
                click.echo(result.as_json() if isinstance(result, Classified) else _as_json(result))
            if isinstance(result, Unreadable):
                unreadable += 1
                problems = problems or [f"first: {result.where}: {result.why}"]
            elif summary:
                tables.add(result.decision.reason, result.provider, day_of(result.fields), result.answer)
    except LogFileError as error:
        if not summary:
            click.echo(_as_json(error))
        unreadable += 1
        problems.append(f"stopped at {error}")
    for line in tables.lines() if summary else ():
        click.echo(line)
    if problems:
        fail(f"records that could not be read: {unreadable}; {'; '.join(problems)}", 1)
    if not found:  # perhaps the download before a pipe failed
        click.echo("no records in the input", err=True)


def _as_json(error: Unreadable | LogFileError) -> str:
    return json.dumps({"error": f"{error.where}: {error.why}"}, ensure_ascii=False)
