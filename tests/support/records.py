"""Records for ledgers to count, and shorthands for what tests of ledgers do all the time."""

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from exporter.classification.series import Record, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import Ledger

NOW: Final = 1_800_000_000.0
HOLD: Final = 60.0
BOUNCE: Final = ("failures", "rcptto", "5xx", "5.1.1")
DEFER: Final = ("failures", "data", "4xx", "4.2.2")


def identity(number: int) -> bytes:
    """Return sixteen bytes that are spread over the whole range, as those of a hash are."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16, "big")


def failure(number: int, *series: Series) -> Record:
    """Return the record of the failure with this number, which increments the series, by default BOUNCE."""
    return Record(identity(number), series or (BOUNCE,))


def failures(numbers: Sequence[int]) -> list[Record]:
    """Return the records of failures that all increment BOUNCE."""
    return [failure(number) for number in numbers]


def count(ledger: Ledger, batch: Sequence[Record], *, now: float = NOW, held: bool = False) -> list[bool]:
    """Record the batch, by default at NOW and without holding new series."""
    return ledger.record(batch, now=now, held=held)


def prune_all(ledger: Ledger, now: float, *, slices: int) -> int:
    """Prune this many slices, and return how many identities were deleted."""
    return sum(ledger.prune(now=now) for _ in range(slices))


def error_of(call: Callable[[], object]) -> LedgerError:
    """Return the LedgerError that ``call`` raises."""
    with pytest.raises(LedgerError) as caught:
        call()
    return caught.value
