"""Listen addresses: parsed from text, and bound to a socket."""

import errno
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from exporter.errors import ListenError

OUT_OF_FILES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""The errors of ``accept`` that last until something is closed."""


class Address(NamedTuple):
    """A host name or IP address (IPv6 without brackets), and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address as in a URL, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``, which means all interfaces. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError
    host.encode("idna")  # as the socket will do; raises ValueError for a label of more than 63 characters
    if "\0" in host:
        raise ValueError
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 -- ":9100" means all interfaces, as in Prometheus


def bind(host: str, port: int) -> socket.socket:
    """Bind a TCP socket. With an empty host or port 0, the system chooses. Raises ListenError."""
    bound = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if bound:
            bound.close()
        hint = _HINTS.get(error.errno or 0, "").format(port=port)
        raise ListenError(f"cannot listen on {Address(host, port)}: {error.strerror or error}{hint}") from error
    return bound


_HINTS: Final = {
    errno.EACCES: "; choose a port above 1023, or grant the capability CAP_NET_BIND_SERVICE",
    errno.EADDRINUSE: "; stop the process that uses it (ss -ltnp 'sport = :{port}' shows it), or set another address",
    errno.EADDRNOTAVAIL: "; set an address of this machine",
    socket.EAI_NONAME: "; set an address of this machine",
}
"""The way out, by the number of the error. Those of name lookups are negative, so they never collide."""


@contextmanager
def naming_setting(name: str) -> Iterator[None]:
    """Name the setting of the address in a ListenError of the block."""
    try:
        yield
    except ListenError as error:
        raise ListenError(f"{name}: {error}") from error


def address_of(host: str, bound: socket.socket) -> str:
    """Return ``host`` with the port that the socket is bound to, as in a URL."""
    return str(Address(host, bound.getsockname()[1]))
