"""``make demo`` starts all programs, and leaves nothing behind when it stops."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from exporter.classification.reason import REASONS
from tests.support.running import TIMEOUT, Client, environment, server, until
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
        r"Press Ctrl-C to stop\.\nStopping \.\.\.\n([\d,]+ requests sent: .* 0 rejected\n)?$", output.read_text()
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
