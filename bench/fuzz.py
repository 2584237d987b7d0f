"""Send mutated requests to a real exporter; tests/support/mutations.py makes them.

Exits with 1 if an answer was not allowed, the log has an error or a traceback, the count differs from the number of
answers 200, or memory grew.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.support.mutations import Outcome, fuzz, name_server
from tests.support.running import Exporter, exporter
from tests.support.signing import ACCOUNT

WARM_UP = 5_000
CONNECTIONS = 8
GROWTH = 16 << 20
"""Bytes by which memory may grow after the warm-up, when bounded caches fill up and pages fragment."""


def resident(running: Exporter) -> float:
    """Return the resident memory of the exporter in bytes."""
    return running.samples()["process_resident_memory_bytes"]


def unexpected_lines(running: Exporter) -> list[str]:
    """Return the lines of the log that show a bug, or that are not in the format of the log."""
    return [
        line
        for line, read in zip(running.lines, running.log(), strict=True)
        if not line.startswith("ts=") or "Traceback" in line or read["level"] not in {"debug", "info", "warning"}
    ]


def report(name: str, outcome: Outcome, seconds: float) -> None:
    """Print the number of cases, their duration and the statuses of the answers."""
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(outcome.statuses.items()))
    print(f"{name}: {outcome.cases:,} cases in {seconds:.0f} s, {outcome.unfinished:,} incomplete; {statuses}")


def main() -> None:
    """Send the requests and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100_000, help="cases after the warm-up (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="seed of the random cases (default: %(default)s)")
    wanted = parser.parse_args()
    # glibc caches freed memory per thread and size. With 64 threads these caches grow for a long time and hide leaks.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory, name_server() as names:
        flags = ("--signature.mode", "required", "--signature.account", ACCOUNT, "--log.level", "debug")
        with exporter(Path(directory), *flags, "--signature.nameserver", names.address, measured=False) as running:
            began = time.perf_counter()
            outcome = fuzz(running.public, WARM_UP, f"{wanted.seed} warm-up", CONNECTIONS, first=0)
            report("warm-up", outcome, time.perf_counter() - began)
            before = resident(running)
            began = time.perf_counter()
            later = fuzz(running.public, wanted.count, wanted.seed, CONNECTIONS, first=100 * WARM_UP)
            report("fuzzing", later, time.perf_counter() - began)
            after = resident(running)
            outcome.add(later)
            counted, repeated = (
                sum(running.failures().values()),
                running.samples()["smtpeter_exporter_duplicates_total"],
            )
        unexpected = unexpected_lines(running)
    words = ", ".join(
        f"{count:,} x {word.partition(chr(13))[0]}" for word, count in outcome.reasons.most_common() if word
    )
    print(f"reasons for rejection: {words}")
    print(f"new failures answered 200: {outcome.counted:,}, counted: {counted:,.0f}")
    print(f"repeated failures answered 200: {outcome.repeated:,}, counted as duplicates: {repeated:,.0f}")
    print(f"resident memory: {before / 1e6:.1f} MB after the warm-up, {after / 1e6:.1f} MB at the end")
    print(f"wrong answers: {len(outcome.problems)}, unexpected lines in the log: {len(unexpected)}")
    for line in (*outcome.problems[:10], *unexpected[:10]):
        print(f"  {line}")
    right = (counted, repeated) == (outcome.counted, outcome.repeated) and after - before < GROWTH
    sys.exit(0 if right and not outcome.problems and not unexpected else 1)


if __name__ == "__main__":
    main()
