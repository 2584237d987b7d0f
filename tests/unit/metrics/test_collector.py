"""Totals of a ledger to what Prometheus sees of them: complete, born at zero, and never back."""

import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from exporter.classification.reason import REASONS
from exporter.classification.series import FAMILIES, Record, Series
from exporter.errors import LedgerError
from exporter.ledger.contract import Ledger, Total
from exporter.ledger.sqlite import SqliteLedger
from exporter.metrics.collector import USUAL_CLASSES, LedgerCollector, closed_series
from tests.support.fakes import FakeLedger

EXPOSITIONS: Final = sorted((Path(__file__).parent / "expositions").glob("*.json"))
CLOSED: Final = closed_series(["other", "gmail"], ["may"])
SERIES: Final = ("failures", "rcptto", "5xx", "5.1.1")
REASON: Final = ("failures_by_reason", "recipient_unknown")


class Rows(FakeLedger):
    """A ledger of such totals and size; ``unreadable`` makes both fail."""

    def __init__(self, totals: list[Total], size: int = 0) -> None:
        super().__init__()
        self.rows = totals
        self.bytes = size
        self.unreadable = False

    def totals(self) -> list[Total]:
        """What the test says."""
        if self.unreadable:
            raise LedgerError("out of reach")
        return self.rows

    def size(self) -> int:
        """What the test says."""
        return self.bytes


def collector(ledger: Ledger, *, label_sets: int = 0, problem: str | None = None) -> LedgerCollector:
    """One with two providers and one tag."""
    return LedgerCollector(ledger, CLOSED, label_sets=lambda _totals: label_sets, problem=lambda: problem)


def shown(one: LedgerCollector) -> dict[Series, float]:
    """The counters that it exposes, as series of a ledger are written."""
    samples: dict[Series, float] = {}
    for metric in one.collect():
        family = metric.name.removeprefix("smtpeter_")
        if family in FAMILIES:
            _, names = FAMILIES[family]
            samples |= {(family, *(sample.labels[name] for name in names)): sample.value for sample in metric.samples}
    return samples


def above_zero(one: LedgerCollector) -> dict[Series, float]:
    """The counters that it exposes with another value than 0."""
    return {series: value for series, value in shown(one).items() if value}


# What is exposed.


@pytest.mark.parametrize("path", EXPOSITIONS, ids=[path.stem for path in EXPOSITIONS])
def test_expositions_in_files(path: Path) -> None:
    """Each ledger in a file is exposed as the file beside it says: families, types, help, series, values, order."""
    given = json.loads(path.read_text("utf-8"))
    totals = [Total(tuple(series), value, held, at) for series, value, held, at in given["totals"]]
    registry = CollectorRegistry()
    registry.register(collector(Rows(totals, given["size"]), label_sets=given["label_sets"], problem=given["trouble"]))
    expected = path.with_suffix(".prom").read_text("utf-8")
    text = generate_latest(registry).decode()
    assert list(text_string_to_metric_families(text)) == list(text_string_to_metric_families(expected))


def test_closed_series() -> None:
    """Each reason, each provider with the usual classes, each counted tag and ``other`` have a series, once."""
    assert closed_series(["other", "gmail"], ("may", "other", "april")) == [
        *[("failures_by_reason", reason) for reason in REASONS],
        ("failures_by_provider", "gmail", "4xx"),
        ("failures_by_provider", "gmail", "5xx"),
        ("failures_by_provider", "gmail", "none"),
        ("failures_by_provider", "other", "4xx"),
        ("failures_by_provider", "other", "5xx"),
        ("failures_by_provider", "other", "none"),
        ("failures_by_tag", "april"),
        ("failures_by_tag", "may"),
        ("failures_by_tag", "other"),
    ]
    assert USUAL_CLASSES == ("4xx", "5xx", "none")


def test_closed_series_stand_at_zero() -> None:
    """An empty ledger is exposed as its closed series at 0, and no others."""
    assert shown(collector(FakeLedger())) == dict.fromkeys(CLOSED, 0)


def test_describes_families_without_samples() -> None:
    """Registering asks for names only: the same families as are collected, without samples of counters."""

    def unread() -> list[Total]:
        raise AssertionError("the ledger was read")

    ledger = Rows([])
    ledger.totals = unread  # type: ignore[method-assign]  # so that it fails
    one = collector(ledger)
    CollectorRegistry().register(one)

    described = list(one.describe())
    assert [metric.samples for metric in described if metric.type == "counter"] == [[]] * len(FAMILIES)
    assert [kind(metric) for metric in described] == [kind(metric) for metric in collector(Rows([])).collect()]


