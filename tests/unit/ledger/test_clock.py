"""The clock of a ledger: when it is trusted, what is stored, and what is logged."""

import logging
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger import clock as module
from exporter.ledger.clock import EVEN_PERIOD, MAX_JUMP, STORE_INTERVAL, Clock, uptime
from exporter.ledger.contract import AHEAD, DAY, KEEP_IDENTITIES, UNDATED, ClockState

NOW: Final = 1_800_000_000.0
NEW: Final = ClockState(0, 0)
TRUSTED: Final = ClockState(NOW, EVEN_PERIOD)
PAUSED: Final = "clock not trusted; not pruning identities until it has run evenly for 24 hours"
RESUMED: Final = "clock has run evenly for 24 hours; pruning old identities"


class Machine:
    """A machine whose clock a test sets."""

    def __init__(self, wall: float = NOW) -> None:
        self.wall = wall
        self.uptime = 500.0

    def start(self, stored: ClockState, *, keep: float = KEEP_IDENTITIES) -> Clock:
        """Return the clock of an exporter whose ledger has this state, and keeps all identities at least so long."""
        return Clock(lambda: self.wall, stored, keep=keep, uptime=lambda: self.uptime)

    def sleep(self, seconds: float) -> None:
        """Let time pass without a look."""
        self.wall += seconds
        self.uptime += seconds

    def run(self, clock: Clock, seconds: float) -> None:
        """Let time pass, with ten looks."""
        for _ in range(10):
            self.sleep(seconds / 10)
            clock.look()


@pytest.fixture
def machine() -> Machine:
    """Return a machine with the right time."""
    return Machine()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """Return a function that returns the events that were logged, and their reasons."""
    caplog.set_level(logging.INFO)
    return lambda: [
        (entry.getMessage(), vars(entry).get("reason", "")) for entry in caplog.records if entry.name == module.__name__
    ]


Logged = Callable[[], list[tuple[str, str]]]


def trusted(clock: Clock) -> bool:
    """Return whether the clock is trusted now."""
    return clock.look().trusted


def test_the_uptime_increases_evenly() -> None:
    """The uptime is that of the system, not the time of day."""
    first = uptime()
    assert first <= time.clock_gettime(time.CLOCK_BOOTTIME) <= uptime()


def test_the_uptime_is_monotonic_where_the_system_counts_no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CLOCK_BOOTTIME, as on macOS, CLOCK_MONOTONIC takes its place."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    first = time.monotonic()
    assert first <= uptime() <= time.monotonic()


# At the start


def test_a_new_ledger_is_not_trusted_for_24_hours(machine: Machine, logged: Logged) -> None:
    """Its clock may be that of 1970. No warning is logged, only a line when pruning begins."""
    clock = machine.start(NEW)
    machine.run(clock, EVEN_PERIOD - 1)
    assert (trusted(clock), logged()) == (False, [])
    machine.run(clock, 1)
    assert (trusted(clock), logged()) == (True, [(RESUMED, "")])


@pytest.mark.parametrize("after", [-AHEAD, 0, 1, DAY, KEEP_IDENTITIES], ids=str)
def test_a_restart_continues_at_once(machine: Machine, logged: Logged, after: float) -> None:
    """If the last time in the ledger is at most 30 days ago, the clock is trusted. A minute's adjustment is allowed."""
    machine.wall += after
    assert (trusted(machine.start(TRUSTED)), logged()) == (True, [])


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (-AHEAD - 1, "0.0 days before the last time in the ledger"),
        (-NOW, "20,833.3 days before the last time in the ledger"),
        (KEEP_IDENTITIES + 1, "30.0 days after the last time in the ledger"),
        (40 * DAY, "40.0 days after the last time in the ledger"),
    ],
    ids=["a minute before", "1970", "30 days after", "40 days after"],
)
def test_a_wrong_time_at_the_start_is_not_trusted(machine: Machine, logged: Logged, after: float, reason: str) -> None:
    """Before the last time in the ledger, or more than 30 days after it, the clock is not trusted for 24 hours."""
    machine.wall += after
    clock = machine.start(TRUSTED)
    machine.run(clock, EVEN_PERIOD - 1)
    assert (trusted(clock), logged()) == (False, [(PAUSED, reason)])
    machine.run(clock, 1)
    assert (trusted(clock), logged()) == (True, [(PAUSED, reason), (RESUMED, "")])


