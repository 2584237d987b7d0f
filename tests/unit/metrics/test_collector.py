"""A ledger's totals are exposed completely, new series start at 0, and no counter goes back."""

import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LOOPS, Loop
from exporter.classification.reason import REASONS
from exporter.classification.series import FAMILIES, Record, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import Ledger, Total
from exporter.ledger.sqlite import SqliteLedger
from exporter.metrics import collector as module
from exporter.metrics.collector import LedgerCollector, Snapshot, closed_series, last_counted, latest
from exporter.returned.returned import KINDS
from tests.support.fakes import TIMEOUT, FakeLedger
from tests.support.running import until
from tests.support.texts import Texts

EXPOSITIONS: Final = sorted((Path(__file__).parent / "expositions").glob("*.json"))
"""Ledgers; beside each is its exposition. This module, run as a program, writes the expositions anew."""
CLOSED: Final = closed_series([FAILURES], ["may"])
SERIES: Final = ("failures", "rcptto", "5xx", "5.1.1")
REASON: Final = ("failures_by_reason", "recipient_unknown")


class FixedLedger(FakeLedger):
    """A ledger with given totals and size; it cannot be read while ``readable`` is false."""

    def __init__(self, totals: list[Total], size: int = 0) -> None:
        super().__init__()
        self.rows = totals
        self.bytes = size
        self.readable = True

    def totals(self) -> list[Total]:
        """Return the given totals. Raises LedgerError."""
        if not self.readable:
            raise LedgerError("out of reach")
        return self.rows

    def size(self) -> int:
        """Return the given size."""
        return self.bytes


def collector(
    ledger: Ledger, loops: Sequence[Loop] = (FAILURES,), *, label_sets: int = 0, problem: str | None = None
) -> LedgerCollector:
    """Return a collector for these loops and one tag."""
    closed = closed_series(loops, ["may"])
    return LedgerCollector(ledger, loops, closed, label_sets=lambda _totals: label_sets, problem=lambda: problem)


def exposed(one: LedgerCollector) -> dict[Series, float]:
    """Return the exposed counters by the ledger's keys."""
    samples: dict[Series, float] = {}
    for metric in one.collect():
        family = metric.name.removeprefix("smtpeter_")
        if family in FAMILIES:
            _, names = FAMILIES[family]
            samples |= {(family, *(sample.labels[name] for name in names)): sample.value for sample in metric.samples}
    return samples


def above_zero(one: LedgerCollector) -> dict[Series, float]:
    """Return the exposed counters that are not 0."""
    return {series: value for series, value in exposed(one).items() if value}


# Expositions


def exposition(path: Path) -> str:
    """Return the exposition of the ledger in a file."""
    given = json.loads(path.read_text("utf-8"))
    ledger = FixedLedger([Total(tuple(series), *rest) for series, *rest in given["totals"]], given["size"])
    loops = [LOOPS[name] for name in given.get("loops", ["failures"])]
    registry = CollectorRegistry()
    registry.register(collector(ledger, loops, label_sets=given["label_sets"], problem=given["problem"]))
    return generate_latest(registry).decode()


@pytest.mark.parametrize("path", EXPOSITIONS, ids=[path.stem for path in EXPOSITIONS])
def test_expositions_in_files(path: Path) -> None:
    """A ledger is exposed as in the file beside it: families, types, help, series, values and order."""
    expected = path.with_suffix(".prom").read_text("utf-8")
    assert list(text_string_to_metric_families(exposition(path))) == list(text_string_to_metric_families(expected))


def test_closed_series() -> None:
    """Of the loops that are on: each reason, each kind, each counted tag and the tag ``other``; nothing by provider."""
    tags = ("april", "may", "other")
    failures = [
        *(("failures_by_reason", reason) for reason in REASONS),
        *(("failures_by_tag", tag) for tag in tags),
        *(("failures_after_delivery_by_tag", tag) for tag in tags),
    ]
    assert closed_series([FAILURES], ("may", "other", "april")) == failures
    assert closed_series([FAILURES, DELIVERIES, BOUNCES, ABUSES], ("may", "april")) == [
        *failures,
        ("deliveries",),
        *(("deliveries_by_tag", tag) for tag in tags),
        *(("bounces", kind) for kind in KINDS),
        *(("bounces_by_reason", reason) for reason in REASONS),
    ]
    assert closed_series([ABUSES], ["may"]) == []


def test_closed_series_start_at_zero() -> None:
    """Of an empty ledger, the closed series are exposed as 0, and no others."""
    assert exposed(collector(FakeLedger())) == dict.fromkeys(CLOSED, 0)


