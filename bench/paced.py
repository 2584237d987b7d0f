"""Calls at their times, whether or not the ones before have been answered: latency counts from when one was due.

wrk waits for an answer before it asks again, so what it measures leaves out those who would have waited. This one hands
each call that is due to one of 64 connections as soon as one is free, and repeats it until it is answered 2xx, as
SMTPeter does. Command line: a JSON object with the fields of Plan; prints one with those of Paced.
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

from bench.calls import calls

CONNECTIONS: Final = 64
AGAIN: Final = 0.1
"""Seconds until a call that went wrong is repeated."""
LATEST: Final = 30
"""Seconds after the last call was due that are waited for answers."""


@dataclass(frozen=True)
class Plan:
    """Calls of a kind (see bench/calls.py), so many a second for so many seconds, split over the ports."""

    ports: list[int]
    kind: str
    run: str
    rate: float
    seconds: float
    file: str | None = None


@dataclass(frozen=True)
class Paced:
    """What came of it, times in seconds; ``late`` is how late the client was at worst, though a connection was free.

    ``busy`` is how much of its processor the client used: close to 1, the times are its own more than the server's.
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
    """One that is kept open; ``due`` and ``call`` are what it is at."""

    port: int
    due: float = 0.0
    call: bytes = b""
    read: bytes = b""

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Connect, again perhaps."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def send(self, due: float, call: bytes) -> None:
        """Begin a call; that the connection is broken shows when it is read."""
        self.due, self.call, self.read = due, call, b""
        try:
            self.socket.sendall(call)
        except OSError:
            self.socket.close()
            self.open()
            self.socket.sendall(call)

    def status(self) -> int | None:
        """Read: the status of the answer, 0 when there will be none, None when there is more to come."""
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
    """The status of an answer that is whole."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    chunked = b"chunked" in head.lower()
    done = len(body) >= int(length[1]) if length else not chunked or body.endswith(b"0\r\n\r\n")
    return int(head[9:12]) if done else None


def paced(plan: Plan) -> Paced:
    """Make the calls."""
    source = calls(plan.kind, plan.run, Path(plan.file) if plan.file else None)
    free = deque(_Connection(plan.ports[number % len(plan.ports)]) for number in range(CONNECTIONS))
    busy: set[_Connection] = set()
    again: deque[tuple[float, float, bytes]] = deque()  # not before, due, call
    taken = array("d")
    errors = sent = 0
    total, late = int(plan.rate * plan.seconds), 0.0
    begin, used = time.perf_counter(), time.process_time()
    while (sent < total or busy or again) and time.perf_counter() < begin + plan.seconds + LATEST:
        now, waited = time.perf_counter(), not free
        while free and again and again[0][0] <= now:
            _, due, call = again.popleft()
            busy.add(connection := free.popleft())
            connection.send(due, call)
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
                taken.append(now - connection.due)
            else:
                errors += 1
                again.append((now + AGAIN, connection.due, connection.call))
    share = (time.process_time() - used) / (time.perf_counter() - begin)
    for connection in (*free, *busy):
        connection.socket.close()
    if len(taken) < 2:
        sys.exit(f"bench: of {total} calls {len(taken)} were answered")
    ranks = statistics.quantiles(taken, n=100, method="inclusive")
    return Paced(len(taken), total - len(taken), errors, ranks[49], ranks[98], max(taken), late, share)


if __name__ == "__main__":
    print(json.dumps(asdict(paced(Plan(**json.loads(sys.argv[1]))))))
