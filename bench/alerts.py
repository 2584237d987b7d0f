"""How often alerts fire on calm traffic, and how soon on a spike: two weeks of simulated traffic, by a real Prometheus.

The traffic of ``simulate`` becomes the series of exporters, a sample a minute, with a job for each sender. They are
loaded into a Prometheus as past; promtool evaluates the recording rules over it, and the Prometheus the alerts, minute
by minute. Prints Markdown.
"""

import argparse
import json
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, TextIO
from urllib.parse import urlencode

import yaml

from exporter.labels import labels_of
from exporter.reason import REASONS
from exporter.traffic import Event, Spike, Traffic
from tests.running import Client, free_port, server, until

RULES: Final = Path(__file__).parent.parent / "deploy/prometheus"
HOUR: Final = 3_600
DAY: Final = 24 * HOUR
BEGIN: Final = int(datetime(2026, 10, 5, tzinfo=UTC).timestamp())  # a Monday
DAYS: Final = 14
SIZES: Final = (10, 1_000, 100_000)
STRANGERS: Final = 20  # unsigned calls a day
QUIET: Final = 4  # minutes after which an unchanged series is written again: Prometheus forgets it after five
PERIODS: Final = {"first day": (0, 1), "first week": (0, 7), "second week": (7, 14)}
SPIKES: Final = {
    "everything, on the first day, Monday 14:00": (0, 14, None),
    "everything, Wednesday 14:00 of the first week": (2, 14, None),
    "everything, Monday 10:00": (7, 10, None),
    "blocked, Wednesday 14:00": (9, 14, "blocked"),
    "everything, Friday 20:00": (11, 20, None),
    "everything, Sunday 03:00": (13, 3, None),
}
"""Day, hour and reason of each spike: ten times as much. Days apart, so that each comes to calm."""
SPIKE_HOURS: Final = 6
Sums = dict[str, float]
"""What is exposed: each series as OpenMetrics writes it but without job and instance, and its value."""


class Rule(NamedTuple):
    """An alert as Prometheus takes it; durations in seconds."""

    name: str
    severity: str
    expression: str
    hold: int
    keep: int


class Firing(NamedTuple):
    """An alert that fired, for which job, and from when on."""

    rule: Rule
    job: str
    begin: float


def moment(day: int, hour: float) -> float:
    """The time of day and hour of the simulation."""
    return BEGIN + day * DAY + hour * HOUR


def until_time(end: float, traffic: Iterator[Event]) -> Iterator[Event]:
    """Those that come before ``end``."""
    return takewhile(lambda event: event.at < end, traffic)


def events(per_day: int, seed: int, *, spikes: bool) -> Iterator[Event]:
    """The traffic of two weeks, in which spikes take the place of what would have been."""
    calm = Traffic(per_day, seed=seed, repeats=0).events(BEGIN)
    for day, hour, reason in SPIKES.values() if spikes else ():
        spike = Spike(reason, 10, moment(day, hour), moment(day, hour + SPIKE_HOURS))
        yield from until_time(spike.begin, calm)
        yield from until_time(spike.end, Traffic(per_day, seed=seed, repeats=0, spike=spike).events(spike.begin))
        calm = Traffic(per_day, seed=seed + 100 * (day + 1), repeats=0).events(spike.end)
    yield from until_time(moment(DAYS, 0), calm)