def test_describes_families_without_samples() -> None:
    """To register the collector, the ledger is not read. The families are the same, counters without samples."""

    def unread() -> list[Total]:
        raise AssertionError("the ledger was read")

    ledger = FixedLedger([])
    ledger.totals = unread  # type: ignore[method-assign]  # so that it fails
    one = collector(ledger)
    CollectorRegistry().register(one)

    described = list(one.describe())
    assert [metric.samples for metric in described if metric.type == "counter"] == [[]] * len(FAILURES.families)
    assert [kind(metric) for metric in described] == [kind(metric) for metric in collector(FixedLedger([])).collect()]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_only_loops_that_are_on_are_exposed(loop: Loop) -> None:
    """A loop has its families and its time. If it is off, neither exists, even if the ledger has totals of it."""
    ledger = FixedLedger([Total((name, *FAMILIES[name][1]), 3, held=False, raised_at=7.5) for name in FAMILIES])
    names = {metric.name for metric in collector(ledger, [loop]).collect()}
    families = {name.removeprefix("smtpeter_") for name in names if not name.startswith("smtpeter_exporter_")}
    time_of = "last_failure_timestamp_seconds" if loop is FAILURES else "last_event_timestamp_seconds"
    assert families == {*loop.families, time_of}


def kind(metric: Metric) -> tuple[str, str, str]:
    """Return a family without its samples."""
    return metric.name, metric.type, metric.documentation


# New series


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """Open a real ledger at the time 0."""
    with closing(SqliteLedger(tmp_path / "ledger.db", now=0)) as opened:
        yield opened


def test_a_new_series_starts_at_zero(ledger: SqliteLedger) -> None:
    """It is 0 until it was held for 60 seconds, whatever it counts meanwhile."""
    one = collector(ledger)
    seen = []
    for now in range(0, 100, 20):
        ledger.record([Record(bytes([now]) * 16, (SERIES,))], now=now, held=True)
        ledger.release(now=now, hold=60)
        seen.append(exposed(one)[SERIES])
    assert seen == [0, 0, 0, 4, 5]


def test_a_closed_series_starts_at_zero(ledger: SqliteLedger) -> None:
    """When it is incremented for the first time, it stays 0 while it is held."""
    one = collector(ledger)
    ledger.record([Record(b"1" * 16, (SERIES, REASON))], now=0, held=True)
    assert above_zero(one) == {}
    assert exposed(one).keys() == {SERIES, *CLOSED}
    ledger.release(now=60, hold=60)
    assert above_zero(one) == {SERIES: 1, REASON: 1}


def test_a_held_series_does_not_hold_others(ledger: SqliteLedger) -> None:
    """While one series is held, another one has its full value."""
    one, other = collector(ledger), ("failures", "bounce", "none", "none")
    ledger.record([Record(b"1" * 16, (SERIES,))], now=0, held=True)
    ledger.release(now=60, hold=60)
    ledger.record([Record(b"2" * 16, (SERIES,)), Record(b"3" * 16, (other,))], now=61, held=True)
    assert exposed(one) == {**dict.fromkeys(CLOSED, 0), SERIES: 2, other: 0}


# If the ledger is not readable


def test_the_last_totals_are_exposed_if_the_ledger_is_not_readable(
    caplog: pytest.LogCaptureFixture, texts: Texts
) -> None:
    """Counters keep their values, which is logged once, and continue when the ledger is readable again."""
    ledger = FixedLedger([Total(SERIES, 5, held=False, raised_at=7.5)], 4_096)
    one = collector(ledger)
    before = list(one.collect())
    ledger.readable = False
    ledger.rows, ledger.bytes = [Total(SERIES, 6, held=False, raised_at=8.5)], 8_192
    assert [list(one.collect()), list(one.collect())] == [before, before]
    ledger.readable = True
    assert above_zero(one) == {SERIES: 6}
    (line,) = caplog.records
    assert (line.levelname, vars(line)["error"]) == ("WARNING", "out of reach")
    texts.check(line.getMessage())


class HangingLedger(FixedLedger):
    """A ledger whose reads hang while ``gate`` is not set."""

    def totals(self) -> list[Total]:
        """Return the given totals, once the gate is open."""
        assert self.gate.wait(TIMEOUT)
        return super().totals()


def test_the_last_totals_are_exposed_while_the_ledger_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Scrapes are answered in time, the log has one line, and the threads of these scrapes end."""
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.2)
    ledger = HangingLedger([Total(SERIES, 5, held=False, raised_at=7.5)])
    one = collector(ledger)
    before = list(one.collect())
    ledger.gate.clear()
    ledger.rows = [Total(SERIES, 6, held=False, raised_at=8.5)]
    threads = threading.active_count()
    assert [list(one.collect()) for _ in range(4)] == [before] * 4
    until(lambda: threading.active_count() == threads + 1)  # the first one hangs
    ledger.gate.set()
    until(lambda: threading.active_count() == threads)
    assert above_zero(one) == {SERIES: 6}
    (line,) = caplog.records
    assert (line.levelname, line.getMessage()) == ("WARNING", "ledger not readable; exposing the last totals")
    assert vars(line)["error"] == "no answer within 0 seconds"


def test_the_last_totals_are_exposed_while_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system allows no more threads, counters keep their values until it does."""
    ledger = FixedLedger([Total(SERIES, 5, held=False, raised_at=7.5)])
    one = collector(ledger)
    before = list(one.collect())
    ledger.rows = [Total(SERIES, 6, held=False, raised_at=8.5)]

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", fail)
        assert list(one.collect()) == before
    assert above_zero(one) == {SERIES: 6}


