"""Every engine keeps the contract of ``exporter/ledger/contract.py``.

What is true of one engine only is in test_sqlite.py and test_postgres.py.
"""

import json
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.classification.loops import DELIVERIES
from exporter.classification.series import Record, Series
from exporter.ledger.contract import (
    AHEAD,
    DAY,
    KEEP_IDENTITIES,
    UNDATED,
    ClockState,
    Coverage,
    Ledger,
    StoredIdentity,
    Total,
    parse_series,
)
from tests.support.engines import ALL_ENGINES, Reopenable
from tests.support.records import (
    BOUNCE,
    COMPLAINED,
    DEFER,
    DELIVERED,
    HOLD,
    NOW,
    RETURNED,
    count,
    deliveries,
    event,
    events,
    failure,
    failures,
    identity,
    prune_all,
)
from tests.support.running import TIMEOUT


@pytest.fixture(params=ALL_ENGINES)
def reopenable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopenable]:
    """Yield a new ledger of each engine, for tests that open it again."""
    made = Reopenable(request.param, tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def ledger(reopenable: Reopenable) -> Ledger:
    """Return a new ledger of each engine."""
    return reopenable.ledger


# Exactly once


def test_a_new_ledger_is_empty(ledger: Ledger) -> None:
    """A new ledger has no totals, and a size on disk."""
    assert ledger.totals() == []
    assert ledger.size() > 0


def test_a_new_failure_is_counted(ledger: Ledger) -> None:
    """A new failure increments its series by one, and the total has the time."""
    assert count(ledger, [failure(1)]) == [True]
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_the_same_failure_is_counted_once(ledger: Ledger) -> None:
    """A failure that is reported again, later and with other series, changes nothing."""
    count(ledger, [failure(1)])
    assert count(ledger, [failure(1, DEFER)], now=NOW + 5) == [False]
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_the_first_of_two_in_a_batch_is_counted(ledger: Ledger) -> None:
    """If an identity is in a batch several times, its first record is counted and the others are duplicates."""
    assert count(ledger, [failure(1, DEFER), failure(1, BOUNCE), failure(1, DEFER)]) == [True, False, False]
    assert ledger.totals() == [Total(DEFER, 1, held=False, raised_at=NOW)]


def test_outcomes_are_in_the_order_of_the_records(ledger: Ledger) -> None:
    """The outcomes of new, known and repeated records are in the order of the batch."""
    count(ledger, failures([2, 4, 6]))
    assert count(ledger, failures([1, 2, 3, 3, 4, 5, 1])) == [True, False, True, False, False, True, False]
    assert ledger.totals() == [Total(BOUNCE, 6, held=False, raised_at=NOW)]


def test_an_empty_batch_changes_nothing(ledger: Ledger) -> None:
    """An empty batch has no outcomes."""
    assert count(ledger, []) == []
    assert ledger.totals() == []


def test_a_batch_may_mix_loops(ledger: Ledger) -> None:
    """Events of all loops are counted in one batch, each once, whichever of them were counted before."""
    assert count(ledger, events(range(6))) == [True] * 6
    assert count(ledger, events(range(4, 12))) == [False] * 2 + [True] * 6
    assert count(ledger, [*events(range(12)), event(13), event(13), event(14)]) == [False] * 12 + [True, False, True]
    assert sorted(ledger.totals()) == [
        Total(RETURNED, 4, held=False, raised_at=NOW),
        Total(COMPLAINED, 3, held=False, raised_at=NOW),
        Total(DELIVERED, 4, held=False, raised_at=NOW),
        Total(BOUNCE, 3, held=False, raised_at=NOW),
    ]


def test_identities_have_what_their_records_have(ledger: Ledger) -> None:
    """Day, loop and message are stored with an identity, but only the day with that of a delivery."""
    records = events(range(8))
    count(ledger, records[:4])
    ledger.record(records[4:], now=NOW, held=False, day=7)
    expected = [
        StoredIdentity(record.identity, int(NOW // DAY) if number < 4 else 7, record.loop, record.message)
        for number, record in enumerate(records)
    ]
    assert ledger.identities(b"", 100) == sorted(expected)


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_identities_of_all_loops_are_read_in_pages(ledger: Ledger, limit: int) -> None:
    """Page by page, the identities of all loops are returned once, sorted."""
    count(ledger, events(range(25)))
    found: list[StoredIdentity] = []
    while page := ledger.identities(found[-1].identity if found else b"", limit):
        assert len(page) <= limit
        found += page
    assert [one.identity for one in found] == sorted(identity(number) for number in range(25))


@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000])
def test_batches_of_any_size(ledger: Ledger, size: int) -> None:
    """A batch of any size is counted completely, also if its last failure is a duplicate."""
    count(ledger, [failure(size)])
    assert count(ledger, failures(range(1, size + 1))) == [True] * (size - 1) + [False]
    assert count(ledger, failures(range(1, size + 1))) == [False] * size
    assert ledger.totals() == [Total(BOUNCE, size, held=False, raised_at=NOW)]


def test_each_series_of_a_record_is_incremented_once(ledger: Ledger) -> None:
    """A record increments each of its series by one, even one that it names twice."""
    provider = ("failures_by_provider", "gmail")
    count(ledger, [failure(1, BOUNCE, provider, BOUNCE), failure(2, DEFER, provider)])
    assert sorted(ledger.totals()) == [
        Total(DEFER, 1, held=False, raised_at=NOW),
        Total(BOUNCE, 1, held=False, raised_at=NOW),
        Total(provider, 2, held=False, raised_at=NOW),
    ]


def test_a_record_without_series_is_remembered(ledger: Ledger) -> None:
    """A failure that increments no series is a duplicate when it is reported again."""
    record = Record(identity(1), ())
    assert (count(ledger, [record]), count(ledger, [record])) == ([True], [False])
    assert ledger.totals() == []


@pytest.mark.parametrize("value", [bytes(16), b"\xff" * 16, b"\0" * 15 + b"\1", b"'\"\\;-- \n\t%?:@$\0\r"], ids=repr)
def test_any_sixteen_bytes_are_an_identity(reopenable: Reopenable, value: bytes) -> None:
    """Bytes of any value, also NUL and quotes, are distinguished and found again."""
    near = value[:-1] + bytes([value[-1] ^ 1])
    assert count(reopenable.ledger, [Record(value, (BOUNCE,)), Record(near, (BOUNCE,))]) == [True, True]
    assert count(reopenable.reopen(), [Record(near, (BOUNCE,)), Record(value, (BOUNCE,))]) == [False, False]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nul\0inside",
        'quo"te',
        "it's",
        "back\\slash",
        "\\u0000",
        "\ud800",
        "é",
        "e\u0301",
        "😀",
        "\x7f\x01",
        "a" * 10_000,
    ],
    ids=ascii,
)
def test_any_text_is_a_label_value(reopenable: Reopenable, text: str) -> None:
    """Label values with any characters are returned unchanged, and their failures add up in one series."""
    series = ("failures", text, "x")
    count(reopenable.ledger, [failure(1, series)])
    count(reopenable.reopen(), [failure(2, series), failure(3, ("failures", text + "\0", "x"))])
    assert sorted(reopenable.ledger.totals()) == [
        Total(series, 2, held=False, raised_at=NOW),
        Total(("failures", text + "\0", "x"), 1, held=False, raised_at=NOW),
    ]


