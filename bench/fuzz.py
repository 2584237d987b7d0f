"""Send mutated requests to a real exporter; tests/support/mutations.py makes them.

Forged signatures follow. Exits with 1 if an answer was not allowed, a forgery was accepted, a line of the log can't be
parsed or is an error, the count differs from the number of answers 200, or memory grew.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.support.forgeries import forge
from tests.support.log_lines import read_line
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


def is_unexpected(line: str) -> bool:
    """Return whether a line of the log shows a bug, or is not in the format of the log."""
    try:
        fields = read_line(line)
    except ValueError:
        return True
    return "ts" not in fields or fields["level"] not in {"debug", "info", "warning"} or "Traceback" in line


def report(name: str, outcome: Outcome, seconds: float) -> None:
    """Print the number of cases, their duration and the statuses of the answers."""
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(outcome.statuses.items()))
    print(f"{name}: {outcome.cases:,} cases in {seconds:.0f} s, {outcome.unfinished:,} incomplete; {statuses}")


def main() -> None:
    """Send the requests and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100_000, help="cases after the warm-up (default: %(default)s)")
    parser.add_argument("--forgeries", type=int, default=1_300, help="forged signatures (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="seed of the random cases (default: %(default)s)")
    wanted = parser.parse_args()
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
            forged = forge(running.public, wanted.forgeries, wanted.seed, first=1_000 * wanted.count)
            counted, repeated = (
                sum(running.failures().values()),
                running.samples()["smtpeter_exporter_duplicates_total"],
            )
        unexpected = list(filter(is_unexpected, running.lines))
    rejected = ", ".join(f"{times:,} x {reason}" for reason, times in forged.reasons.most_common())
    print(f"forged signatures: {forged.forged:,}, valid ones in between: {forged.valid:,} answered 200; {rejected}")
    words = ", ".join(
        f"{count:,} x {word.partition(chr(13))[0]}" for word, count in outcome.reasons.most_common() if word
    )
    print(f"reasons for rejection: {words}")
    good = outcome.counted + forged.valid
    print(f"new failures answered 200: {good:,}, counted: {counted:,.0f}")
    print(f"repeated failures answered 200: {outcome.repeated:,}, counted as duplicates: {repeated:,.0f}")
    print(f"resident memory: {before / 1e6:.1f} MB after the warm-up, {after / 1e6:.1f} MB at the end")
    problems = [*outcome.problems, *forged.problems]
    print(f"wrong answers: {len(problems)}, lines of the log: {len(running.lines):,}, unexpected: {len(unexpected)}")
    for line in (*problems[:10], *unexpected[:10]):
        print(f"  {line}")
    right = (counted, repeated) == (good, outcome.repeated) and after - before < GROWTH
    sys.exit(0 if right and not problems and not unexpected else 1)


if __name__ == "__main__":
    main()
