"""Every engine keeps the contract of ``exporter/ledger/contract.py``: once, for ever, never back, births at zero.

A new engine joins by a row in ENGINES; its own facts have a file of their own, as ``test_sqlite.py``.
"""

import atexit
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.classification.series import Record, Series
from exporter.ledger.contract import DAY, KEEP_IDENTITIES, Ledger, Total
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.sqlite import SqliteLedger
from exporter.ledger.url import PostgresUrl
from tests.support.postgres import Postgres
from tests.support.running import TIMEOUT, until

NOW: Final = 1_800_000_000.0
HOLD: Final = 60.0

BOUNCE: Final = ("failures", "rcptto", "5xx", "5.1.1")
DEFER: Final = ("failures", "data", "4xx", "4.2.2")


def sqlite(folder: Path, now: float) -> Ledger:
    """The SQLite ledger that lies in ``folder``."""
    return SqliteLedger(folder / "ledger.db", now=now)


def postgresql(folder: Path, now: float) -> Ledger:
    """The PostgreSQL ledger in a database of the folder's own."""
    return PostgresLedger(PostgresUrl(server().create(database_of(folder))), now=now)


def database_of(folder: Path) -> str:
    """The name of the database that stands for a folder."""
    return sha256(bytes(folder)).hexdigest()[:40]


def connections(folder: Path) -> list[tuple[object, ...]]:
    """Those that are open to the database of a folder."""
    return server().execute(f"SELECT pid FROM pg_stat_activity WHERE datname = '{database_of(folder)}'")


@cache
def server() -> Postgres:
    """One server for all tests of the process."""
    running = Postgres()
    atexit.register(running.end)
    return running


ENGINES: Final[dict[str, Callable[[Path, float], Ledger]]] = {"sqlite": sqlite, "postgresql": postgresql}


class Reopenable:
    """A ledger that can be closed and opened again at the same place."""

    def __init__(self, engine: str, folder: Path) -> None:
        self._open = ENGINES[engine]
        self._folder = folder
        self.ledger = self._open(folder, NOW)

    def reopen(self, now: float = NOW) -> Ledger:
        """Close the ledger and open it once more."""
        self.ledger.close()
        if isinstance(self.ledger, PostgresLedger):
            until(lambda: not connections(self._folder))  # as long as there is one, somebody else has the ledger
        self.ledger = self._open(self._folder, now)
        return self.ledger


