"""Replicas that share a PostgreSQL ledger behind a load balancer: each failure is counted once, whatever fails."""

import random
import signal
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from tests.support.postgres import Postgres, shared_server
from tests.support.replicas import Replica, Resender
from tests.support.running import TIMEOUT, Prometheus, exporter, failure, free_port, server, until
from tests.support.sender import kind_of
from tests.support.tree import ROOT

CONNECTIONS: Final = 64
EVENTS: Final = ("kill", "restart", "kill", "stop", "kill", "restart", "kill", "replace")
"""What fails, in this order: a replica is killed, PostgreSQL restarts or stops, a replica is replaced."""
ENOUGH: Final = 300
"""Failures that are answered 200 between two events."""
RULES: Final = ROOT / "deploy/prometheus/rules.yaml"


class Balancer:
    """An nginx that sends requests to the addresses in turn, and retries a failed request at the next one."""

    def __init__(self, program: str, directory: Path, upstreams: list[str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        servers = "".join(f"server {upstream} max_fails=0; " for upstream in upstreams)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
        (directory / "nginx.conf").write_text(
            f"pid {directory}/pid; events {{ worker_connections 1024; }} http {{ {temporary} access_log off;"
            f" upstream replicas {{ {servers} }} server {{ listen {self.address};"
            " location / { proxy_pass http://replicas; proxy_next_upstream error timeout non_idempotent; } } }"
        )
        self._process = subprocess.Popen(
            [
                *(program, "-e", f"{directory}/log", "-g", "daemon off; master_process off;"),
                *("-c", f"{directory}/nginx.conf"),
            ]
        )

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(TIMEOUT)


def fail(event: str, replicas: list[Replica], database: Postgres, choice: random.Random, sender: Resender) -> None:
    """Let something fail and recover. While PostgreSQL is stopped, requests are rejected and a replica is killed."""
    replica = choice.choice(replicas)
    if event == "restart":
        database.stop()
        database.start()
    elif event == "stop":
        database.stop()
        replica.end(signal.SIGKILL)
        goal = sender.rejected + CONNECTIONS
        until(lambda: sender.rejected >= goal)
        database.start()
        replica.start()
    else:
        replica.end(signal.SIGTERM if event == "replace" else signal.SIGKILL)
        replica.start()


def has_answered(sender: Resender, goal: int) -> bool:
    """Return whether this many failures were answered 200."""
    return len(sender.answered) >= goal


def test_each_failure_is_counted_once_whatever_fails(tmp_path: Path) -> None:
    """Under load replicas are killed and replaced, and PostgreSQL is restarted and stopped. Every replica is right.

    So is the sum that the shipped rules record in a real Prometheus.
    """
    nginx, program = server("nginx"), server("prometheus")
    choice = random.Random(6)
    database = shared_server()
    url = database.create_new()
    replicas = [Replica(tmp_path / f"replica-{number}", url) for number in range(3)]
    balancer = Balancer(nginx, tmp_path, [replica.public for replica in replicas])
    watching = tmp_path / "prometheus"
    watching.mkdir()
    prometheus = Prometheus(program, watching, rules=[RULES])
    try:
        prometheus.add("smtpeter", *(replica.private for replica in replicas))
        sender, over = Resender(balancer.address), threading.Event()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            connections = [pool.submit(sender.run, over) for _ in range(CONNECTIONS)]
            try:
                for event in EVENTS:
                    goal = len(sender.answered) + ENOUGH
                    until(partial(has_answered, sender, goal))
                    fail(event, replicas, database, choice, sender)
            finally:
                over.set()
            for connection in connections:
                connection.result(60)
        assert sender.answered == set(range(sender.sent))
        expected = Counter(kind_of(number) for number in range(sender.sent))
        assert [replica.exporter.failures() for replica in replicas] == [expected] * 3
        assert sender.rejected > 0
        recorded = "sum(job:smtpeter_failures_total:max)"
        until(lambda: prometheus.value(recorded) == sender.sent, 60)
    finally:
        prometheus.stop()
        balancer.end()
        for replica in replicas:
            replica.exporter.end()


def test_replicas_learn_label_sets_from_each_other(tmp_path: Path) -> None:
    """A label set that one replica counted first is in use on the other from its next scrape on."""
    url = shared_server().create_new()
    (tmp_path / "a").mkdir()
    with exporter(tmp_path, "--storage.url", url) as one, exporter(tmp_path / "a", "--storage.url", url) as other:
        assert [other.post(failure(number, extended=f"5.1.{number}")).status for number in (1, 2)] == [200, 200]
        assert one.samples()["smtpeter_exporter_label_sets"] == 2
        assert one.failures() == other.failures() == {"rcptto/5xx/5.1.1": 1, "rcptto/5xx/5.1.2": 1}
