"""Recent activity is remembered for the status page, by a clock that the test sets."""

from concurrent.futures import ThreadPoolExecutor

from exporter.metrics.activity import MINUTES, Activity, Misdirected


class Clock:
    """A clock that shows the time to which it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_the_last_event_of_each_kind_is_kept() -> None:
    """Each kind of event has the time of its last one; a kind that never happened has none."""
    clock = Clock(1_000.0)
    activity = Activity(clock)
    assert (activity.since, activity.last()) == (1_000.0, {})
    activity.saw("signed")
    clock.now = 1_001.5
    activity.saw("file")
    clock.now = 1_002.0
    activity.saw("signed")
    assert (activity.since, activity.last()) == (1_000.0, {"signed": 1_002.0, "file": 1_001.5})


def test_rejected_requests_are_kept_for_an_hour() -> None:
    """They are counted by reason, highest first, and forgotten minute by minute after an hour."""
    clock = Clock(0.0)
    activity = Activity(clock)
    seen = []
    for minute in range(MINUTES + 3):
        clock.now = minute * 60.0
        if minute < 2:
            activity.refused("date")
            activity.refused("unsigned")
            activity.refused("unsigned")
        seen.append(activity.refusals())
    one, two = {"unsigned": 2, "date": 1}, {"unsigned": 4, "date": 2}
    assert seen == [one, *[two] * (MINUTES - 1), one, {}, {}]
    assert list(two) == list(seen[1])


def test_each_loop_has_its_last_request_and_its_last_counted_event() -> None:
    """A loop to which nothing has happened has neither; a request is not yet a counted event."""
    clock = Clock(1_000.0)
    activity = Activity(clock)
    assert (activity.requests(), activity.counts()) == ({}, {})
    activity.requested("failures")
    clock.now = 1_001.5
    activity.counted("failures")
    activity.requested("bounces")
    clock.now = 1_002.0
    activity.requested("failures")
    assert activity.requests() == {"failures": 1_002.0, "bounces": 1_001.5}
    assert activity.counts() == {"failures": 1_001.5}


def test_misdirected_webhooks_are_kept_for_an_hour() -> None:
    """Each is kept for an hour after its last event, by its type and the loop whose URL it calls."""
    clock = Clock(0.0)
    activity = Activity(clock)
    opens, clicks, other = (
        Misdirected("open", "failures"),
        Misdirected("click", "failures"),
        Misdirected("open", "bounces"),
    )
    activity.refused("other_loop", opens)
    clock.now = 1_800.0
    activity.refused("other_loop", clicks)
    activity.refused("other_loop", other)
    activity.refused("other_loop")
    seen = [activity.misdirected()]
    clock.now = 3_600.0
    seen.append(activity.misdirected())
    clock.now = 5_400.0
    seen.append(activity.misdirected())
    assert seen == [[clicks, other, opens], [clicks, other], []]


def test_only_the_last_hour_counts_after_a_pause_or_a_change_of_the_clock() -> None:
    """The same minute of an earlier hour is not counted, nor is a minute in the future."""
    clock = Clock(90.0)
    activity = Activity(clock)
    activity.refused("date")
    clock.now += 10 * 3_600
    assert activity.refusals() == {}
    activity.refused("url")
    assert activity.refusals() == {"url": 1}
    clock.now -= 1_800
    assert activity.refusals() == {}
    activity.refused("date")
    assert activity.refusals() == {"date": 1}


def test_threads_lose_no_rejected_request() -> None:
    """Requests that are rejected by several threads at the same time are all counted."""
    activity = Activity(Clock(0.0))

    def reject(_number: int) -> None:
        for _ in range(2_000):
            activity.refused("slow")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(reject, range(8)))
    assert activity.refusals() == {"slow": 16_000}
