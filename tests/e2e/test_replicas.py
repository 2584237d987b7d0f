"""Three exporters on one PostgreSQL behind a balancer, and what can go away does: each failure counts once."""

import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from tests.e2e.test_exactly_once import KINDS, kind_of
from tests.support.postgres import Postgres, postgres
from tests.support.running import TIMEOUT, Client, Exporter, Prometheus, failure, free_port, server, until
from tests.support.tree import ROOT

CONNECTIONS: Final = 64
EVENTS: Final = ("kill", "restart", "kill", "stop", "kill", "restart", "kill", "replace")
"""What goes away, one after the other: a replica, PostgreSQL for a moment or a while, a replica in good order."""
PAUSE: Final = 0.5
"""Seconds of load between two events."""
RULES: Final = ROOT / "deploy/prometheus/rules.yaml"


class Replica:
    """An exporter on addresses of its own, started again when it was killed."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._folder.mkdir()
        self.public, self.private = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._flags = (
            *("--storage.url", url, "--webhook.listen-address", self.public, "--web.listen-address", self.private),
        )
        self.start()

    def start(self) -> None:
        """Start it, and again while the database is away, as a supervisor would."""
        self.exporter = until(self._started)

    def end(self, number: signal.Signals) -> None:
        """End it by a signal."""
        self.exporter.stop(number)
        self.exporter.end()

    def _started(self) -> Exporter | None:
        try:
            return Exporter(self._folder, *self._flags, measured=False)
        except AssertionError:
            return None


class Balancer:
    """An nginx that hands requests to the addresses in turn, and to the next one when one does not answer."""

    def __init__(self, program: str, folder: Path, upstreams: list[str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        servers = "".join(f"server {upstream} max_fails=0; " for upstream in upstreams)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        (folder / "nginx.conf").write_text(
            f"pid {folder}/pid; events {{ worker_connections 1024; }} http {{ {temporary} access_log off;"
            f" upstream replicas {{ {servers} }} server {{ listen {self.address};"
            " location / { proxy_pass http://replicas; proxy_next_upstream error timeout non_idempotent; } } }"
        )
        self._process = subprocess.Popen(
            [
                *(program, "-e", f"{folder}/log", "-g", "daemon off; master_process off;"),
                *("-c", f"{folder}/nginx.conf"),
            ]
        )

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(TIMEOUT)


class Resender:
    """Sends failures over many connections, each until it is answered 200, as a sender that retries does."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._new = count()
        self._booking = threading.Lock()
        self._again: SimpleQueue[int] = SimpleQueue()
        self.sent = 0
        self.answered: set[int] = set()
        self.refused = 0

    def run(self, over: threading.Event) -> None:
        """Send new ones until ``over``, and what had no answer 200 until it has."""
        while True:
            with suppress(OSError, HTTPException), Client(self._address) as client:
                for number in self._numbers(over):
                    if not self._send(client, number):
                        break
                else:
                    return

    def _numbers(self, over: threading.Event) -> Iterator[int]:
        while True:
            try:
                yield self._again.get_nowait()
            except Empty:
                if over.is_set():
                    return
                with self._booking:
                    number = next(self._new)
                    self.sent = number + 1
                yield number
                if number % 50 == 0:
                    yield number  # some come again though they were answered, and to another replica

    def _send(self, client: Client, number: int) -> bool:
        status = 0
        with suppress(OSError, HTTPException):
            status = client.post(failure(number, **KINDS[kind_of(number)])).status
        if status != 200:
            self._again.put(number)
            self.refused += status == 503
            threading.Event().wait(0.05)  # a sender that hurries only keeps the machine from healing
            return status != 0
        self.answered.add(number)
        return True


def happen(event: str, replicas: list[Replica], database: Postgres, choice: random.Random) -> None:
    """Let one thing go away, and come back; with a PostgreSQL that stays away for a while a replica goes, too."""
    replica = choice.choice(replicas)
    if event == "restart":
        database.stop()
        database.start()
    elif event == "stop":
        database.stop()
        replica.end(signal.SIGKILL)
        threading.Event().wait(3)
        database.start()
        replica.start()
    else:
        replica.end(signal.SIGTERM if event == "replace" else signal.SIGKILL)
        replica.start()


def test_each_failure_counts_once_whatever_goes_away(tmp_path: Path) -> None:
    """Replicas killed and replaced, PostgreSQL restarted and stopped, under load: totals are right on every replica.

    And so is what the shipped rules record of them in a real Prometheus.
    """
    nginx, program = server("nginx"), server("prometheus")
    choice = random.Random(6)
    with postgres() as database:
        replicas = [Replica(tmp_path / f"replica-{number}", database.create("ledger")) for number in range(3)]
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
                        threading.Event().wait(PAUSE)
                        happen(event, replicas, database, choice)
                finally:
                    over.set()
                for connection in connections:
                    connection.result(60)
            assert sender.answered == set(range(sender.sent))
            expected = Counter(kind_of(number) for number in range(sender.sent))
            assert [replica.exporter.failures() for replica in replicas] == [expected] * 3
            assert sender.refused > 0
            recorded = "sum(job:smtpeter_failures_total:max)"
            until(lambda: prometheus.value(recorded) == sender.sent, 60)
        finally:
            prometheus.stop()
            balancer.end()
            for replica in replicas:
                replica.exporter.end()
