"""Run the exporter with Prometheus, Alertmanager and simulated traffic that contains a spike, on loopback.

Fills Prometheus and the ledger with several days of simulated history first. If Grafana is installed, it runs too, with
the dashboards. Ctrl-C stops everything and deletes all data.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, NamedTuple

import yaml

from deploy.demo.alertmanager import Alertmanager, example
from deploy.demo.past import RULES, before, fill, load
from deploy.demo.running import MissingProgramError, Prometheus, environment, exporter
from exporter.classification.loops import LOOPS
from exporter.classification.reason import REASONS
from exporter.simulator.mailings import VOLUME, mailing_at
from exporter.simulator.traffic import Traffic

ROOT: Final = Path(__file__).parents[2]
JOB: Final = "smtpeter"
ALL_LOOPS: Final = ",".join(LOOPS)
SEED: Final = 1
DELIVERIES_PER_FAILURE: Final = 50


class Addresses(NamedTuple):
    """The addresses that the programs listen on."""

    webhook: str
    metrics: str
    prometheus: str
    alertmanager: str
    grafana: str


def addresses(offset: int) -> Addresses:
    """Return the default addresses on loopback, with ``offset`` added to each port; exit if one of them is in use."""
    ports = [port + offset for port in (10_125, 10_126, 9_090, 9_093, 3_000)]
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except (OSError, OverflowError) as error:
                sys.exit(
                    f"demo: cannot listen on 127.0.0.1:{port}: {error}. Stop the program that uses the port, or use "
                    "other ports: make demo ARGS='--offset 10000'"
                )
    return Addresses(*(f"127.0.0.1:{port}" for port in ports))


def programs() -> tuple[str, str]:
    """Return the paths of Prometheus and Alertmanager; exit if one is missing."""
    found = [shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")]
    prometheus, alertmanager = found[0], found[1] or shutil.which("alertmanager")
    if not prometheus or not alertmanager or not shutil.which("promtool"):
        sys.exit(
            "demo: needs prometheus, promtool and alertmanager on PATH. On Debian: "
            "apt-get install prometheus prometheus-alertmanager"
        )
    return prometheus, alertmanager


@contextmanager
def grafana(directory: Path, at: Addresses) -> Iterator[str]:
    """Run Grafana with the dashboards, if it is installed; yield its URL, or a text that says it is not installed."""
    program = shutil.which("grafana-server")
    if not program:
        yield "not installed (no grafana-server on PATH). The dashboards are in grafana/."
        return
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": f"http://{at.prometheus}"}
    provider = {"name": "smtpeter", "type": "file", "options": {"path": str(ROOT / "grafana")}}
    for kind, content in (("datasources", source), ("providers", provider)):
        place = directory / "provisioning" / {"datasources": "datasources", "providers": "dashboards"}[kind]
        place.mkdir(parents=True)
        (place / "smtpeter.yaml").write_text(yaml.safe_dump({"apiVersion": 1, kind: [content]}))
    host, _, port = at.grafana.partition(":")
    settings = {
        "GF_PATHS_DATA": str(directory / "grafana"),
        "GF_PATHS_LOGS": str(directory / "grafana"),
        "GF_PATHS_PROVISIONING": str(directory / "provisioning"),
        "GF_SERVER_HTTP_ADDR": host,
        "GF_SERVER_HTTP_PORT": port,
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }
    with (directory / "grafana.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--homepath", "/usr/share/grafana"], env=os.environ | settings, stdout=log, stderr=log
        )
    try:
        yield f"http://{at.grafana}/d/smtpeter-failures"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def simulate(url: str, per_day: int, reason: str, after: str) -> Iterator[None]:
    """Send simulated traffic in the background."""
    command = [sys.executable, "-m", "exporter", "simulate", url]
    flags = ["--loops", ALL_LOOPS, "--failures-per-day", str(per_day), "--spike", reason, "--spike-after", after]
    flags += ["--seed", str(SEED), "--deliveries-per-failure", str(DELIVERIES_PER_FAILURE)]
    process = subprocess.Popen([*command, *flags], env=environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def delivered(traffic: Traffic, at: float) -> float:
    """Return deliveries per second at a time."""
    return DELIVERIES_PER_FAILURE * traffic.usual(at) * (VOLUME if mailing_at(at, SEED) else 1)


def watch(alertmanager: Alertmanager, until: float, stopping: SimpleQueue[None]) -> None:
    """Print each alert when it starts firing and when it is resolved, until ``until`` or a signal."""
    firing: set[tuple[str, str, str]] = set()
    while time.monotonic() < until:
        with suppress(Empty):
            stopping.get(timeout=1)
            return
        now = {
            (labels["alertname"], labels.get("severity", ""), labels.get("reason", labels.get("extended", "")))
            for labels, _ in alertmanager.statuses(JOB)
        }
        for status, alerts in (("firing", now - firing), ("resolved", firing - now)):
            for alert in sorted(alerts):
                print(f"{time.strftime('%H:%M:%S')} {status}: {' '.join(alert).strip()}", flush=True)
        firing = now


def main() -> None:
    """Start everything, print the addresses, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--days",
        type=int,
        default=8,
        choices=range(1, 31),
        metavar="DAYS",
        help="days of simulated history (default: %(default)s)",
    )
    parser.add_argument(
        "--failures-per-day",
        type=int,
        default=20_000,
        choices=range(1, 1_000_001),
        metavar="NUMBER",
        help="size of the simulated traffic (default: %(default)s)",
    )
    parser.add_argument(
        "--spike",
        default="blocked",
        choices=[*REASONS, "all"],
        metavar="REASON",
        help="reason of the spike (default: %(default)s)",
    )
    parser.add_argument("--spike-after", default="1m", help="time until the spike starts (default: %(default)s)")
    parser.add_argument("--offset", type=int, default=0, help="number to add to all ports (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this many seconds")
    wanted = parser.parse_args()
    prometheus, alertmanager = programs()
    at = addresses(wanted.offset)
    stopping: SimpleQueue[None] = SimpleQueue()  # safe to use in a signal handler, unlike an Event

    history_is_made = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not history_is_made:
            print("Stopping ...", flush=True)
            sys.exit(0)
        stopping.put(None)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with tempfile.TemporaryDirectory(prefix="smtpeter-demo-") as name, ExitStack() as stack:
        directory = Path(name)
        days = f"{wanted.days} day{'s' if wanted.days > 1 else ''}"
        print(f"Simulating {days} of history. This may take a minute or two ...", flush=True)
        end = int(time.time()) // 60 * 60
        begin = end - wanted.days * 86_400
        # Deliveries are only counted, because there are millions of them.
        traffic = Traffic(wanted.failures_per_day, seed=SEED, repeats=0, loops=LOOPS, deliveries_per_failure=0)
        history = {JOB: before(end, traffic.requests(begin))}
        totals = load(
            directory / "data", history, begin, end, instance=at.metrics, deliveries=lambda at: delivered(traffic, at)
        )
        fill(directory / "ledger.db", totals[JOB], end)
        history_is_made = True
        alerts = Alertmanager(alertmanager, directory, example(), address=at.alertmanager)
        stack.callback(alerts.stop)
        rules = [RULES / "rules.yaml", RULES / "alerts.yaml"]
        monitoring = Prometheus(
            prometheus, directory, address=at.prometheus, interval=5, rules=rules, alertmanager=alerts.address
        )
        stack.callback(monitoring.stop)
        where = stack.enter_context(grafana(directory, at))
        listen = [
            "--webhook.listen-address",
            at.webhook,
            "--web.listen-address",
            at.metrics,
            "--metrics.birth-hold",
            "60s",
            "--webhook.loops",
            ALL_LOOPS,
        ]
        stack.enter_context(exporter(directory, *listen, measured=False))
        monitoring.add(JOB, at.metrics)
        stack.enter_context(
            simulate(f"http://{at.webhook}/failures", wanted.failures_per_day, wanted.spike, wanted.spike_after)
        )
        print(
            f"  Exporter      http://{at.metrics}/metrics\n"
            f"  Prometheus    http://{at.prometheus}/\n"
            f"  Alertmanager  http://{at.alertmanager}/\n"
            f"  Grafana       {where}\n"
            f"The traffic has {wanted.failures_per_day:,} failures a day and {DELIVERIES_PER_FAILURE} times as many "
            f"deliveries. A spike of {wanted.spike} starts after "
            f"{wanted.spike_after}.\nAlerts are also printed here. Press Ctrl-C to stop.",
            flush=True,
        )
        watch(alerts, time.monotonic() + wanted.seconds, stopping)
        print("Stopping ...", flush=True)


if __name__ == "__main__":
    try:
        main()
    except MissingProgramError as missing:
        sys.exit(f"demo: {missing}")