@pytest.mark.parametrize(("after", "expected"), [(3 * DAY, True), (3 * DAY + 1, False)], ids=["3 days", "longer"])
def test_the_shortest_retention_decides(machine: Machine, after: float, expected: bool) -> None:
    """A clock that is so far ahead at the start that all deliveries would be too old is not trusted."""
    machine.wall += after
    assert trusted(machine.start(TRUSTED, keep=3 * DAY)) is expected


@pytest.mark.parametrize("even", [0, NOW], ids=["first upgrade", "after a downgrade"])
def test_the_ledger_of_an_earlier_version_is_as_a_new_one(machine: Machine, logged: Logged, even: float) -> None:
    """That version stored only when it started, perhaps long ago, and did not watch the clock."""
    machine.wall += 60 * DAY
    clock = machine.start(ClockState(NOW, even))
    machine.run(clock, EVEN_PERIOD - 1)
    assert (trusted(clock), logged()) == (False, [])
    machine.run(clock, 1)
    assert (trusted(clock), logged()) == (True, [(RESUMED, "")])


def test_restarts_neither_shorten_nor_prolong_the_pause(machine: Machine, logged: Logged) -> None:
    """An exporter that is restarted every hour trusts the clock after 24 hours in which it ran."""
    state = NEW
    for _ in range(24):
        clock = machine.start(state)
        assert not trusted(clock)
        machine.run(clock, 3_600)
        state = clock.state
        machine.sleep(600)
    assert (trusted(clock), logged()) == (True, [(RESUMED, "")])


@pytest.mark.parametrize(("off", "continues"), [(DAY, True), (DAY + 1, False)], ids=["a day", "longer"])
def test_an_uncertain_clock_starts_from_scratch_after_a_day(
    machine: Machine, logged: Logged, off: float, continues: bool
) -> None:
    """If the exporter was off for a day in the first 24 hours, a jump meanwhile is not excluded. That is no warning."""
    machine.wall += off
    clock = machine.start(ClockState(NOW, EVEN_PERIOD - 10))
    machine.run(clock, 11)
    assert (trusted(clock), PAUSED in dict(logged())) == (continues, False)


# Jumps


@pytest.mark.parametrize("jump", [MAX_JUMP + 1, -MAX_JUMP - 1, 31 * DAY, -NOW, 20_000 * DAY], ids=str)
def test_a_jump_is_noticed_at_the_next_look(machine: Machine, logged: Logged, jump: float) -> None:
    """After a jump of more than a day the clock is not trusted until it has run evenly for 24 hours."""
    clock = machine.start(TRUSTED)
    machine.run(clock, 5_000)
    assert trusted(clock)
    machine.wall += jump
    assert clock.look() == (machine.wall, machine.wall, False)
    machine.run(clock, EVEN_PERIOD - 1)
    assert not trusted(clock)
    machine.run(clock, 1)
    assert trusted(clock)
    assert logged() == [
        (PAUSED, f"jumped {abs(jump) / DAY:,.1f} days {'ahead' if jump > 0 else 'back'}"),
        (RESUMED, ""),
    ]


def test_a_jump_there_and_back_is_a_pause(machine: Machine, logged: Logged) -> None:
    """31 days ahead for four seconds: the pause is 24 hours from the correction, and one line is logged."""
    clock = machine.start(TRUSTED)
    machine.wall += 31 * DAY
    machine.run(clock, 4)
    machine.wall -= 31 * DAY
    clock.look()
    machine.run(clock, EVEN_PERIOD - 1)
    assert (trusted(clock), logged()) == (False, [(PAUSED, "jumped 31.0 days ahead")])
    machine.run(clock, 1)
    assert clock.look() == (machine.wall, machine.wall, True)


def test_small_corrections_add_up(machine: Machine) -> None:
    """Corrections of some hours are trusted, until together they are more than a day."""
    clock = machine.start(TRUSTED)
    seen = []
    for _ in range(5):
        machine.wall += 6 * 3_600
        machine.run(clock, 60)
        seen.append(trusted(clock))
    assert seen == [True] * 4 + [False]


@pytest.mark.parametrize("rate", [0.9995, 1.0005], ids=str)
def test_a_clock_that_is_slewed_is_trusted(machine: Machine, rate: float) -> None:
    """A clock that runs too fast or slow by 500 millionths, as NTP corrects it, is trusted for years."""
    clock = machine.start(TRUSTED)
    for _ in range(3 * 365):
        machine.uptime += DAY
        machine.wall += rate * DAY
        assert trusted(clock)


