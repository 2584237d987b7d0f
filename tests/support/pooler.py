"""A pooler in front of PostgreSQL that runs each transaction of a client in another session, as PgBouncer may."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from typing import BinaryIO, Final

import psycopg

SESSIONS: Final = 2
"""Sessions per client, used in turn, so that a transaction never sees the session of the previous one."""
REPORTED: Final = ("server_version", "client_encoding", "standard_conforming_strings")


class Pooler:
    """A relay of PostgreSQL's protocol to the database of ``url``, for clients without TLS and password."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._running = threading.Thread(target=self._accept)
        self._running.start()

    def end(self) -> None:
        """Accept no more clients, and close the connections of the others."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._running.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError), ExitStack() as stack:
            while True:
                client = stack.enter_context(self._listener.accept()[0])
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                serving = threading.Thread(target=self._serve, args=(client,))
                serving.start()
                stack.callback(serving.join)
                stack.callback(_disconnect, client)

    def _serve(self, client: socket.socket) -> None:
        with ExitStack() as stack:
            asked = stack.enter_context(client.makefile("rb"))
            asked.read(int.from_bytes(asked.read(4)) - 4)  # the startup message
            sessions = [stack.enter_context(psycopg.connect(self._url)) for _ in range(SESSIONS)]
            servers = []
            for session in sessions:
                servers.append(stack.enter_context(socket.socket(fileno=os.dup(session.fileno()))))
                servers[-1].settimeout(None)
            client.sendall(_welcome(sessions[0]))
            with suppress(OSError):
                for server in cycle(servers):
                    if not _transaction(client, asked, server):
                        return


def _disconnect(client: socket.socket) -> None:
    with suppress(OSError):  # the client has gone
        client.shutdown(socket.SHUT_RDWR)


def _transaction(client: socket.socket, asked: BinaryIO, server: socket.socket) -> bool:
    """Relay messages until no transaction is open. Return False when the client disconnects."""
    with server.makefile("rb") as answers:
        while True:
            kind = b""
            while kind not in {b"S", b"Q"}:  # Sync or Query: the server answers
                kind, message = _message(asked)
                if kind in {b"", b"X"}:
                    return False
                server.sendall(message)
            while kind != b"Z":
                kind, message = _message(answers)
                client.sendall(message)
            if message.endswith(b"I"):
                return True


def _message(stream: BinaryIO) -> tuple[bytes, bytes]:
    head = stream.read(5)
    return head[:1], head + stream.read(int.from_bytes(head[1:]) - 4 if head else 0)


def _welcome(session: psycopg.Connection) -> bytes:
    """Return the messages after a login, with the pooler's own process number, because there is no single process."""

    def message(kind: bytes, content: bytes) -> bytes:
        return kind + (len(content) + 4).to_bytes(4) + content

    values = {name: session.pgconn.parameter_status(name.encode()) or b"" for name in REPORTED}
    return (
        message(b"R", bytes(4))
        + b"".join(message(b"S", name.encode() + b"\0" + value + b"\0") for name, value in values.items())
        + message(b"K", bytes(8))
        + message(b"Z", b"I")
    )


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """Run a pooler in front of the database of ``url``, and yield the URL for its clients."""
    pooler = Pooler(url)
    try:
        yield f"postgresql://pooled@127.0.0.1:{pooler.port}/any?sslmode=disable&gssencmode=disable"
    finally:
        pooler.end()
