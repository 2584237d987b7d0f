"""An exporter for MINUTES (60) at half of what it can do, hostile clients beside: what is lost, and what grows.

Prints a table in Markdown; exits 1 when a failure that was answered 200 was not counted once, or one was not answered.
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

from bench.calls import FORMS
from bench.hostile import besieged
from bench.measure import (
    LOAD_CORE,
    SERVER_CORE,
    columns,
    descriptors,
    end_pacing,
    hold,
    resident,
    saturate,
    start_pacing,
)
from bench.paced import Paced, Plan
from tests.support.running import Exporter, exporter

MINUTES: Final = float(os.environ.get("MINUTES", "60"))
HOSTILE: Final = 200
EVERY: Final = 10
"""Seconds between two looks."""
SATURATING: Final = 5


class Look(NamedTuple):
    """What a look saw: seconds, bytes of resident memory, open file descriptors."""

    at: float
    resident: int
    descriptors: int


def port_of(running: Exporter) -> int:
    """Where failures are posted to."""
    return int(running.public.rpartition(":")[2])


@contextmanager
def held_exporter() -> Iterator[Exporter]:
    """An exporter on its core, with a ledger of its own."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as folder,
        exporter(Path(folder), measured=False) as running,
    ):
        hold([running.pid], SERVER_CORE)
        yield running


def saturation() -> float:
    """Failures a second that an exporter of the same kind answers at most, without hostile clients."""
    with held_exporter() as running:
        return saturate([port_of(running)], FORMS, "saturation", SATURATING).rate


def soak(running: Exporter, rate: float) -> tuple[Paced, list[Look]]:
    """Calls and hostile clients, and looks meanwhile."""
    looks = []
    with besieged(running.public, HOSTILE):
        began = time.monotonic()
        process = start_pacing(Plan([port_of(running)], FORMS, "soak", rate, 60 * MINUTES))
        while process.poll() is None and time.monotonic() < began + 60 * MINUTES:
            looks.append(Look(time.monotonic() - began, resident([running.pid]), descriptors(running.pid)))
            time.sleep(min(EVERY, max(0.0, began + 60 * MINUTES - time.monotonic())))
        return end_pacing(process), looks


def slope(looks: list[Look]) -> float:
    """By how many MB an hour memory grew over the second half."""
    second = looks[len(looks) // 2 :]
    if len(second) < 2:
        return float("nan")
    fit = statistics.linear_regression([look.at for look in second], [look.resident for look in second])
    return fit.slope * 3_600 / 1e6


def main() -> None:
    """Run and print."""
    os.sched_setaffinity(0, {LOAD_CORE})  # the hostile clients inherit it
    rate = saturation() / 2
    with held_exporter() as running:
        paced, looks = soak(running, rate)
        counted = sum(running.failures().values())
    memory, files = [look.resident / 1e6 for look in looks], [look.descriptors for look in looks]
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
        ["memory growth over the second half, MB/h", f"{slope(looks):+.2f}"],
        ["open files and sockets: lowest, highest", f"{min(files)}, {max(files)}"],
    ]
    print(columns(rows))
    sys.exit(0 if counted == paced.answered and not paced.unanswered else 1)


if __name__ == "__main__":
    main()