def test_label_values_are_kept_apart(ledger: Ledger) -> None:
    """Series that differ only in where one value ends and the next begins are different."""
    one, other = ("failures", "a,b", "c"), ("failures", "a", "b,c")
    count(ledger, [failure(1, one), failure(2, other), failure(3, other)])
    assert sorted(ledger.totals()) == [
        Total(other, 2, held=False, raised_at=NOW),
        Total(one, 1, held=False, raised_at=NOW),
    ]


# Durable and monotonic


def test_a_reopened_ledger_has_everything(reopenable: Reopenable) -> None:
    """Totals, the times of the last failures and identities are the same after closing and opening."""
    count(reopenable.ledger, [failure(1), failure(2, DEFER), failure(3)])
    before = reopenable.ledger.totals()
    ledger = reopenable.reopen(NOW + 3 * DAY)
    assert ledger.totals() == before
    assert count(ledger, failures([1, 2, 3])) == [False] * 3


def test_the_time_of_the_last_failure_is_the_latest(ledger: Ledger) -> None:
    """If the clock is adjusted by some seconds, the time of the last failure does not decrease."""
    count(ledger, [failure(1)])
    count(ledger, [failure(2)], now=NOW - AHEAD)
    assert ledger.totals() == [Total(BOUNCE, 2, held=False, raised_at=NOW)]


