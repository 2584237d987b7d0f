"""``python -m exporter``, without the command that the package installs."""

import subprocess
import sys

from exporter import __version__
from tests.support.running import environment


def test_prints_its_version() -> None:
    """It runs the command line, under the name of the installed command."""
    command = [sys.executable, "-m", "exporter", "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, f"smtpeter-exporter, version {__version__}\n", "")
