"""Completion of the command line in real shells."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.running import TIMEOUT, server

SHELLS: Final = {
    "bash": (["--noprofile", "--norc", "-i"], 'eval "$(smtpeter-exporter completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -D -u; eval "$(smtpeter-exporter completion zsh)"'),
    "fish": (["--no-config", "-i"], "smtpeter-exporter completion fish | source"),
}
"""For each shell: the flags that keep it from reading startup files, and the line for users' startup files."""


class Terminal:
    """The master side of a pseudo-terminal, on which a shell runs; ``shown`` is what it has printed."""

    def __init__(self, master: int) -> None:
        self._master = master
        self.shown = ""

    def type(self, keys: str, *, until: str) -> None:
        """Press the keys, then read until the shell has printed the text."""
        seen = len(self.shown)
        os.write(self._master, keys.encode())
        deadline = time.monotonic() + TIMEOUT
        while until not in self.shown[seen:]:
            ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{until!r} was not shown, but {self.shown[seen:]!r}"
            self.shown += os.read(self._master, 65_536).decode(errors="replace")


@contextmanager
def terminal(command: list[str], directory: Path) -> Iterator[Terminal]:
    """Run a shell in which ``smtpeter-exporter`` is the exporter under test."""
    program = directory / "bin" / "smtpeter-exporter"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m exporter "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        [server("setsid"), "--ctty", *command],  # fish exits unless it controls the terminal
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=os.environ | {"PATH": path, "HOME": str(directory), "TERM": "vt100"},
    )
    os.close(slave)
    try:
        yield Terminal(master)
    finally:
        shell.kill()
        shell.wait()
        os.close(master)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_commands_and_their_arguments(shell: str, tmp_path: Path) -> None:
    """With the script of ``completion``, Tab completes a command, an argument, an option and its value."""
    flags, line = SHELLS[shell]
    with terminal([server(shell), *flags], tmp_path) as screen:
        screen.type(f"{line}; echo set''up\r", until="setup")
        screen.type("smtpeter-exporter compl\tfi\t\r", until="function _smtpeter_exporter_completion")
        screen.type(
            "smtpeter-exporter serve --web.listen-a\tnonsense\r", until="'nonsense' (from --web.listen-address)"
        )
        screen.type("smtpeter-exporter check-config --signature.mode o\t\r", until="signature.mode = 'off'")
