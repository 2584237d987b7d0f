"""``smtpeter-exporter ledger copy``: all that one ledger holds into another one that is empty, of any engine."""

import time
from collections.abc import Callable
from typing import Final

from exporter.errors import LedgerError
from exporter.ledger.contract import COPYING, Ledger, Total

PAGE: Final = 5_000
"""Identities that are copied and compared at a time."""
REPORT: Final = 2.0
"""Seconds between two lines of progress."""


def copy(source: Ledger, target: Ledger, *, say: Callable[[str], None]) -> str:
    """Copy, or go on copying, and compare; a line that tells what was copied. Raises LedgerError."""
    totals = sorted(source.totals())
    if COPYING in [total.series for total in totals]:
        raise LedgerError("SRC is itself a copy that was not ended")
    there = target.totals()
    if totals and sorted(there) == totals:  # it was cut off after its last step: nothing is left but to compare
        number = _copy_identities(source, target, say)
        return f"was copied before: {number:,} identities and {len(totals):,} series are the same"
    if there and [total.series for total in there] != [COPYING]:
        raise LedgerError(
            "DST has counted failures of its own: expected an empty ledger, or one that a copy was begun to"
        )
    if not there:
        if not totals:
            raise LedgerError("SRC is empty: there is nothing to copy")
        if target.identities(b"", 1):
            raise LedgerError("DST knows failures of its own: expected an empty ledger")
        target.adopt([Total(COPYING, 0, held=False, raised_at=0)])
    number = _copy_identities(source, target, say)
    if sorted(source.totals()) != totals:
        raise LedgerError("SRC was written to meanwhile: stop the exporters that use it, and run this again")
    target.adopt(totals)
    if sorted(target.totals()) != totals:
        raise LedgerError("DST does not show the totals that were written to it: don't use it, and please report this")
    return f"copied {number:,} identities and {len(totals):,} series, {sum(total.value for total in totals):,} in all"


def _copy_identities(source: Ledger, target: Ledger, say: Callable[[str], None]) -> int:
    after, number, reported = b"", 0, time.monotonic()
    while page := source.identities(after, PAGE):
        if target.identities(after, len(page)) != page:  # else they were copied before
            target.keep(page)
            if target.identities(after, len(page)) != page:
                raise LedgerError("DST knows failures that SRC does not: begin with an empty ledger")
        number += len(page)
        after = page[-1].identity
        if time.monotonic() > reported + REPORT:
            reported = time.monotonic()
            # Hashes are spread evenly, and come in order: how far it is, the last one tells.
            say(f"{number:,} identities, {int.from_bytes(after[:2], 'big') / 65_536:.0%}")
    if target.identities(after, 1):
        raise LedgerError("DST knows failures that SRC does not: begin with an empty ledger")
    return number
