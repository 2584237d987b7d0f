"""A real systemd as process 1 of new namespaces (see systemd.sh), with the exporter as a service."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import pytest

import exporter
from tests.support.running import Client, Response, Samples, failures_of, free_port, samples_of, server, until
from tests.support.tree import ROOT

NAME: Final = "smtpeter-exporter"
UNIT: Final = ROOT / f"deploy/systemd/{NAME}.service"
HOME: Final = f"/opt/{NAME}"
NONE: Final[Mapping[str, str]] = {}
_COMMAND: Final = f"""#!/bin/sh
export LD_LIBRARY_PATH={HOME}/python/lib PYTHONHOME={HOME}/python PYTHONPATH={HOME}/package:{HOME}/site-packages
exec {HOME}/python/bin/{Path(sys.executable).resolve().name} -m exporter "$@"
"""


class Systemd:
    """A running systemd. ``root`` is its root directory as seen from outside. Skips the test if it cannot run here."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("systemd", path="/usr/lib/systemd:/lib/systemd")
        if program is None or os.geteuid() != 0:
            pytest.skip("needs systemd and root")
        # Mount these where the unit can see them; they may be in a home directory, which it hides.
        places = (
            (ROOT, f"{HOME}/source"),
            (Path(sys.base_prefix), f"{HOME}/python"),
            (Path(exporter.__file__).parents[1], f"{HOME}/package"),
            (Path(click.__file__).parents[1], f"{HOME}/site-packages"),
        )
        shown = [str(word) for pair in places for word in pair]
        self._process = subprocess.Popen(
            [server("sh"), ROOT / "tests/support/systemd.sh", program, directory, *shown],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self._pid = self._process.stdout.readline().strip()
        try:
            until(self._runs)
        except BaseException:
            self.end()
            raise
        self.root = Path(f"/proc/{self._pid}/root")
        shutil.copy(UNIT, self.root / "etc/systemd/system")
        (self.root / f"{HOME}/bin".lstrip("/")).mkdir()
        command = self.root / f"{HOME}/bin/{NAME}".lstrip("/")
        command.write_text(_COMMAND)
        command.chmod(0o755)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces, as root."""
        done = subprocess.run(
            [server("nsenter"), "-t", self._pid, "--all", *words], check=False, capture_output=True, text=True, cwd="/"
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def end(self) -> None:
        """Stop systemd and everything that runs in it."""
        self._process.communicate()

    def _runs(self) -> bool:
        if self._process.poll() is not None:
            pytest.skip(f"needs permission to start a systemd: {self._process.communicate()[1].strip()}")
        said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return said in {"running", "degraded"}


class Service:
    """The exporter as a service, not started yet, with its own settings, drop-ins and configuration files.

    It has its own addresses. A drop-in makes system calls that the unit does not allow fatal.
    """

    def __init__(self, systemd: Systemd, settings: str, drop_ins: Sequence[str], files: Mapping[str, str]) -> None:
        self._systemd = systemd
        self.public, self.private = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.configuration = systemd.root / "etc" / NAME
        self.configuration.mkdir()
        for name, text in {"config.toml": settings, **files}.items():
            (self.configuration / name).write_text(text)
            (self.configuration / name).chmod(0o644 if name.endswith(".toml") else 0o600)
        self.state = systemd.root / "var/lib/private" / NAME
        self._drop_ins = systemd.root / "etc/systemd/system" / f"{NAME}.service.d"
        self._drop_ins.mkdir()
        own = (
            "[Service]\nSystemCallErrorNumber=kill\n"
            f"Environment=SMTPETER_EXPORTER_WEBHOOK_LISTEN_ADDRESS={self.public}\n"
            f"Environment=SMTPETER_EXPORTER_WEB_LISTEN_ADDRESS={self.private}\n"
        )
        for number, text in enumerate((own, *drop_ins)):
            (self._drop_ins / f"{number}.conf").write_text(text)
        self.systemctl("daemon-reload")

    def systemctl(self, verb: str, *words: str) -> int:
        """Run systemctl; return its exit code."""
        return self._systemd.run("systemctl", verb, *words, check=verb == "daemon-reload").returncode

    def start(self) -> None:
        """Start or restart the service. Returns when it is ready."""
        code = self.systemctl("restart", NAME)
        assert code == 0, self.journal()

    def show(self, *properties: str) -> dict[str, str]:
        """Return properties of the service."""
        said = self._systemd.run("systemctl", "show", NAME, "--property", ",".join(properties)).stdout
        return dict(line.split("=", 1) for line in said.splitlines())

    def journal(self) -> str:
        """Return the log of the service, with systemd's own lines about it."""
        return self._systemd.run("journalctl", "--unit", NAME, "--output", "cat", "--no-pager").stdout

    def post(self, fields: Mapping[str, str]) -> Response:
        """Post a failure as a form."""
        with Client(self.public) as client:
            return client.post(fields)

    def samples(self) -> Samples:
        """Return the samples of a scrape."""
        with Client(self.private) as client:
            return samples_of(client.request("GET", "/metrics").text)

    def failures(self) -> Samples:
        """Return the values of the main counter by ``state/code_class/extended``."""
        return failures_of(self.samples())

    def end(self) -> None:
        """Stop the service and remove its files."""
        self.systemctl("stop", NAME)
        self.systemctl("reset-failed", NAME)
        for directory in (self._drop_ins, self.configuration, self.state):
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def service(systemd: Systemd, settings: str, *drop_ins: str, files: Mapping[str, str] = NONE) -> Iterator[Service]:
    """Set up the exporter as a service, and remove it afterwards."""
    made = Service(systemd, settings, drop_ins, files)
    try:
        yield made
    finally:
        made.end()
