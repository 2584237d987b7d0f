"""Mutated requests against the real exporter: statuses, faults, memory, and whether what was answered 200 was counted.

Exits 1 when there was an answer that must not be, a traceback or error in the log, a count that is not the number of
answers 200, or memory that grew. What is sent is told in tests/support/mutations.py.
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
"""Bytes by which memory may grow after the warm-up: caches that have a bound fill up, and pages fragment."""


def resident(running: Exporter) -> float:
    """Resident memory of the exporter in bytes."""
    return running.samples()["process_resident_memory_bytes"]


def wrong_lines(running: Exporter) -> list[str]:
    """Lines of the log that tell of a fault, or are no log lines at all."""
    return [
        line
        for line, read in zip(running.lines, running.log(), strict=True)
        if not line.startswith("ts=") or "Traceback" in line or read["level"] not in {"debug", "info", "warning"}
    ]


def report(name: str, outcome: Outcome, seconds: float) -> None:
    """Print what came of cases."""
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(outcome.statuses.items()))
    print(f"{name}: {outcome.cases:,} cases in {seconds:.0f} s, {outcome.unfinished:,} without an end; {statuses}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100_000, help="cases after the warm-up (default: 100000)")
    parser.add_argument("--seed", default="1", help="another seed gives other cases")
    wanted = parser.parse_args()
    # glibc keeps freed memory for each thread, of each size: with 64 threads that grows for long, and hides what leaks.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as folder, name_server() as names:
        flags = ("--signature.mode", "required", "--signature.account", ACCOUNT, "--log.level", "debug")
        with exporter(Path(folder), *flags, "--signature.nameserver", names.address, measured=False) as running:
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
        wrong = wrong_lines(running)
    words = ", ".join(
        f"{count:,} x {word.partition(chr(13))[0]}" for word, count in outcome.reasons.most_common() if word
    )
    print(f"reasons: {words}")
    print(f"answers 200 to new failures {outcome.counted:,}, counted {counted:,.0f}")
    print(f"answers 200 to repeated failures {outcome.repeated:,}, counted as duplicates {repeated:,.0f}")
    print(f"resident memory {before / 1e6:.1f} MB after the warm-up, {after / 1e6:.1f} MB at the end")
    print(f"faults {len(outcome.faults)}, lines in the log that should not be there {len(wrong)}")
    for line in (*outcome.faults[:10], *wrong[:10]):
        print(f"  {line}")
    right = (counted, repeated) == (outcome.counted, outcome.repeated) and after - before < GROWTH
    sys.exit(0 if right and not outcome.faults and not wrong else 1)


if __name__ == "__main__":
    main()
