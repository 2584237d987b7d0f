"""Fill a Prometheus with history: simulated traffic, and the series that the recording rules make of it.

Alerts compare with a day or a week of history. This makes the history in minutes.
"""

import json
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO
from urllib.parse import urlencode

import yaml

from deploy.demo.exposition import MINUTE, Minute, Rate, minutes
from deploy.demo.running import Client, free_port, program, until
from exporter.classification.series import Series
from exporter.ledger.contract import Total
from exporter.ledger.sqlite import SqliteLedger
from exporter.simulator.requests import SimulatedRequest

RULES: Final = Path(__file__).parents[1] / "prometheus"
REPEAT_AFTER: Final = 4  # minutes until an unchanged value is written again; Prometheus drops a series after five
MAX_STEPS: Final = 10_000  # Prometheus rejects queries with more than 11,000 steps

Sample = tuple[float, str]
"""A time in seconds since the epoch, and a value as Prometheus writes it."""


class Alert(NamedTuple):
    """An alerting rule. ``hold`` and ``keep`` are its ``for`` and ``keep_firing_for`` in seconds."""

    name: str
    severity: str
    expression: str
    hold: int
    keep: int


class Firing(NamedTuple):
    """An alert that fired, the labels of its expression, and the time when it started to fire."""

    alert: Alert
    labels: Mapping[str, str]
    begin: float


def before(end: float, traffic: Iterator[SimulatedRequest]) -> Iterator[SimulatedRequest]:
    """Return the traffic before ``end``."""
    return takewhile(lambda request: request.at < end, traffic)


def load(  # noqa: PLR0913 -- by name
    data: Path,
    jobs: Mapping[str, Iterator[SimulatedRequest]],
    begin: int,
    end: int,
    *,
    instance: str = "a:1",
    deliveries: Rate | None = None,
) -> dict[str, Counter[Series]]:
    """Write the history of each job, with the recorded series, to the data directory of a Prometheus.

    ``deliveries`` is as in :func:`deploy.demo.exposition.minutes`. Returns the totals of each job at the end.
    """
    totals = {}
    with tempfile.TemporaryDirectory(dir=data.parent) as directory:
        history = Path(directory) / "history.txt"
        with history.open("w") as file:
            for job, traffic in jobs.items():
                totals[job] = _write(
                    file, f'job="{job}",instance="{instance}"', minutes(traffic, begin, end, deliveries)
                )
            file.write("# EOF\n")
        backfill = "create-blocks-from openmetrics --max-block-duration=1000h"
        _promtool(backfill, history, data)
        for number, rules in enumerate(_levels()):
            level = Path(directory) / f"level-{number}.txt"
            with prometheus_on(data) as address, level.open("w") as file:
                for rule in rules:
                    for labels, samples in evaluate(rule["expr"], address, begin, end):
                        target = ",".join(f'{name}="{text}"' for name, text in labels.items())
                        series = f"{rule['record']}{{{target}}}"
                        file.writelines(f"{series} {value} {at}\n" for at, value in samples)
                file.write("# EOF\n")
            _promtool(backfill, level, data)
    return totals


def fill(ledger: Path, totals: Mapping[Series, int], at: float) -> None:
    """Write the totals to a new ledger, so that an exporter continues them."""
    filled = SqliteLedger(ledger, now=at)
    filled.import_totals([Total(series, value, held=False, raised_at=at) for series, value in totals.items()])
    filled.close()


def _promtool(words: str, *files: Path) -> None:
    subprocess.run([program("promtool"), "tsdb", *words.split(), *map(str, files)], check=True, capture_output=True)


def _write(file: TextIO, target: str, history: Iterator[Minute]) -> Counter[Series]:
    written: dict[str, tuple[float, int]] = {}
    totals: Counter[Series] = Counter()
    for minute in history:
        totals = minute.totals
        for series, value in minute.exposed.items():
            last, at = written.get(series, (None, 0))
            if value != last or minute.end - at >= REPEAT_AFTER * MINUTE:
                name, brace, labels = series.partition("{")
                file.write(f"{name}{{{target}{',' if brace else '}'}{labels} {value} {minute.end}\n")
                written[series] = value, minute.end
    return totals