def kind(metric: Metric) -> tuple[str, str, str]:
    """What a family is besides its samples."""
    return metric.name, metric.type, metric.documentation


# Births.


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """A real ledger, opened at the time 0."""
    with closing(SqliteLedger(tmp_path / "ledger.db", now=0)) as opened:
        yield opened


def test_is_born_at_zero(ledger: SqliteLedger) -> None:
    """By a fake clock: a new series shows 0 until it was held for 60 seconds, whatever it counts meanwhile."""
    one = collector(ledger)
    seen = []
    for now in range(0, 100, 20):
        ledger.record([Record(bytes([now]) * 16, (SERIES,))], now=now, held=True)
        ledger.release(now=now, hold=60)
        seen.append(shown(one)[SERIES])
    assert seen == [0, 0, 0, 4, 5]


def test_closed_series_are_born_at_zero_too(ledger: SqliteLedger) -> None:
    """A closed series that is raised for the first time goes on standing at 0 while it is held."""
    one = collector(ledger)
    ledger.record([Record(b"1" * 16, (SERIES, REASON))], now=0, held=True)
    assert above_zero(one) == {}
    assert shown(one).keys() == {SERIES, *CLOSED}
    ledger.release(now=60, hold=60)
    assert above_zero(one) == {SERIES: 1, REASON: 1}


def test_later_births_hold_nobody_up(ledger: SqliteLedger) -> None:
    """While one series is held another one shows all that it counts."""
    one, other = collector(ledger), ("failures", "bounce", "none", "none")
    ledger.record([Record(b"1" * 16, (SERIES,))], now=0, held=True)
    ledger.release(now=60, hold=60)
    ledger.record([Record(b"2" * 16, (SERIES,)), Record(b"3" * 16, (other,))], now=61, held=True)
    assert shown(one) == {**dict.fromkeys(CLOSED, 0), SERIES: 2, other: 0}


# When the ledger can't be read.


def test_shows_the_last_totals_when_the_ledger_cant_be_read() -> None:
    """Counters stay what they were when the ledger could last be read, and go on when it can again."""
    rows = Rows([Total(SERIES, 5, held=False, raised_at=7.5)], 4_096)
    one = collector(rows)
    before = list(one.collect())
    rows.unreadable = True
    rows.rows, rows.bytes = [Total(SERIES, 6, held=False, raised_at=8.5)], 8_192
    assert list(one.collect()) == before
    rows.unreadable = False
    assert above_zero(one) == {SERIES: 6}


def test_shows_closed_series_when_the_ledger_never_could_be_read() -> None:
    """Without any totals known, closed series stand at 0."""
    rows = Rows([Total(SERIES, 5, held=False, raised_at=7.5)])
    rows.unreadable = True
    assert shown(collector(rows)) == dict.fromkeys(CLOSED, 0)


def test_a_look_is_timed_by_the_clock_of_this_machine() -> None:
    """Of a shared ledger the clock is another machine's; how long ago the look was, is reckoned by this one's."""
    rows = Rows([])
    assert abs(rows.clock() - time.time()) > 60
    begin = time.time()
    assert begin <= collector(rows).refresh().at <= time.time()


# Several scrapes at once.


class Rising(FakeLedger):
    """A ledger whose one series is higher each time it is read, which every second time is out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = itertools.count(1)

    def totals(self) -> list[Total]:
        """One more than the time before."""
        value = next(self.reads)
        if value % 2:
            raise LedgerError("out of reach")
        return [Total(SERIES, value, held=False, raised_at=value)]

    def size(self) -> int:
        """Nothing, after other threads had a chance to run."""
        return sum(range(100)) * 0


@pytest.fixture
def eager() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager")
def test_scrapes_at_once_never_go_back() -> None:
    """With four scrapes at once, none shows less than one that was over before it began, though reads fail."""
    one = LedgerCollector(Rising(), [], label_sets=lambda _totals: 0, problem=lambda: None)
    together = threading.Barrier(4)

    def scrape() -> list[float]:
        together.wait()
        return [shown(one).get(SERIES, 0) for _ in range(500)]

    with ThreadPoolExecutor(4) as pool:
        seen = [future.result() for future in [pool.submit(scrape) for _ in range(4)]]
    assert [values == sorted(values) for values in seen] == [True] * 4
    assert max(max(values) for values in seen) == 2_000
