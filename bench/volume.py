"""Measure a ledger with 100,000,000 deliveries: disk space, commits and pruning.

The ledger has the deliveries of five days, the first of which is too old. Then each round does what an exporter does
in a second: it prunes, and commits 1,000 new deliveries. Uses SQLite, and with ``--postgres`` also PostgreSQL. The
environment variables SIZE and ROUNDS override the number of deliveries and of rounds.
"""

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

import psycopg

from bench.measure import columns
from bench.servers import database_here
from exporter.classification.loops import DELIVERIES
from exporter.classification.series import Record, Series
from exporter.ledger.contract import DAY, Ledger
from exporter.ledger.factory import open_ledger
from exporter.ledger.url import storage

SIZE: Final = int(os.environ.get("SIZE", "100000000"))
ROUNDS: Final = int(os.environ.get("ROUNDS", "1000"))
DAYS: Final = 5
KEEP: Final = (DAYS - 2) * DAY
RATE: Final = 1_000
"""Deliveries per round."""
BATCH: Final = 64
PORTION: Final = 4_000_000
CACHE: Final = 6_000_000
"""KiB that SQLite may use to fill a ledger."""
SERIES: Final[tuple[Series, ...]] = (
    ("deliveries",),
    ("deliveries_by_provider", "gmail"),
    ("deliveries_by_tag", "other"),
)


def fill_sqlite(path: Path, today: int) -> None:
    """Insert the deliveries as fast as possible, in an order that leaves as much space in the pages as any other."""
    chance = Random(SIZE)  # noqa: S311 -- seeded
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE}"):
            file.execute(f"PRAGMA {setting}")
        for start in range(0, SIZE, PORTION):
            hashes = sorted(chance.randbytes(16) for _ in range(min(PORTION, SIZE - start)))
            day = today - DAYS + 1 + start * DAYS // SIZE
            file.execute("BEGIN")
            file.executemany("INSERT INTO delivery VALUES (?, ?)", ((hash_, day) for hash_ in hashes))
            file.execute("COMMIT")
        file.execute("PRAGMA journal_mode = WAL")


def fill_postgresql(url: str, today: int) -> None:
    """Insert the deliveries, and create the primary key afterwards, which is faster but leaves its pages fuller."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("SET maintenance_work_mem = '1GB'")
        database.execute("ALTER TABLE smtpeter_delivery DROP CONSTRAINT smtpeter_delivery_pkey")
        database.execute(
            "INSERT INTO smtpeter_delivery SELECT uuid_send(gen_random_uuid()), (%s + n * %s / %s)::integer"
            " FROM generate_series(0, %s::bigint) AS n",
            (today - DAYS + 1, DAYS, SIZE, SIZE - 1),
        )
        database.execute("ALTER TABLE smtpeter_delivery ADD PRIMARY KEY (hash)")
        database.execute("VACUUM ANALYZE smtpeter_delivery")
        database.execute("CHECKPOINT")


def commit(ledger: Ledger, now: float, number: int) -> list[float]:
    """Commit this many new deliveries in batches; return how long each commit took."""
    took = []
    for start in range(0, number, BATCH):
        batch = [Record(os.urandom(16), SERIES, DELIVERIES.number) for _ in range(min(BATCH, number - start))]
        began = time.perf_counter()
        ledger.record(batch, now=now, held=False)
        took.append(time.perf_counter() - began)
    return took


def prune(ledger: Ledger, now: float, keep: float) -> tuple[float, int]:
    """Prune once; return how long that took, and how many deliveries it deleted."""
    began = time.perf_counter()
    number = ledger.prune(now=now, keep_deliveries=keep)
    return time.perf_counter() - began, number


def milliseconds(what: str, took: list[float]) -> list[str]:
    """Return a row of the table."""
    cuts = statistics.quantiles(took, n=100)
    return [what, f"{len(took):,}", *(f"{seconds * 1e3:.1f}" for seconds in (cuts[49], cuts[98], max(took)))]


def measure(url: str, fill: Callable[[int], None]) -> None:
    """Fill a new ledger, and print what its size and its rounds are."""
    now = time.time()
    open_ledger(storage(url), now=now).close()
    began = time.perf_counter()
    fill(int(now // DAY))
    filled = time.perf_counter() - began
    with closing(open_ledger(storage(url), now=now)) as ledger:
        full = ledger.size()
        print(f"{SIZE:,} deliveries in {full / 2**30:.2f} GiB, {full / SIZE:.1f} bytes each; filled in {filled:.0f} s")
        idle = [prune(ledger, now, DAYS * DAY)[0] for _ in range(ROUNDS // 5)]
        pruning: list[float] = []
        commits: list[float] = []
        deleted = 0
        for _ in range(ROUNDS):
            took, number = prune(ledger, now, KEEP)
            pruning.append(took)
            deleted += number
            commits += commit(ledger, now, RATE)
        rows = [
            ["", "number", "p50 ms", "p99 ms", "max ms"],
            milliseconds("prune, nothing to delete", idle),
            milliseconds("prune", pruning),
            milliseconds("prune, last tenth", pruning[-ROUNDS // 10 :]),
            milliseconds(f"commit of {BATCH} deliveries", commits),
        ]
        print(columns(rows))
        print(f"deleted {deleted:,}, recorded {ROUNDS * RATE:,}; now {ledger.size() / 2**30:.2f} GiB\n", flush=True)


def main() -> None:
    """Measure each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="also measure PostgreSQL")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as directory:
        path = Path(directory, "ledger.db")
        print("SQLite\n")
        measure(f"sqlite:///{path}", lambda today: fill_sqlite(path, today))
    if arguments.postgres and (database := database_here()):
        try:
            print("PostgreSQL\n")
            url = database.create("volume")
            measure(url, lambda today: fill_postgresql(url, today))
        finally:
            database.end()


if __name__ == "__main__":
    main()
