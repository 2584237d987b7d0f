"""Start, load, kill and restart contestants, and read their counters."""

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

from bench.contestants import Contestant
from bench.measure import (
    ROOT,
    SERVER_CORE,
    Load,
    Sample,
    counted,
    cpu,
    is_answering,
    on_core,
    resident,
    results,
    saturate,
    tree,
)
from bench.paced import Plan
from bench.requests import SIGNED
from tests.support.postgres import Postgres
from tests.support.running import free_port, until

FASTIFY: Final = ROOT / "bench/fastify"


def database_here() -> Postgres | None:
    """Start a PostgreSQL that flushes to disk; return None if none is installed."""
    try:
        return Postgres(durable=True)
    except pytest.skip.Exception as unavailable:
        print(f"bench: {unavailable}", file=sys.stderr)
        return None


def missing(contestant: Contestant, database: Postgres | None) -> str | None:
    """Return what a contestant lacks, or None if it can run."""
    if contestant.in_database and database is None:
        return "PostgreSQL is not installed"
    if contestant.needs is None:
        return None
    if not shutil.which(contestant.needs):
        return f"{contestant.needs} is not installed"
    if contestant.needs == "node":
        if not shutil.which("npm"):
            return "npm is not installed"
        command = ["npm", "ci", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=FASTIFY, check=False, capture_output=True, text=True)
        if done.returncode:
            return f"npm ci exited with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}"
    return None


class Server:
    """A contestant whose processes share a core. Its ``number`` is unique; ``values`` fill in its command."""

    def __init__(
        self, contestant: Contestant, number: int, directory: Path, database: Postgres | None, values: Mapping[str, str]
    ) -> None:
        self.contestant: Final = contestant
        self._number: Final = number
        own = directory / str(number)
        own.mkdir()
        self._database: Final = database if contestant.in_database else None
        url = self._database.create(f"bench{number}") if self._database else ""
        self._values: Final = {**values, "directory": str(own), "database": url}
        count = contestant.replicas if contestant.requests else 0
        self._ports: Final = [(free_port(), free_port()) for _ in range(count)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.answered = 0

    def start(self) -> None:
        """Start the processes and wait until they answer."""
        self._processes = []
        for port, web in self._ports:
            command = [word.format(**self._values, port=port, web=web) for word in self.contestant.command]
            process = subprocess.Popen(on_core(SERVER_CORE, command), cwd=ROOT)
            self._processes.append(process)
            until(lambda: process.poll() is not None or is_answering(port))  # noqa: B023 -- called in this iteration
            if process.poll() is not None:
                sys.exit(f"bench: {' '.join(command)} exited with {process.returncode}")

    def stop(self) -> None:
        """Terminate the processes and wait for them."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def kill(self) -> None:
        """Kill all processes with SIGKILL."""
        for pid in tree(self._roots):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def round(self, run: str, seconds: float, signed: Path) -> tuple[Sample, Load]:
        """Saturate the contestant for one round."""
        before = cpu(self._roots), self._database_cpu()
        if self.contestant.requests is None:
            load, used = self._run_alone(seconds)
        else:
            load = saturate([port for port, _ in self._ports], self.contestant.requests, run, seconds, signed)
            used = cpu(self._roots) - before[0]
        used_by_database = self._database_cpu() - before[1]
        self.answered += load.answered
        per_database_cpu = load.answered / used_by_database if self._database and used_by_database else None
        return Sample(load.rate, load.answered / used, per_database_cpu), load

    def plan(self, run: str, rate: float, seconds: float, signed: Path) -> Plan:
        """Return a plan with requests of the contestant's kind."""
        assert self.contestant.requests
        file = str(signed) if self.contestant.requests == SIGNED else None
        return Plan([port for port, _ in self._ports], self.contestant.requests, run, rate, seconds, file)

    def resident(self) -> int:
        """Return the resident memory in bytes."""
        return resident(self._roots)

    def counted(self) -> float:
        """Return the sum of the counters that the contestant, or one of its replicas, exposes."""
        port, web = self._ports[0]
        return counted(web if self.contestant.counts_at == "web" else port)

    @property
    def _roots(self) -> list[int]:
        return [process.pid for process in self._processes]

    def _database_cpu(self) -> float:
        return cpu([self._database.pid]) if self._database else 0.0

    def _run_alone(self, seconds: float) -> tuple[Load, float]:
        command = [word.format(**self._values, seconds=seconds) for word in self.contestant.command]
        done = subprocess.run(on_core(SERVER_CORE, command), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return results(done.stdout), float(done.stdout.rpartition("CPU")[2])
