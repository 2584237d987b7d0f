"""What nobody can pass: ``python -m bench.ceilings SECONDS rsa|sqlite:///…|postgresql://…`` does only that, and ends.

Prints a line ``RESULT``: how many, in how many microseconds, and no errors, as the scripts of wrk do; then the seconds
of processor time.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from exporter.classification.series import Record, Series
from exporter.ledger.factory import open_ledger
from exporter.ledger.url import storage
from tests.support.signing import key

BATCH: Final = 64
"""As many as can wait at the same time: the threads of the listener, and the connections of the load."""
SERIES: Final[tuple[Series, ...]] = (
    ("failures", "rcptto", "5xx", "5.1.1"),
    ("failures_by_reason", "recipient_unknown"),
    ("failures_by_provider", "other", "5xx"),
    ("failures_by_tag", "other"),
)
"""What a failure of the load raises."""


def batch() -> list[Record]:
    """Failures that nobody has recorded yet."""
    return [Record(os.urandom(16), SERIES) for _ in range(BATCH)]


def verifying() -> Callable[[], int]:
    """Check a signature of 2048 bits."""
    signature, public = key().sign(b"x", PKCS1v15(), SHA256()), key().public_key()

    def verify() -> int:
        public.verify(signature, b"x", PKCS1v15(), SHA256())
        return 1

    return verify


def recording(url: str) -> Callable[[], int]:
    """Record a batch."""
    ledger = open_ledger(storage(url), now=time.time())
    return lambda: sum(ledger.record(batch(), now=time.time(), held=False))


def main() -> None:
    """Do it again and again."""
    seconds, what = float(sys.argv[1]), sys.argv[2]
    work = verifying() if what == "rsa" else recording(what)
    work()
    done, began, before = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - began) < seconds:
        done += work()
    print(f"RESULT {done} {took * 1e6:.0f} 0\nCPU {time.process_time() - before:.3f}")


if __name__ == "__main__":
    main()
