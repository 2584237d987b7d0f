"""Send requests with another one hidden inside to an exporter, directly and through the reverse proxies of deploy/."""

import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from bench.measure import columns
from tests.support.guarded import guarded_exporter
from tests.support.proxies import CALLBACK, HOST, SHIPPED, proxied
from tests.support.running import Exporter, connect
from tests.support.smuggling import PAYLOADS, Attempt, attempt


def smuggle(proxy: str | None) -> list[Attempt]:
    """Send all payloads to a new exporter, through a proxy or directly."""
    with ExitStack() as stack:
        directories = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        url = ("--webhook.public-url", f"https://{HOST}/smtpeter")
        running = stack.enter_context(guarded_exporter(directories[0], *url)).running
        if proxy is None:
            return _attempts(running, partial(connect, running.public))
        return _attempts(running, stack.enter_context(proxied(proxy, directories[1], running.public)).connect)


def _attempts(running: Exporter, open_connection: Callable[[], socket.socket]) -> list[Attempt]:
    return [attempt(name, CALLBACK, open_connection, running.samples) for name in PAYLOADS]


def main() -> bool:
    """Print the results; return whether nothing was smuggled."""
    rows = [["requests with a hidden one", "sent", "answers 200", "other answers", "smuggled"]]
    problems: list[str] = []
    for proxy in (None, *SHIPPED):
        try:
            attempts = smuggle(proxy)
        except pytest.skip.Exception as missing:
            print(f"smuggling through {proxy}: skipped: {missing}", file=sys.stderr)
            continue
        statuses = Counter(status for each in attempts for status in each.statuses)
        found = [each.problem for each in attempts if each.problem]
        numbers = (len(attempts), statuses[200], statuses.total() - statuses[200], len(found))
        rows.append([f"through {proxy}" if proxy else "directly", *(f"{number:,}" for number in numbers)])
        problems += found
    print(columns(rows))
    print("\n".join(problems))
    return not problems


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
