"""How it is measured: who runs on which core, load, processor time and memory of whole trees of processes."""

import json
import os
import re
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
"""The server has its core to itself; PostgreSQL has one, too, where there are three, else it shares with the load."""


class Load(NamedTuple):
    """What answered how much: failures a second, how many, and errors."""

    rate: float
    answered: int
    errors: int


class Sample(NamedTuple):
    """One round of one contestant: failures a second, and for each second of processor time."""

    rate: float
    per_cpu: float
    per_database_cpu: float | None


def on_core(core: int, command: Sequence[str]) -> list[str]:
    """The command, held on the core, whatever it starts included."""
    return ["taskset", "-c", str(core), *command]


def results(text: str) -> Load:
    """The line RESULT that a script of wrk prints, or a ceiling."""
    found = re.search(r"^RESULT (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    assert found, text
    answered, microseconds, errors = map(int, found.groups())
    return Load(answered * 1e6 / microseconds, answered, errors)


def saturate(ports: Sequence[int], script: str, run: str, seconds: float, file: Path | None = None) -> Load:
    """Have wrk put load on all ports at once; the connections are split over them."""
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
    """Begin to make the calls of a plan, beside the server."""
    command = [sys.executable, "-m", "bench.paced", json.dumps(asdict(plan))]
    return subprocess.Popen(on_core(LOAD_CORE, command), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def end_pacing(process: "subprocess.Popen[str]") -> Paced:
    """Wait for the end of a plan."""
    text = process.communicate()[0]
    if process.returncode:
        sys.exit(f"bench: bench.paced ended with {process.returncode}")
    return Paced(**json.loads(text))


def pace(plan: Plan) -> Paced:
    """Make the calls of a plan."""
    return end_pacing(start_pacing(plan))


def tree(roots: Iterable[int]) -> list[int]:
    """The processes, and all that they started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        if fields := _stat(int(entry.parent.name)):
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = list(roots)
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu(roots: Iterable[int]) -> float:
    """Seconds of processor time of the trees so far, of children that have ended and were waited for included."""
    ticks = sum(sum(map(int, fields[11:15])) for pid in tree(roots) if (fields := _stat(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(roots: Iterable[int]) -> int:
    """Bytes of resident memory of the trees; what processes share counts for each."""
    return sum(_status(pid, "VmRSS") * 1_024 for pid in tree(roots))


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def hold(roots: Iterable[int], core: int) -> None:
    """Hold what runs already on a core, with all its threads."""
    for pid in tree(roots):
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: the name before them may hold anything."""
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


def answers(port: int) -> bool:
    """Tell whether something listens on the port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def counted(port: int) -> float:
    """The sum of all series of failures that are shown there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    names = {"smtpeter_failures", "smtpeter_failures_total"}
    return sum(sample.value for family in families for sample in family.samples if sample.name in names)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first row its head, the first column text and the others figures."""
    head, *rest = rows
    marks = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rest))