def _levels() -> Iterator[list[dict[str, Any]]]:
    """Yield the recording rules in levels: each level uses only series of the levels before it.

    A rule that uses its own last value has none here.
    """
    left = _rules("rules.yaml")
    while left:
        names = {rule["record"] for rule in left}
        ready = [rule for rule in left if not _names(rule["expr"]) & (names - {rule["record"]})]
        yield ready
        left = [rule for rule in left if rule not in ready]


def _names(expression: str) -> set[str]:
    return set(re.findall(r"[\w:]+", expression))


def _rules(file: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((RULES / file).read_text())["groups"] for rule in group["rules"]]


@contextmanager
def prometheus_on(data: Path) -> Iterator[str]:
    """Run a Prometheus on the history in ``data``, without targets; yield its address."""
    address = f"127.0.0.1:{free_port()}"
    config = data.with_name("history.yml")
    config.write_text("scrape_configs: []\n")
    flags = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
    flags += ["--storage.tsdb.retention.time=10y", "--query.max-samples=500000000", "--query.timeout=30m"]
    log_file = data.with_name("history.log")
    with log_file.open("wb") as log:
        process = subprocess.Popen([program("prometheus"), *flags], stdout=log, stderr=log, start_new_session=True)

    def ready() -> bool:
        assert process.poll() is None, log_file.read_text()
        try:
            with Client(address) as client:
                return client.request("GET", "/-/ready").status == 200
        except OSError:
            return False

    try:
        until(ready)
        yield address
    finally:
        process.terminate()
        process.wait()


def alerts() -> list[Alert]:
    """Return the shipped alerting rules."""
    units = {"s": 1, "m": 60, "h": 3_600}
    return [
        Alert(
            rule["alert"],
            rule["labels"]["severity"],
            rule["expr"],
            *(int(text[:-1]) * units[text[-1]] for text in (rule.get("for", "0s"), rule.get("keep_firing_for", "0s"))),
        )
        for rule in _rules("alerts.yaml")
    ]


def evaluate(expression: str, address: str, begin: int, end: int) -> Iterator[tuple[dict[str, str], list[Sample]]]:
    """Evaluate an expression at each minute; yield labels and samples. A long series comes in several parts."""
    for start in range(begin, end, MAX_STEPS * MINUTE):
        span = {"start": start, "end": min(start + MAX_STEPS * MINUTE, end) - MINUTE, "step": MINUTE}
        with Client(address, timeout=1_800) as client:
            answer = client.request("GET", f"/api/v1/query_range?{urlencode({'query': expression, **span})}")
        assert answer.status == 200, answer.text
        for series in json.loads(answer.body)["data"]["result"]:
            series["metric"].pop("__name__", None)
            yield series["metric"], series["values"]


def firings(alert: Alert, address: str, begin: int, end: int) -> Iterator[Firing]:
    """Evaluate an alert at each minute; yield each time when it started to fire, for each of its label sets."""
    active: dict[str, list[float]] = defaultdict(list)
    for labels, samples in evaluate(alert.expression, address, begin, end):
        active[json.dumps(labels, sort_keys=True)] += [at for at, _ in samples]
    for key, times in active.items():
        yield from (Firing(alert, json.loads(key), at) for at in _starts(times, alert))


def _starts(times: Sequence[float], alert: Alert) -> Iterator[float]:
    """Yield the times when an alert starts to fire whose expression is true at ``times``."""
    since = last = float("-inf")
    firing = False
    for at in times:
        if at - last > MINUTE:
            since = at
            firing = firing and at - last <= MINUTE + alert.keep
        if not firing and at - since >= alert.hold:
            firing = True
            yield at
        last = at
