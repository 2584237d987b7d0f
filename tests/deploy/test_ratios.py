"""The recorded ratios on a real Prometheus, while a mailing is simulated and a provider blocks it."""

import time
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

import pytest

from tests.support.events import ALL_LOOPS, event
from tests.support.running import TIMEOUT, Exporter, Prometheus, environment, exporter, server, until
from tests.support.simulating import Truth, command, truth_of
from tests.support.tree import ROOT

WINDOW: Final = 30
"""Seconds that take the place of 15 minutes, because a test can't wait for so long."""
RATIO: Final = "job_provider:smtpeter_failures:ratio_increase15m"


def short_rules(directory: Path) -> Path:
    """Return the shipped rules with a short window in the place of 15 minutes."""
    text = (ROOT / "deploy/prometheus/rules.yaml").read_text("utf-8")
    assert "[15m:15s]" in text
    text = text.replace("[15m:15s]", f"[{WINDOW}s:{WINDOW * 1000 // 60}ms]").replace("[15m]", f"[{WINDOW}s]")
    (directory / "rules.yaml").write_text(text, "utf-8")
    return directory / "rules.yaml"


def simulated(running: Exporter) -> Truth:
    """Simulate twenty minutes of a mailing within twenty seconds, half of them with a block by Gmail."""
    mailing = ("--failures-per-day", "4000", "--mailing-after", "0s")
    block = ("--block", "gmail", "--spike-after", "5m", "--spike-for", "10m")
    arguments = ("--loops", ALL_LOOPS[1], *mailing, *block, "--for", "20m", "--speed", "60", "--seed", "1")
    with Popen(
        command(f"http://{running.public}/failures", *arguments), stdout=PIPE, text=True, env=environment()
    ) as it:
        output, _ = it.communicate(timeout=TIMEOUT + WINDOW)
    assert it.returncode == 0
    return truth_of(output)


def test_ratios_are_what_was_simulated(tmp_path: Path) -> None:
    """The failure ratio of each provider with some traffic is right to 1 %, and that of Gmail shows its block."""
    prometheus = Prometheus(server("prometheus"), tmp_path, rules=[short_rules(tmp_path)])
    try:
        with exporter(tmp_path, *ALL_LOOPS, "--metrics.birth-hold", "2s", measured=False) as running:
            prometheus.add("ratios", running.private)
            running.post(event("deliveries", 1), "/deliveries")
            until(lambda: prometheus.value("job:smtpeter_deliveries:on") == 1)
            began = time.time()
            truth = simulated(running)
            total = truth.events.total() + 1
            counters = "|".join(
                f"smtpeter_{name}_total" for name in ("failures", "deliveries", "bounces", "complaints")
            )
            until(lambda: prometheus.value(f'sum({{__name__=~"{counters}"}})') == total)
            until(lambda: time.time() >= began + WINDOW)
            found = until(lambda: {labels["provider"]: value for labels, value in prometheus.query(RATIO)})
    finally:
        prometheus.stop()
    expected = ratios_of(truth)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=0.01)
    assert expected["gmail"] > 0.3
    assert max(ratio for name, ratio in expected.items() if name != "gmail") < 0.1


def ratios_of(truth: Truth) -> dict[str, float]:
    """Return the failure ratio of each provider that has at least 30 failures."""
    ratios = {}
    for loop, provider in truth.events:
        failures = truth.events["failures", provider]
        if loop == "failures" and failures >= 30:
            finished = truth.events["deliveries", provider] + failures - truth.after_delivery[provider]
            ratios[provider] = failures / finished
    return ratios
