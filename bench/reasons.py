"""Measure the cost of classification: compared with parsing the report, and for the most expensive texts.

The reports are the sample answers in tests/unit/classification/answers.jsonl, as SMTPeter posts them. Prints medians
of ROUNDS (15).
"""

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from urllib.parse import urlencode

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.loops import SMALL_BODY
from exporter.classification.providers import Providers
from exporter.classification.reason import reason_of
from exporter.classification.report import Report
from exporter.webhook.parsing import parse
from tests.support.running import FORM

ROUNDS = int(os.environ.get("ROUNDS", "15"))
HOSTILE = {
    "one letter": "a" * SMALL_BODY,
    "blanks": " " * SMALL_BODY,
    "a repeated word": "mailbox " * (SMALL_BODY // 8),
    "beginnings of phrases": "your ip address sender mailbox user account " * (SMALL_BODY // 44),
    "ends of clauses": "mailbox, user; full. account, " * (SMALL_BODY // 30),
    "possessives": "user's mailbox's " * (SMALL_BODY // 17),
    "digits and dots": "5.7." * (SMALL_BODY // 4),
    "Japanese": "メールボックス" * (SMALL_BODY // 7),
    "Chinese clauses": "邮箱\uff0c用户\u3002" * (SMALL_BODY // 6),
    "at signs": "a@b." * (SMALL_BODY // 4),
}


def reports() -> list[bytes]:
    """Return the bodies of requests with the sample answers."""
    lines = (Path(__file__).parent.parent / "tests/unit/classification/answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    names = ("state", "code", "extended", "description")
    return [
        urlencode({"id": f"m{number}", "recipient": "someone@gmail.com"} | {name: one[name] for name in names}).encode()
        for number, one in enumerate(answers)
    ]


def timed(step: Callable[[], object]) -> float:
    """Return the duration of a step in seconds."""
    began = perf_counter()
    step()
    return perf_counter() - began


def main() -> None:
    """Run the benchmark and print the times."""
    bodies = reports()
    read = [parse(FORM, body) for body in bodies]
    classifier = Classifier(LabelSets(), Providers(), ())
    steps = {
        "parse the report": lambda: [parse(FORM, body) for body in bodies],
        "find its reason": lambda: [reason_of(report) for report in read],
        "make its whole record": lambda: [classifier.event_of(report) for report in read],
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            seconds[name].append(timed(step) / len(bodies))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in medians.items():
        print(f"{name:28} {each * 1e6:6.1f} µs per failure")
    print(f"find reason / parse = {medians['find its reason'] / medians['parse the report']:.2f}")
    for name, text in HOSTILE.items():
        began = perf_counter()
        reason_of(Report("1", "a@b.nl", "rcptto", "550", "5.7.1", text))
        print(f"64 KiB of {name:28} {(perf_counter() - began) * 1e3:6.2f} ms")


if __name__ == "__main__":
    main()
