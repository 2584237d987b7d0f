"""Kill, hang, cut the power and fill the disk, again and again, and compare all counters with what was answered 200.

Prints a table in Markdown. Exits with 1 if a failure that was answered 200 was lost, or if one was counted twice.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.full_disk import fill_again_and_again
from bench.hangs import Hangs, hang_database, hang_disk
from bench.kills import Kills, Verdict, kill_again_and_again
from bench.measure import columns
from bench.power_cuts import cut_power, record_run
from bench.servers import database_here


class Row(NamedTuple):
    """A row of the table, without the problems."""

    what: str
    times: int
    sent: int
    unanswered: str
    verdict: Verdict
    problems: list[str]


def _worst(verdicts: list[Verdict]) -> Verdict:
    return Verdict(max(each.lost for each in verdicts), max(each.twice for each in verdicts))


def _kills(wanted: argparse.Namespace) -> Iterator[Row]:
    def row(what: str, kills: Kills) -> Row:
        return Row(what, wanted.rounds, kills.sent, f"{kills.unanswered:,}", _worst(kills.verdicts), [])

    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
        yield row("kill -9, SQLite", kill_again_and_again(Path(directory), wanted.rounds, wanted.seed))
    if database := database_here():
        try:
            with tempfile.TemporaryDirectory() as directory:
                kills = kill_again_and_again(Path(directory), wanted.rounds, wanted.seed, database)
                yield row("kill -9, PostgreSQL", kills)
        finally:
            database.end()


def _hangs(wanted: argparse.Namespace) -> Iterator[Row]:
    def row(what: str, hangs: Hangs) -> Row:
        return Row(what, wanted.hangs, hangs.sent, f"{hangs.rejected:,}", _worst(hangs.verdicts), hangs.problems)

    if hangs := hang_disk(wanted.hangs, wanted.seed):
        yield row("frozen file system, SQLite", hangs)
    else:
        print("chaos: hangs, SQLite: skipped: needs fsfreeze, and the right to mount an ext4 (root)", file=sys.stderr)
    if database := database_here():
        try:
            yield row("suspended server, PostgreSQL", hang_database(database, wanted.hangs, wanted.seed))
        finally:
            database.end()


def _cuts(wanted: argparse.Namespace) -> Iterator[Row]:
    if not shutil.which("strace"):
        print("chaos: power cuts: skipped: needs strace, which is not on PATH", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        recording = record_run(Path(directory), wanted.failures)
    cuts = cut_power(recording, wanted.points, wanted.seed)
    what = f"power cut, SQLite; {cuts.during_checkpoints:,} of them during a checkpoint"
    yield Row(what, wanted.points, recording.sent, "", cuts.verdict, cuts.problems)


def _fills(wanted: argparse.Namespace) -> Iterator[Row]:
    for kind, what in (("space", "full disk, SQLite"), ("inodes", "no free inodes, SQLite")):
        fills = fill_again_and_again(kind, wanted.fills, wanted.seed)
        if fills is None:
            print(f"chaos: {what}: skipped: needs unshare, and the right to mount a tmpfs (root)", file=sys.stderr)
            continue
        yield Row(what, wanted.fills, fills.sent, f"{fills.rejected:,}", _worst(fills.verdicts), fills.problems)


PARTS: Final[dict[str, Callable[[argparse.Namespace], Iterator[Row]]]] = {
    "kills": _kills,
    "hangs": _hangs,
    "power": _cuts,
    "disk": _fills,
}


def main() -> None:
    """Run the parts and print the table."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=130, help="kills per engine (default: %(default)s)")
    parser.add_argument("--hangs", type=int, default=6, help="hangs per engine (default: %(default)s)")
    parser.add_argument("--points", type=int, default=1_250, help="power cuts (default: %(default)s)")
    parser.add_argument("--failures", type=int, default=12_000, help="sent before the cuts (default: %(default)s)")
    parser.add_argument("--fills", type=int, default=20, help="times that the disk is full (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all that is random (default: %(default)s)")
    wanted = parser.parse_args()
    if unknown := set(wanted.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)}; the parts are {', '.join(PARTS)}")
    print(columns([["", "times", "failures sent", "not answered 200 at first", "lost", "counted twice"]]))
    problems: list[str] = []
    for part in wanted.parts or PARTS:
        for row in PARTS[part](wanted):
            numbers = (f"{row.times:,}", f"{row.sent:,}", row.unanswered, *(f"{count:,}" for count in row.verdict))
            print(f"| {row.what} | {' | '.join(numbers)} |", flush=True)
            problems += [f"{row.what}: {problem}" for problem in row.problems or map(str, filter(any, [row.verdict]))]
    for problem in problems[:20]:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
