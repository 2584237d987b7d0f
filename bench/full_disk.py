"""Fill the file system of a running exporter's ledger, with data or with files, and free it again.

As a program, it does this in a directory whose file system it may fill, and prints the results as JSON.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from bench.kills import Verdict, judge
from tests.support.running import TIMEOUT, command, environment, exporter, until
from tests.support.sender import Sender

SIZE: Final = 16 << 20
"""Bytes of the file system."""
INODES: Final = 40
PAGE: Final = 4_096
"""Bytes that a tmpfs allocates at a time."""
LOAD: Final = 200
"""Failures answered before the file system is filled, at most, or while it has no inodes."""
_MOUNT: Final = 'mount -t tmpfs -o "size=$0,nr_inodes=$1" tmpfs "$2" && shift 2 && exec "$@"'


class Fills(NamedTuple):
    """Number of failures sent, number of 503 answers, the verdict on each counter, and other problems."""

    sent: int
    rejected: int
    verdicts: list[Verdict]
    problems: list[str]


def fill_again_and_again(kind: str, rounds: int, seed: int) -> Fills | None:
    """Fill the "space" or the "inodes" this many times, in a mount namespace. Return None if none can be made."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        words = ["unshare", *user, "--mount", "sh", "-c", _MOUNT, str(SIZE), str(INODES), directory]
        if not shutil.which("unshare") or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
            return None
        program = [sys.executable, "-m", "bench.full_disk", kind, directory, str(rounds), str(seed)]
        done = subprocess.run([*words, *program], check=True, stdout=subprocess.PIPE, text=True)
    sent, rejected, verdicts, problems = json.loads(done.stdout)
    return Fills(sent, rejected, [Verdict(*verdict) for verdict in verdicts], problems)


class _Filler:
    """Files that leave no space or no inodes in the file system of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "filler"
        self._directory.mkdir()

    def take_space(self, pages: int) -> None:
        """Leave this many pages free."""
        with (self._directory / "space").open("wb") as file:
            until(lambda: self._takes(file.fileno(), pages))

    def _takes(self, descriptor: int, pages: int) -> bool:
        free = os.statvfs(self._directory).f_bfree - pages
        try:
            if free > 0:
                os.posix_fallocate(descriptor, 0, free * PAGE)
        except OSError:  # the exporter was faster
            return False
        return True

    def take_inodes(self) -> None:
        """Create files until that is impossible."""
        with suppress(OSError):
            for number in range(INODES):
                (self._directory / str(number)).touch()

    def free(self) -> None:
        """Remove the files."""
        for file in self._directory.iterdir():
            file.unlink()


def _fill_space(directory: Path, rounds: int, chance: Random) -> Fills:
    """Fill the space under load until requests are answered 503, and free it; the exporter is not restarted."""
    filler, sender = _Filler(directory), Sender()
    verdicts: list[Verdict] = []
    problems: list[str] = []
    with exporter(directory, measured=False) as running:

        def fill() -> None:
            goal = len(sender.answered) + chance.randrange(LOAD)
            until(lambda: len(sender.answered) >= goal)
            filler.take_space(chance.randrange(64))
            goal = sender.rejected + 50
            until(lambda: sender.rejected >= goal)
            until(lambda: running.get("/-/ready").status == 503)
            if (status := running.get("/metrics").status) != 200:
                problems.append(f"full disk: /metrics {status}")
            filler.free()
            until(lambda: running.get("/-/ready").status == 200)

        for _ in range(rounds):
            sender.run(running, fill)
            verdicts.append(judge(running, sender, chance))
    return Fills(sender.sent, sender.rejected, verdicts, problems)


def _fill_inodes(directory: Path, rounds: int, chance: Random) -> Fills:
    """Run exporters without a free inode: they have their files, unless they are restarted after a regular stop."""
    filler, sender = _Filler(directory), Sender()
    verdicts: list[Verdict] = []
    problems: list[str] = []
    for number in range(rounds):
        with exporter(directory, measured=False) as running:
            filler.take_inodes()
            sender.run(running, partial(until, partial(_has_answered, sender, len(sender.answered) + LOAD)))
            verdicts.append(judge(running, sender, chance))
            if number % 2:
                running.stop(signal.SIGKILL)  # its files remain, so the next one can start
        if not number % 2:
            filler.take_inodes()
            started = subprocess.run(
                command(directory), env=environment(), check=False, capture_output=True, text=True, timeout=TIMEOUT
            )
            if started.returncode != 3:
                problems.append(f"start without inodes: exit code {started.returncode}: {started.stderr}")
            filler.free()
    return Fills(sender.sent, sender.rejected, verdicts, problems)


def _has_answered(sender: Sender, goal: int) -> bool:
    return len(sender.answered) >= goal


def main() -> None:
    """Fill the file system of a directory in a number of rounds, with a seed."""
    kind, directory, rounds, seed = sys.argv[1:]
    fill = {"space": _fill_space, "inodes": _fill_inodes}[kind]
    print(json.dumps(fill(Path(directory), int(rounds), Random(seed))))  # noqa: S311 -- seeded


if __name__ == "__main__":
    main()
