"""``make run`` where something is missing, and with flags of the user; a script plays the part of Python."""

import os
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support.running import TIMEOUT, server
from tests.support.tree import ROOT

# Fails with $ERROR if its arguments contain $FAILING. As "-m venv", it copies itself.
PYTHON: Final = """#!/bin/sh
case "$*" in
*"$FAILING"*) echo "$ERROR" >&2; exit 1 ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m exporter "*) echo "$*" ;;
esac
"""
SERVE: Final = (
    "-m exporter serve --signature.mode off"
    " --webhook.listen-address 127.0.0.1:10125 --web.listen-address 127.0.0.1:10126"
)


class Made(NamedTuple):
    """The exit code of make, and the lines that it printed to standard output and to standard error."""

    code: int
    out: list[str]
    err: list[str]


def make_run(directory: Path, *variables: str, failing: str = "nothing", error: str = "") -> Made:
    """Run ``make run`` with a virtual environment in the directory."""
    python = directory / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    ours = {name: text for name, text in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS"}}
    done = subprocess.run(
        [server("make"), "run", f"VENV={directory / 'venv'}", f"PYTHON={python}", *variables],
        cwd=ROOT,
        env=ours | {"FAILING": failing, "ERROR": error},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    return Made(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


def test_a_missing_python_is_named(tmp_path: Path) -> None:
    """The error has the name that was looked for."""
    made = make_run(tmp_path, "PYTHON=python3.0")
    assert (made.code, made.err[0].startswith("python3.0 is not installed")) == (2, True)


def test_a_missing_venv_module_names_its_package(tmp_path: Path) -> None:
    """The only line is about the package to install."""
    made = make_run(tmp_path, failing="ensurepip", error="No module named 'ensurepip'")
    assert (made.code, len(made.err), "apt-get install python3-venv" in made.err[0]) == (2, 2, True)


def test_a_failed_virtual_environment_is_explained(tmp_path: Path) -> None:
    """The error is shown, the way out is not to install a package, and nothing half-made is left."""
    made = make_run(tmp_path, failing="-m venv", error="[Errno 28] No space left on device")
    assert (made.code, made.err[0]) == (2, "[Errno 28] No space left on device")
    assert ("disk full" in made.err[1], "python3-venv" in made.err[1]) == (True, False)
    assert not (tmp_path / "venv").exists()


def test_a_failed_installation_is_explained_and_repeated(tmp_path: Path) -> None:
    """The error is shown with the way out. The next run installs again, and then runs."""
    made = make_run(tmp_path, failing="-m pip install --quiet --disable-pip-version-check --require", error="no route")
    assert (made.code, made.err[0], "network" in made.err[1]) == (2, "no route", True)
    assert make_run(tmp_path).out[-1] == SERVE


def test_it_prints_the_addresses_that_it_sets(tmp_path: Path) -> None:
    """Without ARGS, the addresses are known before the exporter runs."""
    made = make_run(tmp_path)
    assert (made.code, made.out[-1]) == (0, SERVE)
    printed = [line.split()[-1] for line in made.out if line.startswith("  ") and "   http://" in line]
    assert printed == ["http://127.0.0.1:10125/failures", "http://127.0.0.1:10126/metrics", "http://127.0.0.1:10126/"]


@pytest.mark.parametrize("flags", ["--web.listen-address 127.0.0.1:20126", "--log.level debug"])
def test_args_override_its_flags(tmp_path: Path, flags: str) -> None:
    """ARGS come last. No address is printed, because it may be another; the exporter logs it."""
    made = make_run(tmp_path, f"ARGS={flags}")
    assert (made.code, made.out[-1]) == (0, f"{SERVE} {flags}")
    assert [line for line in made.out if "http://" in line] == []
