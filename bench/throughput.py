"""Failures a second, processor time, latency, memory, what outlives kill -9: the exporter beside what else there is.

The server is held on one core, and the load (wrk, 64 connections kept open, form bodies of some 250 bytes, each a
failure of its own) on another. Contestants take turns; the table has medians over the rounds, of the figures and of the
ratios within a round. Writes docs/performance.md between its marks, and bench-results.json. ROUNDS and SECONDS_EACH say
how many rounds, and how long each is, ONLY (a regular expression of names) for whom; the page is left alone when it is
not all of them, or fewer than three rounds.
"""

import json
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from operator import truediv
from pathlib import Path
from typing import Final

from bench.calls import PUSHES, SIGNED, write_signed
from bench.contestants import CONTESTANTS, OURS, TARGETS, Contestant
from bench.measure import DATABASE_CORE, LOAD_CORE, ROOT, SERVER_CORE, Sample, columns, hold, pace
from bench.paced import CONNECTIONS, Paced
from bench.servers import Server, database_here, missing
from tests.support.signing import KEY_ID, NameServer, key, record

ROUNDS: Final = int(os.environ.get("ROUNDS", "9"))
SECONDS: Final = int(os.environ.get("SECONDS_EACH", "2"))
ONLY: Final = os.environ.get("ONLY", "")
PACED_ROUNDS: Final = 3
PACED_SECONDS: Final = 2 * SECONDS
SIGNED_FIRST: Final = 8_000
"""Signed calls for a second of the round that warms up, of which none may be sent twice; then it is known better."""
LAST_WORDS: Final = 500
"""Failures that are answered before kill -9."""
BUSY: Final = 0.8
"""Share of its core above which the client of the latency is what is measured, rather than the server."""
PAGE: Final = ROOT / "docs/performance.md"
MARKS: Final = ("<!-- bench -->\n", "<!-- /bench -->\n")


@dataclass
class Result:
    """What was measured of a contestant."""

    samples: list[Sample] = field(default_factory=list)
    paced: list[Paced] = field(default_factory=list)
    errors: int = 0
    resident: int = 0
    left: str = ""
    wrong: str = ""

    def median(self, of: str) -> float | None:
        """The median over the rounds of a field of Sample."""
        each = [value for sample in self.samples if (value := getattr(sample, of)) is not None]
        return statistics.median(each) if each else None

    def times(self, other: "Result", of: str = "rate") -> float:
        """How many times as much as the other: the median over the rounds."""
        pairs = ([getattr(sample, of) for sample in one.samples] for one in (self, other))
        return float(statistics.median(map(truediv, *pairs)))


def measure(servers: Mapping[Contestant, Server], folder: Path) -> dict[Contestant, Result]:
    """Run all rounds."""
    found = {contestant: Result() for contestant in servers}
    signing = [contestant for contestant in servers if contestant.calls == SIGNED]
    file, most, fastest = folder / "signed", SIGNED_FIRST * SECONDS, 0.0
    for contestant in signing:  # so that it has the key: 64 at once that need it first are more than may wait for DNS
        write_signed(file, "first", 2)
        servers[contestant].answered += pace(servers[contestant].plan("first", 2, 1, file)).answered
    for turn in range(-1, ROUNDS):  # round -1 warms up
        if signing:
            write_signed(file, f"r{turn}", most)
        # There and back, so that a machine that gets slower does not always do so for the same ones.
        for contestant, server in list(servers.items())[:: -1 if turn % 2 else 1]:
            sample, load = server.round(f"r{turn}", SECONDS, file)
            found[contestant].errors += load.errors
            if contestant in signing and load.answered > most - CONNECTIONS:
                sys.exit(f"bench: {load.answered:,} signed calls were answered, only {most:,} had been signed")
            if turn >= 0:
                found[contestant].samples.append(sample)
            elif contestant in signing:
                fastest = max(load.rate, fastest)
        if turn < 0 and signing:
            most = int(fastest * 1.5 * SECONDS)
        print(f"round {turn + 1} of {ROUNDS}" if turn >= 0 else "warmed up", file=sys.stderr, flush=True)
    return found


def measure_latency(servers: Mapping[Contestant, Server], found: Mapping[Contestant, Result], folder: Path) -> None:
    """At half of what each can do, in turns."""
    file = folder / "signed"
    half = {contestant: (result.median("rate") or 0) / 2 for contestant, result in found.items()}
    for turn in range(PACED_ROUNDS):
        if rates := [half[contestant] for contestant in servers if contestant.calls == SIGNED]:
            write_signed(file, f"p{turn}", int(max(rates) * PACED_SECONDS) + 1)
        for contestant, server in servers.items():
            if contestant.calls:
                paced = pace(server.plan(f"p{turn}", half[contestant], PACED_SECONDS, file))
                server.answered += paced.answered
                found[contestant].paced.append(paced)
                found[contestant].errors += paced.errors + paced.unanswered
        print(f"latency, round {turn + 1} of {PACED_ROUNDS}", file=sys.stderr, flush=True)


