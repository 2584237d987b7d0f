"""From a failure to the person who is told: exporter, Prometheus with the shipped rules, Alertmanager, all real."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.demo.alertmanager import Alertmanager, example
from deploy.demo.past import RULES, alerts, before, fill, firings, load, prometheus_on
from exporter.simulator.traffic import SimulatedRequest, Traffic
from tests.support.running import Exporter, Prometheus, environment, exporter, server, skipping, until
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record
from tests.support.webhook import Webhook

SIZES: Final = (10, 1_000, 100_000)
END: Final = int(time.time()) // 60 * 60
BEGIN: Final = END - 26 * 3_600
GRAFANA: Final = "http://127.0.0.1:3000/d"


class Monitoring(NamedTuple):
    """What watches over exporters, and whom it tells."""

    prometheus: Prometheus
    webhook: Webhook


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ``data`` holds a calm day of three senders, which ends now."""
    folder = tmp_path_factory.mktemp("monitoring")
    with skipping():
        load(folder / "data", {f"smtpeter-{size}": calm(size) for size in SIZES}, BEGIN, END)
    return folder


def calm(size: int) -> Iterator[SimulatedRequest]:
    """The traffic of a day and two hours."""
    return before(END, Traffic(size, seed=7, repeats=0).events(BEGIN))


def test_a_calm_day_fires_nothing(folder: Path) -> None:
    """On a day of simulated traffic, of three sizes, no alert fires at any minute, not even in the first hours."""
    with prometheus_on(folder / "data") as address:
        found = [firing for alert in alerts() for firing in firings(alert, address, BEGIN, END)]
    assert found == []


@pytest.fixture(scope="module")
def monitoring(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    """Prometheus with that past and the shipped rules; Alertmanager as in the example, but in a hurry."""
    with ExitStack() as stack:
        webhook = stack.enter_context(Webhook())
        shipped = example(webhook.url)
        config = {**shipped, "route": _hurried(shipped["route"])}
        with skipping():
            program = server("prometheus-alertmanager")
            alertmanager = Alertmanager(program, tmp_path_factory.mktemp("alertmanager"), config)
        stack.callback(alertmanager.stop)
        prometheus = Prometheus(
            server("prometheus"),
            folder,
            rules=[RULES / "rules.yaml", RULES / "alerts.yaml"],
            alertmanager=alertmanager.address,
        )
        stack.callback(prometheus.stop)
        yield Monitoring(prometheus, webhook)


def _hurried(route: dict[str, Any]) -> dict[str, Any]:
    """The route, with waits of a second."""
    waits = {"group_wait": "1s", "group_interval": "1s"}
    return {**route, **waits, "routes": [_hurried(one) for one in route.get("routes", [])]}


@contextmanager
def simulate(running: Exporter, folder: Path, *flags: str) -> Iterator[None]:
    """Send signed simulated traffic to the exporter meanwhile."""
    pem = folder / "key.pem"
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
def signed_exporter(folder: Path, account: str) -> Iterator[Exporter]:
    """An exporter that takes signed calls for an account only."""
    with NameServer() as names:
        names.records[KEY_ID] = [record(key())]
        flags = ("--signature.mode", "required", "--signature.account", account)
        with exporter(folder, *flags, "--signature.nameserver", names.address) as running:
            yield running


def test_a_spike_is_told_with_all_that_the_operator_needs(monitoring: Monitoring, tmp_path: Path) -> None:
    """A simulated spike of blocked mail arrives at the receiver, with what happened, where, and where to look."""
    job = "smtpeter-1000"
    prometheus, webhook = monitoring
    fill(tmp_path / "ledger.db", calm(1_000))
    with signed_exporter(tmp_path, ACCOUNT) as running:
        prometheus.add(job, running.private)
        until(lambda: prometheus.value(f'up{{job="{job}"}}') == 1)
        assert prometheus.query(f'ALERTS{{job="{job}",alertstate="firing"}}') == []
        # So large that at any hour of the week most of the rise is the spike's, from the first failures on.
        with simulate(running, tmp_path, *"--spike blocked --spike-after 0s --spike-factor 1000".split()):
            told = until(lambda: webhook.firing(alertname="SMTPeterReputationSpike", job=job), 90)
    assert told["labels"] == {
        "alertname": "SMTPeterReputationSpike",
        "job": job,
        "reason": "blocked",
        "severity": "warning",
    }
    assert told["annotations"].keys() == {"summary", "description", "runbook", "dashboard_url"}
    assert re.fullmatch(rf"{job}: \d+ failures in 15 minutes: blocked", told["annotations"]["summary"])
    assert re.fullmatch(
        r"\d+ deliveries failed in the last 15 minutes with the reason blocked; \d+ are usual\. "
        r"\d+ % of the rise is at the provider microsoft\. "
        r"What the reason means: docs/reasons/blocked\.md",
        told["annotations"]["description"],
    )
    assert told["annotations"]["runbook"] == "docs/runbooks/SMTPeterReputationSpike.md"
    assert told["annotations"]["dashboard_url"] == (
        f"{GRAFANA}/smtpeter-failures?from=now-6h&to=now&var-job={job}&var-reason=blocked"
    )


def test_a_broken_signature_set_up_is_told(monitoring: Monitoring, tmp_path: Path) -> None:
    """When every call is refused for its account, that arrives at the receiver, with the reason in its text."""
    prometheus, webhook = monitoring
    with signed_exporter(tmp_path, "environment-9") as running:
        prometheus.add("broken", running.private)
        until(lambda: prometheus.value('up{job="broken"}') == 1)
        with simulate(running, tmp_path):
            told = until(lambda: webhook.firing(alertname="SMTPeterSignatureRefusals", job="broken"), 60)
    assert told["labels"] == {"alertname": "SMTPeterSignatureRefusals", "job": "broken", "severity": "critical"}
    description = told["annotations"].pop("description")
    assert re.fullmatch(
        r"\d+ signed calls were refused and none accepted, most of them for the reason account\. "
        r"No failure is counted until that is mended\.",
        description,
    )
    assert told["annotations"] == {
        "summary": "broken: every signed call is refused",
        "runbook": "docs/runbooks/SMTPeterSignatureRefusals.md",
        "dashboard_url": f"{GRAFANA}/smtpeter-exporter?from=now-6h&to=now&var-job=broken",
    }
