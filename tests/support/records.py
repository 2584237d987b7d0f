"""Records for ledgers to count, and shorthands for what tests of ledgers do all the time."""

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES
from exporter.classification.series import Record, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import KEEP_IDENTITIES, Ledger

NOW: Final = 1_800_000_000.0
HOLD: Final = 60.0
BOUNCE: Final = ("failures", "rcptto", "5xx", "5.1.1")
DEFER: Final = ("failures", "data", "4xx", "4.2.2")
DELIVERED: Final = ("deliveries",)
RETURNED: Final = ("bounces", "dsn")
COMPLAINED: Final = ("complaints", "gmail")


def identity(number: int) -> bytes:
    """Return sixteen bytes that are spread over the whole range, as those of a hash are."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16, "big")


def failure(number: int, *series: Series) -> Record:
    """Return the record of the failure with this number, which increments the series, by default BOUNCE."""
    return Record(identity(number), series or (BOUNCE,))


def failures(numbers: Sequence[int]) -> list[Record]:
    """Return the records of failures that all increment BOUNCE."""
    return [failure(number) for number in numbers]


def event(number: int, *series: Series) -> Record:
    """Return the record of the event with this number: of another loop for each of four consecutive numbers.

    It has a message hash unless its loop has none, and increments the series, by default one of its loop.
    """
    loop = (FAILURES, DELIVERIES, BOUNCES, ABUSES)[number % 4]
    default = {FAILURES: BOUNCE, DELIVERIES: DELIVERED, BOUNCES: RETURNED, ABUSES: COMPLAINED}[loop]
    message = identity(number + 10**6) if loop in (FAILURES, BOUNCES) else None
    return Record(identity(number), series or (default,), loop.number, message)


def events(numbers: Sequence[int]) -> list[Record]:
    """Return the records of events of all loops in turn."""
    return [event(number) for number in numbers]


def deliveries(numbers: Sequence[int]) -> list[Record]:
    """Return the records of deliveries that all increment DELIVERED."""
    return [Record(identity(number), (DELIVERED,), DELIVERIES.number) for number in numbers]


def count(ledger: Ledger, batch: Sequence[Record], *, now: float = NOW, held: bool = False) -> list[bool]:
    """Record the batch, by default at NOW and without holding new series."""
    return ledger.record(batch, now=now, held=held)


def prune_all(ledger: Ledger, now: float, *, slices: int, keep_deliveries: float = KEEP_IDENTITIES) -> int:
    """Prune this many slices, and return how many identities were deleted."""
    return sum(ledger.prune(now=now, keep_deliveries=keep_deliveries) for _ in range(slices))


def error_of(call: Callable[[], object]) -> LedgerError:
    """Return the LedgerError that ``call`` raises."""
    with pytest.raises(LedgerError) as caught:
        call()
    return caught.value
