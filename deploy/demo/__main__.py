"""``make demo``: watch dashboards and alerts at work, on loopback, with simulated traffic and a spike in it.

Starts the exporter, and Prometheus, Alertmanager and (where it is installed) Grafana with the files that are shipped,
after a past of some days was made for them. Ctrl-C stops and removes everything.
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
from exporter.classification.reason import REASONS
from exporter.simulator.traffic import Traffic

ROOT: Final = Path(__file__).parents[2]
JOB: Final = "smtpeter"


class Addresses(NamedTuple):
    """Where everything listens."""

    webhook: str
    metrics: str
    prometheus: str
    alertmanager: str
    grafana: str


def addresses(offset: int) -> Addresses:
    """The usual ones on loopback, their ports raised by ``offset``; exits with a line that says which is taken."""
    ports = [port + offset for port in (10_125, 10_126, 9_090, 9_093, 3_000)]
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except (OSError, OverflowError) as error:
                sys.exit(
                    f"demo: 127.0.0.1:{port}: {error}: stop what listens there, or make demo ARGS='--offset 10000'"
                )
    return Addresses(*(f"127.0.0.1:{port}" for port in ports))


def programs() -> tuple[str, str]:
    """Where Prometheus and Alertmanager are; exits when they are not there."""
    found = [shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")]
    prometheus, alertmanager = found[0], found[1] or shutil.which("alertmanager")
    if not prometheus or not alertmanager or not shutil.which("promtool"):
        sys.exit(
            "demo: needs prometheus, promtool and alertmanager on PATH; on Debian: "
            "apt-get install prometheus prometheus-alertmanager"
        )
    return prometheus, alertmanager


@contextmanager
def grafana(folder: Path, at: Addresses) -> Iterator[str]:
    """Grafana with the dashboards, if it is installed; what to tell of it."""
    program = shutil.which("grafana-server")
    if not program:
        yield "not installed (no grafana-server on PATH); the dashboards are in the folder grafana/"
        return
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": f"http://{at.prometheus}"}
    provider = {"name": "smtpeter", "type": "file", "options": {"path": str(ROOT / "grafana")}}
    for kind, content in (("datasources", source), ("providers", provider)):
        place = folder / "provisioning" / {"datasources": "datasources", "providers": "dashboards"}[kind]
        place.mkdir(parents=True)
        (place / "smtpeter.yaml").write_text(yaml.safe_dump({"apiVersion": 1, kind: [content]}))
    host, _, port = at.grafana.partition(":")
    settings = {
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana"),
        "GF_PATHS_PROVISIONING": str(folder / "provisioning"),
        "GF_SERVER_HTTP_ADDR": host,
        "GF_SERVER_HTTP_PORT": port,
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }
    with (folder / "grafana.log").open("wb") as log:
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
    """Send simulated traffic meanwhile."""
    command = [sys.executable, "-m", "exporter", "simulate", url]
    flags = ["--failures-per-day", str(per_day), "--spike", reason, "--spike-after", after]
    process = subprocess.Popen([*command, *flags], env=environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def watch(alertmanager: Alertmanager, until: float, stopping: SimpleQueue[None]) -> None:
    """Print each alert when it begins and ends, until told to stop."""
    firing: set[tuple[str, str, str]] = set()
    while time.monotonic() < until:
        with suppress(Empty):
            stopping.get(timeout=1)
            return
        now = {
            (labels["alertname"], labels.get("severity", ""), labels.get("reason", labels.get("extended", "")))
            for labels, _ in alertmanager.statuses(JOB)
        }
        for words, alerts in (("firing", now - firing), ("over", firing - now)):
            for alert in sorted(alerts):
                print(f"{time.strftime('%H:%M:%S')} {words}: {' '.join(alert)}", flush=True)
        firing = now


def main() -> None:
    """Start everything, print where to look, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--days",
        type=int,
        default=8,
        choices=range(1, 31),
        metavar="DAYS",
        help="how much past to make (default: %(default)s)",
    )
    parser.add_argument(
        "--failures-per-day",
        type=int,
        default=20_000,
        choices=range(1, 1_000_001),
        metavar="NUMBER",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--spike",
        default="blocked",
        choices=[*REASONS, "all"],
        metavar="REASON",
        help="reason of the spike (default: %(default)s)",
    )
    parser.add_argument("--spike-after", default="1m", help="default: %(default)s")
    parser.add_argument("--offset", type=int, default=0, help="raise all ports by so much")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop by itself after so many")
    wanted = parser.parse_args()
    prometheus, alertmanager = programs()
    at = addresses(wanted.offset)
    stopping: SimpleQueue[None] = SimpleQueue()  # a signal handler may use it at any moment, unlike an Event

    past_is_made = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not past_is_made:
            print("Stopping ...", flush=True)
            sys.exit(0)
        stopping.put(None)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with tempfile.TemporaryDirectory(prefix="smtpeter-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        print(f"Making a past of {wanted.days} days, which may take a minute or two ...", flush=True)
        end = int(time.time()) // 60 * 60
        begin = end - wanted.days * 86_400
        traffic = Traffic(wanted.failures_per_day, seed=1, repeats=0)
        load(folder / "data", {JOB: before(end, traffic.requests(begin))}, begin, end, instance=at.metrics)
        fill(folder / "ledger.db", before(end, traffic.requests(begin)))
        past_is_made = True
        alerts = Alertmanager(alertmanager, folder, example(), address=at.alertmanager)
        stack.callback(alerts.stop)
        rules = [RULES / "rules.yaml", RULES / "alerts.yaml"]
        watcher = Prometheus(
            prometheus, folder, address=at.prometheus, interval=5, rules=rules, alertmanager=alerts.address
        )
        stack.callback(watcher.stop)
        where = stack.enter_context(grafana(folder, at))
        listen = [
            "--webhook.listen-address",
            at.webhook,
            "--web.listen-address",
            at.metrics,
            "--metrics.birth-hold",
            "60s",
        ]
        stack.enter_context(exporter(folder, *listen, measured=False))
        watcher.add(JOB, at.metrics)
        stack.enter_context(
            simulate(f"http://{at.webhook}/failures", wanted.failures_per_day, wanted.spike, wanted.spike_after)
        )
        print(
            f"  Exporter      http://{at.metrics}/metrics\n"
            f"  Prometheus    http://{at.prometheus}/\n"
            f"  Alertmanager  http://{at.alertmanager}/\n"
            f"  Grafana       {where}\n"
            f"{wanted.failures_per_day:,} failures a day are simulated, with a spike of {wanted.spike} after "
            f"{wanted.spike_after}. Alerts are told here, too. Ctrl-C stops.",
            flush=True,
        )
        watch(alerts, time.monotonic() + wanted.seconds, stopping)
        print("Stopping ...", flush=True)


if __name__ == "__main__":
    try:
        main()
    except MissingProgramError as missing:
        sys.exit(f"demo: {missing}")
