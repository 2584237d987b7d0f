"""Send 1,000 signed requests at the same moment while DNS is slow or down, with and without a cached key.

Meanwhile other requests and scrapes are sent. Then DNS is back, and what was not answered 200 is sent again. Prints a
table in Markdown. Exits with 1 if a failure that was answered 200 was not counted exactly once, if one can't be sent,
or if a scrape takes 100 ms.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.hostile import LONGEST_SCRAPE, PAUSE
from bench.measure import columns, resident
from exporter.signature.keys import MIN_TTL
from tests.support.crowd import Answered, all_at_once
from tests.support.guarded import guarded_exporter
from tests.support.hostility import signed
from tests.support.raw_http import form, http
from tests.support.running import Exporter, exchange, until

REQUESTS: Final = 1_000
PROBLEMS: Final[Mapping[str, Mapping[str, float]]] = {
    "takes 1 s": {"delay": 1.0},
    "takes 10 s": {"delay": 10.0},
    "never answers": {"silent": True},
    "SERVFAIL": {"failing": True},
}
"""What is wrong with DNS, and the attributes of the name server."""
HEAD: Final = (
    *("DNS; cached key", "200", "last after s", "503", "last after s", "other requests: p50, max ms"),
    *("scrapes: p50, max ms", "threads", "MB", "s until all are 200", "lost", "counted twice"),
)


class Seen(NamedTuple):
    """The durations of other requests and of scrapes in seconds, and the maxima of threads and of memory in bytes."""

    others: list[float]
    scrapes: list[float]
    threads: int
    resident: int


def look(running: Exporter, over: threading.Event) -> Seen:
    """Send other requests, and scrape, until ``over`` is set."""
    others, scrapes = [], []
    threads = memory = 0
    while not over.wait(PAUSE):
        began = time.perf_counter()
        assert exchange(running.public, http(body=form())).status == 403
        middle = time.perf_counter()
        assert running.get("/metrics").status == 200
        others.append(middle - began)
        scrapes.append(time.perf_counter() - middle)
        threads = max(threads, len(list(Path(f"/proc/{running.pid}/task").iterdir())))
        memory = max(memory, resident([running.pid]))
    return Seen(others, scrapes, threads, memory)


def measure(directory: Path, problem: str, *, cached: bool) -> tuple[list[str], bool]:
    """Return a row of the table, and whether all is right."""
    requests = signed(range(REQUESTS + cached))
    over = threading.Event()
    with guarded_exporter(directory) as guarded, ThreadPoolExecutor(1) as pool:
        running, name_server = guarded.running, guarded.name_server
        if cached:
            name_server.ttl = 1
            assert exchange(running.public, requests.pop()).status == 200
            until(lambda: running.samples()["smtpeter_exporter_key_age_seconds"] > MIN_TTL, 2 * MIN_TTL)
        vars(name_server).update(PROBLEMS[problem])
        looking = pool.submit(look, running, over)
        answers = all_at_once(running.public, requests)
        over.set()
        seen = looking.result()
        good = answered(answers, 200)
        lost, twice = compare(running, len(good) + cached)
        name_server.delay, name_server.silent, name_server.failing = 0.0, False, False
        began = time.perf_counter()
        left = [request for request, answer in zip(requests, answers, strict=True) if answer.status != 200]
        until(lambda: retry(running, left))
        took = time.perf_counter() - began
        all_at_once(running.public, requests)  # all are duplicates
        lost, twice = (max(pair) for pair in zip((lost, twice), compare(running, REQUESTS + cached), strict=True))
    bad = answered(answers, 503)
    row = [
        f"{problem}; {'expired' if cached else 'none'}",
        *(text for times in (good, bad) for text in (f"{len(times)}", f"{max(times):.1f}" if times else "")),
        *(f"{median(times) * 1e3:.1f}, {max(times) * 1e3:.0f}" for times in (seen.others, seen.scrapes)),
        *(f"{seen.threads}", f"{seen.resident / 1e6:.0f}", f"{took:.1f}", f"{lost}", f"{twice}"),
    ]
    right = len(good) + len(bad) == REQUESTS and not (lost or twice) and max(seen.scrapes) < LONGEST_SCRAPE
    return row, right


def answered(answers: Sequence[Answered], status: int) -> list[float]:
    """Return the durations of the answers with the status."""
    return [answer.seconds for answer in answers if answer.status == status]


def compare(running: Exporter, expected: int) -> tuple[int, int]:
    """Return how many failures were lost, and how many were counted twice."""
    counted = int(sum(running.failures().values()))
    return max(0, expected - counted), max(0, counted - expected)


def retry(running: Exporter, left: list[bytes]) -> bool:
    """Send the requests once more; keep those that are not answered 200. Return whether none are left."""
    answers = all_at_once(running.public, left)
    left[:] = [request for request, answer in zip(left, answers, strict=True) if answer.status != 200]
    return not left


def main() -> None:
    """Run the benchmark and print the table."""
    rows: list[Sequence[str]] = [HEAD]
    right = True
    for cached in (False, True):
        for problem in PROBLEMS:
            with tempfile.TemporaryDirectory() as directory:
                row, good = measure(Path(directory), problem, cached=cached)
            rows.append(row)
            right = right and good
    print(columns(rows))
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
