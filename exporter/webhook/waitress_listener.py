"""The public listener: waitress in one thread, with limits on what clients can occupy, and an orderly stop.

The thread of waitress's event loop also runs the application, which never waits. It shares nothing with the private
listener, so that scrapes are answered whatever clients do here.
"""

import copy
import heapq
import logging
import threading
import time
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any, Final

from waitress import wasyncore
from waitress.server import create_server

from exporter.classification.loops import LARGE_BODY, SMALL_BODY
from exporter.net import OUT_OF_FILES, address_of, bind
from exporter.webhook.waitress_channel import Application, Turns, channel_class, large_requests
from exporter.webhook.waitress_parser import LargeBodies

log = logging.getLogger(__name__)

MAX_HEADER: Final = 16_384
"""Maximum size of all headers of a request together, in bytes."""
DRAIN_TIMEOUT: Final = 3.0
"""Seconds to wait for requests in flight when stopping."""
MAX_ACCEPTED: Final = 64
"""Maximum number of connections to accept before requests on the others are served."""
MAX_LARGE: Final = 64
"""Maximum number of large bodies in memory; a request with one more is answered 503."""
SLOW_BODY: Final = 1.0
"""Seconds after which a large body that is still arriving makes room for another one."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds within which a connection must deliver each complete request, however slowly its bytes arrive."""


class Listener:
    """A server of ``app`` on ``host``:``port`` (0: a free one) with a maximum of connections.

    ``refused`` is called with the status if the server rejects a request before the application sees it: malformed or
    too large, 408 if it was not completed in time, 429 if more than MAX_PIPELINED are unanswered, 503 if there are too
    many large ones. ``failed`` is called if the serving thread dies. Bodies on ``large_paths`` may have LARGE_BODY
    bytes, others SMALL_BODY. When nearly all connections are in use, those that have been idle longest are closed.
    Raises ListenError if the address cannot be bound.
    """

    def __init__(  # noqa: PLR0913 -- the last three by name
        self,
        app: Application,
        host: str,
        port: int,
        *,
        connections: int,
        refused: Callable[[int], None],
        failed: Callable[[], None],
        large_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._sockets: dict[int, Any] = {}  # the sockets of waitress's event loop, by file descriptor
        self._turns = Turns(self._pull)
        self._server = create_server(
            app.begin,  # waitress requires an application, but does not call it
            map=self._sockets,
            _dispatcher=self._turns,
            sockets=[bind(host, port)],
            connection_limit=connections + 2,  # waitress counts its listening socket and its trigger, too
            channel_timeout=int(2 * REQUEST_TIMEOUT),  # for clients that do not read the answer; _sweep closes others
            log_socket_errors=False,  # clients that disconnect are normal
            max_request_header_size=MAX_HEADER,
            max_request_body_size=2 * SMALL_BODY,  # includes chunk framing; the application enforces the exact limit
            inbuf_overflow=4 * LARGE_BODY,  # never in a temporary file: mail is personal, and a root may be read-only
            clear_untrusted_proxy_headers=False,  # X-Forwarded-… is not used, so it need not be removed
            ident=None,
        )
        large = copy.copy(self._server.adj)
        large.max_request_body_size = 2 * LARGE_BODY
        large_bodies = LargeBodies(frozenset(large_paths), large, self._is_crowded)
        self._server.channel_class = channel_class(app, self._turns, refused, large_bodies)
        self._server.pull_trigger = lambda: None  # waitress wakes its event loop from other threads, but has none here
        self._server.accept = self._accept
        self._accept_one = self._server.handle_accept
        self._server.handle_accept = self._accept_some
        self._out_of_files = False
        self._refused = refused
        self._connections = connections
        self._swept = 0.0
        self._failed = failed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listener {host}:{port}", daemon=True)
        self.address = address_of(host, self._server.socket)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more connections, answer requests in flight, close all; takes at most about DRAIN_TIMEOUT."""
        self._stopping.set()
        self._turns.wake()
        self._thread.join()

    def _pull(self) -> None:
        self._server.trigger.pull_trigger()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._run_loop_once(1)
                self._sweep(time.monotonic())
            self._drain()
        except Exception:
            log.exception("listener failed", extra={"address": self.address})
            self._failed()

    def _run_loop_once(self, timeout: float) -> None:
        # poll, because select does not support file descriptors above 1023.
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)
        self._turns.run()
        self._app.flush()

    def _is_crowded(self) -> bool:
        """Return whether there are too many large bodies, with that of the request that asks.

        The one that has been arriving for longest is closed if it is slow, so that slow clients keep nobody out.
        """
        channels = list(self._server.active_channels.values())
        if sum(map(large_requests, channels)) <= MAX_LARGE:
            return False
        arriving = [channel for channel in channels if channel.request is not None and channel.request.large]
        oldest = min(arriving, key=lambda channel: channel.request.since)
        if oldest.request.since > time.monotonic() - SLOW_BODY:
            return True
        self._refused(HTTPStatus.REQUEST_TIMEOUT)
        oldest.handle_close()
        return False

    def _accept_some(self) -> None:
        """Accept the connections that wait. With waitress's one per turn, busy connections would hold up new ones."""
        for _ in range(MAX_ACCEPTED):
            before = len(self._sockets)
            self._accept_one()
            if len(self._sockets) == before or not self._server.readable():
                return

    def _accept(self) -> Any:  # noqa: ANN401 -- waitress has no types
        try:
            return wasyncore.dispatcher.accept(self._server)
        except OSError as error:
            if error.errno in OUT_OF_FILES:  # the loop would try again at once, and forever
                self._out_of_files = True
                self._server.accepting = False
            raise

    def _sweep(self, now: float) -> None:
        """Close connections that waitress would keep: slow ones, and the longest idle ones when there are too many.

        Also answer, once per second, what has waited for too long.
        """
        connected = len(self._server.active_channels)
        full = self._out_of_files or connected > self._connections * 9 // 10
        if now >= self._swept + 1:
            self._swept = now
            self._app.expire()
        elif not full:
            return
        waiting = [channel for channel in self._server.active_channels.values() if not channel.requests]
        late = [channel for channel in waiting if channel.since < now - REQUEST_TIMEOUT]
        room = self._connections - (connected - len(waiting))  # those with a request in flight are not closed
        if full and not late and waiting:
            oldest = heapq.nsmallest(room // 20 + 1, waiting, key=lambda channel: channel.since)
            # With hardly any room, a connection has a second for its request, even if no other can be accepted.
            stuck = len(waiting) >= room and oldest[0].since < now - 1
            if self._out_of_files or len(waiting) > room - room // 10 or stuck:
                late = oldest
        for channel in late:
            if channel.request is not None:
                self._refused(HTTPStatus.REQUEST_TIMEOUT)
            channel.handle_close()
        # If nothing could be closed, it is tried again in a second.
        self._server.accepting = bool(late) or not self._out_of_files
        self._out_of_files = False

    def _drain(self) -> None:
        wasyncore.dispatcher.close(self._server)  # only the listening socket; the server's close includes the trigger
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self._server.active_channels and time.monotonic() < deadline:
            for channel in list(self._server.active_channels.values()):
                if not (channel.requests or channel.request or channel.total_outbufs_len):
                    channel.will_close = True
            self._run_loop_once(0.02)
        self._turns.close()  # an answer that comes later must not wake a loop that has ended
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.trigger.close()
