"""Exactly once, on real processes: a failure that was answered 200 is counted permanently, and once."""

import random
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.support.running import TIMEOUT, Exporter, exporter, failure, until
from tests.support.sender import Sender, total

ROUNDS: Final = 10
ENOUGH: Final = 300
"""Failures answered 200 before SIGTERM."""


def test_a_killed_exporter_counts_exactly_once(tmp_path: Path) -> None:
    """Killed ten times under load, the exporter has after each restart every failure that was answered 200, once."""
    moments = random.Random(32)
    sender = Sender()
    for _ in range(ROUNDS):
        with exporter(tmp_path, measured=False) as running:
            assert len(sender.answered) <= total(running) <= sender.sent
            goal = len(sender.answered) + moments.randrange(300)

            def kill(running: Exporter = running, goal: int = goal) -> None:
                until(lambda: len(sender.answered) >= goal)
                assert running.stop(signal.SIGKILL) == -signal.SIGKILL

            sender.run(running, kill)
    with exporter(tmp_path, measured=False) as running:
        sender.run(running)
        assert (sender.answered, sender.rejected) == (set(range(sender.sent)), 0)
        assert running.failures() == sender.expected()


def test_a_failure_sent_three_times_at_once_is_counted_once(tmp_path: Path) -> None:
    """If three connections send a failure at the same moment, all get 200: one ``counted``, two ``duplicate``."""
    failures, groups = 600, 10

    with exporter(tmp_path, measured=False) as running:

        def send(group: int, together: threading.Barrier) -> list[tuple[int, str]]:
            answers = []
            with running.client() as client:
                for number in range(group, failures, groups):
                    together.wait(TIMEOUT)
                    answer = client.post(failure(number))
                    answers.append((answer.status, answer.text))
            return answers

        barriers = [threading.Barrier(3) for _ in range(groups)]
        with ThreadPoolExecutor(3 * groups) as pool:
            threads = [pool.submit(send, group, barriers[group]) for group in range(groups) for _ in range(3)]
            answers = Counter(answer for thread in threads for answer in thread.result())
        assert answers == {(200, "counted\n"): failures, (200, "duplicate\n"): 2 * failures}
        assert running.failures() == {"rcptto/5xx/5.1.1": failures}
        assert running.samples()["smtpeter_exporter_duplicates_total"] == 2 * failures


def test_a_failure_from_before_a_restart_is_a_duplicate(tmp_path: Path) -> None:
    """A failure that was counted before a regular restart is a duplicate after it."""
    with exporter(tmp_path, measured=False) as running:
        assert running.post(failure(1)).text == "counted\n"
    with exporter(tmp_path, measured=False) as running:
        assert [running.post(failure(number)).text for number in (1, 2)] == ["duplicate\n", "counted\n"]
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}
        assert running.samples()["smtpeter_exporter_duplicates_total"] == 1


def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    """After SIGTERM under load the exit code is 0, and exactly the failures that were answered 200 are counted."""
    sender = Sender()
    with exporter(tmp_path, measured=False) as running:

        def terminate() -> None:
            until(lambda: len(sender.answered) >= ENOUGH)
            running.send_signal(signal.SIGTERM)
            assert running.wait() == 0

        sender.run(running, terminate)
    assert [line for line in running.lines if not line.startswith("ts=")] == []
    with exporter(tmp_path, measured=False) as running:
        assert (total(running), sender.rejected) == (len(sender.answered), 0)
