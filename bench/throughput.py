"""Compare the exporter with alternatives: throughput, CPU time, latency, memory, and what is left after ``kill -9``.

The server is pinned to one core and the load to another. The load is wrk with 64 persistent connections, which posts
forms of about 250 bytes, each a different failure. The contestants take turns. The table has medians over the rounds,
both of the values and of the ratios within a round.

Updates the table in docs/performance.md, and writes bench-results.json. ROUNDS (9) and SECONDS_EACH (2) set the number
and duration of the rounds; ONLY, a regular expression, selects contestants by name. With ONLY, or with fewer than three
rounds, the page is not updated.
"""

import json
import os
import platform
import re
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from operator import truediv
from pathlib import Path
from typing import Final

from bench.contestants import CONTESTANTS, OURS, TARGETS, Contestant
from bench.measure import DATABASE_CORE, LOAD_CORE, ROOT, SERVER_CORE, Sample, check_machine, columns, pace, pin
from bench.paced import CONNECTIONS, Paced
from bench.requests import PUSHES, SIGNED, write_signed
from bench.servers import Server, database_here, missing
from tests.support.signing import KEY_ID, NameServer, key, record

ROUNDS: Final = int(os.environ.get("ROUNDS", "9"))
SECONDS: Final = int(os.environ.get("SECONDS_EACH", "2"))
ONLY: Final = os.environ.get("ONLY", "")
PACED_ROUNDS: Final = 3
PACED_SECONDS: Final = 2 * SECONDS
SIGNED_FIRST: Final = 8_000
"""Signed requests per second of the warm-up, which shows how many are needed later. None may be sent twice."""
BEFORE_KILL: Final = 500
"""Number of failures that are answered just before kill -9."""
BUSY: Final = 0.8
"""The client's share of its core above which the latency is its own rather than the server's."""
PAGE: Final = ROOT / "docs/performance.md"
MARKERS: Final = ("<!-- bench -->\n", "<!-- /bench -->\n")


@dataclass
class Result:
    """The measurements of a contestant."""

    samples: list[Sample] = field(default_factory=list)
    paced: list[Paced] = field(default_factory=list)
    errors: int = 0
    resident: int = 0
    left: str = ""
    wrong: str = ""

    def median(self, of: str) -> float | None:
        """Return the median of a field of Sample over the rounds, or None if no round has it."""
        each = [value for sample in self.samples if (value := getattr(sample, of)) is not None]
        return statistics.median(each) if each else None

    def ratio_to(self, other: "Result", of: str = "rate") -> float:
        """Return the median ratio of a field of Sample to the other contestant's in the same round."""
        pairs = ([getattr(sample, of) for sample in result.samples] for result in (self, other))
        return float(statistics.median(map(truediv, *pairs)))


def measure(servers: Mapping[Contestant, Server], directory: Path) -> dict[Contestant, Result]:
    """Run all rounds."""
    found = {contestant: Result() for contestant in servers}
    signing = [contestant for contestant in servers if contestant.requests == SIGNED]
    file, most, fastest = directory / "signed", SIGNED_FIRST * SECONDS, 0.0
    for contestant in signing:  # caches the key, so that no round measures a lookup
        write_signed(file, "first", 2)
        servers[contestant].answered += pace(servers[contestant].plan("first", 2, 1, file)).answered
    for turn in range(-1, ROUNDS):  # round -1 warms up
        if signing:
            write_signed(file, f"r{turn}", most)
        # Alternate the order, so that a machine that slows down does not always slow down for the same contestants.
        for contestant, server in list(servers.items())[:: -1 if turn % 2 else 1]:
            sample, load = server.round(f"r{turn}", SECONDS, file)
            found[contestant].errors += load.errors
            if contestant in signing and load.answered > most - CONNECTIONS:
                sys.exit(f"bench: {load.answered:,} signed requests were answered, but only {most:,} were signed")
            if turn >= 0:
                found[contestant].samples.append(sample)
            elif contestant in signing:
                fastest = max(load.rate, fastest)
        if turn < 0 and signing:
            most = int(fastest * 1.5 * SECONDS)
        print(f"round {turn + 1} of {ROUNDS} done" if turn >= 0 else "warm-up done", file=sys.stderr, flush=True)
    return found


def measure_latency(servers: Mapping[Contestant, Server], found: Mapping[Contestant, Result], directory: Path) -> None:
    """Measure the latency of each contestant at half of its throughput, in turns."""
    file = directory / "signed"
    half = {contestant: (result.median("rate") or 0) / 2 for contestant, result in found.items()}
    for turn in range(PACED_ROUNDS):
        if rates := [half[contestant] for contestant in servers if contestant.requests == SIGNED]:
            write_signed(file, f"p{turn}", int(max(rates) * PACED_SECONDS) + 1)
        for contestant, server in servers.items():
            if contestant.requests:
                paced = pace(server.plan(f"p{turn}", half[contestant], PACED_SECONDS, file))
                server.answered += paced.answered
                found[contestant].paced.append(paced)
                found[contestant].errors += paced.errors + paced.unanswered
        print(f"latency: round {turn + 1} of {PACED_ROUNDS} done", file=sys.stderr, flush=True)


