"""Contestants at work: started, waited for, killed and started again, and what they count."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from bench.calls import SIGNED
from bench.contestants import Contestant
from bench.measure import (
    ROOT,
    SERVER_CORE,
    Load,
    Sample,
    answers,
    counted,
    cpu,
    on_core,
    resident,
    results,
    saturate,
    tree,
)
from bench.paced import Plan
from tests.support.postgres import Postgres
from tests.support.running import free_port, until

FASTIFY: Final = ROOT / "bench/fastify"


def database_here() -> Postgres | None:
    """A PostgreSQL that waits for the disk; None where there is none."""
    try:
        return Postgres(durable=True)
    except pytest.skip.Exception as nowhere:
        print(f"bench: {nowhere}", file=sys.stderr)
        return None


def missing(contestant: Contestant, database: Postgres | None) -> str | None:
    """What a contestant lacks here; None when it can run."""
    if contestant.in_database and database is None:
        return "PostgreSQL is not here"
    if contestant.needs is None:
        return None
    if not shutil.which(contestant.needs):
        return f"{contestant.needs} is not here"
    if contestant.needs == "node":
        if not shutil.which("npm"):
            return "npm is not here"
        command = ["npm", "ci", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=FASTIFY, check=False, capture_output=True, text=True)
        if done.returncode:
            return f"npm ci ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}"
    return None


class Server:
    """A contestant, its processes all on one core; ``number`` tells it from others, ``places`` fill in its command."""

    def __init__(
        self, contestant: Contestant, number: int, folder: Path, database: Postgres | None, places: Mapping[str, str]
    ) -> None:
        self.contestant: Final = contestant
        self._number: Final = number
        self._folder: Final = folder / str(number)
        self._folder.mkdir()
        self._database: Final = database if contestant.in_database else None
        url = self._database.create(f"bench{number}") if self._database else ""
        self._places: Final = {**places, "folder": str(self._folder), "database": url}
        alone = contestant.calls is None
        self._ports: Final = [(free_port(), free_port()) for _ in range(0 if alone else contestant.replicas)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.answered = 0

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._processes = []
        for port, web in self._ports:
            command = [word.format(**self._places, port=port, web=web) for word in self.contestant.command]
            process = subprocess.Popen(on_core(SERVER_CORE, command), cwd=ROOT)
            self._processes.append(process)
            until(lambda: process.poll() is not None or answers(port))  # noqa: B023 -- is over when the loop goes on
            if process.poll() is not None:
                sys.exit(f"bench: {' '.join(command)} ended with {process.returncode}")

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def kill(self) -> None:
        """Kill -9, to all of it at once."""
        for pid in tree(self._roots):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def round(self, run: str, seconds: float, signed: Path) -> tuple[Sample, Load]:
        """Saturate it once."""
        before = cpu(self._roots), self._database_cpu()
        if self.contestant.calls is None:
            load, used = self._alone(seconds)
        else:
            load = saturate([port for port, _ in self._ports], self.contestant.calls, run, seconds, signed)
            used = cpu(self._roots) - before[0]
        used_there = self._database_cpu() - before[1]
        self.answered += load.answered
        there = load.answered / used_there if self._database and used_there else None
        return Sample(load.rate, load.answered / used, there), load

    def plan(self, run: str, rate: float, seconds: float, signed: Path) -> Plan:
        """Calls of its kind at their times."""
        assert self.contestant.calls
        file = str(signed) if self.contestant.calls == SIGNED else None
        return Plan([port for port, _ in self._ports], self.contestant.calls, run, rate, seconds, file)

    def resident(self) -> int:
        """Bytes of resident memory."""
        return resident(self._roots)

    def counted(self) -> float:
        """What it shows that it has counted; with replicas, what one of them shows."""
        port, web = self._ports[0]
        return counted(web if self.contestant.counts_at == "web" else port)

    @property
    def _roots(self) -> list[int]:
        return [process.pid for process in self._processes]

    def _database_cpu(self) -> float:
        return cpu([self._database.pid]) if self._database else 0.0

    def _alone(self, seconds: float) -> tuple[Load, float]:
        command = [word.format(**self._places, seconds=seconds) for word in self.contestant.command]
        done = subprocess.run(on_core(SERVER_CORE, command), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return results(done.stdout), float(done.stdout.rpartition("CPU")[2])
