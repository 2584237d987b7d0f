"""``make demo`` starts all programs, and leaves nothing behind when it stops."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from deploy.demo.exposition import Rate, minutes
from deploy.demo.past import before, fill
from exporter.classification.loops import LOOPS
from exporter.classification.reason import REASONS
from exporter.simulator.answers import ACCEPTING_REPLIES
from exporter.simulator.consequences import COMPLAINTS
from exporter.simulator.traffic import Traffic
from tests.support.running import TIMEOUT, Client, environment, exporter, server, until
from tests.support.tree import ROOT

OFFSET: Final = 20_000


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in its own session, as in a terminal, with ``directory`` for its output and temporary files."""
    with (directory / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "deploy.demo", "--offset", str(OFFSET), "--days", "1", *arguments],
            cwd=ROOT,
            env=environment(measured=False) | {"TMPDIR": str(directory)},
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def test_it_runs_everything_and_stops_cleanly(tmp_path: Path) -> None:
    """Exporter, Prometheus with history, and Alertmanager answer at the printed URLs; Ctrl-C stops all of them."""
    server("prometheus")
    server("prometheus-alertmanager")
    output = tmp_path / "output"
    with demo(tmp_path) as process:
        until(lambda: process.poll() is not None or "Press Ctrl-C to stop" in output.read_text(), 120)
        assert process.poll() is None, output.read_text()
        urls = re.findall(r"http://(127\.0\.0\.1:\d+)(/\S*)", output.read_text())
        assert [path for _, path in urls[:3]] == ["/metrics", "/", "/"]
        for address, path in urls[:3]:
            with Client(address) as client:
                assert client.request("GET", path).status in {200, 302}

        def has_usual_values() -> bool:
            with Client(urls[1][0]) as client:
                query = "/api/v1/query?query=job_reason:smtpeter_failures:increase15m_expected"
                return len(json.loads(client.request("GET", query).body)["data"]["result"]) == len(REASONS)

        until(has_usual_values)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT) == 0, output.read_text()
    assert re.search(
        r"Press Ctrl-C to stop\.\nStopping \.\.\.\n([\d,]+ requests sent: .* 0 rejected\nprovider .*\n(\w+ .*\n)+)?$",
        output.read_text(),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    for address, _ in urls[:3]:
        with pytest.raises(ConnectionRefusedError), Client(address) as client:
            client.request("GET", "/")


def test_it_stops_while_it_makes_its_history(tmp_path: Path) -> None:
    """Ctrl-C during the preparation stops the demo, too, and leaves nothing behind."""
    server("prometheus")
    server("prometheus-alertmanager")
    output = tmp_path / "output"
    with demo(tmp_path, "--days", "8") as process:
        until(lambda: "of history" in output.read_text() and len(list(tmp_path.iterdir())) > 1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT) == 0, output.read_text()
    assert output.read_text().endswith("Stopping ...\n")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """If an address is in use, the demo does not start, and names the address and the option for other ports."""
    server("prometheus")
    server("prometheus-alertmanager")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 9_093 + OFFSET))
        taken.listen()
        with demo(tmp_path) as process:
            assert process.wait(TIMEOUT) == 1
    (line,) = (tmp_path / "output").read_text().splitlines()
    assert [f"127.0.0.1:{9_093 + OFFSET}" in line, "--offset" in line] == [True, True]


def test_it_imports_no_test_code_and_no_tools() -> None:
    """The demo imports nothing of the tests, pytest or Sphinx, because ``make demo`` does not install them."""
    code = "import sys, deploy.demo.__main__; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(measured=False),
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = set(done.stdout.split())
    assert {"deploy", "exporter"} <= loaded
    assert loaded & {"_pytest", "bench", "pytest", "sphinx", "tests"} == set()


# History

BEGIN: Final = 1_795_392_000  # a Monday


def history(hours: int, deliveries: Rate | None = None) -> list[tuple[int, dict[str, float]]]:
    """Return what is exposed at the end of each minute of 2,400 failures a day."""
    traffic = Traffic(2_400, seed=1, repeats=0, loops=LOOPS if deliveries else ["failures"], deliveries_per_failure=0)
    found = minutes(before(BEGIN + hours * 3_600, traffic.requests(BEGIN)), BEGIN, BEGIN + hours * 3_600, deliveries)
    return [(minute.end, dict(minute.exposed)) for minute in found]


def sums(exposed: Mapping[str, float]) -> dict[str, float]:
    """Return the sum of each family of counters over its labels, without the tags."""
    names = {name.partition("{")[0] for name in exposed if "_by_tag" not in name}
    return {
        family: sum(value for name, value in exposed.items() if name.partition("{")[0] == family)
        for family in names
        if family.endswith("_total")
    }


def test_history_has_each_failure_in_all_its_series() -> None:
    """Sums over the labels agree. Without other loops, there are no series of theirs."""
    found = sums(history(12)[-1][1])
    failures = found["smtpeter_failures_total"]
    assert 1_000 < failures < 2_000
    after = found.pop("smtpeter_failures_after_delivery_by_provider_total")
    assert 0 < after < failures / 5
    assert found == {
        **dict.fromkeys(
            (
                "smtpeter_failures_total",
                "smtpeter_failures_by_reason_total",
                "smtpeter_failures_by_provider_total",
                "smtpeter_failures_by_reason_provider_total",
                "smtpeter_exporter_accepted_total",
            ),
            failures,
        ),
        "smtpeter_exporter_refused_total": found["smtpeter_exporter_refused_total"],
        "smtpeter_exporter_label_overflow_total": 0,
    }


def test_history_has_deliveries_at_their_rate() -> None:
    """Their number is right, also by provider; the ratio of complaints is that of the simulation."""
    last = history(12, lambda _: 20.0)[-1][1]
    found = sums(last)
    deliveries = found["smtpeter_deliveries_total"]
    assert deliveries == pytest.approx(20 * 12 * 3_600, rel=0.01)
    assert found["smtpeter_deliveries_by_provider_total"] == deliveries
    gmail = last['smtpeter_deliveries_by_provider_total{provider="gmail"}']
    assert gmail / deliveries == pytest.approx(ACCEPTING_REPLIES["gmail"].share, rel=0.02)
    expected = deliveries * sum(share * ACCEPTING_REPLIES[name].share for name, share in COMPLAINTS.items())
    assert found["smtpeter_complaints_total"] == pytest.approx(expected, rel=0.2)
    events = ("failures", "deliveries", "bounces", "complaints")
    accepted = sum(found[f"smtpeter_{name}_total"] for name in events)
    assert found["smtpeter_exporter_accepted_total"] == accepted


def test_a_new_series_is_held_at_zero() -> None:
    """It is exposed as 0 for a minute, and never goes back."""
    values: dict[str, float] = {}
    for _, exposed in history(2, lambda _: 2.0):
        for name, value in exposed.items():
            assert value >= values.get(name, 0), name
            assert name in values or value == 0 or "_total" not in name, name
        values = exposed


def test_an_exporter_continues_the_totals(tmp_path: Path) -> None:
    """The totals of the history are in the ledger, and the exporter exposes those that it knows."""
    totals = {("failures_by_reason", "blocked"): 7, ("deliveries",): 400}
    fill(tmp_path / "ledger.db", totals, BEGIN)
    with exporter(tmp_path) as running:
        assert running.samples()['smtpeter_failures_by_reason_total{reason="blocked"}'] == 7
