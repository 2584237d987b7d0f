"""A real Prometheus scrapes the exporter while failures arrive, and queries give the right results."""

from pathlib import Path
from typing import Final

from tests.support.running import Exporter, Prometheus, exporter, failure, free_port, until

KINDS: Final = {
    "rcptto/5xx/5.1.1": {"state": "rcptto", "code": "550", "extended": "5.1.1"},
    "rcptto/4xx/4.2.2": {"state": "rcptto", "code": "452", "extended": "4.2.2"},
    "bounce/none/none": {"state": "bounce", "code": "", "extended": ""},
}
"""Three series, and the variables of a failure that increments each."""


def post(running: Exporter, first: int, count: int) -> None:
    """Post ``count`` failures, numbered from ``first``, on each of the series in turn."""
    with running.client() as client:
        for number in range(first, first + count):
            assert client.post(failure(number, **list(KINDS.values())[number % len(KINDS)])).status == 200


def test_increase_includes_the_first_failures_of_a_series(tmp_path: Path, prometheus: Prometheus) -> None:
    """The totals are the number of failures posted, and increase() includes all of them."""
    hold = f"{prometheus.INTERVAL * 6 * 1000:.0f}ms"
    with exporter(tmp_path, "--metrics.birth-hold", hold) as running:
        prometheus.add("births", running.private)
        until(lambda: prometheus.value('up{job="births"}') == 1)
        total = 'sum(smtpeter_failures_total{job="births"})'
        post(running, 0, 60)
        until(lambda: prometheus.value(total) == 60)
        post(running, 60, 30)
        until(lambda: prometheus.value(total) == 90)

        by_series = prometheus.query('smtpeter_failures_total{job="births"}')
        found = {
            "/".join(labels[name] for name in ("state", "code_class", "extended")): value for labels, value in by_series
        }
        assert found == running.failures() == dict.fromkeys(KINDS, 30)

        # At the time of the last scrape, so that increase() does not extrapolate.
        at = prometheus.value('max(timestamp(smtpeter_failures_total{job="births"}))')
        assert prometheus.value('sum(increase(smtpeter_failures_total{job="births"}[5m]))', at) == 90
        increases = prometheus.query('increase(smtpeter_failures_total{job="births",state="rcptto"}[5m])', at)
        assert {labels["extended"]: value for labels, value in increases} == {"5.1.1": 30, "4.2.2": 30}


def test_a_restart_is_no_reset(tmp_path: Path, prometheus: Prometheus) -> None:
    """After a restart on the same ledger, the counters continue."""
    total = 'sum(smtpeter_failures_total{job="restart"})'
    address = f"127.0.0.1:{free_port()}"
    with exporter(tmp_path, "--web.listen-address", address) as running:
        prometheus.add("restart", running.private)
        post(running, 0, 30)
        until(lambda: prometheus.value(total) == 30)
    until(lambda: prometheus.value('up{job="restart"}') == 0)
    with exporter(tmp_path, "--web.listen-address", address) as running:
        post(running, 30, 30)
        until(lambda: prometheus.value(total) == 60)
    assert prometheus.value('sum(resets(smtpeter_failures_total{job="restart"}[5m]))') == 0
    assert prometheus.value('min(changes(process_start_time_seconds{job="restart"}[5m]))') == 1
