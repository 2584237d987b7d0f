"""``classify``: what failures in JSON lines mean, without counting anything.

Takes what the webhook takes, and SMTPeter's log files of failures as they are, which say ``status`` for ``extended``.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from exporter.classification.labels import Labels, labels_of
from exporter.classification.providers import Providers
from exporter.classification.reason import Decision, reason_of
from exporter.classification.report import Report, json_pairs, text_of
from exporter.cli.options import CONFIG_FILE, end
from exporter.logs import mask
from exporter.refusals import Refusal
from exporter.settings import sources

_TEXTS: Final = ("recipient", "state", "code", "extended", "description")
_LONGEST_EXAMPLE: Final = 100


class Meaning(NamedTuple):
    """What a line means; ``answer`` is the server's, masked."""

    labels: Labels
    decision: Decision
    provider: str
    answer: str

    def as_json(self) -> str:
        """One line of output."""
        return json.dumps(self.labels._asdict() | self.decision._asdict() | {"provider": self.provider})


class Unreadable(NamedTuple):
    """Why a line could not be read."""

    error: str

    def as_json(self) -> str:
        """One line of output."""
        return json.dumps(self._asdict(), ensure_ascii=False)


def classify(lines: Iterable[bytes], providers: Providers) -> Iterator[Meaning | Unreadable]:
    """For each line, in order, what it means, or why it can't be read."""
    for number, line in enumerate(lines, start=1):
        try:
            fields = dict(json_pairs(line.decode()))
            fields.setdefault("extended", fields.get("status"))
            recipient, *answer = (text_of(name, fields.get(name)) for name in _TEXTS)
            state, code, extended, description = answer
            report = Report("", recipient, state, code, extended, description)
        except UnicodeDecodeError:
            yield Unreadable(f"line {number}: not UTF-8")
        except Refusal as error:
            yield Unreadable(f"line {number}: {error}")
        else:
            yield Meaning(
                labels_of(report.state, report.code, report.extended),
                reason_of(report),
                providers.provider_of(report.recipient),
                mask(" ".join((report.description or f"{report.code} {report.extended}").split())),
            )


def summary(meanings: Iterable[Meaning]) -> Iterator[str]:
    """A table for people: reasons, most frequent first, with number, share, and an answer as an example."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for meaning in meanings:
        counts[meaning.decision.reason] += 1
        examples.setdefault(meaning.decision.reason, meaning.answer)
    yield f"{'reason':20} {'failures':>9} {'share':>6}  example"
    for reason, count in counts.most_common():
        example = examples[reason]
        short = example if len(example) <= _LONGEST_EXAMPLE else f"{example[: _LONGEST_EXAMPLE - 1]}…"
        yield f"{reason:20} {count:9,} {count / counts.total():6.1%}  {short}".rstrip()
    yield f"{'all':20} {counts.total():9,}"


@click.command("classify")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--summary", "summarised", is_flag=True, help="Print a table of reasons instead, for people.")
@CONFIG_FILE
def classify_command(file: Any, config_file: Path | None, *, summarised: bool) -> None:  # noqa: ANN401 -- any stream
    """Print what failures mean: JSON lines in, such as SMTPeter's log files; JSON lines out.

    FILE is the file to read; standard input when there is none. Of the configuration only the providers are used. Exits
    with 1 when a line could not be read.
    """
    providers = Providers(dict(sources.own_providers(config_file)))
    unreadable: list[Unreadable] = []

    def readable() -> Iterator[Meaning]:
        for result in classify(file, providers):
            if not summarised:
                click.echo(result.as_json())
            if isinstance(result, Unreadable):
                unreadable.append(result)
            else:
                yield result

    table = list(summary(readable()))
    for line in table if summarised else []:
        click.echo(line)
    if unreadable:
        end(f"{len(unreadable)} lines could not be read; {unreadable[0].error}", 1)
