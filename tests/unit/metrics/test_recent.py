"""Failures and deliveries of the last 24 hours are counted in memory, by a clock that the test sets."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.loops import LOOPS
from exporter.classification.providers import Providers
from exporter.classification.report import Report
from exporter.classification.series import Record, Series
from exporter.ledger.committer import Commit, Ticket
from exporter.metrics.recent import (
    AFTER_DELIVERY_BY_PROVIDER,
    BUCKET,
    BY_REASON_PROVIDER,
    DELIVERIES_BY_PROVIDER,
    SPAN,
    LastDay,
    Recent,
)
from tests.support.tickets import Pending

BLOCKED: Final = (BY_REASON_PROVIDER, "blocked", "gmail")
LATE: Final = (AFTER_DELIVERY_BY_PROVIDER, "gmail")
DELIVERED: Final = (DELIVERIES_BY_PROVIDER, "gmail")


class Clock:
    """A clock that shows the time to which it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def commit(*events: tuple[Series, ...], new: bool = True) -> Commit:
    """Return a commit of events that increment these series."""
    tickets = [Pending(Record(b"", series)) for series in events]
    return Commit(0.1, tickets, [new] * len(tickets), in_time=tickets)


def test_nothing_is_counted_at_first() -> None:
    """The period begins when the process starts."""
    assert Recent(Clock(1_000_000.0)).look() == LastDay(1_000_000.0, {}, {})


def test_new_events_are_counted_by_series() -> None:
    """Other series are left out, and duplicates are not counted. First times are rounded down to the bucket."""
    clock = Clock(BUCKET * 100.0)
    recent = Recent(clock)
    clock.now += 1
    recent.committed(commit((("deliveries",), DELIVERED, ("deliveries_by_tag", "may")), (DELIVERED,)))
    clock.now += BUCKET
    recent.committed(commit((("failures_by_reason", "blocked"), BLOCKED, LATE), (BLOCKED,)))
    recent.committed(commit((BLOCKED,), new=False))
    recent.committed(commit((DELIVERED,)))
    begin = BUCKET * 100.0
    first = {
        DELIVERIES_BY_PROVIDER: begin,
        BY_REASON_PROVIDER: begin + BUCKET,
        AFTER_DELIVERY_BY_PROVIDER: begin + BUCKET,
    }
    assert recent.look() == LastDay(begin, {DELIVERED: 3, BLOCKED: 2, LATE: 1}, first)


def test_events_are_forgotten_after_a_day() -> None:
    """They are forgotten bucket by bucket, at most one bucket before they are 24 hours old."""
    begin = BUCKET * 100.0
    clock = Clock(begin)
    recent = Recent(clock)
    seen = []
    for number in range(SPAN // BUCKET + 2):
        clock.now = begin + number * BUCKET + 1
        if number < 2:
            recent.committed(commit((BLOCKED,)))
        seen.append(recent.look())
    first = {BY_REASON_PROVIDER: begin}
    assert seen[0] == LastDay(begin, {BLOCKED: 1}, first)
    assert seen[1:-2] == [LastDay(begin, {BLOCKED: 2}, first)] * (SPAN // BUCKET - 1)
    later = begin + BUCKET
    assert seen[-2:] == [
        LastDay(later, {BLOCKED: 1}, {BY_REASON_PROVIDER: later}),
        LastDay(later + BUCKET, {}, {}),
    ]
    assert clock.now - seen[-1].since <= SPAN


def test_a_change_of_the_clock_counts_nothing_twice() -> None:
    """What was counted in the future is left out until the clock is there again, and a later day replaces it."""
    clock = Clock(BUCKET * 1_000.0)
    recent = Recent(clock)
    recent.committed(commit((BLOCKED,)))
    clock.now -= BUCKET
    assert recent.look().counts == {}
    clock.now += BUCKET
    assert recent.look().counts == {BLOCKED: 1}
    clock.now += SPAN
    recent.committed(commit((DELIVERED,)))
    assert recent.look().counts == {DELIVERED: 1}


def test_real_events_have_the_series() -> None:
    """The classifier gives failures and deliveries the series that are counted here."""
    classifier = Classifier(LabelSets(), Providers({}), ())
    failure = Report("m1", "jane@gmail.com", "bounce", "550", "5.1.1", "no such user")
    events = [
        classifier.event_of(failure),
        classifier.event_of(failure._replace(id="m2", state="rcptto")),
        classifier.event_of(Report("m3", "jane@gmail.com"), LOOPS["deliveries"]),
        classifier.event_of(Report("m4", mime=b"x", emailfrom="fbl@gmail.com"), LOOPS["abuses"]),
    ]
    recent = Recent(Clock(0.0))
    tickets = [Ticket(event, 0.0) for event in events]
    recent.committed(Commit(0.1, tickets, [True] * len(tickets), in_time=tickets))
    assert recent.look().counts == {(BY_REASON_PROVIDER, "recipient_unknown", "gmail"): 2, LATE: 1, DELIVERED: 1}


@pytest.mark.usefixtures("frequent_switches")
def test_looking_disturbs_no_commit() -> None:
    """A thread that looks sees each commit completely or not at all, and none is lost."""
    recent = Recent(Clock(0.0))
    every = [(BY_REASON_PROVIDER, "blocked", f"provider{number}") for number in range(50)]

    def count() -> None:
        for _ in range(200):
            recent.committed(commit(tuple(every)))

    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(count)
        seen = [set(recent.look().counts.values())]
        while not counting.done():
            seen.append(set(recent.look().counts.values()))
        counting.result()
    assert [values for values in seen if len(values) > 1] == []
    assert recent.look().counts == dict.fromkeys(every, 200)