@pytest.mark.parametrize("ahead", [AHEAD + 1, 31 * DAY], ids=["a minute", "a month"])
def test_the_time_of_the_last_failure_is_corrected(ledger: Ledger, ahead: float) -> None:
    """If the clock was ahead and is right again, the next failure has its real time."""
    count(ledger, [failure(1), failure(2, DEFER)], now=NOW + ahead)
    count(ledger, [failure(3)], now=NOW)
    assert sorted(ledger.totals()) == [
        Total(DEFER, 1, held=False, raised_at=NOW + ahead),
        Total(BOUNCE, 2, held=False, raised_at=NOW),
    ]


def test_readers_only_see_complete_batches(ledger: Ledger) -> None:
    """Scrapes during writes see totals that never decrease, and both series of a record or neither."""
    over = threading.Event()

    def read() -> list[tuple[int, ...]]:
        seen = []
        while not over.is_set():
            seen.append(tuple(total.value for total in sorted(ledger.totals())))
            assert ledger.size() > 0
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for start in range(0, 1500, 10):
                count(ledger, [failure(number, BOUNCE, DEFER) for number in range(start, start + 10)])
        finally:
            over.set()
        for reader in readers:
            seen = reader.result(TIMEOUT)
            assert seen == sorted(seen)
            assert {values for values in seen if values and values[0] != values[-1]} == set()
    assert sorted(ledger.totals()) == [
        Total(DEFER, 1500, held=False, raised_at=NOW),
        Total(BOUNCE, 1500, held=False, raised_at=NOW),
    ]


def test_totals_are_those_of_the_last_commit(ledger: Ledger) -> None:
    """The totals include a failure as soon as ``record`` has returned."""
    seen = []
    for number in range(20):
        count(ledger, [failure(number)])
        seen += [total.value for total in ledger.totals()]
    assert seen == list(range(1, 21))


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_the_check_of_a_working_ledger_changes_nothing(ledger: Ledger, write: bool) -> None:
    """A writable ledger passes the check, and its totals stay the same."""
    count(ledger, [failure(1)], held=True)
    before = ledger.totals()
    ledger.check(now=NOW + 1, write=write)
    assert ledger.totals() == before


# Births


def held_after(ledger: Ledger, *, now: float, hold: float = HOLD) -> dict[Series, bool]:
    """Release at ``now``, and return for each series whether it is still held."""
    ledger.release(now=now, hold=hold)
    return {total.series: total.held for total in ledger.totals()}


def test_a_new_series_is_held(ledger: Ledger) -> None:
    """A new series is held while its total counts on, and more failures leave it held."""
    count(ledger, [failure(1)], held=True)
    count(ledger, [failure(2)], now=NOW + 1, held=True)
    assert ledger.totals() == [Total(BOUNCE, 2, held=True, raised_at=NOW + 1)]


def test_a_new_series_is_not_held_if_holding_is_off(ledger: Ledger) -> None:
    """Without ``held`` the total of a new series is exposed at once."""
    count(ledger, [failure(1)], held=False)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


