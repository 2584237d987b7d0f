"""Hostile clients of all kinds, which reconnect when they are disconnected."""

import errno
import resource
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count, cycle, islice
from typing import Final
from urllib.parse import urlencode

from tests.support.running import FORM, TIMEOUT, failure
from tests.support.signing import KEY_ID, headers_for

HOST: Final = "mail.example.com"
BEAT: Final = 0.5
"""Seconds between two bytes of a client that sends slowly."""

_HEAD: Final = b"POST /failures HTTP/1.1\r\nHost: mail.example.com\r\n"
_LONG: Final = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n"


def _idle() -> Iterator[bytes]:
    """Send nothing."""
    while True:
        yield b""


def _drips_headers() -> Iterator[bytes]:
    """Send one byte of a header per beat."""
    yield _HEAD + b"X-Drip: "
    while True:
        yield b"x"


def _drips_body() -> Iterator[bytes]:
    """Send one byte of a body per beat."""
    yield _HEAD + _LONG
    while True:
        yield b"x"


def _half() -> Iterator[bytes]:
    """Send half a request and then nothing, as if the client's machine had crashed."""
    yield _HEAD + _LONG + b"id=1&recip"
    while True:
        yield b""


def _oversized() -> Iterator[bytes]:
    """Send a body of 10 GB as fast as the server reads it."""
    yield _HEAD + b"Content-Length: 10000000000\r\n\r\n"
    while True:
        yield b"x" * 65_536


def _garbage() -> Iterator[bytes]:
    """Send bytes that are not HTTP."""
    for number in count():
        yield bytes(number * step % 256 for step in range(1, 500)) + b"\r\n\r\n"


def _endless_headers() -> Iterator[bytes]:
    """Send headers without end, as fast as the server reads them."""
    yield _HEAD
    for number in count():
        yield b"X-%d: y\r\n" % number * 100


def _reads_nothing() -> Iterator[bytes]:
    """Send request after request without reading an answer."""
    while True:
        yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300


KINDS: Final[Mapping[str, Callable[[], Iterator[bytes]]]] = {
    "idle": _idle,
    "drips headers": _drips_headers,
    "drips a body": _drips_body,
    "half a request": _half,
    "oversized": _oversized,
    "garbage": _garbage,
    "endless headers": _endless_headers,
    "reads nothing": _reads_nothing,
}


class _Hostile:
    """A hostile client with one connection."""

    def __init__(self, address: tuple[str, int], kind: str) -> None:
        self._address = address
        self._kind = kind
        self._socket: socket.socket | None = None

    def act(self) -> bool:
        """Act for one beat; return whether the connection was open before and still is."""
        if self._socket is None:
            self._open()
            return False
        try:
            piece = next(self._pieces)
            if piece:
                with suppress(BlockingIOError):
                    self._socket.send(piece)
            if self._kind == "reads nothing":
                broken = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
            else:
                with suppress(BlockingIOError):
                    while data := self._socket.recv(65_536):
                        assert data
                    raise ConnectionResetError(errno.ECONNRESET, "closed by the server")
                broken = False
        except OSError:
            broken = True
        if broken:
            self.close()
            self._open()
        return not broken

    def close(self) -> None:
        """Close the connection."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def _open(self) -> None:
        opened = socket.socket()
        if self._kind == "reads nothing":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
        opened.settimeout(0)
        opened.connect_ex(self._address)
        self._socket, self._pieces = opened, KINDS[self._kind]()


@contextmanager
def hostile(address: str, number: int) -> Iterator[None]:
    """Hold a number of hostile connections to ``address``, of all kinds in turn. Starts when all have been opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + 500
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    host, _, port = address.rpartition(":")
    clients = [_Hostile((host, int(port)), kind) for kind in islice(cycle(KINDS), number)]
    beats = threading.Semaphore(0)
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            for client in clients:
                client.act()
            beats.release()
            stopping.wait(BEAT)
        for client in clients:
            client.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(3):  # connect, send the first bytes, send more
            assert beats.acquire(timeout=TIMEOUT)
        yield
    finally:
        stopping.set()
        thread.join()


def signed(numbers: range, key_id: str = KEY_ID) -> list[bytes]:
    """Return signed requests with different failures, each for its own connection."""
    requests = []
    for number in numbers:
        body = urlencode(failure(number)).encode()
        lines = [f"{name}: {text}" for name, text in headers_for(HOST, "/failures", body, FORM, key_id=key_id).items()]
        requests.append("\r\n".join(["POST /failures HTTP/1.1", *lines, "Connection: close", "", ""]).encode() + body)
    return requests
