"""Upper limits of the throughput: ``python -m bench.ceilings SECONDS rsa|sqlite:///…|postgresql://…``.

Only verifies signatures, or only writes batches. Like the scripts of wrk, it prints a line ``RESULT`` with a count,
microseconds and 0 errors. A line with the seconds of CPU time follows.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from exporter.classification.loops import FAILURES
from exporter.classification.series import Record, Series
from exporter.ledger.factory import open_ledger
from exporter.ledger.url import storage
from tests.support.signing import key

BATCH: Final = 64
"""Maximum number of failures in a batch: one for each connection of the load."""
SERIES: Final[tuple[Series, ...]] = (
    ("failures", "rcptto", "5xx", "5.1.1"),
    ("failures_by_reason", "recipient_unknown"),
    ("failures_by_provider", "other", "5xx"),
    ("failures_by_tag", "other"),
)
"""The series that a failure of the load increments."""


def batch() -> list[Record]:
    """Return the records of failures that are not in any ledger yet."""
    return [Record(os.urandom(16), SERIES, FAILURES.number, os.urandom(16)) for _ in range(BATCH)]


def verifier() -> Callable[[], int]:
    """Return a function that verifies a 2048-bit signature and returns 1."""
    signature, public = key().sign(b"x", PKCS1v15(), SHA256()), key().public_key()

    def verify() -> int:
        public.verify(signature, b"x", PKCS1v15(), SHA256())
        return 1

    return verify


def recorder(url: str) -> Callable[[], int]:
    """Return a function that records a batch and returns the number of failures in it."""
    ledger = open_ledger(storage(url), now=time.time())
    return lambda: sum(ledger.record(batch(), now=time.time(), held=False))


def main() -> None:
    """Repeat the work until the time is up, and print the result."""
    seconds, what = float(sys.argv[1]), sys.argv[2]
    work = verifier() if what == "rsa" else recorder(what)
    work()
    done, began, before = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - began) < seconds:
        done += work()
    print(f"RESULT {done} {took * 1e6:.0f} 0\nCPU {time.process_time() - before:.3f}")


if __name__ == "__main__":
    main()
