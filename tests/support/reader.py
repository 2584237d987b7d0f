"""A reader of the documentation, who types the commands of a page in a fresh clone and compares their output."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.documentation import Block, commands
from tests.support.running import TIMEOUT, environment, until
from tests.support.tree import ROOT, files

PORTS: Final = (10_125, 10_126, 9_090, 9_093, 3_000)
"""The ports that pages name: those of the exporter, Prometheus, Alertmanager and Grafana."""


class Server(NamedTuple):
    """A command that runs until Ctrl-C: the programs whose ports it uses, and what it prints when it is ready."""

    program: re.Pattern[str]
    uses: frozenset[str]
    ready: str


SERVERS: Final = (
    Server(re.compile(r"make run\b"), frozenset({"exporter"}), "msg=ready"),
    Server(re.compile(r"(\.venv/bin/)?smtpeter-exporter serve\b"), frozenset({"exporter"}), "msg=ready"),
    Server(re.compile(r"prometheus\b"), frozenset({"prometheus"}), "Server is ready to receive web requests"),
    Server(re.compile(r"make demo\b"), frozenset({"exporter", "prometheus"}), "Press Ctrl-C to stop"),
)
QUERIES: Final = re.compile(r"(curl -s |promtool query |amtool alert query )")
"""Commands that a reader repeats if the expected output is not there yet."""


class Reader:
    """Types commands in ``directory``, which looks like a clone after ``make run`` or ``make demo``.

    Ports on loopback are translated in commands and output, so that tests do not disturb each other or other programs.
    To save time, a new series is held at 0 for 3 seconds instead of a minute, and Prometheus scrapes every second
    instead of every 5 seconds.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offset = _free_offset()
        self._running: list[tuple[frozenset[str], subprocess.Popen[bytes]]] = []
        self._logs = 0
        ours = environment(measured=False)
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of "make test"; the reader's make must not inherit them
            ours.pop(name, None)
        self._environment = ours | {
            "PATH": f"{directory}/.venv/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(directory),
            "SMTPETER_EXPORTER_METRICS_BIRTH_HOLD": "3s",
        }
        self._set_up()

    def _set_up(self) -> None:
        for name in files():
            link = self._directory / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ROOT / name)
        (self._directory / "Makefile").unlink()
        # The demo has its own ports, a shorter history, and no spike of its own during the test.
        demo = f"-m deploy.demo --offset {self._offset} --days 1 --spike-after 1h"
        makefile = (ROOT / "Makefile").read_text().replace("-m deploy.demo", demo)
        (self._directory / "Makefile").write_text(self._translated(makefile))
        programs = self._directory / ".venv/bin"
        programs.mkdir(parents=True)
        for name, module in (("python", ""), ("smtpeter-exporter", "-m exporter")):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
            (programs / name).chmod(0o755)
        for target in ("run", "demo"):  # so that make installs nothing
            (self._directory / ".venv" / target).touch()

    def type(self, command: str) -> tuple[int, str]:
        """Type a command; return its exit code and output. A server keeps running, and its exit code is 0."""
        for server in SERVERS:
            if server.program.match(command):
                return 0, self._start(command, server)
        done = subprocess.run(
            ["/bin/sh", "-c", self._translated(command)],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=TIMEOUT,
        )
        return done.returncode, self._read(done.stdout)

    def follow(self, block: Block) -> None:
        """Type all commands of a block, and compare their output with what the block shows, if it shows any."""
        for command, shown in zip(commands(block), outputs(block), strict=True):
            seen = self.type(command)
            if shown is None:
                assert seen[0] == 0, f"{block}: {command}: exit code {seen[0]}, printed\n{seen[1]}"
                continue
            deadline = time.monotonic() + TIMEOUT
            while not matches(shown, seen[1]):
                assert QUERIES.match(command), f"{block}: {command}: printed\n{seen[1]}"
                assert time.monotonic() < deadline, f"{block}: {command}: last printed\n{seen[1]}"
                threading.Event().wait(0.2)
                seen = self.type(command)

    def stop(self, needed: frozenset[str] | None = None) -> None:
        """Press Ctrl-C in the terminals of servers that use one of the ``needed`` ports, or in all terminals."""
        for used, process in [*self._running]:
            if needed is None or used & needed:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(TIMEOUT)
                self._running.remove((used, process))

    def _start(self, command: str, server: Server) -> str:
        self.stop(server.uses)
        self._logs += 1
        output = self._directory / f"terminal-{self._logs}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["/bin/sh", "-c", self._translated(command)],
                cwd=self._directory,
                env=self._environment | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._running.append((server.uses, process))

        def ready() -> bool:
            assert process.poll() is None, f"{command} exited: {output.read_text()}"
            return server.ready in output.read_text()

        until(ready, 120)
        return self._read(output.read_bytes())

    def _translated(self, text: str) -> str:
        text = text.replace("_interval: 5s\n", "_interval: 1s\n")
        return _PORT.sub(lambda port: str(int(port[0]) + self._offset), text)

    def _read(self, printed: bytes) -> str:
        text = printed.decode().replace("\r\n", "\n")
        for port in PORTS:
            text = text.replace(str(port + self._offset), str(port))
        return text


_PORT: Final = re.compile(rf"(?<![\d.])({'|'.join(map(str, PORTS))})(?!\d)")


@contextmanager
def reader(directory: Path) -> Iterator[Reader]:
    """Yield a reader, and stop all of the reader's servers afterwards."""
    reading = Reader(directory)
    try:
        yield reading
    finally:
        reading.stop()


def outputs(block: Block) -> list[str | None]:
    """Return the output that a block shows for each of its commands, or None where it shows none."""
    if block.language != "console":
        return [None for _ in commands(block)]
    shown: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            shown.append("")
        elif not line.startswith("> "):
            shown[-1] += f"{line}\n"
    return [text or None for text in shown]


def matches(shown: str, printed: str) -> bool:
    """Return whether the output is what a page shows. ``…`` stands for any part of a line, or alone for any lines."""
    lines = [
        r"(.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\s*\n"
        for line in shown.strip("\n").split("\n")
    ]
    return re.fullmatch("".join(lines), printed.strip("\n") + "\n") is not None


def missing_programs() -> list[str]:
    """Return the programs that the pages use but that are not on PATH."""
    used = "make curl openssl prometheus promtool prometheus-alertmanager amtool nginx caddy".split()
    return [name for name in used if not shutil.which(name)]


def _free_offset() -> int:
    while True:
        offset = 11_000 + secrets.randbelow(11_000)
        if all(_free(port + offset) for port in PORTS):
            return offset


def _free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
