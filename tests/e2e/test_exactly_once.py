"""The heart of it, on the real process: what was answered 200 is counted for ever, and once."""

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from tests.support.running import TIMEOUT, Client, Exporter, exporter, failure

CONNECTIONS: Final = 32
ROUNDS: Final = 10
KINDS: Final = {
    f"{state}/{code_class}/{extended or 'none'}": {"state": state, "code": code, "extended": extended}
    for state in ("rcptto", "data", "bounce")
    for code_class, code, extended in (("5xx", "550", "5.1.1"), ("4xx", "452", "4.2.2"), ("none", "", ""))
}
"""Several series, and what a failure has to say to fall on each."""


def kind_of(number: int) -> str:
    """The series that the failure of this number raises."""
    return list(KINDS)[number % len(KINDS)]


class Sender:
    """Sends distinct failures over many connections at once and keeps book of what was answered 200."""

    def __init__(self) -> None:
        self.sent = 0
        self.answered: set[int] = set()
        self._new = count()
        self._again: SimpleQueue[int] = SimpleQueue()
        self._booking = threading.Lock()

    def run(self, running: Exporter, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Send first what had no answer yet, then new ones while ``meanwhile`` runs and the exporter answers."""
        over = threading.Event()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            threads = [pool.submit(self._send_all, running, over) for _ in range(CONNECTIONS)]
            try:
                meanwhile()
            finally:
                over.set()
        for thread in threads:
            thread.result()

    def _send_all(self, running: Exporter, over: threading.Event) -> None:
        with running.client() as client:
            for number in self._numbers(over):
                if not self._send(client, number):
                    return

    def _numbers(self, over: threading.Event) -> Iterator[int]:
        with suppress(Empty):
            while True:
                yield self._again.get_nowait()
        while not over.is_set():
            with self._booking:
                number = next(self._new)
                self.sent = number + 1
            yield number

    def _send(self, client: Client, number: int) -> bool:
        try:
            status = client.post(failure(number, **KINDS[kind_of(number)])).status
        except (OSError, HTTPException):
            self._again.put(number)
            return False
        assert status == 200
        self.answered.add(number)
        return True


def total(running: Exporter) -> float:
    """The sum over the main counter."""
    return sum(running.failures().values())


def test_loses_nothing_and_counts_nothing_twice_when_killed(tmp_path: Path) -> None:
    """Killed ten times under load: each restart shows all that was answered 200; in the end each is counted once."""
    moments = random.Random(32)
    sender = Sender()
    for _ in range(ROUNDS):
        with exporter(tmp_path, measured=False) as running:
            assert len(sender.answered) <= total(running) <= sender.sent
            pause = moments.uniform(0.02, 0.3)

            def kill(running: Exporter = running, pause: float = pause) -> None:
                threading.Event().wait(pause)
                assert running.stop(signal.SIGKILL) == -signal.SIGKILL

            sender.run(running, kill)
    with exporter(tmp_path, measured=False) as running:
        sender.run(running)
        assert sender.answered == set(range(sender.sent))
        assert running.failures() == Counter(kind_of(number) for number in range(sender.sent))


def test_counts_once_what_is_sent_three_times_at_once(tmp_path: Path) -> None:
    """Each failure sent by three connections at the same moment: all answered 200, one counted, two duplicates."""
    failures, groups = 600, 10

    with exporter(tmp_path, measured=False) as running:

        def send(group: int, together: threading.Barrier) -> list[int]:
            statuses = []
            with running.client() as client:
                for number in range(group, failures, groups):
                    together.wait(TIMEOUT)
                    statuses.append(client.post(failure(number)).status)
            return statuses

        barriers = [threading.Barrier(3) for _ in range(groups)]
        with ThreadPoolExecutor(3 * groups) as pool:
            threads = [pool.submit(send, group, barriers[group]) for group in range(groups) for _ in range(3)]
            statuses = [status for thread in threads for status in thread.result()]
        assert statuses == [200] * 3 * failures
        assert running.failures() == {"rcptto/5xx/5.1.1": failures}
        assert running.samples()["smtpeter_exporter_duplicates_total"] == 2 * failures


def test_knows_what_it_counted_before_a_restart(tmp_path: Path) -> None:
    """What was counted before an orderly restart is a duplicate after it."""
    with exporter(tmp_path, measured=False) as running:
        assert running.post(failure(1)).status == 200
    with exporter(tmp_path, measured=False) as running:
        assert [running.post(failure(number)).status for number in (1, 2)] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}
        assert running.samples()["smtpeter_exporter_duplicates_total"] == 1


def test_stops_in_good_order_under_load(tmp_path: Path) -> None:
    """SIGTERM under load: exit code 0 within 10 s, and after a restart exactly what was answered is counted."""
    sender = Sender()
    with exporter(tmp_path, measured=False) as running:

        def terminate() -> None:
            threading.Event().wait(0.5)
            running.send_signal(signal.SIGTERM)
            assert running.wait() == 0

        sender.run(running, terminate)
    assert len(sender.answered) > 0
    with exporter(tmp_path, measured=False) as running:
        assert total(running) == len(sender.answered)
