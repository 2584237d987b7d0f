"""``make demo`` starts, shows what it promises, and leaves nothing behind."""

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
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run it in a session of its own, as a terminal would; what it leaves behind would lie in ``folder``."""
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "deploy.demo", "--offset", str(OFFSET), "--days", "1", *arguments],
            cwd=ROOT,
            env=environment(measured=False) | {"TMPDIR": str(folder)},
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


def test_it_shows_everything_and_stops_cleanly(tmp_path: Path) -> None:
    """Exporter, Prometheus with rules and a past, and Alertmanager answer where it says; Ctrl-C ends all of it."""
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

        def usual() -> bool:
            with Client(urls[1][0]) as client:
                query = "/api/v1/query?query=job_reason:smtpeter_failures:increase15m_expected"
                return len(json.loads(client.request("GET", query).body)["data"]["result"]) == len(REASONS)

        until(usual)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT) == 0, output.read_text()
    assert re.search(
        r"Press Ctrl-C to stop\.\nStopping \.\.\.\n([\d,]+ calls sent: .* 0 refused\n)?$", output.read_text()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    for address, _ in urls[:3]:
        with pytest.raises(ConnectionRefusedError), Client(address) as client:
            client.request("GET", "/")


def test_it_stops_while_it_makes_its_past(tmp_path: Path) -> None:
    """Ctrl-C before there is anything to see ends it, too, and leaves nothing."""
    server("prometheus")
    server("prometheus-alertmanager")
    output = tmp_path / "output"
    with demo(tmp_path, "--days", "8") as process:
        until(lambda: "of history" in output.read_text() and len(list(tmp_path.iterdir())) > 1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT) == 0, output.read_text()
    assert output.read_text().endswith("Stopping ...\n")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """It does not begin, and says which address it is, and what to do."""
    server("prometheus")
    server("prometheus-alertmanager")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 9_093 + OFFSET))
        taken.listen()
        with demo(tmp_path) as process:
            assert process.wait(TIMEOUT) == 1
    assert (tmp_path / "output").read_text() == (
        "demo: 127.0.0.1:29093: [Errno 98] Address already in use: stop what listens there, "
        "or make demo ARGS='--offset 10000'\n"
    )


def test_it_needs_no_test_code_and_no_tools() -> None:
    """Importing the demo loads nothing of the tests, of pytest or of Sphinx; ``make demo`` installs none of these."""
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