@pytest.fixture(params=ENGINES)
def reopenable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopenable]:
    """A new ledger of each engine, for tests that open it again."""
    made = Reopenable(request.param, tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def ledger(reopenable: Reopenable) -> Ledger:
    """A new ledger of each engine."""
    return reopenable.ledger


def identity(number: int) -> bytes:
    """Sixteen bytes spread over the whole range, as those of a hash are."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16, "big")


def failure(number: int, *series: Series) -> Record:
    """The record of failure ``number``, which raises BOUNCE unless told otherwise."""
    return Record(identity(number), series or (BOUNCE,))


def failures(numbers: Sequence[int]) -> list[Record]:
    """Records of failures that all raise BOUNCE."""
    return [failure(number) for number in numbers]


def count(ledger: Ledger, batch: Sequence[Record], *, now: float = NOW, held: bool = False) -> list[bool]:
    """Record with the arguments that matter to few tests left out."""
    return ledger.record(batch, now=now, held=held)


def prune_all(ledger: Ledger, now: float, *, slices: int) -> int:
    """Prune so many slices; how many identities were forgotten."""
    return sum(ledger.prune(now=now) for _ in range(slices))


# Once


def test_new_ledger_is_empty(ledger: Ledger) -> None:
    """A new ledger has no totals, and takes some space on disk."""
    assert ledger.totals() == []
    assert ledger.size() > 0


def test_new_failure_is_counted(ledger: Ledger) -> None:
    """A failure that was never seen is new, raises its series by one and says when."""
    assert count(ledger, [failure(1)]) == [True]
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_same_failure_counts_once(ledger: Ledger) -> None:
    """A failure that comes again, later and with other series, changes nothing at all."""
    count(ledger, [failure(1)])
    assert count(ledger, [failure(1, DEFER)], now=NOW + 5) == [False]
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_first_in_a_batch_counts(ledger: Ledger) -> None:
    """Of the same identity twice in a batch the first record counts and the second is a duplicate."""
    assert count(ledger, [failure(1, DEFER), failure(1, BOUNCE), failure(1, DEFER)]) == [True, False, False]
    assert ledger.totals() == [Total(DEFER, 1, held=False, raised_at=NOW)]


def test_answers_are_in_the_order_of_the_records(ledger: Ledger) -> None:
    """New, known and repeated records in any mixture are answered each in its own place."""
    count(ledger, failures([2, 4, 6]))
    assert count(ledger, failures([1, 2, 3, 3, 4, 5, 1])) == [True, False, True, False, False, True, False]
    assert ledger.totals() == [Total(BOUNCE, 6, held=False, raised_at=NOW)]


def test_empty_batch(ledger: Ledger) -> None:
    """A batch of nothing is answered with nothing."""
    assert count(ledger, []) == []
    assert ledger.totals() == []


@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000])
def test_batches_of_any_size(ledger: Ledger, size: int) -> None:
    """A batch counts whole whatever its size, also when the last of it was known before."""
    count(ledger, [failure(size)])
    assert count(ledger, failures(range(1, size + 1))) == [True] * (size - 1) + [False]
    assert count(ledger, failures(range(1, size + 1))) == [False] * size
    assert ledger.totals() == [Total(BOUNCE, size, held=False, raised_at=NOW)]


def test_each_series_of_a_record_is_raised_by_one(ledger: Ledger) -> None:
    """A record raises each of its series once, even one that it names twice."""
    provider = ("failures_by_provider", "gmail")
    count(ledger, [failure(1, BOUNCE, provider, BOUNCE), failure(2, DEFER, provider)])
    assert sorted(ledger.totals()) == [
        Total(DEFER, 1, held=False, raised_at=NOW),
        Total(BOUNCE, 1, held=False, raised_at=NOW),
        Total(provider, 2, held=False, raised_at=NOW),
    ]


def test_record_without_series(ledger: Ledger) -> None:
    """A failure that raises no series is known all the same when it comes again."""
    record = Record(identity(1), ())
    assert (count(ledger, [record]), count(ledger, [record])) == ([True], [False])
    assert ledger.totals() == []


@pytest.mark.parametrize("value", [bytes(16), b"\xff" * 16, b"\0" * 15 + b"\1", b"'\"\\;-- \n\t%?:@$\0\r"], ids=repr)
def test_any_sixteen_bytes_are_an_identity(reopenable: Reopenable, value: bytes) -> None:
    """Bytes of any value, NUL and quotes too, are told apart and found again."""
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
    """Label values come back as they went in, whatever characters they hold, and add up under one series."""
    series = ("failures", text, "x")
    count(reopenable.ledger, [failure(1, series)])
    count(reopenable.reopen(), [failure(2, series), failure(3, ("failures", text + "\0", "x"))])
    assert sorted(reopenable.ledger.totals()) == [
        Total(series, 2, held=False, raised_at=NOW),
        Total(("failures", text + "\0", "x"), 1, held=False, raised_at=NOW),
    ]


def test_values_are_not_run_together(ledger: Ledger) -> None:
    """Series that differ only in where one value ends and the next begins are two."""
    one, other = ("failures", "a,b", "c"), ("failures", "a", "b,c")
    count(ledger, [failure(1, one), failure(2, other), failure(3, other)])
    assert sorted(ledger.totals()) == [
        Total(other, 2, held=False, raised_at=NOW),
        Total(one, 1, held=False, raised_at=NOW),
    ]


# For ever, and never back


def test_reopened_ledger_knows_everything(reopenable: Reopenable) -> None:
    """Totals, the time of the last failure and identities are the same after closing and opening."""
    count(reopenable.ledger, [failure(1), failure(2, DEFER), failure(3)])
    before = reopenable.ledger.totals()
    ledger = reopenable.reopen(NOW + 3 * DAY)
    assert ledger.totals() == before
    assert count(ledger, failures([1, 2, 3])) == [False] * 3


def test_time_of_the_last_failure_never_goes_back(ledger: Ledger) -> None:
    """With the clock set back a failure still counts, and the last failure stays the latest time that was seen."""
    count(ledger, [failure(1)])
    count(ledger, [failure(2)], now=NOW - 3 * DAY)
    assert ledger.totals() == [Total(BOUNCE, 2, held=False, raised_at=NOW)]


def test_readers_see_whole_batches_only(ledger: Ledger) -> None:
    """A scrape during writes sees sums that never decrease, and both series of a record or neither."""
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
    """What was recorded is in the totals as soon as ``record`` has returned."""
    seen = []
    for number in range(20):
        count(ledger, [failure(number)])
        seen += [total.value for total in ledger.totals()]
    assert seen == list(range(1, 21))


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_check_of_a_sound_ledger_changes_nothing(ledger: Ledger, write: bool) -> None:
    """A ledger that is there and takes writes passes the check with its totals as they were."""
    count(ledger, [failure(1)], held=True)
    before = ledger.totals()
    ledger.check(now=NOW + 1, write=write)
    assert ledger.totals() == before


# Births


def held_after(ledger: Ledger, *, now: float, hold: float = HOLD) -> dict[Series, bool]:
    """Release at ``now``; which series are still held."""
    ledger.release(now=now, hold=hold)
    return {total.series: total.held for total in ledger.totals()}


def test_series_is_born_held(ledger: Ledger) -> None:
    """A new series is held with its true value beside it, and more failures leave it held."""
    count(ledger, [failure(1)], held=True)
    count(ledger, [failure(2)], now=NOW + 1, held=True)
    assert ledger.totals() == [Total(BOUNCE, 2, held=True, raised_at=NOW + 1)]


def test_series_is_not_held_when_holding_is_off(ledger: Ledger) -> None:
    """Without ``held`` a new series shows its value at once."""
    count(ledger, [failure(1)], held=False)
    assert ledger.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


@pytest.mark.parametrize(
    ("after", "held"), [(0.0, True), (59.5, True), (60.0, False), (1e6, False)], ids=["0s", "59.5s", "60s", "days"]
)
def test_series_is_released_after_the_hold(ledger: Ledger, after: float, held: bool) -> None:
    """A series is held until it has been for ``hold`` seconds, counted from its first failure and not its last."""
    count(ledger, [failure(1)], held=True)
    count(ledger, [failure(2)], now=NOW + 30, held=True)
    assert held_after(ledger, now=NOW + after) == {BOUNCE: held}


def test_each_series_has_a_birth_of_its_own(ledger: Ledger) -> None:
    """A younger series stays held when an older one is released, and follows in its time."""
    count(ledger, [failure(1)], held=True)
    count(ledger, [failure(2, DEFER)], now=NOW + 30, held=True)
    assert held_after(ledger, now=NOW + 60) == {BOUNCE: False, DEFER: True}
    assert held_after(ledger, now=NOW + 90) == {BOUNCE: False, DEFER: False}


def test_shown_series_is_never_held_again(reopenable: Reopenable) -> None:
    """Once released a series stays shown, through more failures, a clock set back and a restart."""
    count(reopenable.ledger, [failure(1)], held=True)
    assert held_after(reopenable.ledger, now=NOW + 60) == {BOUNCE: False}
    count(reopenable.ledger, [failure(2)], now=NOW + 61, held=True)
    assert held_after(reopenable.ledger, now=NOW - DAY) == {BOUNCE: False}
    ledger = reopenable.reopen(NOW + 62)
    count(ledger, [failure(3)], now=NOW + 63, held=True)
    assert ledger.totals() == [Total(BOUNCE, 3, held=False, raised_at=NOW + 63)]


def test_opening_starts_the_hold_anew(reopenable: Reopenable) -> None:
    """Nobody may have scraped a held series before the restart, so it is held for the whole time after it."""
    count(reopenable.ledger, [failure(1)], held=True)
    ledger = reopenable.reopen(NOW + 1000)
    assert ledger.totals() == [Total(BOUNCE, 1, held=True, raised_at=NOW)]
    assert held_after(ledger, now=NOW + 1059) == {BOUNCE: True}
    assert held_after(ledger, now=NOW + 1060) == {BOUNCE: False}


def test_release_is_on_disk(reopenable: Reopenable) -> None:
    """A series that was shown is shown at once after a restart."""
    count(reopenable.ledger, [failure(1)], held=True)
    reopenable.ledger.release(now=NOW + 60, hold=HOLD)
    assert reopenable.reopen(NOW + 61).totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


def test_holding_turned_off_shows_what_was_held(reopenable: Reopenable) -> None:
    """After a restart with a hold of 0 the first release shows the series that were held."""
    count(reopenable.ledger, [failure(1)], held=True)
    assert held_after(reopenable.reopen(NOW + 1), now=NOW + 1, hold=0) == {BOUNCE: False}


@pytest.mark.parametrize("back", [0.25, HOLD, DAY], ids=["a moment", "the hold", "a day"])
def test_clock_set_back_starts_the_hold_anew(ledger: Ledger, back: float) -> None:
    """With the clock set back a held series is neither shown before the hold is over nor held for longer."""
    count(ledger, [failure(1)], held=True)
    assert held_after(ledger, now=NOW - back) == {BOUNCE: True}
    assert held_after(ledger, now=NOW - back + HOLD - 1) == {BOUNCE: True}
    assert held_after(ledger, now=NOW - back + HOLD) == {BOUNCE: False}


# Pruning


@pytest.mark.parametrize("age", [0, 1, DAY, KEEP_IDENTITIES - 1, KEEP_IDENTITIES], ids=str)
@pytest.mark.parametrize("born", [NOW, NOW // DAY * DAY, NOW // DAY * DAY + DAY - 1], ids=["day", "first", "last"])
def test_identities_are_kept_for_30_days(ledger: Ledger, born: float, age: int) -> None:
    """No identity is forgotten before it is older than 30 days, at whichever hour it came."""
    count(ledger, failures(range(10)), now=born)
    assert prune_all(ledger, born + age, slices=5) == 0
    assert count(ledger, failures(range(10))) == [False] * 10


def test_old_identities_are_forgotten_and_only_they(ledger: Ledger) -> None:
    """Identities of more than 30 days, a day of grace allowed, go; younger ones stay; totals know nothing of it."""
    count(ledger, failures(range(100)), now=NOW)
    count(ledger, failures(range(100, 200)), now=NOW + 2 * DAY)
    before = ledger.totals()
    assert prune_all(ledger, NOW + KEEP_IDENTITIES + DAY, slices=5) == 100
    assert ledger.totals() == before
    assert count(ledger, failures(range(200)), now=NOW + KEEP_IDENTITIES) == [True] * 100 + [False] * 100
    assert ledger.totals() == [Total(BOUNCE, 300, held=False, raised_at=NOW + KEEP_IDENTITIES)]


def test_pruning_goes_in_slices_and_through_all(ledger: Ledger) -> None:
    """No slice takes a large part of 20,000 old identities, and a few dozen slices take all of them."""
    for start in range(0, 20_000, 1000):
        count(ledger, failures(range(start, start + 1000)))
    forgotten = [ledger.prune(now=NOW + 32 * DAY) for _ in range(30)]
    assert (sum(forgotten), max(forgotten) < 5000) == (20_000, True)
    assert count(ledger, failures(range(100))) == [True] * 100


def test_pruning_goes_on_for_ever(ledger: Ledger) -> None:
    """What gets old after a first pass through all identities is forgotten in the next."""
    forgotten = []
    for month in range(4):
        now = NOW + month * 32 * DAY
        count(ledger, failures(range(month * 10, month * 10 + 10)), now=now)
        forgotten.append(prune_all(ledger, now, slices=5))
    assert forgotten == [0, 10, 10, 10]


def test_identity_of_a_failure_seen_again_is_not_kept_longer(ledger: Ledger) -> None:
    """A duplicate does not renew the 30 days: they run from when the failure was counted."""
    count(ledger, [failure(1)])
    count(ledger, [failure(1)], now=NOW + 29 * DAY)
    assert prune_all(ledger, NOW + 32 * DAY, slices=5) == 1


def test_clock_set_back_prunes_nothing(ledger: Ledger) -> None:
    """Identities that seem to come from the future are kept."""
    count(ledger, failures(range(10)))
    assert prune_all(ledger, NOW - 400 * DAY, slices=5) == 0
    assert count(ledger, failures(range(10))) == [False] * 10


# All of it in any order, against a model

SERIES: Final = st.sampled_from([BOUNCE, DEFER, ("failures", 'q"\0\ud800', "", "\\"), ("other", "x")])
RECORDS: Final = st.builds(
    lambda number, series: Record(identity(number), tuple(series)),
    st.integers(min_value=0, max_value=12),
    st.lists(SERIES, min_size=0, max_size=3),
)


class LedgerMachine(RuleBasedStateMachine):
    """Do anything in any order; a dict of identities and one of sums must agree with the ledger after each step."""

    @initialize(engine=st.sampled_from(sorted(ENGINES)))
    def create(self, engine: str) -> None:
        """Begin with an empty ledger."""
        self.folder = tempfile.TemporaryDirectory()
        self.reopenable = Reopenable(engine, Path(self.folder.name))
        self.now = NOW
        self.counted_at: dict[bytes, float] = {}
        self.sums: dict[Series, Total] = {}
        self.held_since: dict[Series, float] = {}

    @property
    def ledger(self) -> Ledger:
        """The ledger as it is open now."""
        return self.reopenable.ledger

    def teardown(self) -> None:
        """Leave nothing behind."""
        with suppress(AttributeError):  # nothing was created
            self.ledger.close()
            self.folder.cleanup()

    @rule(batch=st.lists(RECORDS, max_size=9), held=st.booleans())
    def record(self, batch: list[Record], held: bool) -> None:
        """The ledger tells new from known as the model does."""
        expected = []
        for record in batch:
            expected.append(record.identity not in self.counted_at)
            if expected[-1]:
                self.counted_at[record.identity] = self.now
                for series in set(record.series):
                    self.raise_sum(series, held=held)
        assert self.ledger.record(batch, now=self.now, held=held) == expected

    def raise_sum(self, series: Series, *, held: bool) -> None:
        """Count in the model."""
        if series not in self.sums:
            self.sums[series] = Total(series, 0, held=held, raised_at=self.now)
            if held:
                self.held_since[series] = self.now
        total = self.sums[series]
        self.sums[series] = total._replace(value=total.value + 1, raised_at=max(total.raised_at, self.now))

    @rule(hold=st.sampled_from([0.0, HOLD]))
    def release(self, hold: float) -> None:
        """Held series are shown in their time."""
        self.ledger.release(now=self.now, hold=hold)
        for series, since in list(self.held_since.items()):
            if since > self.now:
                self.held_since[series] = self.now
            elif since <= self.now - hold:
                del self.held_since[series]
                self.sums[series] = self.sums[series]._replace(held=False)

    @rule()
    def prune(self) -> None:
        """Identities of 31 days and more are forgotten, those of up to 30 are not; between, an engine is free."""
        ages = {known: self.now - at - KEEP_IDENTITIES for known, at in self.counted_at.items()}
        if any(0 < age < DAY for age in ages.values()):
            return
        old = [known for known, age in ages.items() if age >= DAY]
        assert prune_all(self.ledger, self.now, slices=3) == len(old)
        for known in old:
            del self.counted_at[known]

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, -1.0, -90.0]))
    def a_moment_passes(self, seconds: float) -> None:
        """The clock goes on, or is corrected."""
        self.now += seconds

    @rule(days=st.sampled_from([1, 29, 30, 31, -3]))
    def days_pass(self, days: int) -> None:
        """The clock goes on by whole days, or is set back."""
        self.now += days * DAY

    @rule()
    def reopen(self) -> None:
        """A restart forgets nothing and starts the holds anew."""
        self.reopenable.reopen(self.now)
        self.held_since = dict.fromkeys(self.held_since, self.now)

    @rule(write=st.booleans())
    def check(self, write: bool) -> None:
        """A check finds nothing wrong."""
        self.ledger.check(now=self.now, write=write)

    @precondition(lambda self: hasattr(self, "sums"))
    @invariant()
    def totals_agree(self) -> None:
        """The totals are those of the model, in whatever order."""
        assert sorted(self.ledger.totals()) == sorted(self.sums.values())


LedgerMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAgainstModel = LedgerMachine.TestCase
TestAgainstModel.__doc__ = "Whatever is done in whatever order, the ledger says what the model says."
