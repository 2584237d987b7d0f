"""Run an exporter for MINUTES (60) at half of its saturating load, with hostile clients, and look for losses and leaks.

Prints a table in Markdown. Exits with 1 if a failure that was answered 200 was not counted exactly once, or if a
failure was not answered.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.hostile import besieged
from bench.measure import (
    LOAD_CORE,
    SERVER_CORE,
    check_machine,
    columns,
    descriptors,
    end_pacing,
    pin,
    resident,
    saturate,
    start_pacing,
)
from bench.paced import Paced, Plan
from bench.requests import FORMS
from tests.support.running import Exporter, exporter

MINUTES: Final = float(os.environ.get("MINUTES", "60"))
HOSTILE: Final = 200
OBSERVATION_INTERVAL: Final = 10
"""Seconds between two observations."""
SATURATION_SECONDS: Final = 5


class Observation(NamedTuple):
    """Time in seconds since the start, resident memory in bytes, number of open file descriptors."""

    at: float
    resident: int
    descriptors: int


def port_of(running: Exporter) -> int:
    """Return the port of the public listener."""
    return int(running.public.rpartition(":")[2])


@contextmanager
def pinned_exporter() -> Iterator[Exporter]:
    """Run an exporter with a new ledger, pinned to the server's core."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory,
        exporter(Path(directory), measured=False) as running,
    ):
        pin([running.pid], SERVER_CORE)
        yield running


def saturation() -> float:
    """Measure the maximum rate of such an exporter, in failures per second, without hostile clients."""
    with pinned_exporter() as running:
        return saturate([port_of(running)], FORMS, "saturation", SATURATION_SECONDS).rate


def soak(running: Exporter, rate: float) -> tuple[Paced, list[Observation]]:
    """Send requests and hold hostile connections; return the result and the observations meanwhile."""
    observations = []
    with besieged(running.public, HOSTILE):
        began = time.monotonic()
        process = start_pacing(Plan([port_of(running)], FORMS, "soak", rate, 60 * MINUTES))
        while process.poll() is None and time.monotonic() < began + 60 * MINUTES:
            observations.append(
                Observation(time.monotonic() - began, resident([running.pid]), descriptors(running.pid))
            )
            time.sleep(min(OBSERVATION_INTERVAL, max(0.0, began + 60 * MINUTES - time.monotonic())))
        return end_pacing(process), observations


def memory_growth(observations: list[Observation]) -> float:
    """Return the growth of memory over the second half, in MB per hour."""
    second = observations[len(observations) // 2 :]
    if len(second) < 2:
        return float("nan")
    fit = statistics.linear_regression([each.at for each in second], [each.resident for each in second])
    return fit.slope * 3_600 / 1e6


def main() -> None:
    """Run the exporter and print the table."""
    check_machine()
    os.sched_setaffinity(0, {LOAD_CORE})  # the hostile clients inherit it
    rate = saturation() / 2
    with pinned_exporter() as running:
        paced, observations = soak(running, rate)
        counted = sum(running.failures().values())
    memory, files = [each.resident / 1e6 for each in observations], [each.descriptors for each in observations]
    sizes = (memory[0], min(memory), max(memory), memory[-1])
    rows = [
        ["", ""],
        ["minutes", f"{MINUTES:g}"],
        ["requests/s, half of saturation", f"{rate:,.0f}"],
        ["hostile connections", f"{HOSTILE}"],
        ["different failures answered 200", f"{paced.answered:,}"],
        ["counted", f"{counted:,.0f}"],
        ["not answered after retries", f"{paced.unanswered:,}"],
        ["other answers and lost connections, retried", f"{paced.errors:,}"],
        ["p50, p99, max ms", f"{paced.p50 * 1e3:.1f}, {paced.p99 * 1e3:.1f}, {paced.longest * 1e3:.0f}"],
        ["memory in MB: first, lowest, highest, last", ", ".join(f"{size:.1f}" for size in sizes)],
        ["memory growth over the second half, MB/h", f"{memory_growth(observations):+.2f}"],
        ["open files and sockets: lowest, highest", f"{min(files)}, {max(files)}"],
    ]
    print(columns(rows))
    sys.exit(0 if counted == paced.answered and not paced.unanswered else 1)


if __name__ == "__main__":
    main()