def minutes(per_day: int, seed: int, *, spikes: bool) -> Iterator[tuple[int, Sums]]:
    """For each minute its end, and what the exporter shows then: a new series is held at 0 in its first minute."""
    traffic = events(per_day, seed, spikes=spikes)
    strangers = Random(seed)  # noqa: S311 -- a simulation
    shown: Sums = {f'smtpeter_failures_by_reason_total{{reason="{reason}"}}': 0 for reason in REASONS}
    shown |= dict.fromkeys(("smtpeter_exporter_ledger_writable", "up"), 1)
    shown |= dict.fromkeys(
        (
            "smtpeter_last_failure_timestamp_seconds",
            "smtpeter_exporter_request_duration_seconds_count",
            "smtpeter_exporter_label_overflow_total",
            'smtpeter_exporter_keys{state="stale"}',
            'smtpeter_exporter_refused_total{reason="key_unavailable"}',
            'smtpeter_exporter_refused_total{reason="unsigned"}',
        ),
        0,
    )
    sums: Counter[str] = Counter()
    event = next(traffic, None)
    for end in range(BEGIN, int(moment(DAYS, 0)), 60):
        while event and event.at < end:
            answer = event.answer
            state, code_class, extended = labels_of(answer.state, answer.code, answer.extended)
            labels = f'state="{state}",code_class="{code_class}",extended="{extended}"'
            sums[f"smtpeter_failures_total{{{labels}}}"] += 1
            sums[f'smtpeter_failures_by_reason_total{{reason="{answer.reason}"}}'] += 1
            sums["smtpeter_exporter_request_duration_seconds_count"] += 1
            shown["smtpeter_last_failure_timestamp_seconds"] = round(event.at)
            event = next(traffic, None)
        shown |= {series: value if series in shown else 0 for series, value in sums.items()}
        sums['smtpeter_exporter_refused_total{reason="unsigned"}'] += strangers.random() < STRANGERS / 1_440
        yield end, shown


def write_history(file: TextIO, jobs: Mapping[str, tuple[int, int, bool]]) -> None:
    """Write the series of all jobs (size, seed, with spikes or not) as OpenMetrics."""
    for job, (per_day, seed, spikes) in jobs.items():
        written: dict[str, tuple[float, int]] = {}
        for end, shown in minutes(per_day, seed, spikes=spikes):
            for series, value in shown.items():
                if written.get(series, (-1, 0))[0] != value or end - written[series][1] >= QUIET * 60:
                    name, brace, labels = series.partition("{")
                    ours = f'job="{job}",instance="a:1"'
                    file.write(f"{name}{{{ours}{',' if brace else '}'}{labels} {value} {end}\n")
                    written[series] = value, end
    file.write("# EOF\n")


@contextmanager
def prometheus(data: Path) -> Iterator[str]:
    """A Prometheus over the blocks in ``data``; its address."""
    address = f"127.0.0.1:{free_port()}"
    config = data.with_name("prometheus.yml")
    config.write_text("scrape_configs: []\n")
    flags = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
    flags += ["--storage.tsdb.retention.time=10y", "--query.max-samples=500000000", "--query.timeout=30m"]
    with data.with_name("prometheus.log").open("wb") as log:
        process = subprocess.Popen([server("prometheus"), *flags], stdout=log, stderr=log)

    def ready() -> bool:
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


def levels() -> Iterator[list[dict[str, str]]]:
    """The recording rules, those first that need no other, then those that need only these, and so on."""
    groups = yaml.safe_load((RULES / "rules.yaml").read_text())["groups"]
    left = [rule for group in groups for rule in group["rules"]]
    while left:
        names = {rule["record"] for rule in left}
        ready = [rule for rule in left if not any(name in _words(rule["expr"]) for name in names - {rule["record"]})]
        yield ready
        left = [rule for rule in left if rule not in ready]


def _words(expression: str) -> set[str]:
    return set(
        "".join(character if character.isalnum() or character in "_:" else " " for character in expression).split()
    )


def record(folder: Path) -> None:
    """Evaluate the recording rules over the past, each level on what those before have left."""
    for number, rules in enumerate(levels()):
        file = folder / f"level-{number}.yaml"
        file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
        with prometheus(folder / "data") as address:
            flags = [f"--start={BEGIN}", f"--end={moment(DAYS, 0):.0f}", f"--url=http://{address}"]
            flags += [f"--output-dir={folder / 'data'}", "--eval-interval=1m"]
            backfill = [server("promtool"), *"tsdb create-blocks-from rules".split(), *flags, str(file)]
            subprocess.run(backfill, check=True, stdout=subprocess.DEVNULL)


