"""The public listener with an application that answers when a test says so, and raw requests to it."""

import re
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from exporter.webhook.answering import Answer, Give
from exporter.webhook.waitress_listener import Listener
from tests.support.running import TIMEOUT, Response, connect, exchange, until


class Begun(NamedTuple):
    """A call of ``begin``."""

    environ: dict[str, Any]
    give: Give


def answer(text: str, status: str = "200 OK") -> Answer:
    """Return an answer with this text."""
    body = text.encode()
    return Answer(status, (("content-type", "text/plain"), ("content-length", str(len(body)))), body)


LONG: Final = answer("".join(f"{number:07}\n" for number in range(500_000)))
"""An answer of 4 MB, which does not fit into the buffers of a connection made by ``connect_slowly``."""


class Application:
    """An application that answers at once with the size of the body, or leaves that to the test if it is ``parking``.

    ``begun`` are the calls of ``begin``; ``threads`` are those that called it.
    """

    parking = False

    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self.threads = set[threading.Thread]()
        self.flushes = 0
        self.expiries = 0

    @property
    def paths(self) -> list[str]:
        """The paths of the requests that were begun."""
        return [begun.environ["PATH_INFO"] for begun in list(self.begun)]

    def begin(self, environ: dict[str, Any], give: Give) -> None:
        """Note the request, and answer it unless ``parking``."""
        self.threads.add(threading.current_thread())
        self.begun.append(Begun(environ, give))
        if not self.parking:
            give(answer(f"{len(environ['wsgi.input'].read())} bytes\n"))

    def flush(self) -> None:
        """Count the call."""
        self.flushes += 1

    def expire(self) -> None:
        """Count the call."""
        self.expiries += 1

    def wait_for(self, number: int) -> list[Begun]:
        """Wait until this many requests were begun; return all."""
        until(lambda: len(self.begun) >= number)
        return list(self.begun)

    def parked(self, path: str) -> Give:
        """Wait until the request for the path was begun; return the function that takes its answer."""
        return until(lambda: {begun.environ["PATH_INFO"]: begun.give for begun in list(self.begun)}.get(path))


class Listening:
    """A listener on loopback, its application, and what it reported."""

    def __init__(self, application: Any = None, *, connections: int = 100) -> None:
        self.application: Any = application or Application()
        self.refused: list[int] = []
        self.failed = threading.Event()
        self.listener = Listener(
            self.application,
            "127.0.0.1",
            0,
            connections=connections,
            refused=self.refused.append,
            failed=self.failed.set,
        )

    def exchange(self, raw: bytes) -> Response:
        """Send bytes on a new connection, and return the answer."""
        return exchange(self.listener.address, raw)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return connect(self.listener.address)

    def connect_slowly(self) -> socket.socket:
        """Return a new connection whose client has little room for what it has not read yet."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(TIMEOUT)
        host, _, port = self.listener.address.rpartition(":")
        sock.connect((host, int(port)))
        return sock

    def channels(self) -> list[Any]:
        """Return the open connections, as waitress has them."""
        return list(self.listener._server.active_channels.values())


def get(path: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of the answers."""
    return [int(status) for status in re.findall(rb"HTTP/1.[01] (\d+)", answers)]


def read_until(sock: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    """Return what the server sent when it is enough."""
    received = b""
    while not enough(received):
        data = sock.recv(65_536)
        assert data, f"the server closed the connection after {received!r}"
        received += data
    return received
