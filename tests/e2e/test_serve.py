"""``serve``: how a running exporter is stopped, and what happens to requests in flight."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from tests.support.raw_http import CHUNKED, chunked, http
from tests.support.running import FORM, connect, environment, exchange, exporter, failure, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the process with exit code 0, are logged, and leave a ledger that needs no recovery."""
    with exporter(tmp_path) as running:
        assert running.post(failure(1)).status == 200
        assert running.stop(number) == 0
    events = [(line["level"], line["msg"], line.get("signal")) for line in running.log()]
    assert events[2:] == [("info", "stopping", number.name), ("info", "stopped", None)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.db", "ledger.db.lock"]
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        counts = ledger.execute("SELECT count FROM total WHERE series LIKE '[\"failures\",%'").fetchall()
        assert (counts, ledger.execute("SELECT count(*) FROM identity").fetchall()) == ([(1,)], [(1,)])


def test_it_logs_where_it_can_be_reached(tmp_path: Path) -> None:
    """When it is ready, the log has the URLs of the webhook, the metrics and the status page."""
    with exporter(tmp_path) as running:
        (ready,) = [line for line in running.log() if line["msg"] == "ready"]
        assert {name: ready[name] for name in ("failures", "metrics", "status_page")} == {
            "failures": f"http://{running.public}/failures",
            "metrics": f"http://{running.private}/metrics",
            "status_page": f"http://{running.private}/",
        }
        assert running.get("/").headers["Content-Type"].startswith("text/html")


def test_open_connections_do_not_keep_it(tmp_path: Path) -> None:
    """Idle connections and incomplete requests delay the end by some seconds at most."""
    half = b"POST /failures HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid="
    with exporter(tmp_path) as running, running.client() as idle, ExitStack() as stack:
        assert idle.post(failure(1)).status == 200
        for raw in (b"", half[:20], half):
            stack.enter_context(connect(running.public)).sendall(raw)
        assert running.post(failure(2)).status == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    assert [line for line in running.lines if not line.startswith("ts=")] == []


def test_a_deprecated_setting_has_no_effect(tmp_path: Path) -> None:
    """With ``webhook.server`` the exporter also counts a request that granian rejected, and warns once."""
    body = b"id=1&recipient=a@b.c&state="
    raw = http(body=chunked(body), headers=CHUNKED)
    with exporter(tmp_path, "--webhook.server", "granian") as running:
        assert exchange(running.public, raw).text == "counted\n"
        warnings = [line["msg"] for line in running.log() if line["level"] == "warning"]
    assert [warning.startswith("webhook.server ") for warning in warnings] == [True, False]  # then: signatures are off


def test_a_request_in_flight_is_answered(tmp_path: Path) -> None:
    """After SIGTERM new connections are refused, but a request that was being read is counted and answered 200."""
    body = b"id=1&recipient=a@b.c&state="
    head = f"POST /failures HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n"
    with exporter(tmp_path) as running, connect(running.public) as sock:
        sock.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert sock.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"  # so the body is being read
        running.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(running.public))
        sock.sendall(body)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert running.wait() == 0
    with exporter(tmp_path) as running:
        assert running.failures() == {"none/none/none": 1}


def refuses_connections(address: str) -> bool:
    """Return whether no process listens on the address."""
    try:
        connect(address).close()
    except ConnectionError:
        return True
    return False


# For each N, sends SIGTERM at the N-th event (line, call or return) that Python traces while the main thread waits.
SIGNAL_AT_EACH_EVENT: Final = """
import os, signal, sys
from queue import SimpleQueue
from exporter.process import stop_on_signals, wait_for

stopping = SimpleQueue()
stop_on_signals(stopping)
for line in range(1, 16):
    left = line

    def trace(frame, event, arg):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return trace

    signal.alarm(20)
    sys.settrace(trace)
    name = wait_for(stopping)
    sys.settrace(None)
    print(name)
"""


def test_a_signal_ends_the_wait_whenever_it_arrives() -> None:
    """The main thread never waits for its own signal handler, at whatever step SIGTERM interrupts it."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_EACH_EVENT],
        env=environment(measured=False),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["SIGTERM"] * 15, ""), (
        f"killed by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else done.stderr
    )