def test_the_snapshot_of_the_start_is_exposed_if_the_ledger_is_not_readable() -> None:
    """Counters do not go back to 0 if the ledger was readable at the start, but not since."""
    ledger = FixedLedger([])
    ledger.readable = False
    start = Snapshot([Total(SERIES, 5, held=False, raised_at=7.5)], 4_096, 9.0)
    one = LedgerCollector(ledger, [FAILURES], [], label_sets=len, problem=lambda: None, last=start)
    assert one.latest is start
    assert exposed(one) == {SERIES: 5}
    assert one.latest is start


def test_closed_series_are_exposed_if_the_ledger_was_never_readable() -> None:
    """Without any totals, closed series are 0."""
    ledger = FixedLedger([Total(SERIES, 5, held=False, raised_at=7.5)])
    ledger.readable = False
    assert exposed(collector(ledger)) == dict.fromkeys(CLOSED, 0)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], 0),
        ([0.0], 0),
        ([100.0, 300.0, 200.0], 300),
        ([100.0, 1_000.0], 1_000),
        ([100.0, 1_060.0], 1_000),
        ([100.0, 1_061.0], 100),
        ([1e10], 0),
    ],
    ids=str,
)
def test_the_latest_time_is_never_in_the_future(times: list[float], expected: float) -> None:
    """A time that is up to a minute ahead is now; a later one, of a clock that was wrong, is left out."""
    assert latest(times, now=1_000) == expected


def test_a_last_failure_in_the_future_is_not_exposed() -> None:
    """If the clock was ahead, the last failure is the last one that was counted with the right time."""
    ledger = FixedLedger([Total(SERIES, 1, held=False, raised_at=800), Total(REASON, 1, held=False, raised_at=9e9)])
    ledger.now = 1_000
    registry = CollectorRegistry()
    registry.register(collector(ledger))
    assert registry.get_sample_value("smtpeter_last_failure_timestamp_seconds") == 800
    ledger.readable, ledger.now = False, 700
    assert registry.get_sample_value("smtpeter_last_failure_timestamp_seconds") == 0


def test_each_loop_has_its_own_last_time() -> None:
    """The last failure is one: events of other loops, and families of a later version, do not change it."""
    totals = [
        Total(SERIES, 1, held=False, raised_at=100),
        Total(REASON, 1, held=False, raised_at=90),
        Total(("deliveries",), 1, held=False, raised_at=300),
        Total(("deliveries_by_tag", "may"), 1, held=False, raised_at=200),
        Total(("bounces", "dsn"), 1, held=True, raised_at=400),
        Total(("clicks",), 1, held=False, raised_at=500),
    ]
    assert {loop.name: last_counted(totals, loop, now=1_000) for loop in LOOPS.values()} == {
        "failures": 100,
        "deliveries": 300,
        "bounces": 400,
        "abuses": 0,
    }


def test_a_snapshot_has_the_time_of_this_host() -> None:
    """The clock of a shared ledger is another host's, but the age of a snapshot is measured by this one's."""
    ledger = FixedLedger([])
    assert abs(ledger.clock() - time.time()) > 60
    begin = time.time()
    assert begin <= collector(ledger).refresh().at <= time.time()


# Concurrent scrapes


class RisingLedger(FakeLedger):
    """A ledger whose one series is higher each time; every second read fails."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = itertools.count(1)

    def totals(self) -> list[Total]:
        """Return one more than the last time. Raises LedgerError every second time."""
        value = next(self.reads)
        if value % 2:
            raise LedgerError("out of reach")
        return [Total(SERIES, value, held=False, raised_at=value)]

    def size(self) -> int:
        """Return 0, after other threads had a chance to run."""
        return sum(range(100)) * 0


@pytest.mark.usefixtures("frequent_switches")
def test_concurrent_scrapes_never_go_back() -> None:
    """No scrape has a lower value than one that ended before it began, even if reads fail."""
    one = LedgerCollector(RisingLedger(), [FAILURES], [], label_sets=lambda _totals: 0, problem=lambda: None)
    together = threading.Barrier(4)

    def scrape() -> list[float]:
        together.wait()
        return [exposed(one).get(SERIES, 0) for _ in range(500)]

    with ThreadPoolExecutor(4) as pool:
        seen = [future.result() for future in [pool.submit(scrape) for _ in range(4)]]
    assert [values == sorted(values) for values in seen] == [True] * 4
    assert max(max(values) for values in seen) == 2_000


if __name__ == "__main__":
    for file in EXPOSITIONS:
        file.with_suffix(".prom").write_text(exposition(file), "utf-8")
