"""A reader of the documentation: types what a page shows, in terminals of a fresh clone, and looks at what comes."""

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
    """A command that goes on until Ctrl-C: what it listens as, and what it says when it is ready."""

    program: re.Pattern[str]
    takes: frozenset[str]
    ready: str


SERVERS: Final = (
    Server(re.compile(r"make run\b"), frozenset({"exporter"}), "msg=ready"),
    Server(re.compile(r"(\.venv/bin/)?smtpeter-exporter serve\b"), frozenset({"exporter"}), "msg=ready"),
    Server(re.compile(r"prometheus\b"), frozenset({"prometheus"}), "Server is ready to receive web requests"),
    Server(re.compile(r"make demo\b"), frozenset({"exporter", "prometheus"}), "Press Ctrl-C to stop"),
)
ASKS: Final = re.compile(r"(curl -s |promtool query |amtool alert query )")
"""What a reader types again when the answer is not there yet."""


class Reader:
    """Types commands in ``folder``, which is made to look like a clone that was set up.

    What listens on loopback does so on other ports than the pages say, so that tests disturb neither each other nor
    what else runs; what is typed and what is read is translated. A minute of waiting for a new series is three seconds,
    and Prometheus, where it is told to look every five seconds, looks each second.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offset = _free_offset()
        self._running: list[tuple[frozenset[str], subprocess.Popen[bytes]]] = []
        self._logs = 0
        ours = environment(measured=False)
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # what make says to a make that it starts: a reader's is none
            ours.pop(name, None)
        self._environment = ours | {
            "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "SMTPETER_EXPORTER_METRICS_BIRTH_HOLD": "3s",
            # Of the demo: its ports, and less of a past. Its own spike comes when nobody looks any more.
            "ARGS": f"--offset {self._offset} --days 1 --spike-after 1h",
        }
        self._set_up()

    def _set_up(self) -> None:
        for name in files():
            link = self._folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ROOT / name)
        (self._folder / "Makefile").unlink()
        (self._folder / "Makefile").write_text(self._typed((ROOT / "Makefile").read_text()))
        programs = self._folder / ".venv/bin"
        programs.mkdir(parents=True)
        for name, module in (("python", ""), ("smtpeter-exporter", "-m exporter")):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
            (programs / name).chmod(0o755)
        for installed in ("run", "demo"):  # what make would install is there
            (self._folder / ".venv" / installed).touch()

    def type(self, command: str) -> tuple[int, str]:
        """Type a command; its exit code, and what it printed. A server is left running: its code is 0."""
        for server in SERVERS:
            if server.program.match(command):
                return 0, self._start(command, server)
        done = subprocess.run(
            ["/bin/sh", "-c", self._typed(command)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=TIMEOUT,
        )
        return done.returncode, self._read(done.stdout)

    def follow(self, block: Block) -> None:
        """Type all commands of a block, and compare what is printed with what it shows, if it shows something."""
        for command, shown in zip(commands(block), outputs(block), strict=True):
            seen = self.type(command)
            if shown is None:
                assert seen[0] == 0, f"{block}: {command}: exit code {seen[0]}, printed\n{seen[1]}"
                continue
            deadline = time.monotonic() + TIMEOUT
            while not fits(shown, seen[1]):
                assert ASKS.match(command), f"{block}: {command}: printed\n{seen[1]}"
                assert time.monotonic() < deadline, f"{block}: {command}: at last printed\n{seen[1]}"
                threading.Event().wait(0.2)
                seen = self.type(command)

    def stop(self, takes: frozenset[str] | None = None) -> None:
        """Press Ctrl-C where something runs that ``takes`` a place that is needed; without, everywhere."""
        for names, process in [*self._running]:
            if takes is None or names & takes:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(TIMEOUT)
                self._running.remove((names, process))

    def _start(self, command: str, server: Server) -> str:
        self.stop(server.takes)
        self._logs += 1
        output = self._folder / f"terminal-{self._logs}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["/bin/sh", "-c", self._typed(command)],
                cwd=self._folder,
                env=self._environment | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._running.append((server.takes, process))

        def ready() -> bool:
            assert process.poll() is None, f"{command} ended: {output.read_text()}"
            return server.ready in output.read_text()

        until(ready, 120)
        return self._read(output.read_bytes())

    def _typed(self, text: str) -> str:
        text = text.replace("_interval: 5s\n", "_interval: 1s\n")
        return _PORT.sub(lambda port: str(int(port[0]) + self._offset), text)

    def _read(self, printed: bytes) -> str:
        text = printed.decode().replace("\r\n", "\n")
        for port in PORTS:
            text = text.replace(str(port + self._offset), str(port))
        return text


_PORT: Final = re.compile(rf"(?<![\d.])({'|'.join(map(str, PORTS))})(?!\d)")


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    """A reader who stops afterwards what was started."""
    reading = Reader(folder)
    try:
        yield reading
    finally:
        reading.stop()


def outputs(block: Block) -> list[str | None]:
    """What a block shows after each of its commands; None for nothing."""
    if block.language != "console":
        return [None for _ in commands(block)]
    shown: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            shown.append("")
        elif not line.startswith("> "):
            shown[-1] += f"{line}\n"
    return [text or None for text in shown]


def fits(shown: str, printed: str) -> bool:
    """Whether it printed what is shown; … stands for anything in a line, or, alone, for any lines."""
    lines = [
        r"(.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\s*\n"
        for line in shown.strip("\n").split("\n")
    ]
    return re.fullmatch("".join(lines), printed.strip("\n") + "\n") is not None


def programs_missing() -> list[str]:
    """The programs that pages use and that are not here."""
    ours = "make curl openssl prometheus promtool prometheus-alertmanager amtool nginx caddy".split()
    return [name for name in ours if not shutil.which(name)]


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