def measure_end(server: Server, result: Result, signed: Path) -> None:
    """Measure memory after the load; check that all was counted, and what is left after ``kill -9``."""
    result.resident = server.resident()
    if server.contestant.counts_at is None:
        return
    before = server.counted()
    # wrk does not read the answers to its last requests, but they are counted: at most one per connection and round.
    if not server.answered <= before <= server.answered + CONNECTIONS * (ROUNDS + 1):
        result.wrong = f"answered {server.answered:,} requests, but counted {before:,.0f}"
    last = pace(server.plan("last", BEFORE_KILL, 1, signed))
    assert (last.answered, last.errors) == (BEFORE_KILL, 0), last
    shown = server.counted()
    server.kill()
    server.start()
    left = server.counted()
    if shown != before + BEFORE_KILL:
        result.wrong = result.wrong or f"answered {BEFORE_KILL} more requests, but counted {shown - before:,.0f}"
    result.left = "all" if left == shown and not result.wrong else f"{left:,.0f} of {shown:,.0f}" if left else "nothing"
    if server.contestant.requests == PUSHES:
        result.left, result.wrong = f"{result.left}; keeps only the last push, does not count", ""


def row(contestant: Contestant, result: Result | None, ours: Result | None) -> list[str]:
    """Return a row of the table."""
    if result is None:
        return [contestant.name, "not run", *[""] * 8]
    ratios = [f"{result.ratio_to(ours, of):.2f}" if ours else "" for of in ("rate", "per_cpu")]
    figures = [
        "" if (value := result.median(of)) is None else f"{value:,.0f}"
        for of in ("rate", "per_cpu", "per_database_cpu")
    ]
    latency = [
        f"{statistics.median(getattr(paced, of) for paced in result.paced) * 1e3:.1f}" if result.paced else ""
        for of in ("p50", "p99")
    ]
    if any(paced.busy > BUSY for paced in result.paced):
        latency = [f"({text})" for text in latency]
    memory = f"{result.resident / 1e6:.0f}" if result.resident else ""
    return [contestant.name, *ratios, *figures, *latency, memory, result.left]


def table(found: Mapping[Contestant, Result], wanted: Sequence[Contestant]) -> str:
    """Return the conditions and the table, in Markdown."""
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
    """Return the outcome of each target."""
    lines = {}
    for target in TARGETS:
        unit = "failures per second" if target.of == "rate" else "failures per CPU second"
        text = f"{target.one.name} >= {target.ratio} x {target.other.name}, {unit}".replace("**", "")
        if target.one in found and target.other in found:
            ratio = found[target.one].ratio_to(found[target.other], target.of)
            lines[text] = f"{'PASS' if ratio >= target.ratio else 'FAIL'} {ratio:.2f}"
        else:
            lines[text] = "NOT RUN"
    return lines


def run(wanted: Sequence[Contestant], stack: ExitStack) -> dict[Contestant, Result]:
    """Start all contestants that can run here, and measure them."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-")))
    name_server = stack.enter_context(NameServer())
    name_server.ttl = 86_400
    name_server.records[KEY_ID] = [record(key())]
    database = None
    if any(contestant.in_database for contestant in wanted) and (database := database_here()):
        stack.callback(database.end)
        pin([database.pid], DATABASE_CORE)
    servers = {}
    for number, contestant in enumerate(wanted):
        if reason := missing(contestant, database):
            print(f"skipped: {contestant.name}: {reason}", file=sys.stderr)
            continue
        server = Server(contestant, number, directory, database, {"nameserver": name_server.address})
        stack.callback(server.stop)
        server.start()
        servers[contestant] = server
    found = measure(servers, directory)
    measure_latency(servers, found, directory)
    write_signed(directory / "signed", "last", BEFORE_KILL)
    for contestant, server in servers.items():
        measure_end(server, found[contestant], directory / "signed")
    return found


def write(text: str, found: Mapping[Contestant, Result], targets: Mapping[str, str]) -> None:
    """Write the raw values, and update the page if all contestants ran in enough rounds."""
    raw = {contestant.name: asdict(result) for contestant, result in found.items()}
    (ROOT / "bench-results.json").write_text(json.dumps({"contestants": raw, "targets": targets}, indent=1))
    if not ONLY and ROUNDS >= 3:
        before, _, rest = PAGE.read_text().partition(MARKERS[0])
        PAGE.write_text(f"{before}{MARKERS[0]}{text}{MARKERS[1]}{rest.partition(MARKERS[1])[2]}")


def main() -> None:
    """Run the benchmark, write the results and print them."""
    check_machine()
    wanted = [contestant for contestant in CONTESTANTS if re.search(ONLY, contestant.name)]
    with ExitStack() as stack:
        found = run(wanted, stack)
    text, targets = table(found, wanted), checklist(found)
    write(text, found, targets)
    print(text)
    for target, outcome in targets.items():
        print(f"{outcome:11} {target}")
    problems = {
        contestant.name: f"{result.errors} errors; {result.wrong}"
        for contestant, result in found.items()
        if result.errors or result.wrong
    }
    for name, problem in problems.items():
        print(f"WRONG: {name}: {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
