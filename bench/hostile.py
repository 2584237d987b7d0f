"""Measure the latency of valid requests and scrapes while hostile clients hold connections.

The hostile clients are a separate process. Valid requests are signed, each on its own connection: first one after
another, then from 8 clients at once. Meanwhile the private listener is scraped. Requests with a hidden one follow.
Exits with 1 if a valid request is not answered 200, if a scrape takes 100 ms, or if a hidden request gets through.
"""

import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from multiprocessing.synchronize import Event
from pathlib import Path

from bench import smuggling
from tests.support.hostility import hostile, signed
from tests.support.running import Exporter, exchange, exporter
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record

CLIENTS = 8
HOSTILE = {0: 500, 200: 500, 1_500: 50}
"""Number of hostile connections, and of valid requests in each mode; beyond 1,000 connections, requests queue."""
LONGEST_SCRAPE = 0.1
PAUSE = 0.05
"""Seconds between two scrapes."""


def besiege(address: str, number: int, begun: Event, ending: Event) -> None:
    """Hold hostile connections until ``ending`` is set."""
    with hostile(address, number):
        begun.set()
        ending.wait()


@contextmanager
def besieged(address: str, number: int) -> Iterator[None]:
    """Hold hostile connections in another process meanwhile."""
    context = multiprocessing.get_context("spawn")
    begun, ending = context.Event(), context.Event()
    process = context.Process(target=besiege, args=(address, number, begun, ending))
    process.start()
    try:
        if not begun.wait(60):
            sys.exit("bench: hostile clients were not ready within 60 s")
        yield
    finally:
        ending.set()
        process.join()


def timed(address: str, raw: bytes) -> tuple[bool, float]:
    """Send a request; return whether it was answered 200, and the duration in seconds."""
    began = time.perf_counter()
    try:
        status = exchange(address, raw).status
    except (OSError, HTTPException):
        status = 0
    return status == 200, time.perf_counter() - began


def scrape(running: Exporter, stopping: threading.Event) -> list[float]:
    """Scrape until ``stopping`` is set; return the duration of each scrape in seconds."""
    durations = []
    while not stopping.wait(PAUSE):
        began = time.perf_counter()
        running.get("/metrics")
        durations.append(time.perf_counter() - began)
    return durations


def row(what: str, seconds: list[float], answered: str) -> str:
    """Return a row of the table, with times in milliseconds."""
    ranks = statistics.quantiles(seconds, n=100, method="inclusive")
    times = " | ".join(f"{value * 1e3:.1f}" for value in (ranks[49], ranks[98], max(seconds)))
    return f"| {what} | {answered} | {times} |"


def measure(running: Exporter, number: int, amount: int, first: int) -> bool:
    """Print the rows for a number of hostile connections; return whether all requests and scrapes were in order."""
    requests = signed(range(first, first + 2 * amount))
    stopping = threading.Event()
    with besieged(running.public, number), ThreadPoolExecutor(CLIENTS + 1) as pool:
        scrapes = pool.submit(scrape, running, stopping)
        ways = {
            "one at a time": [timed(running.public, raw) for raw in requests[:amount]],
            f"{CLIENTS} at once": list(pool.map(lambda raw: timed(running.public, raw), requests[amount:])),
        }
        stopping.set()
        durations = scrapes.result()
    for way, results in ways.items():
        good = sum(right for right, _ in results)
        print(
            row(
                f"{number:,} hostile connections: valid requests, {way}",
                [took for _, took in results],
                f"{good} of {amount}",
            )
        )
    all_scrapes = f"{len(durations)} of {len(durations)}"
    print(row(f"{number:,} hostile connections: scrapes", durations, all_scrapes), flush=True)
    return all(right for results in ways.values() for right, _ in results) and max(durations) < LONGEST_SCRAPE


def main() -> None:
    """Run the benchmark and print the table."""
    flags = ("--signature.mode", "required", "--signature.account", ACCOUNT)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory, NameServer() as name_server:
        name_server.records[KEY_ID] = [record(key())]
        nameserver = ("--signature.nameserver", name_server.address)
        with exporter(Path(directory), *flags, *nameserver, measured=False) as running:
            print("| | answered | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|", flush=True)
            right = [measure(running, number, amount, number * 1_000) for number, amount in HOSTILE.items()]
            counted = sum(running.failures().values())
    expected = 2 * sum(HOSTILE.values())
    print(f"\ncounted {counted:,.0f} of {expected:,}\n", flush=True)
    sys.exit(0 if smuggling.main() and all(right) and counted == expected else 1)


if __name__ == "__main__":
    main()
