"""Kill the exporter, or the PostgreSQL server of its ledger, again and again under load, and compare the counters.

The load are events of all loops in turn.
"""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from deploy.demo.running import PROGRAM
from exporter.classification.loops import LOOPS
from tests.support.events import ALL_LOOPS
from tests.support.postgres import Postgres
from tests.support.running import Exporter, exporter, until
from tests.support.sender import Sender

LOAD: Final = 300
"""At most this many events are answered in a round before something is killed."""
SAMPLE: Final = 100
"""Number of answered events that are sent again at a time."""


class Verdict(NamedTuple):
    """How many events were lost, and how many were counted twice."""

    lost: int
    twice: int


class Kills(NamedTuple):
    """The results: events sent, those sent again because they were not answered 200, and the verdicts."""

    sent: int
    unanswered: int
    verdicts: list[Verdict]


def judge(running: Exporter, sender: Sender, chance: Random) -> Verdict:
    """Compare each counter with the events that were ever sent, once all of them are answered 200.

    Those that were not answered are sent again first. Then the counters must be exact. A repetition would hide the loss
    of an answered event, so a sample of these is sent again only after that, and must change nothing.
    """
    verdicts = []
    for again in ([], chance.sample(sorted(sender.answered), min(SAMPLE, len(sender.answered)))):
        sender.run(running, again=again)
        until(lambda: _all_answered(running, sender))
        sent, counted = sender.expected(), sender.counted(running)
        verdicts.append(Verdict((sent - counted).total(), (counted - sent).total()))
    return next(filter(any, verdicts), verdicts[0])


def _all_answered(running: Exporter, sender: Sender) -> bool:
    """Send what is not answered yet; return whether all is."""
    if len(sender.answered) < sender.sent:
        sender.run(running)
    return len(sender.answered) == sender.sent


def kill_again_and_again(
    directory: Path, rounds: int, seed: int, database: Postgres | None = None, program: Sequence[str] = PROGRAM
) -> Kills:
    """Kill under load in each round, on a SQLite ledger in the directory or on a new one in the database.

    Every fourth round kills PostgreSQL or one of its processes, every other one the exporter.
    """
    flags = (*ALL_LOOPS, *(("--storage.url", database.create_new()) if database else ()))
    chance, sender = Random(seed), Sender(list(LOOPS))  # noqa: S311 -- seeded
    unanswered, verdicts = 0, []
    for number in range(rounds + 1):
        with exporter(directory, *flags, measured=False, program=program) as running:
            unanswered += sender.sent - len(sender.answered)
            verdicts.append(judge(running, sender, chance))
            if number == rounds:
                break
            goal = len(sender.answered) + chance.randrange(LOAD)
            sender.run(running, _killing(running, sender, goal, database, number))
            if running.alive:
                unanswered += sender.sent - len(sender.answered)
                verdicts.append(judge(running, sender, chance))
    return Kills(sender.sent, unanswered, verdicts)


def _killing(
    running: Exporter, sender: Sender, goal: int, database: Postgres | None, number: int
) -> Callable[[], object]:
    def kill() -> None:
        until(lambda: len(sender.answered) >= goal)
        if database is None or number % 4 != 3:
            running.stop(signal.SIGKILL)
        elif number % 8 == 3:
            database.stop()
            database.start()
        else:  # PostgreSQL ends all its other processes then, and recovers
            ((pid,),) = database.execute(_BACKEND)
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGKILL)
            until(lambda: running.get("/-/ready").status == 200)

    return kill


_BACKEND: Final = "SELECT pid FROM pg_stat_activity WHERE application_name = 'smtpeter-exporter' LIMIT 1"