@pytest.mark.parametrize(
    ("after", "held"), [(0.0, True), (59.5, True), (60.0, False), (1e6, False)], ids=["0s", "59.5s", "60s", "days"]
)
def test_a_series_is_released_after_the_hold(ledger: Ledger, after: float, held: bool) -> None:
    """A series is held for ``hold`` seconds from its first failure, not from its last."""
    count(ledger, [failure(1)], held=True)
    count(ledger, [failure(2)], now=NOW + 30, held=True)
    assert held_after(ledger, now=NOW + after) == {BOUNCE: held}


def test_each_series_has_its_own_hold(ledger: Ledger) -> None:
    """A newer series stays held when an older one is released, and is released later."""
    count(ledger, [failure(1)], held=True)
    count(ledger, [failure(2, DEFER)], now=NOW + 30, held=True)
    assert held_after(ledger, now=NOW + 60) == {BOUNCE: False, DEFER: True}
    assert held_after(ledger, now=NOW + 90) == {BOUNCE: False, DEFER: False}


def test_a_released_series_is_never_held_again(reopenable: Reopenable) -> None:
    """A released series stays released after more failures, a clock that is set back, and a restart."""
    count(reopenable.ledger, [failure(1)], held=True)
    assert held_after(reopenable.ledger, now=NOW + 60) == {BOUNCE: False}
    count(reopenable.ledger, [failure(2)], now=NOW + 61, held=True)
    assert held_after(reopenable.ledger, now=NOW - DAY) == {BOUNCE: False}
    ledger = reopenable.reopen(NOW + 62)
    count(ledger, [failure(3)], now=NOW + 63, held=True)
    assert ledger.totals() == [Total(BOUNCE, 3, held=False, raised_at=NOW + 63)]


def test_opening_restarts_the_hold(reopenable: Reopenable) -> None:
    """Prometheus may not have scraped a held series before a restart, so the whole hold follows it."""
    count(reopenable.ledger, [failure(1)], held=True)
    ledger = reopenable.reopen(NOW + 1000)
    assert ledger.totals() == [Total(BOUNCE, 1, held=True, raised_at=NOW)]
    assert held_after(ledger, now=NOW + 1059) == {BOUNCE: True}
    assert held_after(ledger, now=NOW + 1060) == {BOUNCE: False}


def test_a_release_is_durable(reopenable: Reopenable) -> None:
    """A released series is exposed at once after a restart."""
    count(reopenable.ledger, [failure(1)], held=True)
    reopenable.ledger.release(now=NOW + 60, hold=HOLD)
    assert reopenable.reopen(NOW + 61).totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_turning_holding_off_releases_held_series(reopenable: Reopenable) -> None:
    """After a restart with a hold of 0, the first release exposes the series that were held."""
    count(reopenable.ledger, [failure(1)], held=True)
    assert held_after(reopenable.reopen(NOW + 1), now=NOW + 1, hold=0) == {BOUNCE: False}


@pytest.mark.parametrize("back", [0.25, HOLD, DAY], ids=["a moment", "the hold", "a day"])
def test_a_clock_set_back_restarts_the_hold(ledger: Ledger, back: float) -> None:
    """After the clock was set back a held series is neither exposed before the hold is over nor held for longer."""
    count(ledger, [failure(1)], held=True)
    assert held_after(ledger, now=NOW - back) == {BOUNCE: True}
    assert held_after(ledger, now=NOW - back + HOLD - 1) == {BOUNCE: True}
    assert held_after(ledger, now=NOW - back + HOLD) == {BOUNCE: False}


# Completeness


def test_a_ledger_began_when_it_was_first_opened(reopenable: Reopenable) -> None:
    """The time of the first opening stays the same. No day was compared with log files at first."""
    began = reopenable.ledger.coverage().began
    assert began == pytest.approx(reopenable.ledger.clock() if reopenable.engine == "postgresql" else NOW, abs=60)
    assert reopenable.reopen(NOW + 5 * DAY).coverage() == Coverage(began)


