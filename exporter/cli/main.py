"""Start the process. Imports almost nothing, so that Ctrl-C ends it with one line as early as possible."""

import os
import signal
from types import FrameType

COMMAND = "smtpeter-exporter"
"""Name of the installed program."""


def main() -> None:
    """Run the command line and exit; see errors.py for the exit codes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as set by nohup, and by shells for background jobs
            signal.signal(number, end)

    from exporter.cli.streams import open_streams  # noqa: PLC0415 -- takes a while; signals must be handled before

    null = open_streams()
    try:
        from exporter.cli.group import run  # noqa: PLC0415 -- as above

        run()
    finally:
        os.dup2(null, 1)  # data that could not be written would fail again at exit, and change the exit code


def end(number: int, _frame: FrameType | None) -> None:
    """End the process at once with one line, whatever it is doing.

    ``serve`` and ``simulate`` handle signals themselves while they run. Other commands may be killed at any time.
    """
    word = "interrupted" if number == signal.SIGINT else "terminated"
    try:
        os.write(2, f"{COMMAND}: {word}\n".encode())
        if number != signal.SIGINT:  # systemd takes the signal for a clean stop, but not the exit code
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
    finally:
        os._exit(128 + number)  # also process 1 of a container, which survives the signal
