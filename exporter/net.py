"""Addresses to listen on: as text, and bound."""

import re
import socket
from typing import NamedTuple

from exporter.errors import ListenError


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        """As in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError
    host.encode("idna")  # as the socket will do it; raises ValueError for a label of 64 characters
    if "\0" in host:
        raise ValueError
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 -- ":9100" means all interfaces, as in Prometheus


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket; an empty host or port 0 leaves the choice to the system. Raises ListenError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise ListenError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
    return bound


def address_of(host: str, bound: socket.socket) -> str:
    """Where a socket listens, as in a URL: the host it was bound to, and the port that it got."""
    return str(Address(host, bound.getsockname()[1]))
