"""The wait for a signal to stop."""

import signal
import subprocess
import sys
from typing import Final

from tests.support.running import environment

# Sends SIGTERM at the N-th event (line, call or return) that Python traces while the main thread waits, for each N.
SIGNALLED_IN_EACH_LINE: Final = """
import os, signal, sys
from exporter.serve import stop_requests, wait_for

stopping = stop_requests()
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


def test_a_signal_stops_the_wait_wherever_it_arrives() -> None:
    """SIGTERM ends the wait at whichever step it arrives: the main thread never waits for its own signal handler."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_IN_EACH_LINE],
        env=environment(measured=False),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["SIGTERM"] * 15, ""), (
        f"killed by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else done.stderr
    )
