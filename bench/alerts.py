"""Measure how often alerts fire on calm traffic, and how soon they fire during a spike.

A real Prometheus evaluates the shipped rules over two weeks of traffic from ``simulate``. Prints tables in Markdown.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.demo.past import Firing, alerts, before, firings, load, prometheus_on
from exporter.simulator.requests import SimulatedRequest
from exporter.simulator.traffic import Spike, Traffic

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
BEGIN: Final = int(datetime(2026, 10, 5, tzinfo=UTC).timestamp())  # a Monday
END: Final = BEGIN + 14 * DAY
SIZES: Final = (10, 1_000, 100_000)
PERIODS: Final = {"first day": (0, 1), "first week": (0, 7), "second week": (7, 14)}
SPIKES: Final = {
    "everything, on the first day, Monday 14:00": (0, 14, None),
    "everything, Wednesday 14:00 of the first week": (2, 14, None),
    "everything, Tuesday 10:00": (8, 10, None),
    "blocked, Thursday 14:00": (10, 14, "blocked"),
    "everything, Friday 20:00": (11, 20, None),
    "everything, Sunday 03:00": (13, 3, None),
}
"""Day, hour and reason of each spike of ten times the usual traffic. No spike is a day or a week after another."""
SPIKE_DURATION: Final = 6 * HOUR


def moment(day: int, hour: float) -> float:
    """Return the time in seconds since the epoch for a day and hour of the simulation."""
    return BEGIN + day * DAY + hour * HOUR


def traffic(per_day: int, seed: int, *, spikes: bool) -> Iterator[SimulatedRequest]:
    """Yield two weeks of traffic; with ``spikes``, a spike replaces the calm traffic of its hours."""
    calm = Traffic(per_day, seed=seed, repeats=0).requests(BEGIN)
    for day, hour, reason in SPIKES.values() if spikes else ():
        spike = Spike(reason, 10, moment(day, hour), moment(day, hour) + SPIKE_DURATION)
        yield from before(spike.begin, calm)
        yield from before(spike.end, Traffic(per_day, seed=seed, repeats=0, spike=spike).requests(spike.begin))
        calm = Traffic(per_day, seed=seed + 100 * (day + 1), repeats=0).requests(spike.end)
    yield from before(END, calm)


def calm_table(found: Sequence[Firing], seeds: int) -> Iterator[str]:
    """Yield a table of how often each alert fired on calm traffic, averaged over the seeds."""
    columns = [(size, period) for size in SIZES for period in PERIODS]
    yield "| alert | severity | " + " | ".join(f"{size:,}: {period}" for size, period in columns) + " |"
    yield "|---|---|" + "--:|" * len(columns)
    for alert in alerts():
        cells = []
        for size, period in columns:
            first, last = (moment(day, 0) for day in PERIODS[period])
            jobs = {f"calm-{size}-{seed}" for seed in range(seeds)}
            fired = [firing.begin for firing in found if firing.alert == alert and firing.labels["job"] in jobs]
            cells.append(f"{sum(first <= begin < last for begin in fired) / seeds:.1f}".removesuffix(".0"))
        yield f"| `{alert.name}` | {alert.severity} | " + " | ".join(cells) + " |"


def spike_table(found: Sequence[Firing], seeds: int) -> Iterator[str]:
    """Yield a table of the minutes until an alert of each severity fired: the median and the worst of the seeds."""
    yield "| spike | severity | " + " | ".join(f"{size:,} a day" for size in SIZES) + " |"
    yield "|---|---|" + "--:|" * len(SIZES)
    for name, (day, hour, _) in SPIKES.items():
        begin = moment(day, hour)
        for severity in ("warning", "critical"):
            cells = []
            for size in SIZES:
                after = sorted(
                    min(
                        (
                            (firing.begin - begin) / 60
                            for firing in found
                            if firing.labels["job"] == f"spike-{size}-{seed}"
                            and firing.alert.severity == severity
                            and begin <= firing.begin < begin + SPIKE_DURATION
                        ),
                        default=float("inf"),
                    )
                    for seed in range(seeds)
                )
                median, worst = (
                    "never" if minutes == float("inf") else f"{minutes:.0f} min"
                    for minutes in (after[seeds // 2], after[-1])
                )
                cells.append(median if median == worst else f"{median} (at worst {worst})")
            yield f"| {name} | {severity} | " + " | ".join(cells) + " |"


def main() -> None:
    """Simulate the traffic, evaluate the rules, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of senders of each size (default: %(default)s)")
    seeds = parser.parse_args().seeds
    jobs = {
        f"{kind}-{size}-{seed}": traffic(size, seed, spikes=kind == "spike")
        for kind in ("calm", "spike")
        for size in SIZES
        for seed in range(seeds)
    }
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
        data = Path(directory) / "data"
        load(data, jobs, BEGIN, END)
        with prometheus_on(data) as address:
            found = [firing for alert in alerts() for firing in firings(alert, address, BEGIN, END)]
    print("\n".join(calm_table(found, seeds)), end="\n\n")
    print("\n".join(spike_table(found, seeds)))


if __name__ == "__main__":
    main()
