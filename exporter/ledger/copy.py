"""Copy a ledger to an empty one of any engine, for ``smtpeter-exporter ledger copy``."""

import time
from collections.abc import Callable
from typing import Final

from exporter.classification.loops import LOOPS
from exporter.errors import LedgerError
from exporter.ledger.contract import COPY_MARKER, Ledger, Total

PAGE_SIZE: Final = 5_000
"""Identities to copy and compare at a time."""
PROGRESS_INTERVAL: Final = 2.0
"""Seconds between two lines of progress."""


def copy(source: Ledger, target: Ledger, *, say: Callable[[str], None]) -> str:
    """Copy ``source`` to ``target``, or resume an interrupted copy, and compare them.

    ``say`` gets lines of progress. Return one line that sums up what was copied. Raise LedgerError if the copy is not
    possible or the ledgers differ.
    """
    totals = sorted(source.totals())
    if COPY_MARKER in [total.series for total in totals]:
        raise LedgerError("SRC is the target of an unfinished copy; finish that copy first")
    existing = target.totals()
    if totals and sorted(existing) == totals:  # interrupted after the last step, so only compare
        number = _copy_identities(source, target, say)
        return f"already copied, and the same: {_what(number, totals)}"
    if existing and [total.series for total in existing] != [COPY_MARKER]:
        raise LedgerError("DST has counted events: expected an empty ledger, or one with an unfinished copy")
    if not existing:
        if not totals:
            raise LedgerError("SRC is empty: there is nothing to copy")
        if target.identities(b"", 1):
            raise LedgerError("DST contains identities: expected an empty ledger")
        target.import_totals([Total(COPY_MARKER, 0, held=False, raised_at=0)])
    number = _copy_identities(source, target, say)
    if sorted(source.totals()) != totals:
        raise LedgerError("SRC changed during the copy; stop the exporters that use it, and run ledger copy again")
    target.import_coverage(source.coverage())
    target.import_totals(totals)
    if sorted(target.totals()) != totals:
        raise LedgerError(
            "DST does not return the totals that were written to it; don't use it, and please report this"
        )
    return f"copied {_what(number, totals)}"


def _what(identities: int, totals: list[Total]) -> str:
    """Return the number of events of each loop that has any, and how many series and identities there are."""
    counts = {
        name: sum(total.value for total in totals if total.series[0] == name)
        for name in [loop.families[0] for loop in LOOPS.values()]
    }
    *others, last = [f"{count:,} {name}" for name, count in counts.items() if count] or ["no events"]
    events = f"{', '.join(others)} and {last}" if others else last
    return f"{events} in {len(totals):,} time series, and {identities:,} identities, which recognize repeated reports"


def _copy_identities(source: Ledger, target: Ledger, say: Callable[[str], None]) -> int:
    after, number, reported = b"", 0, time.monotonic()
    while page := source.identities(after, PAGE_SIZE):
        if target.identities(after, len(page)) != page:  # otherwise an earlier copy wrote them
            target.import_identities(page)
            if target.identities(after, len(page)) != page:
                raise LedgerError("DST contains identities that SRC does not; start again with an empty ledger")
        number += len(page)
        after = page[-1].identity
        if time.monotonic() > reported + PROGRESS_INTERVAL:
            reported = time.monotonic()
            # Hashes are sorted and spread evenly, so the last one shows the progress.
            say(f"{number:,} identities, {int.from_bytes(after[:2], 'big') / 65_536:.0%}")
    if target.identities(after, 1):
        raise LedgerError("DST contains identities that SRC does not; start again with an empty ledger")
    return number
