"""A sender of distinct events over many connections, which knows what was answered 200."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from itertools import count
from queue import Empty, SimpleQueue
from typing import Final

from tests.support.events import event, totals
from tests.support.running import Client, Exporter, failure, failures_of

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
    """A sender over CONNECTIONS connections, of events of these loops in turn.

    ``sent`` is how many events it sent, ``answered`` those answered 200, ``rejected`` how often it was answered 503.
    """

    def __init__(self, loops: Sequence[str] = ("failures",)) -> None:
        self._loops = loops
        self.sent = self.rejected = 0
        self.answered: set[int] = set()
        self._new = count()
        self._again: SimpleQueue[int] = SimpleQueue()
        self._counting = threading.Lock()

    def run(
        self, running: Exporter, meanwhile: Callable[[], object] = lambda: None, *, again: Iterable[int] = ()
    ) -> None:
        """Resend what was not answered, and the events ``again``.

        Then send new events while ``meanwhile`` runs and the exporter answers.
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

    def expected(self) -> Counter[str]:
        """Return how many events were sent: of failures by series, of other loops by loop."""
        sent = ((self._loop_of(number), number) for number in range(self.sent))
        return Counter(kind_of(number) if loop == "failures" else loop for loop, number in sent)

    def counted(self, running: Exporter) -> Counter[str]:
        """Return how many of these the exporter has counted."""
        samples = running.samples()
        others = {loop: number for loop, number in totals(samples).items() if loop != "failures"}
        return Counter({kind: int(number) for kind, number in (failures_of(samples) | others).items() if number})

    def _loop_of(self, number: int) -> str:
        return self._loops[number % len(self._loops)]

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
            loop = self._loop_of(number)
            fields = failure(number, **KINDS[kind_of(number)]) if loop == "failures" else event(loop, number)
            status = client.post(fields, f"/{loop}").status
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
