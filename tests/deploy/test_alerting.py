"""From a failure to a notification, through a real exporter, Prometheus with the shipped rules, and Alertmanager."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.demo.alertmanager import Alertmanager, example
from deploy.demo.past import RULES, alerts, before, fill, firings, load, prometheus_on
from exporter.classification.series import Series
from exporter.simulator.requests import SimulatedRequest
from exporter.simulator.traffic import Traffic
from tests.support.running import Client, Exporter, Prometheus, environment, exporter, server, skipping, until
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record
from tests.support.webhook import Webhook

SIZES: Final = (10, 1_000, 100_000)
NOW: Final = int(time.time()) // 60 * 60
CALM_END: Final = 1_795_611_600
"""A fixed Wednesday afternoon, because simulated traffic depends on the weekday and the hour."""
DURATION: Final = 26 * 3_600
GRAFANA: Final = "http://127.0.0.1:3000/d"


class Monitoring(NamedTuple):
    """A Prometheus that evaluates the alerts, the receiver of Alertmanager's notifications, and the past totals."""

    prometheus: Prometheus
    webhook: Webhook
    totals: Mapping[Series, int]


def calm(size: int, end: int) -> Iterator[SimulatedRequest]:
    """Return the traffic of the 26 hours before ``end``."""
    return before(end, Traffic(size, seed=7, repeats=0).requests(end - DURATION))


def test_no_alert_fires_on_a_calm_day(tmp_path: Path) -> None:
    """No alert fires in any minute of a day of simulated traffic, at three sizes, not even in the first hours."""
    begin, end = CALM_END - DURATION, CALM_END
    with skipping():
        load(tmp_path / "data", {f"smtpeter-{size}": calm(size, end) for size in SIZES}, begin, end)
    with prometheus_on(tmp_path / "data") as address:
        found = [firing for alert in alerts() for firing in firings(alert, address, begin, end)]
    assert found == []


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    """Run Prometheus with a day of history and the shipped rules, and Alertmanager with the example without delays."""
    directory = tmp_path_factory.mktemp("monitoring")
    with skipping():
        totals = load(directory / "data", {"smtpeter-1000": calm(1_000, NOW)}, NOW - DURATION, NOW)
    with ExitStack() as stack:
        webhook = stack.enter_context(Webhook())
        shipped = example(webhook.url)
        config = {**shipped, "route": _without_delays(shipped["route"])}
        with skipping():
            program = server("prometheus-alertmanager")
            alertmanager = Alertmanager(program, tmp_path_factory.mktemp("alertmanager"), config)
        stack.callback(alertmanager.stop)
        prometheus = Prometheus(
            server("prometheus"),
            directory,
            rules=[RULES / "rules.yaml", RULES / "alerts.yaml"],
            alertmanager=alertmanager.address,
        )
        stack.callback(prometheus.stop)
        yield Monitoring(prometheus, webhook, totals["smtpeter-1000"])


def _without_delays(route: dict[str, Any]) -> dict[str, Any]:
    """Return the route with delays of only a second."""
    delays = {"group_wait": "1s", "group_interval": "1s"}
    return {**route, **delays, "routes": [_without_delays(each) for each in route.get("routes", [])]}


@contextmanager
def simulate(running: Exporter, directory: Path, *flags: str) -> Iterator[None]:
    """Send signed simulated traffic to the exporter in the background."""
    pem = directory / "key.pem"
    pem.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signing = ["--sign-key", str(pem), "--sign-key-id", KEY_ID, "--sign-account", ACCOUNT]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "exporter", "simulate", f"http://{running.public}/failures"),
            *("--failures-per-day", "50000", "--seed", "1", *signing, *flags),
        ],
        env=environment(measured=False),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def signed_exporter(directory: Path, account: str) -> Iterator[Exporter]:
    """Run an exporter that accepts signed requests for one account."""
    with NameServer() as names:
        names.records[KEY_ID] = [record(key())]
        flags = ("--signature.mode", "required", "--signature.account", account)
        with exporter(directory, *flags, "--signature.nameserver", names.address) as running:
            yield running


SHARE: Final = re.compile(r"\d+ .*\bblocked\b.* \d+ ?% .*\bmicrosoft\b.* docs/reasons/blocked\.md")


def descriptions(prometheus: Prometheus, job: str) -> list[str]:
    """Return the descriptions of the job's alerts, as of the last evaluation."""
    with Client(prometheus.address) as client:
        found = json.loads(client.request("GET", "/api/v1/alerts").body)["data"]["alerts"]
    return [alert["annotations"]["description"] for alert in found if alert["labels"].get("job") == job]


def test_the_receiver_is_notified_of_a_spike(monitoring: Monitoring, tmp_path: Path) -> None:
    """The notification of a simulated spike of blocked mail has the reason, the provider, and links."""
    job = "smtpeter-1000"
    prometheus, webhook, totals = monitoring
    fill(tmp_path / "ledger.db", totals, NOW)
    with signed_exporter(tmp_path, ACCOUNT) as running:
        prometheus.add(job, running.private)
        until(lambda: prometheus.value(f'up{{job="{job}"}}') == 1)
        assert prometheus.query(f'ALERTS{{job="{job}",alertstate="firing"}}') == []
        # The factor makes the spike dominate from its first failures on, at any hour of the week.
        with simulate(running, tmp_path, *"--spike blocked --spike-after 0s --spike-factor 1000".split()):
            alert = until(lambda: webhook.firing(alertname="SMTPeterReputationSpike", job=job), 90)
            # The notification is of the first evaluation, which may come before the rules have seen any provider.
            until(lambda: SHARE.search(" ".join(descriptions(prometheus, job))))
    assert alert["labels"] == {
        "alertname": "SMTPeterReputationSpike",
        "job": job,
        "reason": "blocked",
        "severity": "warning",
    }
    annotations = alert["annotations"]
    description = annotations.pop("description")
    assert re.fullmatch(rf"{job}: \d+ .* blocked", annotations.pop("summary"))
    assert re.search(r"\d+ .*\bblocked\b.* docs/reasons/blocked\.md", description)
    assert annotations == {
        "runbook": "docs/runbooks/SMTPeterReputationSpike.md",
        "dashboard_url": f"{GRAFANA}/smtpeter-failures?from=now-6h&to=now&var-job={job}&var-reason=blocked",
    }


def test_the_receiver_is_notified_of_rejected_signatures(monitoring: Monitoring, tmp_path: Path) -> None:
    """If every request is rejected because of its account, the notification names that reason."""
    prometheus, webhook, _ = monitoring
    with signed_exporter(tmp_path, "environment-9") as running:
        prometheus.add("broken", running.private)
        until(lambda: prometheus.value('up{job="broken"}') == 1)
        with simulate(running, tmp_path):
            alert = until(lambda: webhook.firing(alertname="SMTPeterSignatureRefusals", job="broken"))
    assert alert["labels"] == {"alertname": "SMTPeterSignatureRefusals", "job": "broken", "severity": "critical"}
    annotations = alert["annotations"]
    assert annotations.pop("summary").startswith("broken: ")
    assert re.search(r"\d+ .*\baccount\b", annotations.pop("description"))
    assert annotations == {
        "runbook": "docs/runbooks/SMTPeterSignatureRefusals.md",
        "dashboard_url": f"{GRAFANA}/smtpeter-exporter?from=now-6h&to=now&var-job=broken",
    }