def test_a_machine_that_sleeps_is_no_jump(machine: Machine) -> None:
    """A laptop that was asleep for a month has the right time, and a month more uptime."""
    clock = machine.start(TRUSTED)
    machine.sleep(31 * DAY)
    assert trusted(clock)


# What is dated, and stored


def test_identities_are_dated_while_the_clock_is_trusted(machine: Machine) -> None:
    """The day is that of the clock, or UNDATED while it is not trusted."""
    clock = machine.start(TRUSTED)
    assert clock.look().day == NOW // DAY
    machine.sleep(DAY)
    assert clock.look().day == NOW // DAY + 1
    machine.wall = 0
    assert clock.look().day == UNDATED


def test_a_day_is_never_before_the_latest_time(machine: Machine) -> None:
    """After a correction by some hours, the day is that of the latest time, until the clock has reached that."""
    stored = ClockState(NOW + 30, EVEN_PERIOD)
    clock = machine.start(stored)
    assert clock.look().latest == NOW + 30
    machine.run(clock, 1_000)
    machine.wall -= 20 * 3_600
    moment = clock.look()
    assert (moment.now, moment.latest, moment.day) == (NOW + 1_000 - 72_000, NOW + 1_000, (NOW + 1_000) // DAY)


def test_the_state_is_stored_every_minute(machine: Machine) -> None:
    """The first time is a minute after the start; if storing fails, it remains to be done."""
    clock = machine.start(TRUSTED)
    due = []
    for second in range(1, 200):
        machine.sleep(1)
        clock.look()
        if clock.store:
            due.append(second)
            if second != STORE_INTERVAL:
                clock.stored()
    assert due == [60, 61, 121, 181]


def test_a_jump_is_stored_at_once(machine: Machine) -> None:
    """A restart right after a jump goes on with the pause, in which nothing is pruned."""
    clock = machine.start(TRUSTED)
    machine.wall += 5 * DAY
    clock.look()
    due = [clock.store]
    clock.stored()
    assert [*due, clock.store] == [True, False]
    again = machine.start(clock.state)
    machine.run(again, EVEN_PERIOD - 1)
    assert not trusted(again)


def test_a_time_that_was_wrong_for_a_day_does_not_last(machine: Machine, logged: Logged) -> None:
    """If the ledger has a time far ahead of a clock that runs evenly for 24 hours, the clock wins."""
    clock = machine.start(ClockState(NOW + 4_000 * DAY, EVEN_PERIOD))
    machine.run(clock, EVEN_PERIOD)
    assert clock.state == ClockState(machine.wall, EVEN_PERIOD)
    assert trusted(machine.start(clock.state))
    assert len(logged()) == 2


# Everything in any order

STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(["run", "jump", "restart", "kill"]),
        st.floats(min_value=-60 * DAY, max_value=60 * DAY, allow_nan=False),
    ),
    max_size=25,
)


@given(STEPS)
def test_a_trusted_clock_has_run_evenly(steps: list[tuple[str, float]]) -> None:
    """In any order of jumps and restarts, a clock is trusted only if, without a noticeable jump, it ran for 24 hours.

    Noticeable are jumps of more than a day while the exporter runs, or beyond the last time in the ledger and 30 days.
    """
    machine = Machine()
    stored = NEW
    clock = machine.start(stored)
    even = 0.0  # at most this long has it run evenly
    for kind, value in steps:
        if kind == "run":
            machine.run(clock, abs(value) % (2 * DAY))
            even += abs(value) % (2 * DAY)
        elif kind == "jump":
            machine.wall = max(0.0, machine.wall + value)
            clock.look()
            if abs(value) > 3 * MAX_JUMP and machine.wall:  # certainly more than a day from where it was
                even = 0.0
        else:
            clock = machine.start(clock.state if kind == "restart" else stored)
        if clock.store:
            stored = clock.state
            clock.stored()
        moment = clock.look()
        assert moment.latest >= moment.now
        assert not moment.trusted or even >= EVEN_PERIOD - 1


@given(st.lists(st.floats(min_value=-MAX_JUMP / 2, max_value=MAX_JUMP / 2), min_size=2, max_size=50))
def test_days_never_decrease_while_the_clock_is_trusted(offsets: list[float]) -> None:
    """However the clock is corrected by up to half a day in each direction, no identity gets an earlier day."""
    machine = Machine()
    clock = machine.start(TRUSTED)
    days: list[int] = []
    for offset in offsets:
        machine.uptime += 100
        machine.wall = NOW + machine.uptime + offset
        days.append(clock.look().day)
    assert all(before <= after for before, after in pairwise(days))
