"""Exporters that share a ledger, and a sender that resends each failure until it is answered 200."""

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.support.running import Client, Exporter, failure, free_port, until
from tests.support.sender import KINDS, kind_of


class Replica:
    """An exporter on its own fixed addresses, which can be stopped and started again."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._directory.mkdir()
        self.public, self.private = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._flags = (
            *("--storage.url", url, "--webhook.listen-address", self.public, "--web.listen-address", self.private),
        )
        self.start()

    def start(self) -> None:
        """Start the exporter, and retry while the database is down, as a supervisor does."""
        self.exporter = until(self._started)

    def end(self, number: signal.Signals) -> None:
        """End the exporter with a signal."""
        self.exporter.stop(number)
        self.exporter.end()

    def _started(self) -> Exporter | None:
        try:
            return Exporter(self._directory, *self._flags, measured=False)
        except AssertionError:
            return None


class Resender:
    """A sender over several connections that resends each failure until it is answered 200.

    ``sent`` is how many failures it sent, ``answered`` those answered 200, ``rejected`` how often it was answered 503.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._new = count()
        self._counting = threading.Lock()
        self._again: SimpleQueue[int] = SimpleQueue()
        self.sent = 0
        self.answered: set[int] = set()
        self.rejected = 0

    def run(self, over: threading.Event) -> None:
        """Send new failures on one connection until ``over`` is set, then the rest of those not answered 200."""
        while True:
            with suppress(OSError, HTTPException), Client(self._address) as client:
                for number in self._numbers(over):
                    if not self._send(client, number):
                        break
                else:
                    return

    def _numbers(self, over: threading.Event) -> Iterator[int]:
        while True:
            try:
                yield self._again.get_nowait()
            except Empty:
                if over.is_set():
                    return
                with self._counting:
                    number = next(self._new)
                    self.sent = number + 1
                yield number
                if number % 50 == 0:
                    yield number  # resend some that were answered, maybe to another replica

    def _send(self, client: Client, number: int) -> bool:
        status = 0
        with suppress(OSError, HTTPException):
            status = client.post(failure(number, **KINDS[kind_of(number)])).status
        if status != 200:
            self._again.put(number)
            self.rejected += status == 503
            threading.Event().wait(0.05)  # a faster sender only keeps the machine from recovering
            return status != 0
        self.answered.add(number)
        return True
