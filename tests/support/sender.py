"""A sender of distinct failures over many connections, which knows what was answered 200."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from itertools import count
from queue import Empty, SimpleQueue
from typing import Final

from tests.support.running import Client, Exporter, failure

CONNECTIONS: Final = 32
KINDS: Final = {
    f"{state}/{code_class}/{extended or 'none'}": {"state": state, "code": code, "extended": extended}
    for state in ("rcptto", "data", "bounce")
    for code_class, code, extended in (("5xx", "550", "5.1.1"), ("4xx", "452", "4.2.2"), ("none", "", ""))
}
"""Several series, and the variables of a failure that increments each."""


def kind_of(number: int) -> str:
    """Return the series that the failure with this number increments."""
    return list(KINDS)[number % len(KINDS)]


def total(running: Exporter) -> float:
    """Return the sum of the main counter."""
    return sum(running.failures().values())


class Sender:
    """A sender over CONNECTIONS connections.

    ``sent`` is how many failures it sent, ``answered`` those answered 200, ``rejected`` how often it was answered 503.
    """

    def __init__(self) -> None:
        self.sent = self.rejected = 0
        self.answered: set[int] = set()
        self._new = count()
        self._again: SimpleQueue[int] = SimpleQueue()
        self._counting = threading.Lock()

    def run(
        self, running: Exporter, meanwhile: Callable[[], object] = lambda: None, *, again: Iterable[int] = ()
    ) -> None:
        """Resend what was not answered, and the failures ``again``.

        Then send new failures while ``meanwhile`` runs and the exporter answers.
        """
        for number in again:
            self._again.put(number)
        over = threading.Event()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            threads = [pool.submit(self._send_all, running, over) for _ in range(CONNECTIONS)]
            try:
                meanwhile()
            finally:
                over.set()
        for thread in threads:
            thread.result()

    def _send_all(self, running: Exporter, over: threading.Event) -> None:
        with running.client() as client:
            for number in self._numbers(over):
                if not self._send(client, number):
                    return

    def _numbers(self, over: threading.Event) -> Iterator[int]:
        with suppress(Empty):
            while True:
                yield self._again.get_nowait()
        while not over.is_set():
            with self._counting:
                number = next(self._new)
                self.sent = number + 1
            yield number

    def _send(self, client: Client, number: int) -> bool:
        try:
            status = client.post(failure(number, **KINDS[kind_of(number)])).status
        except (OSError, HTTPException):
            self._again.put(number)
            return False
        if status == 503:
            self._again.put(number)
            self.rejected += 1
            threading.Event().wait(0.02)  # a faster sender only keeps the ledger from recovering
            return True
        assert status == 200
        self.answered.add(number)
        return True
