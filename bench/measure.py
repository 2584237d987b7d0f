"""Measuring: pinning processes to cores, generating load, CPU time and memory of process trees."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from bench.paced import CONNECTIONS, Paced, Plan

ROOT: Final = Path(__file__).parent.parent
SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
DATABASE_CORE: Final = 2 if (os.cpu_count() or 1) > 2 else LOAD_CORE
"""The server has a core to itself. With three cores so does PostgreSQL; otherwise it shares one with the load."""


class Load(NamedTuple):
    """The answers to a load: failures per second, number of failures, number of errors."""

    rate: float
    answered: int
    errors: int


class Sample(NamedTuple):
    """One round of one contestant: failures per second, and per second of CPU time."""

    rate: float
    per_cpu: float
    per_database_cpu: float | None


def on_core(core: int, command: Sequence[str]) -> list[str]:
    """Return the command pinned to a core, with all processes that it starts."""
    return ["taskset", "-c", str(core), *command]


def check_machine() -> None:
    """Exit with an explanation if the machine lacks what ``saturate`` needs."""
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            sys.exit(f"bench: needs {program} on PATH; on Debian: apt-get install wrk util-linux")
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: needs two cores, one for the server and one for the load")


def results(text: str) -> Load:
    """Parse the line RESULT, which the scripts of wrk and ``bench.ceilings`` print."""
    found = re.search(r"^RESULT (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    assert found, text
    answered, microseconds, errors = map(int, found.groups())
    return Load(answered * 1e6 / microseconds, answered, errors)


def saturate(ports: Sequence[int], script: str, run: str, seconds: float, file: Path | None = None) -> Load:
    """Have wrk load all ports at once, with the connections split over them."""
    processes = []
    for number, port in enumerate(ports):
        connections = len(range(number, CONNECTIONS, len(ports)))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(ROOT / "bench" / script)]
        processes.append(
            subprocess.Popen(
                on_core(LOAD_CORE, [*command, f"http://127.0.0.1:{port}/"]),
                env={**os.environ, "RUN": f"{run}w{number}", "REQUESTS": str(file), "START": "0"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    each = [results(process.communicate()[0]) for process in processes]
    return Load(*map(sum, zip(*each, strict=True)))


def start_pacing(plan: Plan) -> "subprocess.Popen[str]":
    """Start sending the requests of a plan, in a process of their own."""
    command = [sys.executable, "-m", "bench.paced", json.dumps(asdict(plan))]
    return subprocess.Popen(on_core(LOAD_CORE, command), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def end_pacing(process: "subprocess.Popen[str]") -> Paced:
    """Wait for the end of a plan and return its result."""
    text = process.communicate()[0]
    if process.returncode:
        sys.exit(f"bench: bench.paced exited with {process.returncode}")
    return Paced(**json.loads(text))


def pace(plan: Plan) -> Paced:
    """Send the requests of a plan."""
    return end_pacing(start_pacing(plan))


def tree(roots: Iterable[int]) -> list[int]:
    """Return the ids of the processes and of all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        if fields := _stat(int(entry.parent.name)):
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = list(roots)
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu(roots: Iterable[int]) -> float:
    """Return the CPU time of the process trees in seconds, including children that were waited for."""
    ticks = sum(sum(map(int, fields[11:15])) for pid in tree(roots) if (fields := _stat(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(roots: Iterable[int]) -> int:
    """Return the resident memory of the process trees in bytes; shared memory counts once per process."""
    return sum(_status(pid, "VmRSS") * 1_024 for pid in tree(roots))


def descriptors(pid: int) -> int:
    """Return the number of open file descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def pin(roots: Iterable[int], core: int) -> None:
    """Pin running process trees, with all their threads, to a core."""
    for pid in tree(roots):
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the process name, which may contain spaces and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _status(pid: int, name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def is_answering(port: int) -> bool:
    """Return whether an HTTP server answers on the port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def counted(port: int) -> float:
    """Return the sum of all failures in the metrics on the port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    names = {"smtpeter_failures", "smtpeter_failures_total"}
    return sum(sample.value for family in families for sample in family.samples if sample.name in names)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: the first row is the head, and all columns but the first are numbers."""
    head, *rest = rows
    marks = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rest))
