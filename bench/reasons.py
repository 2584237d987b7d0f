"""What a reason costs: deciding on it beside reading the report it is of, and worst cases.

In one process, medians of rounds; tests/unit/classification/answers.jsonl holds the answers, as SMTPeter posts them.
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
from exporter.classification.providers import Providers
from exporter.classification.reason import reason_of
from exporter.classification.report import Report
from exporter.webhook.parsing import MAX_BODY, parse
from tests.support.running import FORM

ROUNDS = int(os.environ.get("ROUNDS", "15"))
HOSTILE = {
    "one letter": "a" * MAX_BODY,
    "blanks": " " * MAX_BODY,
    "one word again and again": "mailbox " * (MAX_BODY // 8),
    "beginnings of phrases": "your ip address sender mailbox user account " * (MAX_BODY // 44),
    "digits and dots": "5.7." * (MAX_BODY // 4),
    "Japanese": "メールボックス" * (MAX_BODY // 7),
    "at signs": "a@b." * (MAX_BODY // 4),
}


def reports() -> list[bytes]:
    """Bodies with the answers of the tests."""
    lines = (Path(__file__).parent.parent / "tests/unit/classification/answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    names = ("state", "code", "extended", "description")
    return [
        urlencode({"id": f"m{number}", "recipient": "someone@gmail.com"} | {name: one[name] for name in names}).encode()
        for number, one in enumerate(answers)
    ]


def timed(step: Callable[[], object]) -> float:
    """Seconds that a step takes."""
    began = perf_counter()
    step()
    return perf_counter() - began


def main() -> None:
    """Measure and print."""
    bodies = reports()
    read = [parse(FORM, body) for body in bodies]
    classifier = Classifier(LabelSets(), Providers(), ())
    steps = {
        "read the report": lambda: [parse(FORM, body) for body in bodies],
        "decide on its reason": lambda: [reason_of(report) for report in read],
        "all that is recorded of it": lambda: [classifier.failure_of(report) for report in read],
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            seconds[name].append(timed(step) / len(bodies))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in medians.items():
        print(f"{name:28} {each * 1e6:6.1f} µs a failure")
    print(f"reason / reading = {medians['decide on its reason'] / medians['read the report']:.2f}")
    for name, text in HOSTILE.items():
        began = perf_counter()
        reason_of(Report("1", "a@b.nl", "rcptto", "550", "5.7.1", text))
        print(f"64 KiB of {name:28} {(perf_counter() - began) * 1e3:6.2f} ms")


if __name__ == "__main__":
    main()
