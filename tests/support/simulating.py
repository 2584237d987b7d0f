"""Run ``simulate``, and read what it prints at the end."""

import re
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

from tests.support.running import TIMEOUT, environment


class Summary(NamedTuple):
    """The numbers in the summary of ``simulate``."""

    sent: int
    accepted: int
    repeats: int
    rejected: int


def summary_of(line: str) -> Summary:
    """Return the numbers in a summary. The third one is the status 200."""
    sent, accepted, status, repeats, rejected, *_ = (
        int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", line)
    )
    assert status == 200
    return Summary(sent, accepted, repeats, rejected)


def command(*arguments: str) -> list[str]:
    """Return the command line of ``simulate``."""
    return [sys.executable, "-m", "exporter", "simulate", *arguments]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``simulate`` to its end."""
    return subprocess.run(
        command(*arguments), check=False, capture_output=True, text=True, env=environment(), timeout=TIMEOUT
    )


class Truth(NamedTuple):
    """The events that were sent by loop and provider, and those of the failures that came after a delivery."""

    events: Counter[tuple[str, str]]
    after_delivery: Counter[str]


def truth_of(output: str) -> Truth:
    """Return the numbers in the table of ``simulate``, which begins in the second line. Its sums must be right."""
    head, *rows = [line.replace(",", "").split() for line in output.splitlines()[1:]]
    table = {row[0]: dict(zip(head[1:], map(int, row[1:]), strict=True)) for row in rows}
    sums = table.pop("all")
    assert sums == {name: sum(row[name] for row in table.values()) for name in head[1:]}
    after = Counter({provider: row.pop("after_delivery", 0) for provider, row in table.items()})
    return Truth(Counter({(loop, provider): row[loop] for provider, row in table.items() for loop in row}), after)
