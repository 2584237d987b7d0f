"""Compare start, scrape, commit, memory and disk usage with 10,000 and with 10,000,000 failures in the ledger.

Then measure the latency while the exporter prunes as many failures, all of them expired, under half of the load that
saturates it. Uses SQLite, and with ``--postgres`` also PostgreSQL. The environment variable SIZES overrides the sizes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.ceilings import batch
from bench.measure import DATABASE_CORE, SERVER_CORE, check_machine, columns, on_core, pace, pin, resident, saturate
from bench.paced import Plan
from bench.requests import FORMS
from bench.servers import database_here
from exporter.classification.labels import STATES
from exporter.classification.loops import FAILURES
from exporter.classification.series import Record
from exporter.ledger.clock import EVEN_PERIOD
from exporter.ledger.contract import DAY, KEEP_IDENTITIES, ClockState, Ledger
from exporter.ledger.factory import open_ledger
from exporter.ledger.url import storage

SIZES: Final = [int(size) for size in os.environ.get("SIZES", "10000,10000000").split(",")]
STARTS: Final = 7
SCRAPES: Final = 50
COMMITS: Final = 1_000
PRUNING: Final = int(os.environ.get("PRUNING", "30"))
"""Duration in seconds of the requests while the ledger is pruned."""
EXPIRED_AGE: Final = 32 * DAY
PAGE_SIZE: Final = 10_000
SERIES: Final = [("failures", state, "5xx", f"5.1.{detail}") for state in sorted(STATES)[:10] for detail in range(5)]


@dataclass(frozen=True)
class Measured:
    """The measurements at one size, in seconds and bytes."""

    start: float
    scrape: float
    commit: float
    slow_commit: float
    memory: float


@contextmanager
def opened(url: str) -> Iterator[Ledger]:
    """Open the ledger in this process."""
    ledger = open_ledger(storage(url), now=time.time())
    try:
        yield ledger
    finally:
        ledger.close()


def fill(url: str, count: int, *, at: float) -> float:
    """Record failures with the time ``at``; return the bytes on disk for each."""
    with opened(url) as ledger:
        for start in range(0, count, PAGE_SIZE):
            numbers = range(start, min(start + PAGE_SIZE, count))
            records = [
                Record(os.urandom(16), (SERIES[number % len(SERIES)],), FAILURES.number, os.urandom(16))
                for number in numbers
            ]
            ledger.record(records, now=at, held=False)
    with opened(url) as ledger:  # reopened, so that the write-ahead log is empty
        return ledger.size() / count


@contextmanager
def serving(url: str) -> Iterator[tuple[float, int, str, int]]:
    """Run an exporter; yield the seconds until it was ready, its public port, metrics URL and process id."""
    began = time.perf_counter()
    command = [
        *(sys.executable, "-m", "exporter", "serve", "--signature.mode", "off", "--storage.url", url),
        *("--webhook.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.1:0"),
    ]
    with subprocess.Popen(on_core(SERVER_CORE, command), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "msg=ready" in line)
            started = time.perf_counter() - began
            said = dict(word.split("=", 1) for word in line.split() if "=" in word)
            port = urlsplit(said["failures"]).port
            assert port
            yield started, port, said["metrics"], process.pid
        finally:
            process.terminate()
            process.communicate()


def measure(url: str) -> Measured:
    """Start an exporter and scrape it; then commit batches without it."""
    scrapes = []
    with serving(url) as (started, _, metrics, pid):
        for _ in range(SCRAPES):
            began = time.perf_counter()
            with urllib.request.urlopen(metrics, timeout=30) as answer:
                answer.read()
            scrapes.append(time.perf_counter() - began)
        memory = resident([pid])
    commits = []
    with opened(url) as ledger:
        for _ in range(COMMITS):
            records = batch()
            began = time.perf_counter()
            ledger.record(records, now=time.time(), held=False)
            commits.append(time.perf_counter() - began)
    slow = statistics.quantiles(commits, n=100)[98]
    return Measured(started, statistics.median(scrapes), statistics.median(commits), slow, memory)


def compare(urls: dict[int, str]) -> str:
    """Return a table with each size, and the ratio of the largest to the smallest."""
    disk = {size: fill(url, size, at=time.time()) for size, url in urls.items()}
    rounds = [{size: measure(url) for size, url in urls.items()} for _ in range(STARTS)]
    rows = [["", "ratio", *(f"{size:,} failures in the ledger" for size in urls)]]
    least, most = min(urls), max(urls)
    for what, of, unit, factor in (
        ("start", "start", "ms", 1e3),
        ("scrape", "scrape", "ms", 1e3),
        ("commit of 64, median", "commit", "ms", 1e3),
        ("commit of 64, p99", "slow_commit", "ms", 1e3),
        ("resident memory", "memory", "MB", 1e-6),
    ):
        each = {size: statistics.median(getattr(one[size], of) for one in rounds) for size in urls}
        ratio = statistics.median(getattr(one[most], of) / getattr(one[least], of) for one in rounds)
        rows.append([what, f"{ratio:.2f}", *(f"{value * factor:.2f} {unit}" for value in each.values())])
    rows.append(
        ["disk space per failure", f"{disk[most] / disk[least]:.2f}", *(f"{each:.0f} bytes" for each in disk.values())]
    )
    return columns(rows)


def expired(url: str, *, now: float) -> int:
    """Return the number of expired identities that are still in the ledger."""
    count, after, first = 0, b"", (now - KEEP_IDENTITIES) // DAY
    with opened(url) as ledger:
        while page := ledger.identities(after, PAGE_SIZE):
            count += sum(kept.day < first for kept in page)
            after = page[-1].identity
    return count


def prune(url: str, size: int) -> list[str]:
    """Measure requests at half of the saturating rate while the ledger is pruned; return a row of the table."""
    began = time.time()
    fill(url, size, at=began - EXPIRED_AGE)
    with opened(url) as ledger:  # a new ledger is not pruned on its first day
        ledger.check(now=began, write=True, state=ClockState(began, EVEN_PERIOD))
    before = expired(url, now=began)
    with serving(url) as (_, port, _, _):
        rate = saturate([port], FORMS, "saturation", 5).rate / 2
        paced = pace(Plan([port], FORMS, "pruning", rate, PRUNING))
    after = expired(url, now=began)
    times = [f"{seconds * 1e3:.1f}" for seconds in (paced.p50, paced.p99, paced.longest)]
    answered = f"{paced.answered:,} of {paced.answered + paced.unanswered:,}"
    return [f"{rate:,.0f}", answered, *times, f"{before:,}", f"{before - after:,}"]


def main() -> None:
    """Fill the ledgers, measure them in turns, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="also measure PostgreSQL")
    arguments = parser.parse_args()
    check_machine()
    database = database_here() if arguments.postgres else None
    head = ["", "requests/s", "answered", "p50 ms", "p99 ms", "max ms", "to prune before", "pruned meanwhile"]
    pruned = [head]
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
            print("SQLite\n")
            print(compare({size: f"sqlite:///{directory}/{size}.db" for size in SIZES}), end="\n\n", flush=True)
            pruned.append(["SQLite", *prune(f"sqlite:///{directory}/expired.db", max(SIZES))])
        if database:
            pin([database.pid], DATABASE_CORE)
            print("PostgreSQL\n")
            print(compare({size: database.create(f"history{size}") for size in SIZES}), end="\n\n", flush=True)
            pruned.append(["PostgreSQL", *prune(database.create("expired"), max(SIZES))])
    finally:
        if database:
            database.end()
    print(columns(pruned))


if __name__ == "__main__":
    main()
