"""Many requests at the same moment, each on its own connection, and how long each answer took."""

import re
import selectors
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.support.running import TIMEOUT, connect


class Answered(NamedTuple):
    """An answer: its status (0 if the connection was closed without one), its body, and after how many seconds."""

    status: int
    text: str
    seconds: float


def all_at_once(address: str, requests: Sequence[bytes], sent: threading.Event | None = None) -> list[Answered]:
    """Send each request on its own connection, without waiting for an answer in between; return all answers.

    The requests must close their connections (``Connection: close``). ``sent`` is set when all have been sent.
    """
    answers: dict[int, Answered] = {}
    with selectors.DefaultSelector() as open_ones:
        for number, request in enumerate(requests):
            sock = connect(address)
            sock.sendall(request)
            open_ones.register(sock, selectors.EVENT_READ, (number, sock, time.monotonic(), bytearray()))
        if sent:
            sent.set()
        while len(answers) < len(requests):
            ready = open_ones.select(TIMEOUT)
            assert ready, f"{len(requests) - len(answers)} of {len(requests)} requests got no answer"
            for each, _ in ready:
                number, sock, began, received = each.data
                try:
                    data = sock.recv(65_536)
                except ConnectionError:
                    data = b""
                received += data
                if not data:
                    answers[number] = _answered(bytes(received), time.monotonic() - began)
                    open_ones.unregister(sock)
                    sock.close()
    return [answers[number] for number in range(len(requests))]


def _answered(received: bytes, seconds: float) -> Answered:
    head, _, body = received.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d+) ", head)
    return Answered(int(status[1]) if status else 0, body.decode(), seconds)
