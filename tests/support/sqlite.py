"""SQLite ledgers of tests: fill them, ask SQLite about them, and use them in another process."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from exporter.ledger.sqlite import SqliteLedger
from tests.support.records import NOW, count, failures

PRELUDE: Final = """
import os, sys
from pathlib import Path
from exporter.errors import LedgerError
from exporter.ledger.sqlite import SqliteLedger
from tests.support.records import NOW, count, deliveries, events, failures

def say(*words):
    print(*words, flush=True)
"""


def filled(path: Path, numbers: range = range(300)) -> None:
    """Leave a closed ledger with these failures at the path."""
    with closing(SqliteLedger(path, now=NOW)) as ledger:
        count(ledger, failures(numbers))


def ask(path: Path, question: str) -> list[Any]:
    """Return the rows that SQLite returns to a statement on a connection of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        return other.execute(question).fetchall()


def start(code: str, *arguments: object, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Run code after PRELUDE in another process, with pipes for its input and output.

    ``prefix`` are words to put in front of the command.
    """
    command = [*prefix, sys.executable, "-c", f"{PRELUDE}\n{code}", *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that the process prints."""
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the process, as a crash does."""
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
