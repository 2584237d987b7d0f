"""Helpers of end-to-end tests: those of deploy.demo.running, and some that only tests need."""

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Final

import click
import pytest

from deploy.demo.running import (
    FORM,
    PROGRAM,
    TIMEOUT,
    Client,
    Exporter,
    MissingProgramError,
    Prometheus,
    Response,
    Samples,
    command,
    environment,
    exporter,
    failures_of,
    free_port,
    program,
    response_of,
    samples_of,
    until,
)

__all__ = [
    "COUNTED",
    "COUNTED_AGAIN",
    "FORM",
    "HASTY",
    "PROGRAM",
    "TIMEOUT",
    "Client",
    "Exporter",
    "Prometheus",
    "Response",
    "Samples",
    "brought",
    "changes",
    "command",
    "connect",
    "environment",
    "exchange",
    "exporter",
    "failure",
    "failures_of",
    "free_port",
    "read_to_end",
    "samples_of",
    "server",
    "skipping",
    "throughout",
    "until",
    "with_constants",
]


def with_constants(constants: Mapping[str, float]) -> tuple[str, ...]:
    """Return the words that start an exporter in which constants, by their full names, have other values."""
    changed = [f"import {name.rpartition('.')[0]}; {name} = {value}" for name, value in constants.items()]
    return (sys.executable, "-c", "\n".join([*changed, "from exporter.cli.main import main", "main()"]))


HASTY: Final = with_constants(
    {
        "exporter.ledger.committer.COMMIT_TIMEOUT": 2,
        "exporter.ledger.committer.MAINTENANCE_INTERVAL": 0.2,
        "exporter.metrics.collector.READ_TIMEOUT": 1,
    }
)
"""An exporter in which a request waits for its commit for 2 s, and a scrape for the ledger for 1 s."""


def throughout(condition: Callable[[], bool], seconds: float) -> None:
    """Fail unless ``condition`` stays true for a number of seconds."""
    never = threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), "no longer true"
        never.wait(0.02)


def failure(number: int, **fields: str) -> dict[str, str]:
    """Return the variables of a failure. Each number gives a different failure."""
    return {
        "id": f"m{number}",
        "recipient": f"jane.doe{number}@example.org",
        "state": "rcptto",
        "code": "550",
        "extended": "5.1.1",
        "description": f"5.1.1 <jane.doe{number}@example.org>: user unknown",
        **fields,
    }


COUNTED: Final = {
    'smtpeter_failures_total{code_class="5xx",extended="5.1.1",state="rcptto"}': 1.0,
    'smtpeter_failures_by_reason_total{reason="recipient_unknown"}': 1.0,
    'smtpeter_failures_by_provider_total{code_class="5xx",provider="other"}': 1.0,
    'smtpeter_failures_by_reason_provider_total{provider="other",reason="recipient_unknown"}': 1.0,
    'smtpeter_failures_by_tag_total{tag="other"}': 1.0,
    'smtpeter_exporter_accepted_total{loop="failures"}': 1.0,
    'smtpeter_exporter_reason_decisions_total{decided_by="extended"}': 1.0,
    "smtpeter_exporter_request_duration_seconds_count": 1.0,
    "smtpeter_exporter_commit_duration_seconds_count": 1.0,
    "smtpeter_exporter_commit_batch_size_count": 1.0,
}
"""The counters that a new failure of :func:`failure` increments."""

COUNTED_AGAIN: Final = {
    "smtpeter_exporter_duplicates_total": 1.0,
    **{name: by for name, by in COUNTED.items() if name.endswith("_count") or "accepted" in name},
}
"""The counters that the same failure increments the second time."""


def connect(address: str) -> socket.socket:
    """Open a TCP connection to ``address``."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT)


def exchange(address: str, raw: bytes) -> Response:
    """Send bytes on a new connection and return the answer."""
    with connect(address) as sock:
        with suppress(ConnectionError):  # the server may reject the request before it has read all of it
            sock.sendall(raw)
        response = HTTPResponse(sock, method=raw.partition(b" ")[0].decode("latin-1"))
        response.begin()
        return response_of(response)


def read_to_end(sock: socket.socket) -> bytes:
    """Return everything until the server closes the connection or resets it."""
    received = b""
    with suppress(ConnectionError):
        while data := sock.recv(65_536):
            received += data
    return received


def changes(before: Samples, after: Samples) -> Samples:
    """Return the increase of each counter that increased; counters of seconds are left out."""
    counters = {key for key in before.keys() | after.keys() if re.match(r"smtpeter_\w+_(total|count)\b", key)}
    differences = {key: after.get(key, 0) - before.get(key, 0) for key in counters}
    return {key: difference for key, difference in differences.items() if difference}


@contextmanager
def skipping() -> Iterator[None]:
    """Skip the test if a program is missing. "make test" downloads those that it can."""
    try:
        yield
    except MissingProgramError as missing:
        pytest.skip(str(missing))


def server(name: str) -> str:
    """Return the path of a server; skip the test if it is not on PATH."""
    with skipping():
        return program(name)


def brought(name: str) -> str:
    """Return the path of a program from the development requirements or on PATH; skip the test if there is none.

    It is next to the installed packages, not next to Python: the tests of the wheel run in another environment.
    """
    beside = Path(click.__file__).parents[4] / "bin" / name
    return str(beside) if beside.exists() else server(name)
