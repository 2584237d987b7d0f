"""Suspend the PostgreSQL server of a ledger, or freeze a SQLite ledger's file system, under load.

As a program, it does the latter with a disk image in a directory, and prints the results as JSON.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from bench.kills import Verdict, judge
from bench.measure import resident
from tests.support.confinement import namespace
from tests.support.postgres import Postgres
from tests.support.running import Exporter, exporter, until
from tests.support.sender import Sender

LOAD: Final = 300
"""Failures answered before something hangs, at most."""
SECONDS: Final = (2, 14, 20)
"""How long it hangs, in turn: shorter than COMMIT_TIMEOUT, longer, and longer than the time limits of PostgreSQL."""
GROWTH: Final = 8 << 20
"""Bytes by which the exporter may grow while something hangs."""
THREADS: Final = 16
"""Threads that the exporter may have meanwhile."""


class Hangs(NamedTuple):
    """Number of failures sent, number of 503 answers, the verdict on each counter, and other problems."""

    sent: int
    rejected: int
    verdicts: list[Verdict]
    problems: list[str]


def hang_database(database: Postgres, rounds: int, seed: int) -> Hangs:
    """Suspend all processes of the server this many times."""
    with tempfile.TemporaryDirectory() as directory:
        flags = ("--storage.url", database.create_new())
        with exporter(Path(directory), *flags, measured=False) as running:
            return _hang_again_and_again(running, database.suspended, rounds, seed)


def hang_disk(rounds: int, seed: int) -> Hangs | None:
    """Freeze a file system this many times, in a mount namespace. Return None if that is impossible."""
    words = namespace()
    if not words or not shutil.which("mkfs.ext4") or not shutil.which("fsfreeze"):
        return None
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        program = [sys.executable, "-m", "bench.hangs", directory, str(rounds), str(seed)]
        done = subprocess.run([*words, *program], check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return None
    sent, rejected, verdicts, problems = json.loads(done.stdout)
    return Hangs(sent, rejected, [Verdict(*verdict) for verdict in verdicts], problems)


def _hang_again_and_again(
    running: Exporter, hanging: Callable[[], AbstractContextManager[None]], rounds: int, seed: int
) -> Hangs:
    chance, sender = Random(seed), Sender()  # noqa: S311 -- seeded
    verdicts: list[Verdict] = []
    problems: list[str] = []
    for number in range(rounds):
        seconds = SECONDS[number % len(SECONDS)]

        def hang(seconds: int = seconds) -> None:
            goal = len(sender.answered) + chance.randrange(LOAD)
            until(lambda: len(sender.answered) >= goal)
            problems.extend(f"{seconds} s: {problem}" for problem in _observe(running, hanging, seconds))
            goal = len(sender.answered) + 1
            until(lambda: running.get("/-/ready").status == 200 and len(sender.answered) >= goal)

        sender.run(running, hang)
        verdicts.append(judge(running, sender, chance))
    problems += [line for line in running.lines if "Traceback" in line]
    return Hangs(sender.sent, sender.rejected, verdicts, problems)


def _observe(running: Exporter, hanging: Callable[[], AbstractContextManager[None]], seconds: int) -> Iterator[str]:
    """Let it hang meanwhile; return what is wrong."""
    over = threading.Event()
    before, most, threads = resident([running.pid]), 0, 0
    with hanging():
        timer = threading.Timer(seconds, over.set)
        timer.start()
        while not over.wait(0.5):
            most = max(most, resident([running.pid]))
            threads = max(threads, len(list(Path(f"/proc/{running.pid}/task").iterdir())))
            if (status := running.get("/metrics").status) != 200:
                yield f"/metrics {status}"
        if seconds > 12 and (status := running.get("/-/ready").status) != 503:
            yield f"/-/ready {status}"
    if most - before > GROWTH:
        yield f"memory grew by {(most - before) / 1e6:.1f} MB"
    if threads > THREADS:
        yield f"{threads} threads"


@contextmanager
def _frozen(disk: Path) -> Iterator[None]:
    subprocess.run(["fsfreeze", "--freeze", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", disk], check=True)


def main() -> None:
    """Freeze a disk in a directory in a number of rounds, with a seed. Exits with 1 if it can't be mounted."""
    directory, rounds, seed = sys.argv[1:]
    image, disk = Path(directory) / "image", Path(directory) / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, disk], check=False, capture_output=True).returncode:
        sys.exit(1)
    try:
        with exporter(disk, measured=False) as running:
            hangs = _hang_again_and_again(running, lambda: _frozen(disk), int(rounds), int(seed))
    finally:
        subprocess.run(["umount", disk], check=True)
    print(json.dumps(hangs))


if __name__ == "__main__":
    main()