def measure_end(server: Server, result: Result, signed: Path) -> None:
    """Memory after the load, whether all was counted, and what is left after kill -9."""
    result.resident = server.resident()
    if server.contestant.counts_at is None:
        return
    before = server.counted()
    # What was in flight when wrk hung up was counted, but its answer not read: at most one a connection and round.
    if not server.answered <= before <= server.answered + CONNECTIONS * (ROUNDS + 1):
        result.wrong = f"answered {server.answered:,}, shows {before:,.0f}"
    last = pace(server.plan("last", LAST_WORDS, 1, signed))
    assert (last.answered, last.errors) == (LAST_WORDS, 0), last
    shown = server.counted()
    server.kill()
    server.start()
    left = server.counted()
    if shown != before + LAST_WORDS:
        result.wrong = result.wrong or f"{LAST_WORDS} were answered, it shows {shown - before:,.0f} more"
    result.left = "all" if left == shown and not result.wrong else f"{left:,.0f} of {shown:,.0f}" if left else "nothing"
    if server.contestant.calls == PUSHES:
        result.left, result.wrong = f"{result.left}; keeps only the last push, does not count", ""


def row(contestant: Contestant, result: Result | None, ours: Result | None) -> list[str]:
    """A line of the table."""
    if result is None:
        return [contestant.name, "not run", *[""] * 8]
    ratios = [f"{result.times(ours, of):.2f}" if ours else "" for of in ("rate", "per_cpu")]
    figures = [
        "" if (value := result.median(of)) is None else f"{value:,.0f}"
        for of in ("rate", "per_cpu", "per_database_cpu")
    ]
    latency = [
        f"{statistics.median(getattr(one, of) for one in result.paced) * 1e3:.1f}" if result.paced else ""
        for of in ("p50", "p99")
    ]
    if any(one.busy > BUSY for one in result.paced):
        latency = [f"({text})" for text in latency]
    memory = f"{result.resident / 1e6:.0f}" if result.resident else ""
    return [contestant.name, *ratios, *figures, *latency, memory, result.left]


def table(found: Mapping[Contestant, Result], wanted: Sequence[Contestant]) -> str:
    """All of it, in Markdown."""
    head = [
        "",
        "throughput, relative",
        "throughput per CPU second, relative",
        "failures/s",
        "failures per CPU second",
        "failures per CPU second of PostgreSQL",
        "p50 ms",
        "p99 ms",
        "memory MB",
        "kept after kill -9",
    ]
    rows = [row(contestant, found.get(contestant), found.get(OURS)) for contestant in wanted]
    beside = ", together with the load" if DATABASE_CORE == LOAD_CORE else ""
    how = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores: server on core {SERVER_CORE}, load on core "
        f"{LOAD_CORE}, PostgreSQL on core {DATABASE_CORE}{beside}. Medians of {ROUNDS} rounds of {SECONDS} s. Relative "
        f"values compare with the {OURS.name.strip('*')} in the same round. Latency is measured at half of the "
        "contestant's own throughput, from the time the request was due. Values in parentheses are unreliable, because "
        "the measuring client was busy."
    )
    return f"{how}\n\n{columns([head, *rows])}\n"


def checklist(found: Mapping[Contestant, Result]) -> dict[str, str]:
    """Each target, and what came of it."""
    lines = {}
    for target in TARGETS:
        unit = "failures a second" if target.of == "rate" else "failures a CPU second"
        text = f"{target.one.name} >= {target.times} x {target.other.name}, {unit}".replace("**", "")
        if target.one in found and target.other in found:
            times = found[target.one].times(found[target.other], target.of)
            lines[text] = f"{'PASS' if times >= target.times else 'SHORT'} {times:.2f}"
        else:
            lines[text] = "NOT RUN"
    return lines


def run(wanted: Sequence[Contestant], stack: ExitStack) -> dict[Contestant, Result]:
    """Start all that can run here, and measure."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-")))
    name_server = stack.enter_context(NameServer())
    name_server.ttl = 86_400
    name_server.records[KEY_ID] = [record(key())]
    database = None
    if any(contestant.in_database for contestant in wanted) and (database := database_here()):
        stack.callback(database.end)
        hold([database.pid], DATABASE_CORE)
    servers = {}
    for number, contestant in enumerate(wanted):
        if lack := missing(contestant, database):
            print(f"not run: {contestant.name}: {lack}", file=sys.stderr)
            continue
        server = Server(contestant, number, folder, database, {"nameserver": name_server.address})
        stack.callback(server.stop)
        server.start()
        servers[contestant] = server
    found = measure(servers, folder)
    measure_latency(servers, found, folder)
    write_signed(folder / "signed", "last", LAST_WORDS)
    for contestant, server in servers.items():
        measure_end(server, found[contestant], folder / "signed")
    return found


def write(text: str, found: Mapping[Contestant, Result], targets: Mapping[str, str]) -> None:
    """Keep raw figures, and the table when it is a whole one."""
    raw = {contestant.name: asdict(result) for contestant, result in found.items()}
    (ROOT / "bench-results.json").write_text(json.dumps({"contestants": raw, "targets": targets}, indent=1))
    if not ONLY and ROUNDS >= 3:
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        PAGE.write_text(f"{before}{MARKS[0]}{text}{MARKS[1]}{rest.partition(MARKS[1])[2]}")


def main() -> None:
    """Run all and write."""
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            sys.exit(f"bench: {program} is needed (apt-get install wrk util-linux)")
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")
    wanted = [contestant for contestant in CONTESTANTS if re.search(ONLY, contestant.name)]
    with ExitStack() as stack:
        found = run(wanted, stack)
    text, targets = table(found, wanted), checklist(found)
    write(text, found, targets)
    print(text)
    for target, outcome in targets.items():
        print(f"{outcome:11} {target}")
    faults = {
        contestant.name: f"{result.errors} errors; {result.wrong}"
        for contestant, result in found.items()
        if result.errors or result.wrong
    }
    for name, fault in faults.items():
        print(f"WRONG: {name}: {fault}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
