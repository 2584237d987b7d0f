"""Compare the reasons of answers in a file with those that a person chose: ``python -m bench.agreement FILE``.

Each line of FILE is a JSON object with the variables ``state``, ``code``, ``extended`` and ``description``, and the
right reason as ``reason``, or a list of acceptable ones as ``accept``. Lists the reasons that differ, and prints how
many agree.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from exporter.classification.reason import reason_of
from exporter.classification.report import Report


def accepted(answer: dict[str, Any]) -> list[str]:
    """Return the reasons that are right for an answer."""
    return list(answer.get("accept") or [answer["reason"]])


def differing(answers: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each answer whose reason is not an accepted one."""
    for answer in answers:
        state, code, extended, description = (
            str(answer.get(name, "")) for name in ("state", "code", "extended", "description")
        )
        decision = reason_of(Report("1", "someone@example.com", state, code, extended, description))
        if decision.reason not in accepted(answer):
            expected = " or ".join(accepted(answer))
            codes = " ".join(text or "-" for text in (state, code, extended))
            yield f"{decision.reason} by {decision.decided_by}, expected {expected}: {codes}: {description[:120]}"


def main() -> None:
    """Read the file and print."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m bench.agreement FILE")
    answers = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
    lines = list(differing(answers))
    for line in lines:
        print(line)
    agreeing = len(answers) - len(lines)
    print(f"{agreeing:,} of {len(answers):,} reasons agree ({agreeing / max(len(answers), 1):.1%})")


if __name__ == "__main__":
    main()