def test_coverage_is_replaced(reopenable: Reopenable) -> None:
    """What was imported last is returned, also after a restart."""
    for coverage in (Coverage(NOW - 9.5, ((0, 5), (0, 6), (2, 5))), Coverage(NOW - 99, ((1, 4),))):
        reopenable.ledger.import_coverage(coverage)
        assert reopenable.ledger.coverage() == coverage
    assert reopenable.reopen(NOW + DAY).coverage() == coverage


def test_a_ledger_is_not_short_of_space(ledger: Ledger) -> None:
    """As long as there is enough space, events of all loops may be recorded."""
    ledger.check(now=NOW, write=True)
    assert ledger.short_of_space() == ""


# Pruning


@pytest.mark.parametrize("age", [0, 1, DAY, KEEP_IDENTITIES - 1, KEEP_IDENTITIES], ids=str)
@pytest.mark.parametrize("born", [NOW, NOW // DAY * DAY, NOW // DAY * DAY + DAY - 1], ids=["day", "first", "last"])
def test_identities_are_kept_for_30_days(ledger: Ledger, born: float, age: int) -> None:
    """No identity is deleted before it is older than 30 days, at whichever hour it was counted."""
    count(ledger, failures(range(10)), now=born)
    assert prune_all(ledger, born + age, slices=5) == 0
    assert count(ledger, failures(range(10))) == [False] * 10


def test_only_old_identities_are_deleted(ledger: Ledger) -> None:
    """Identities that are older than 31 days are deleted, newer ones stay, and totals do not change."""
    count(ledger, failures(range(100)), now=NOW)
    count(ledger, failures(range(100, 200)), now=NOW + 2 * DAY)
    before = ledger.totals()
    assert prune_all(ledger, NOW + KEEP_IDENTITIES + DAY, slices=5) == 100
    assert ledger.totals() == before
    assert count(ledger, failures(range(200)), now=NOW + KEEP_IDENTITIES) == [True] * 100 + [False] * 100
    assert ledger.totals() == [Total(BOUNCE, 300, held=False, raised_at=NOW + KEEP_IDENTITIES)]


@pytest.mark.parametrize("keep", [DAY, 3 * DAY, 30 * DAY], ids=lambda keep: f"{keep // DAY}d")
def test_deliveries_are_kept_for_a_time_of_their_own(ledger: Ledger, keep: float) -> None:
    """No delivery is deleted before it is too old, all are a day later, and identities of other loops stay."""
    records = events(range(40))
    count(ledger, records)
    assert prune_all(ledger, NOW + keep, slices=5, keep_deliveries=keep) == 0
    assert count(ledger, records) == [False] * 40
    assert prune_all(ledger, NOW + keep + DAY, slices=5, keep_deliveries=keep) == (10 if keep < 30 * DAY else 40)
    assert count(ledger, records) == [record.loop == 1 or keep == 30 * DAY for record in records]


def test_a_later_retention_of_deliveries_applies_to_all(ledger: Ledger) -> None:
    """The deliveries that are in the ledger are kept for as long as the last call says."""
    count(ledger, deliveries(range(10)))
    assert prune_all(ledger, NOW + 5 * DAY, slices=5, keep_deliveries=5 * DAY) == 0
    assert prune_all(ledger, NOW + 5 * DAY, slices=5, keep_deliveries=3 * DAY) == 10


def test_the_ledger_stops_growing(ledger: Ledger) -> None:
    """With the same number of deliveries each day, the size is the same after four days and after twelve.

    Each simulated day has 40 rounds of new deliveries and pruning, as many as a pass through all of them needs.
    """
    sizes = []
    for day in range(13):
        for part in range(40):
            start = (day * 40 + part) * 100
            now = NOW + day * DAY + part
            count(ledger, deliveries(range(start, start + 100)), now=now)
            ledger.prune(now=now, keep_deliveries=3 * DAY)
        sizes.append(len(ledger.identities(b"", 100_000)))
    assert sizes == [4_000, 8_000, 12_000, *[16_000] * 10]


def test_pruning_in_slices_deletes_all(ledger: Ledger) -> None:
    """A slice deletes a small part of 20,000 old identities, and a few dozen slices delete all of them."""
    for start in range(0, 20_000, 1000):
        count(ledger, failures(range(start, start + 1000)))
    forgotten = [ledger.prune(now=NOW + 32 * DAY) for _ in range(30)]
    assert (sum(forgotten), max(forgotten) < 5000) == (20_000, True)
    assert count(ledger, failures(range(100))) == [True] * 100


def test_pruning_never_ends(ledger: Ledger) -> None:
    """Identities that get old after a pass through all of them are deleted in the next pass."""
    forgotten = []
    for month in range(4):
        now = NOW + month * 32 * DAY
        count(ledger, failures(range(month * 10, month * 10 + 10)), now=now)
        forgotten.append(prune_all(ledger, now, slices=5))
    assert forgotten == [0, 10, 10, 10]


def test_a_duplicate_does_not_renew_the_identity(ledger: Ledger) -> None:
    """The 30 days begin when the failure is counted, not when it is reported again."""
    count(ledger, [failure(1)])
    count(ledger, [failure(1)], now=NOW + 29 * DAY)
    assert prune_all(ledger, NOW + 32 * DAY, slices=5) == 1


def test_a_clock_set_back_prunes_nothing(ledger: Ledger) -> None:
    """Identities with a time in the future are kept."""
    count(ledger, failures(range(10)))
    assert prune_all(ledger, NOW - 400 * DAY, slices=5) == 0
    assert count(ledger, failures(range(10))) == [False] * 10


def test_undated_deliveries_are_kept_until_they_are_dated(ledger: Ledger) -> None:
    """A delivery without a day is kept for its time from the first pass of pruning."""
    ledger.record(deliveries(range(10)), now=0, held=False, day=UNDATED)
    assert prune_all(ledger, NOW, slices=5, keep_deliveries=DAY) == 0
    assert prune_all(ledger, NOW + DAY, slices=5, keep_deliveries=DAY) == 0
    assert count(ledger, deliveries(range(10))) == [False] * 10
    assert prune_all(ledger, NOW + 2 * DAY, slices=5, keep_deliveries=DAY) == 10


def test_undated_identities_are_kept_until_they_are_dated(ledger: Ledger) -> None:
    """An identity without a day is kept for 30 days from the first pass of pruning, whatever its time was."""
    ledger.record(failures(range(10)), now=0, held=False, day=UNDATED)
    assert prune_all(ledger, NOW, slices=5) == 0
    assert prune_all(ledger, NOW + KEEP_IDENTITIES, slices=5) == 0
    assert count(ledger, failures(range(10))) == [False] * 10
    assert prune_all(ledger, NOW + KEEP_IDENTITIES + DAY, slices=5) == 10


def test_identities_of_a_clock_that_was_ahead_are_not_kept_permanently(ledger: Ledger) -> None:
    """A pass of pruning changes a day in the future to the day of the pass."""
    count(ledger, failures(range(10)), now=NOW + 4_000 * DAY)
    assert prune_all(ledger, NOW, slices=5) == 0
    assert prune_all(ledger, NOW + KEEP_IDENTITIES + DAY, slices=5) == 10


def test_dating_in_slices_dates_all(ledger: Ledger) -> None:
    """Some dozens of slices date 20,000 identities, each slice a small part of them."""
    for start in range(0, 20_000, 1000):
        ledger.record(failures(range(start, start + 1000)), now=NOW, held=False, day=UNDATED)
    left = [20_000]
    while left[-1]:
        ledger.prune(now=NOW)
        left.append(sum(kept.day == UNDATED for kept in ledger.identities(b"", 20_000)))
    assert max(before - after for before, after in pairwise(left)) < 5_000
    assert {kept.day for kept in ledger.identities(b"", 20_000)} == {int(NOW // DAY)}


# The clock


def test_the_state_of_the_clock_is_stored(reopenable: Reopenable) -> None:
    """It is zeros at first, then the last one that was written, also after a restart. It is not a total."""
    ledger = reopenable.ledger
    assert ledger.clock_state() == ClockState(0, 0)
    for state in (ClockState(NOW, 60), ClockState(NOW - 5 * DAY, 86_400)):
        ledger.check(now=NOW, write=True, state=state)
        assert ledger.clock_state() == state
    ledger.check(now=NOW, write=False, state=ClockState(1, 1))
    ledger.check(now=NOW, write=True)
    assert reopenable.reopen(NOW + 9 * DAY).clock_state() == state
    assert reopenable.ledger.totals() == []


# Everything in any order, against a model

SERIES: Final = st.sampled_from([BOUNCE, DEFER, ("failures", 'q"\0\ud800', "", "\\"), ("other", "x")])
RECORDS: Final = st.builds(
    lambda number, series: event(number)._replace(series=tuple(series)),
    st.integers(min_value=0, max_value=15),
    st.lists(SERIES, min_size=0, max_size=3),
)


class LedgerMachine(RuleBasedStateMachine):
    """Operations in any order: after each of them the ledger agrees with a model, which consists of dictionaries."""

    engine: ClassVar[str]

    @initialize()
    def create(self) -> None:
        """Start with an empty ledger."""
        self.directory = tempfile.TemporaryDirectory()
        self.reopenable = Reopenable(self.engine, Path(self.directory.name))
        self.now = NOW
        self.set_back = False
        self.counted_at: dict[bytes, float] = {}
        self.stored: dict[bytes, Record] = {}
        self.sums: dict[Series, Total] = {}
        self.held_since: dict[Series, float] = {}

    @property
    def ledger(self) -> Ledger:
        """The ledger that is open now."""
        return self.reopenable.ledger

    def teardown(self) -> None:
        """Close the ledger and remove it."""
        with suppress(AttributeError):  # nothing was created
            self.ledger.close()
            self.directory.cleanup()

    @rule(batch=st.lists(RECORDS, max_size=9), held=st.booleans())
    def record(self, batch: list[Record], held: bool) -> None:
        """Record a batch: ledger and model agree on what is new."""
        expected = []
        for record in batch:
            expected.append(record.identity not in self.counted_at)
            if expected[-1]:
                self.counted_at[record.identity] = self.now
                self.stored[record.identity] = record
                for series in set(record.series):
                    self.increment(series, held=held)
        assert self.ledger.record(batch, now=self.now, held=held) == expected

    def increment(self, series: Series, *, held: bool) -> None:
        """Increment a series of the model."""
        if series not in self.sums:
            self.sums[series] = Total(series, 0, held=held, raised_at=0)
            if held:
                self.held_since[series] = self.now
        total = self.sums[series]
        before = total.raised_at if total.raised_at <= self.now + AHEAD else 0
        self.sums[series] = total._replace(value=total.value + 1, raised_at=max(before, self.now))

    @rule(hold=st.sampled_from([0.0, HOLD]))
    def release(self, hold: float) -> None:
        """Release the series that have been held for long enough."""
        self.ledger.release(now=self.now, hold=hold)
        for series, since in list(self.held_since.items()):
            if since > self.now:
                self.held_since[series] = self.now
            elif since <= self.now - hold:
                del self.held_since[series]
                self.sums[series] = self.sums[series]._replace(held=False)

    @rule(keep_deliveries=st.sampled_from([DAY, 3 * DAY, KEEP_IDENTITIES]))
    def prune(self, keep_deliveries: float) -> None:
        """Prune all identities that are too old by a day. Those too old by less may stay or go, so they are avoided."""
        kept = {known: keep_deliveries if self.is_delivery(known) else KEEP_IDENTITIES for known in self.counted_at}
        ages = {known: self.now - at - kept[known] for known, at in self.counted_at.items()}
        if any(0 < age < DAY for age in ages.values()):
            return
        old = [known for known, age in ages.items() if age >= DAY]
        assert prune_all(self.ledger, self.now, slices=3, keep_deliveries=keep_deliveries) == len(old)
        for known in old:
            del self.counted_at[known]
        for known, at in self.counted_at.items():
            if at // DAY > self.now // DAY:
                self.counted_at[known] = self.now

    def is_delivery(self, known: bytes) -> bool:
        """Return whether it is the identity of a delivery."""
        return self.stored[known].loop == DELIVERIES.number

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, -1.0, -90.0]))
    def pass_seconds(self, seconds: float) -> None:
        """Advance the clock, or correct it."""
        self.now += seconds
        self.set_back |= seconds < 0

    @rule(days=st.sampled_from([1, 29, 30, 31, -3]))
    def pass_days(self, days: int) -> None:
        """Advance the clock by whole days, or set it back."""
        self.now += days * DAY
        self.set_back |= days < 0

    @rule()
    def reopen(self) -> None:
        """Restart: nothing is lost, and the holds restart."""
        self.reopenable.reopen(self.now)
        self.held_since = dict.fromkeys(self.held_since, self.now)

    @rule(write=st.booleans())
    def check(self, write: bool) -> None:
        """Check the ledger, which succeeds."""
        self.ledger.check(now=self.now, write=write)

    @precondition(lambda self: hasattr(self, "sums"))
    @invariant()
    def totals_agree(self) -> None:
        """Compare the totals with those of the model."""
        assert self.comparable(self.ledger.totals()) == self.comparable(self.sums.values())

    @precondition(lambda self: hasattr(self, "sums"))
    @invariant()
    def identities_agree(self) -> None:
        """Compare the identities, with loop, message and day, with those of the model."""
        expected = [
            StoredIdentity(known, int(at // DAY), self.stored[known].loop, self.stored[known].message)
            for known, at in self.counted_at.items()
        ]
        assert self.ledger.identities(b"", 100) == sorted(expected)

    def comparable(self, totals: Iterable[Total]) -> list[Total]:
        """Return the totals, sorted."""
        return sorted(totals)


class SqliteMachine(LedgerMachine):
    """The SQLite ledger against the model."""

    engine = "sqlite"


class PostgresMachine(LedgerMachine):
    """The PostgreSQL ledger against the model."""

    engine = "postgresql"

    def comparable(self, totals: Iterable[Total]) -> list[Total]:
        """Return the totals, sorted, and without times that may differ.

        After the clock went back, the rows of other slots keep their later times. Such a time is not exposed before the
        server's clock reaches it, but the model's clock is not that of the server.
        """
        return sorted(total._replace(raised_at=0) if self.set_back else total for total in totals)


def examples(number: int) -> settings:
    """Return the settings for a model with this many runs."""
    return settings(
        max_examples=number,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


SqliteMachine.TestCase.settings = examples(60)
PostgresMachine.TestCase.settings = examples(20)
TestSqliteAgainstModel = SqliteMachine.TestCase
TestPostgresAgainstModel = pytest.mark.server(PostgresMachine.TestCase)


# What ledgers store


@pytest.mark.parametrize("series", [BOUNCE, ("x",), ("failures", "", 'q"\0\ud800', "é")], ids=ascii)
def test_a_stored_series_is_parsed(series: Series) -> None:
    """A series is stored as a JSON array of strings."""
    assert parse_series(json.dumps(series)) == series


@pytest.mark.parametrize("text", ["", '["failures"', "5", "{}", "[]", "[1]", '["failures", null]', '"failures"'])
def test_any_other_text_is_not_a_series(text: str) -> None:
    """Anything but a JSON array of one or more strings raises ValueError, which engines report as damage."""
    with pytest.raises(ValueError, match=r"."):
        parse_series(text)
