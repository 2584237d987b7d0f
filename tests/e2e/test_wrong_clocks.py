"""Real exporters with a wrong clock: libfaketime changes the time of day of the process, but not CLOCK_BOOTTIME."""

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from exporter.ledger.clock import EVEN_PERIOD
from exporter.ledger.contract import DAY, ClockState
from exporter.ledger.sqlite import SqliteLedger
from tests.support.running import Exporter, exporter, failure, server, throughout, until
from tests.support.sqlite import ask

PAUSED: Final = "clock not trusted; not pruning identities until it has run evenly for 24 hours"
DUPLICATES: Final = "smtpeter_exporter_duplicates_total"
LAST: Final = "smtpeter_last_failure_timestamp_seconds"


class Clock:
    """The clock of exporters that are started with ``program``; it is right at first."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "offset"
        self.set("+0")
        # The program of this name would not find the library if the package is only unpacked.
        root = Path(server("faketime")).resolve().parents[1]
        library = next(root.glob("lib/*/faketime/libfaketime.so.1"))
        self.program: Final = (
            *("env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={self._file}"),
            *("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
            *(sys.executable, "-m", "exporter"),
        )

    def set(self, offset: str) -> None:
        """Set the clock at once, to an offset such as "+31d"."""
        new = self._file.with_suffix(".new")
        new.write_text(offset)
        new.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """Return a clock that is right."""
    return Clock(tmp_path)


def trust(directory: Path) -> None:
    """Leave a ledger whose clock has run evenly until now."""
    with closing(SqliteLedger(directory / "ledger.db", now=time.time())) as ledger:
        ledger.check(now=time.time(), write=True, state=ClockState(time.time(), EVEN_PERIOD))


def send(running: Exporter) -> None:
    """Report ten failures."""
    assert [running.post(failure(number)).status for number in range(10)] == [200] * 10


def identities(running: Exporter) -> int:
    """Return the number of identities in the ledger."""
    [(number,)] = ask(running.ledger, "SELECT count(*) FROM identity")
    return int(number)


def test_a_clock_31_days_ahead_for_four_seconds(clock: Clock, tmp_path: Path) -> None:
    """No identity is pruned, a failure that arrives meanwhile is counted once, and one line is logged."""
    trust(tmp_path)
    with exporter(tmp_path, measured=False, program=clock.program) as running:
        send(running)
        clock.set("+31d")
        throughout(lambda: identities(running) == 10, 2)
        assert [running.post(failure(number)).status for number in (9, 10)] == [200] * 2
        throughout(lambda: identities(running) == 11, 2)
        clock.set("+0")
        send(running)
        assert running.post(failure(10)).status == 200
        assert running.failures() == {"rcptto/5xx/5.1.1": 11}
        assert running.samples()[DUPLICATES] == 12
        lines = [line for line in running.log() if line.get("msg") == PAUSED]
        assert [(line["level"], line["reason"]) for line in lines] == [("warning", "jumped 31.0 days ahead")]


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_a_start_in_1970_that_is_corrected_later(clock: Clock, tmp_path: Path, existing: bool) -> None:
    """On a new ledger and on one that was in use, failures that arrive before and after the correction count once."""
    if existing:
        trust(tmp_path)
    clock.set(f"-{time.time() - 60:.0f}")
    with exporter(tmp_path, measured=False, program=clock.program) as running:
        send(running)
        clock.set("+0")
        throughout(lambda: identities(running) == 10, 2)
        send(running)
        assert (running.failures(), running.samples()[DUPLICATES]) == ({"rcptto/5xx/5.1.1": 10}, 10)
        assert running.post(failure(10)).status == 200
        assert running.samples()[LAST] == pytest.approx(time.time(), abs=60)


def test_a_start_40_days_ahead(clock: Clock, tmp_path: Path) -> None:
    """After a start with the clock 40 days ahead and a corrected restart, all earlier failures are duplicates."""
    trust(tmp_path)
    with exporter(tmp_path, measured=False, program=clock.program) as running:
        send(running)
    clock.set("+40d")
    with exporter(tmp_path, measured=False, program=clock.program) as running:
        until(lambda: running.logged(PAUSED))
        throughout(lambda: identities(running) == 10, 2)
    clock.set("+0")
    with exporter(tmp_path, measured=False, program=clock.program) as running:
        send(running)
        assert (running.failures(), running.samples()[DUPLICATES]) == ({"rcptto/5xx/5.1.1": 10}, 10)


def test_the_time_of_the_last_failure_recovers(clock: Clock, tmp_path: Path) -> None:
    """Once the clock is right, no time in the future is exposed, and the next failure's real time is, at once."""
    with exporter(tmp_path, measured=False, program=clock.program) as running:
        send(running)
        before = running.samples()[LAST]
        clock.set("+40d")
        assert running.post(failure(10, code="450", extended="4.2.2")).status == 200
        clock.set("+0")
        assert running.samples()[LAST] == before
        began = time.time()
        assert running.post(failure(11)).status == 200
        assert began - 1 <= running.samples()[LAST] <= time.time()
        assert "in the future" not in running.get("/").text


@pytest.mark.parametrize(("loops", "trusted"), [("failures,deliveries", False), ("failures", True)])
def test_a_start_after_more_than_the_shortest_retention(tmp_path: Path, loops: str, trusted: bool) -> None:
    """If deliveries are kept for three days, a clock that is five days ahead is not trusted at the start."""
    with closing(SqliteLedger(tmp_path / "ledger.db", now=time.time())) as ledger:
        then = time.time() - 5 * DAY
        ledger.check(now=then, write=True, state=ClockState(then, EVEN_PERIOD))
    with exporter(tmp_path, "--webhook.loops", loops) as running:
        assert running.logged(PAUSED) is not trusted
