"""A clock that is wrong for some time: no event counts twice, and no identity is kept permanently. On all engines."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from exporter.classification.series import Record
from exporter.ledger.clock import EVEN_PERIOD, Clock
from exporter.ledger.contract import DAY, KEEP_IDENTITIES
from tests.support.engines import ALL_ENGINES, Reopenable
from tests.support.records import NOW, deliveries, failures

FAILURES: Final = failures(range(20))
HOUR: Final = 3_600.0


class Machine:
    """An exporter without its threads, on a machine whose clock a test sets. It starts on a new ledger.

    ``records`` are what is reported to it, and ``keep`` is the retention of deliveries.
    """

    def __init__(
        self,
        reopenable: Reopenable,
        wall: float,
        *,
        records: Sequence[Record] = FAILURES,
        keep: float = KEEP_IDENTITIES,
    ) -> None:
        self._reopenable = reopenable
        self._records = records
        self._keep = keep
        self._uptime = 0.0
        self.wall = wall
        self.start()

    def start(self) -> None:
        """Start the exporter."""
        stored = self._reopenable.ledger.clock_state()
        self._clock = Clock(lambda: self.wall, stored, keep=self._keep, uptime=lambda: self._uptime)

    def restart(self) -> None:
        """Stop the exporter, and start it again."""
        self._reopenable.reopen(self.wall)
        self.start()

    def wait(self, seconds: float, *, each: float = 1.0) -> None:
        """Let time pass, with a round of maintenance every so many seconds. A round prunes the whole ledger."""
        for _ in range(int(seconds / each)):
            self._uptime += each
            self.wall += each
            moment, ledger = self._clock.look(), self._reopenable.ledger
            ledger.check(now=moment.now, write=self._clock.store, state=self._clock.state)
            if self._clock.store:
                self._clock.stored()
            for _slice in range(2 if moment.trusted else 0):
                ledger.prune(now=moment.latest, keep_deliveries=self._keep)

    def new(self) -> int:
        """Report the events; return how many of them were counted."""
        moment = self._clock.look()
        return sum(self._reopenable.ledger.record(self._records, now=moment.now, held=False, day=moment.day))


def ahead_for_four_seconds(machine: Machine) -> None:
    """Set the clock 31 days forward for four seconds, on a ledger with failures."""
    machine.wait(EVEN_PERIOD + HOUR, each=HOUR)
    assert machine.new() == 20
    machine.wall += 31 * DAY
    machine.wait(4)
    machine.wall -= 31 * DAY


def ahead_for_four_seconds_meanwhile(machine: Machine) -> None:
    """Set the clock 31 days forward for four seconds, in which the failures arrive."""
    machine.wait(EVEN_PERIOD + HOUR, each=HOUR)
    machine.wall += 31 * DAY
    assert machine.new() == 20
    machine.wait(4)
    machine.wall -= 31 * DAY


def ahead_and_killed(machine: Machine) -> None:
    """Set the clock five days forward, and restart before it is corrected. The failures are 28 days old."""
    machine.wait(EVEN_PERIOD + HOUR, each=HOUR)
    assert machine.new() == 20
    machine.wait(28 * DAY, each=HOUR)
    machine.wall += 5 * DAY
    machine.wait(2)
    machine.restart()
    machine.wait(4)
    machine.wall -= 5 * DAY


def in_1970(machine: Machine) -> None:
    """Start on a new ledger, on a machine that does not know the time at first."""
    machine.wall = 5.0
    machine.start()
    assert machine.new() == 20
    machine.wait(120)
    machine.wall = NOW


def in_1970_on_an_existing_ledger(machine: Machine) -> None:
    """Restart on a ledger that was in use, on a machine that does not know the time at first."""
    machine.wait(EVEN_PERIOD + HOUR, each=HOUR)
    right, machine.wall = machine.wall, 5.0
    machine.restart()
    assert machine.new() == 20
    machine.wait(120)
    machine.wall = right


def restarted_40_days_ahead(machine: Machine) -> None:
    """Restart with the clock 40 days ahead, and again at once when it is right."""
    machine.wait(EVEN_PERIOD + HOUR, each=HOUR)
    assert machine.new() == 20
    machine.wall += 40 * DAY
    machine.restart()
    machine.wait(2)
    machine.wall -= 40 * DAY
    machine.restart()


def restarted_after_40_days_ahead(machine: Machine) -> None:
    """Restart with the clock 40 days ahead, count failures for some minutes, and restart when it is right."""
    machine.wait(EVEN_PERIOD + HOUR, each=HOUR)
    machine.wall += 40 * DAY
    machine.restart()
    assert machine.new() == 20
    machine.wait(300)
    machine.wall -= 40 * DAY
    machine.restart()


@pytest.fixture(params=ALL_ENGINES)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Yield a machine with the right time, and a new ledger of each engine."""
    reopenable = Reopenable(request.param, tmp_path)
    yield Machine(reopenable, NOW)
    reopenable.ledger.close()


SCENARIOS: Final = (
    ahead_for_four_seconds,
    ahead_for_four_seconds_meanwhile,
    ahead_and_killed,
    in_1970,
    in_1970_on_an_existing_ledger,
    restarted_40_days_ahead,
    restarted_after_40_days_ahead,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_no_failure_counts_twice_after_a_wrong_time(machine: Machine, scenario: Callable[[Machine], None]) -> None:
    """After the correction the failures are duplicates. A month after the pause they are forgotten, not kept."""
    scenario(machine)
    assert machine.new() == 0
    machine.wait(4)
    machine.restart()
    machine.wait(4)
    assert machine.new() == 0
    machine.wait(EVEN_PERIOD - HOUR, each=HOUR)
    assert machine.new() == 0
    machine.wait(KEEP_IDENTITIES + 3 * DAY, each=6 * HOUR)
    assert machine.new() == 20


@pytest.mark.parametrize("engine", ALL_ENGINES)
def test_no_delivery_counts_twice_after_a_restart_with_a_wrong_time(engine: str, tmp_path: Path) -> None:
    """Deliveries are kept for three days, so a start that is ten days ahead must not prune them either."""
    reopenable = Reopenable(engine, tmp_path)
    machine = Machine(reopenable, NOW, records=deliveries(range(20)), keep=3 * DAY)
    machine.wait(EVEN_PERIOD + HOUR, each=HOUR)
    assert machine.new() == 20
    for days in (10, -10):
        machine.wall += days * DAY
        machine.restart()
        machine.wait(4)
    assert machine.new() == 0
    machine.wait(EVEN_PERIOD - HOUR, each=HOUR)
    assert machine.new() == 0
    machine.wait(3 * DAY + 3 * DAY, each=6 * HOUR)
    assert machine.new() == 20
    reopenable.ledger.close()
