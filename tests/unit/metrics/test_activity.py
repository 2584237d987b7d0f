"""What was seen lately, by a clock that the test moves."""

from concurrent.futures import ThreadPoolExecutor

from exporter.metrics.activity import MINUTES, Activity


class Clock:
    """Says what it is set to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_the_last_of_each_kind_is_known() -> None:
    """Of each kind of event the time of the last one is kept, and of one that never was none."""
    clock = Clock(1_000.0)
    activity = Activity(clock)
    assert (activity.since, activity.last()) == (1_000.0, {})
    activity.saw("signed")
    clock.now = 1_001.5
    activity.saw("file")
    clock.now = 1_002.0
    activity.saw("signed")
    assert (activity.since, activity.last()) == (1_000.0, {"signed": 1_002.0, "file": 1_001.5})


def test_refusals_are_those_of_the_last_hour() -> None:
    """They are summed by reason, most first, and forgotten minute by minute after an hour."""
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


def test_a_quiet_time_and_a_clock_that_is_set_leave_nothing_behind() -> None:
    """What is older than an hour does not come back with the same minute of a later hour, nor what lies ahead."""
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


def test_many_threads_lose_no_refusal() -> None:
    """Refusals that come from several threads at the same time are all counted."""
    activity = Activity(Clock(0.0))

    def refuse(_number: int) -> None:
        for _ in range(2_000):
            activity.refused("slow")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(refuse, range(8)))
    assert activity.refusals() == {"slow": 16_000}
