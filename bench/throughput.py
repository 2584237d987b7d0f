"""Failures a second: the exporter beside the same without a ledger, and beside what one would write by hand.

The server is held on one core and the load (wrk, 64 connections kept open, form bodies of some 250 bytes, each a
failure of its own) on another; PostgreSQL, which waits for the disk, runs where the system puts it. Contestants take
turns; what is printed are medians over the rounds, of the rates and of the ratios within a round.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from operator import truediv
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.postgres import Postgres

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("ROUNDS", "9"))
SECONDS = int(os.environ.get("SECONDS_EACH", "2"))
CONNECTIONS = 64
FIRST_PORT = 18_125

EXPORTER = [
    *(sys.executable, "-m", "exporter", "serve", "--signature.mode", "off", "--log.level", "error"),
    *("--webhook.listen-address", "127.0.0.1:{port}", "--web.listen-address", "127.0.0.1:0"),
    *("--metrics.birth-hold", "0s"),
]
PEERS = [sys.executable, str(HERE / "peers.py")]
CONTESTANTS = {
    "(a) Falcon on waitress, reads the body": [*PEERS, "body", "{port}"],
    "(b) the same, counting in memory": [*PEERS, "memory", "{port}"],
    "(c) Flask on gunicorn threads, in memory": [
        *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "64", "--keep-alive", "60"),
        *("--log-level", "error", "--chdir", str(HERE), "--bind", "127.0.0.1:{port}", "peers:flask_app()"),
    ],
    "(d) the exporter, durable, each once": [
        *(*EXPORTER, "--web.listen-address", "127.0.0.1:18124", "--storage.url", "sqlite:///{folder}/ledger.db"),
    ],
    "(e) as (b), on the exporter's own listener": [*PEERS, "memory-tuned", "{port}"],
    "(f) as (d), on granian": [*EXPORTER, "--webhook.server", "granian", "--storage.url", "sqlite:///{folder}/f.db"],
    "(g) as (d), in PostgreSQL": [*EXPORTER, "--storage.url", "{postgres}"],
}


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


def load(port: int, run: str) -> tuple[int, float, int]:
    """Put load on a port: answers, answers a second, errors."""
    done = subprocess.run(
        [
            *("taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(HERE / "post.lua")),
            f"http://127.0.0.1:{port}/",
        ],
        env={**os.environ, "RUN": run},
        check=True,
        capture_output=True,
        text=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, microseconds, errors = map(int, line.split()[1:])
    return requests, requests * 1e6 / microseconds, errors


def counted() -> float:
    """Return the sum of the exporter's own counter."""
    with urllib.request.urlopen("http://127.0.0.1:18124/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return sum(
            sample.value for family in families for sample in family.samples if family.name == "smtpeter_failures"
        )


def measure(folder: str, database: str) -> tuple[dict[str, list[float]], int, int, float]:
    """Run all rounds: rates by contestant; what (d) answered; errors of all; what (d) counted."""
    servers = []
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    answered = failed = 0
    try:
        for port, command in enumerate(CONTESTANTS.values(), start=FIRST_PORT):
            words = [word.format(port=port, folder=folder, postgres=database) for word in command]
            servers.append(subprocess.Popen(["taskset", "-c", "0", *words]))
            while not answers(port):
                if servers[-1].poll() is not None:
                    sys.exit(f"bench: {' '.join(words)} ended with {servers[-1].returncode}")
                time.sleep(0.1)
        for turn in range(-1, ROUNDS):  # round -1 warms up
            for port, name in enumerate(CONTESTANTS, start=FIRST_PORT):
                requests, rate, errors = load(port, f"r{turn}")
                failed += errors
                answered += requests * name.startswith("(d)")
                if turn >= 0:
                    rates[name].append(rate)
        return rates, answered, failed, counted()
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def main() -> None:
    """Run all rounds and print."""
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            sys.exit(f"bench: {program} is needed (apt-get install wrk util-linux)")
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as folder:
        database = Postgres(durable=True)
        try:
            rates, answered, failed, in_ledger = measure(folder, database.url())
        finally:
            database.end()
    by_letter = {name[1]: each for name, each in rates.items()}
    for name, each in rates.items():
        print(f"{name:43} {statistics.median(each):7,.0f}/s   rounds {' '.join(f'{rate:,.0f}' for rate in each)}")
    for one, other in ("db", "dc", "da", "de", "fd", "gd"):
        ratio = statistics.median(map(truediv, by_letter[one], by_letter[other]))
        print(f"({one}) / ({other}) = {ratio:.2f}")
    # What was in flight when wrk hung up was counted, but its answer not read: at most one a connection and round.
    right = answered <= in_ledger <= answered + CONNECTIONS * (ROUNDS + 1)
    print(
        f"(d) answered {answered:,}, counted {in_ledger:,.0f}: {'right' if right else 'WRONG'}; errors of all: {failed}"
    )
    sys.exit(0 if right and not failed else 1)


if __name__ == "__main__":
    main()
