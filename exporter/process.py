"""The process: its signals, its limit on open files, and what it tells systemd."""

import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, NamedTuple

from exporter.errors import ExporterError

RESERVED_FILES: Final = 32
"""Files that the process opens besides connections: the ledger, listening sockets, DNS, the web configuration."""
_FEWEST_CONNECTIONS: Final = 16


class Connections(NamedTuple):
    """The maximum number of open connections of each listener."""

    public: int
    private: int


@contextmanager
def requiring_threads(count: int) -> Iterator[None]:
    """Raise ExporterError if the system does not let the block start about this many threads."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise ExporterError(
            f"{error}: expected about {count}; raise the limit on processes (ulimit -u, TasksMax= of systemd, pids of "
            "the container) or on memory"
        ) from error


def stop_on_signals(requests: SimpleQueue[str]) -> None:
    """Put the name of each SIGTERM, SIGINT or SIGHUP into the queue. An ignored SIGHUP, as set by nohup, stays ignored.

    An Event can deadlock in a signal handler: if the signal arrives while the main thread holds the Event's internal
    lock, ``set`` waits for it forever. ``SimpleQueue.put`` is safe there.
    """

    def put(number: int, _frame: FrameType | None) -> None:
        requests.put(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, put)


def wait_for(requests: SimpleQueue[str]) -> str:
    """Wait for the next request. Returns the name of the signal, or an empty string if a component failed."""
    while True:
        # With a timeout: otherwise, a signal that arrives just before the wait would not be noticed.
        with suppress(Empty):
            return requests.get(timeout=1)


def sd_notify(notify_socket: str, state: str) -> None:
    """Send a state to systemd, unless the path of its socket is empty. The protocol is in the man page of sd_notify."""
    if not notify_socket:
        return
    # @ means Linux's abstract namespace.
    address = f"\0{notify_socket[1:]}" if notify_socket.startswith("@") else notify_socket
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)  # systemd must not block the exporter
        sender.sendto(state.encode(), address)


def raise_file_limit(wanted: Connections) -> Connections:
    """Raise the limit on open files to twice what the listeners may need, as far as the hard limit allows.

    Return the number of connections for which the limit suffices. Raise ExporterError if it is too low for any.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 2 * sum(wanted)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        limit = soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return wanted if limit == resource.RLIM_INFINITY else connections_within(limit, wanted)


def connections_within(limit: int, wanted: Connections) -> Connections:
    """Divide the limit on open files: a quarter for the private listener, so that scrapes work whatever the other does.

    Raise ExporterError if the limit is too low.
    """
    left = limit - RESERVED_FILES
    if left < _FEWEST_CONNECTIONS:
        raise ExporterError(
            f"the limit on open files is {limit}: expected at least {RESERVED_FILES + _FEWEST_CONNECTIONS}, preferably "
            f"{RESERVED_FILES + sum(wanted)}; raise it (ulimit -n, or LimitNOFILE= of systemd)"
        )
    private = min(wanted.private, left // 4)
    return Connections(min(wanted.public, left - private), private)
