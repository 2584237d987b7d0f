"""Send requests at a fixed rate, whether or not the earlier ones were answered, and measure their latency.

The latency counts from the time when a request was due. wrk, in contrast, sends no request while it waits for an
answer, so it does not see the requests that would have queued. Each due request gets the next free of 64 connections,
and is repeated until it is answered 2xx. The argument is a JSON object with the fields of Plan; the output is one with
the fields of Paced.
"""

import json
import re
import select
import socket
import statistics
import sys
import time
from array import array
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.requests import requests

CONNECTIONS: Final = 64
RETRY_DELAY: Final = 0.1
"""Seconds until a failed request is repeated."""
GRACE: Final = 30
"""Seconds to wait for answers after the last request was due."""


@dataclass(frozen=True)
class Plan:
    """Requests of a kind (see bench/requests.py) at ``rate`` per second for ``seconds``, split over the ports."""

    ports: list[int]
    kind: str
    run: str
    rate: float
    seconds: float
    file: str | None = None


@dataclass(frozen=True)
class Paced:
    """The result of a plan, with times in seconds.

    ``late`` is the longest delay of the client itself while a connection was free. ``busy`` is the client's share of
    its core: near 1, the times say more about the client than about the server.
    """

    answered: int
    unanswered: int
    errors: int
    p50: float
    p99: float
    longest: float
    late: float
    busy: float


@dataclass(eq=False)
class _Connection:
    """A persistent connection with its current request, and the time when that was due."""

    port: int
    due: float = 0.0
    request: bytes = b""
    read: bytes = b""

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Connect or reconnect."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """Return the file descriptor, for ``select``."""
        return self.socket.fileno()

    def send(self, due: float, request: bytes) -> None:
        """Send a request; ``status`` reports a broken connection."""
        self.due, self.request, self.read = due, request, b""
        try:
            self.socket.sendall(request)
        except OSError:
            self.socket.close()
            self.open()
            self.socket.sendall(request)

    def status(self) -> int | None:
        """Read; return the status of the answer, 0 if there will be none, or None if it is not complete."""
        try:
            data = self.socket.recv(65_536)
        except OSError:
            data = b""
        self.read += data
        status = status_of(self.read) if data else 0
        if status == 0 or (status and b"connection: close" in self.read.lower()):
            self.socket.close()
            self.open()
        return status


def status_of(answer: bytes) -> int | None:
    """Return the status of an answer, or None if it is not complete."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    chunked = b"chunked" in head.lower()
    done = len(body) >= int(length[1]) if length else not chunked or body.endswith(b"0\r\n\r\n")
    return int(head[9:12]) if done else None


def send_paced(plan: Plan) -> Paced:
    """Send the requests of a plan; exit if fewer than two were answered."""
    source = requests(plan.kind, plan.run, Path(plan.file) if plan.file else None)
    free = deque(_Connection(plan.ports[number % len(plan.ports)]) for number in range(CONNECTIONS))
    busy: set[_Connection] = set()
    again: deque[tuple[float, float, bytes]] = deque()  # time of the retry, time when due, request
    latencies = array("d")
    errors = sent = 0
    total, late = int(plan.rate * plan.seconds), 0.0
    begin, used = time.perf_counter(), time.process_time()
    while (sent < total or busy or again) and time.perf_counter() < begin + plan.seconds + GRACE:
        now, waited = time.perf_counter(), not free
        while free and again and again[0][0] <= now:
            _, due, request = again.popleft()
            busy.add(connection := free.popleft())
            connection.send(due, request)
        while free and sent < total and (due := begin + sent / plan.rate) <= now:
            if not waited:
                late = max(late, now - due)
            busy.add(connection := free.popleft())
            connection.send(due, next(source))
            sent += 1
        moments = [begin + sent / plan.rate] if sent < total else []
        moments += [again[0][0]] if again else []
        wait = max(0.0, min(moments) - time.perf_counter()) if free and moments else 1.0
        for connection in select.select(busy, [], [], wait)[0]:
            status = connection.status()
            if status is None:
                continue
            busy.remove(connection)
            free.append(connection)
            now = time.perf_counter()
            if 200 <= status < 300:
                latencies.append(now - connection.due)
            else:
                errors += 1
                again.append((now + RETRY_DELAY, connection.due, connection.request))
    share = (time.process_time() - used) / (time.perf_counter() - begin)
    for connection in (*free, *busy):
        connection.socket.close()
    answered = len(latencies)
    if answered < 2:
        sys.exit(f"bench: only {answered} of {total} requests were answered")
    ranks = statistics.quantiles(latencies, n=100, method="inclusive")
    return Paced(answered, total - answered, errors, ranks[49], ranks[98], max(latencies), late, share)


if __name__ == "__main__":
    print(json.dumps(asdict(send_paced(Plan(**json.loads(sys.argv[1]))))))
