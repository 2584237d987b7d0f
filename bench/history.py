"""Scrape, start, memory and disk with 10,000 and with 2,000,000 failures in the ledger, as ratios."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from exporter.labels import STATES
from exporter.ledger import Record
from exporter.sqlite import SqliteLedger

SIZES = (10_000, 2_000_000)
STARTS = 7
SCRAPES = 50
SERIES = [("failures", state, "5xx", f"5.1.{detail}") for state in sorted(STATES)[:10] for detail in range(5)]


def fill(path: Path, count: int) -> float:
    """Record so many failures; bytes on disk for each."""
    ledger = SqliteLedger(path, now=time.time())
    for start in range(0, count, 10_000):
        batch = [Record(os.urandom(16), (SERIES[number % len(SERIES)],)) for number in range(start, start + 10_000)]
        ledger.record(batch, now=time.time(), held=False)
    ledger.close()
    return path.stat().st_size / count


def measure(path: Path) -> tuple[float, float, float]:
    """Start an exporter on the ledger: seconds until it is ready, median seconds of a scrape, resident bytes."""
    began = time.perf_counter()
    exporter = subprocess.Popen(
        [
            *(sys.executable, "-m", "exporter", "serve", "--signature.mode", "off"),
            *("--webhook.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.1:0"),
            *("--storage.url", f"sqlite:///{path}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert exporter.stderr
    line = next(line for line in exporter.stderr if "msg=ready" in line)
    started = time.perf_counter() - began
    url = next(word for word in line.split() if word.startswith("metrics=")).removeprefix("metrics=")
    scrapes = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        scrapes.append(time.perf_counter() - began)
    resident = next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes"))
    exporter.terminate()
    exporter.communicate()
    return started, statistics.median(scrapes), float(resident.split()[1])


def main() -> None:
    """Fill, measure in turns, print."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as folder:
        paths = {size: Path(folder) / f"{size}.db" for size in SIZES}
        disk = {size: fill(path, size) for size, path in paths.items()}
        rounds = [{size: measure(path) for size, path in paths.items()} for _ in range(STARTS)]
    small, large = SIZES
    for place, (what, unit, factor) in enumerate((("start", "ms", 1e3), ("scrape", "ms", 1e3), ("memory", "MB", 1e-6))):
        few, many = (statistics.median(each[size][place] for each in rounds) for size in SIZES)
        print(
            f"{what:8} {few * factor:8.2f} {unit} at {small:,}, {many * factor:8.2f} {unit} at {large:,}: "
            f"ratio {many / few:.2f}"
        )
    print(f"disk     {disk[small]:8.1f} bytes a failure at {small:,}, {disk[large]:8.1f} at {large:,}")


if __name__ == "__main__":
    main()