def seconds(duration: str) -> int:
    """Seconds of a duration such as 5m."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3_600}[duration[-1]]


def alerts() -> Iterator[Rule]:
    """The alerts, as they are shipped."""
    for group in yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            durations = (seconds(rule.get(name, "0s")) for name in ("for", "keep_firing_for"))
            yield Rule(rule["alert"], rule["labels"]["severity"], rule["expr"], *durations)


def firings(rule: Rule, address: str) -> Iterator[Firing]:
    """When the alert began to fire, for each of its label sets."""
    active: dict[str, list[float]] = defaultdict(list)
    for begin in range(BEGIN, int(moment(DAYS, 0)), 7 * DAY):
        span = {"start": begin, "end": begin + 7 * DAY - 60, "step": 60}
        with Client(address) as client:
            answer = client.request("GET", f"/api/v1/query_range?{urlencode({'query': rule.expression, **span})}")
        assert answer.status == 200, answer.text
        for series in json.loads(answer.body)["data"]["result"]:
            series["metric"].pop("__name__", None)
            active[json.dumps(series["metric"], sort_keys=True)] += [float(at) for at, _ in series["values"]]
    for labels, times in active.items():
        yield from (Firing(rule, json.loads(labels)["job"], begin) for begin in _begins(times, rule))


def _begins(times: Sequence[float], rule: Rule) -> Iterator[float]:
    """When an alert that is active at these times, a minute apart, begins to fire."""
    since = before = -1.0
    firing = False
    for at in times:
        if firing and at - before > 60 + rule.keep:
            firing = False
        if not firing and at - before > 60:
            since = at
        if not firing and at - since >= rule.hold:
            firing = True
            yield at
        before = at


def calm_table(found: Sequence[Firing], seeds: int) -> Iterator[str]:
    """How often each alert fired on calm traffic."""
    columns = [(size, period) for size in SIZES for period in PERIODS]
    yield "| alert | severity | " + " | ".join(f"{size:,}: {period}" for size, period in columns) + " |"
    yield "|---|---|" + "--:|" * len(columns)
    for rule in alerts():
        cells = []
        for size, period in columns:
            first, last = (moment(day, 0) for day in PERIODS[period])
            jobs = {f"calm-{size}-{seed}" for seed in range(seeds)}
            count = sum(one.rule == rule and one.job in jobs and first <= one.begin < last for one in found)
            cells.append(f"{count / seeds:.1f}".removesuffix(".0"))
        yield f"| `{rule.name}` | {rule.severity} | " + " | ".join(cells) + " |"


def spike_table(found: Sequence[Firing], seeds: int) -> Iterator[str]:
    """After how many minutes of a spike an alert of each severity fired: the median and the worst of the seeds."""
    yield "| spike | severity | " + " | ".join(f"{size:,} a day" for size in SIZES) + " |"
    yield "|---|---|" + "--:|" * len(SIZES)
    for name, (day, hour, _) in SPIKES.items():
        begin = moment(day, hour)
        for severity in ("warning", "critical"):
            cells = []
            for size in SIZES:
                after = []
                for seed in range(seeds):
                    about = [
                        one.begin - begin
                        for one in found
                        if one.job == f"spike-{size}-{seed}"
                        and one.rule.severity == severity
                        and begin <= one.begin < begin + (SPIKE_HOURS + 2) * HOUR
                    ]
                    after.append(min(about, default=float("inf")) / 60)
                after.sort()
                words = ["never" if one == float("inf") else f"{one:.0f} min" for one in (after[seeds // 2], after[-1])]
                cells.append(words[0] if words[0] == words[1] else f"{words[0]} (at worst {words[1]})")
            yield f"| {name} | {severity} | " + " | ".join(cells) + " |"


def main() -> None:
    """Simulate, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many senders of each size (default: %(default)s)")
    seeds = parser.parse_args().seeds
    jobs = {
        f"{kind}-{size}-{seed}": (size, seed, kind == "spike")
        for kind in ("calm", "spike")
        for size in SIZES
        for seed in range(seeds)
    }
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as name:
        folder = Path(name)
        with (folder / "history.txt").open("w") as file:
            write_history(file, jobs)
        load = [server("promtool"), *"tsdb create-blocks-from openmetrics --max-block-duration=1000h".split()]
        subprocess.run([*load, folder / "history.txt", folder / "data"], check=True, stdout=subprocess.DEVNULL)
        (folder / "history.txt").unlink()
        record(folder)
        with prometheus(folder / "data") as address:
            found: list[Any] = [firing for rule in alerts() for firing in firings(rule, address)]
    print("\n".join(calm_table(found, seeds)), end="\n\n")
    print("\n".join(spike_table(found, seeds)))


if __name__ == "__main__":
    main()
