"""The listener on waitress: its limits, its stop, and the internals of waitress that it depends on."""

import inspect
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import pytest
import waitress.channel
import waitress.parser
import waitress.server
import waitress.task
import waitress.trigger
import waitress.wasyncore

from exporter.webhook import waitress_listener
from exporter.webhook.parsing import MAX_BODY
from exporter.webhook.waitress_listener import MAX_HEADER, MAX_PIPELINED, Listener, make_nonblocking
from tests.support.running import TIMEOUT, Response, connect, exchange, read_to_end, until

# Each callable of waitress that is called or overridden, with its signature.
CALLABLES: Final[dict[str, tuple[Callable[..., Any], str]]] = {
    "wasyncore.loop": (waitress.wasyncore.loop, "(timeout=30.0, use_poll=False, map=None, count=None)"),
    "wasyncore.dispatcher.close": (waitress.wasyncore.dispatcher.close, "(self)"),
    "server.create_server": (
        waitress.server.create_server,
        "(application, map=None, _start=True, _sock=None, _dispatcher=None, **kw)",
    ),
    "server.BaseWSGIServer.pull_trigger": (waitress.server.BaseWSGIServer.pull_trigger, "(self)"),
    "trigger.trigger._physical_pull": (waitress.trigger.trigger._physical_pull, "(self)"),
    "channel.HTTPChannel": (waitress.channel.HTTPChannel.__init__, "(self, server, sock, addr, adj, map=None)"),
    "channel.HTTPChannel.received": (waitress.channel.HTTPChannel.received, "(self, data)"),
    "channel.HTTPChannel.send_continue": (waitress.channel.HTTPChannel.send_continue, "(self)"),
    "channel.HTTPChannel.service": (waitress.channel.HTTPChannel.service, "(self)"),
    "channel.HTTPChannel.handle_close": (waitress.channel.HTTPChannel.handle_close, "(self)"),
    "parser.HTTPRequestParser": (waitress.parser.HTTPRequestParser.__init__, "(self, adj)"),
    "parser.HTTPRequestParser.parse_header": (waitress.parser.HTTPRequestParser.parse_header, "(self, header_plus)"),
    "task.ErrorTask.execute": (waitress.task.ErrorTask.execute, "(self)"),
}
CHANGED: Final = "waitress has changed: {}; adapt exporter/webhook/waitress_listener.py before raising the pin <3.1"


class Channel(waitress.channel.HTTPChannel):
    """A subclass of waitress's channel."""


class Dispatcher:
    """The interface of waitress's dispatcher."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def add_task(self, task: Any) -> None:
        """Keep the task."""
        self.tasks.append(task)

    def set_thread_count(self, count: int) -> None:
        """Fail: waitress calls this only if it creates the threads."""
        raise NotImplementedError

    def shutdown(self, *_: object, **__: object) -> bool:
        """Return at once, because nothing runs."""
        return True


class Served(NamedTuple):
    """A server whose event loop the test runs, and a client that is connected to it."""

    server: Any
    sockets: dict[int, Any]
    dispatcher: Dispatcher
    client: socket.socket

    def run_until(self, condition: Callable[[], Any]) -> Any:
        """Run the event loop until the condition is true; return its value."""

        def after_one_step() -> Any:
            waitress.wasyncore.loop(timeout=0.1, use_poll=True, map=self.sockets, count=1)
            return condition()

        return until(after_one_step)

    def accept(self) -> Any:
        """Return the channel of the client."""
        return self.run_until(lambda: next(iter(self.server.active_channels.values()), None))


@pytest.fixture
def served() -> Iterator[Served]:
    """Yield a server that is created as the listener creates it."""
    sockets: dict[int, Any] = {}
    dispatcher = Dispatcher()
    bound = socket.create_server(("127.0.0.1", 0))
    server = waitress.server.create_server(
        lambda _environ, _start_response: [], map=sockets, _dispatcher=dispatcher, sockets=[bound]
    )
    server.channel_class = Channel
    with socket.create_connection(bound.getsockname()[:2]) as client:
        yield Served(server, sockets, dispatcher, client)
    for channel in list(server.active_channels.values()):
        channel.handle_close()
    server.close()
    bound.close()


@pytest.mark.parametrize("name", CALLABLES)
def test_signatures_of_waitress(name: str) -> None:
    """Each function and method that is called or overridden has the same signature."""
    found, parameters = CALLABLES[name]
    here = str(inspect.signature(found))
    assert here == parameters, CHANGED.format(f"{name} takes {here} instead of {parameters}")


def test_the_channel_class_of_the_server_is_used(served: Served) -> None:
    """A connection becomes a channel of ``channel_class``, and is kept in ``active_channels``."""
    assert isinstance(served.accept(), Channel), CHANGED.format("a server ignores channel_class")


def test_a_channel_passes_complete_requests_to_the_dispatcher(served: Served) -> None:
    """A channel appends each request to ``requests``, clears ``request``, and becomes a task of the dispatcher."""
    channel = served.accept()
    served.client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
    served.run_until(lambda: channel.request)
    request = channel.request
    begun = (request.completed, request.expect_continue, request.error, list(channel.requests))
    assert begun == (False, False, None, []), CHANGED.format("the state of an incomplete request")
    served.client.sendall(b"ab")
    served.run_until(lambda: served.dispatcher.tasks)
    ended = (served.dispatcher.tasks, channel.request, channel.requests, request.completed)
    assert ended == ([channel], None, [request], True), CHANGED.format("what a channel does with a complete request")


def test_a_channel_has_what_draining_uses(served: Served) -> None:
    """``total_outbufs_len`` is the size of the unsent answer, and ``will_close`` closes a channel in the next step."""
    channel = served.accept()
    assert channel.total_outbufs_len == 0, CHANGED.format("total_outbufs_len of a new channel")
    assert channel.addr[0] == "127.0.0.1", CHANGED.format("addr of a channel")
    channel.will_close = True
    served.run_until(lambda: not served.server.active_channels)


def test_an_unreadable_request_has_an_error(served: Served) -> None:
    """Such a request is complete and has an ``error`` with code and body, which ErrorTask sends."""
    channel = served.accept()
    served.client.sendall(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n")
    served.run_until(lambda: served.dispatcher.tasks)
    error = channel.requests[0].error
    assert (error.code, type(error.body)) == (400, str), CHANGED.format("the error of a bad request")
    classes = (channel.parser_class, channel.error_task_class)
    expected = (waitress.parser.HTTPRequestParser, waitress.task.ErrorTask)
    assert classes == expected, CHANGED.format("the classes that a channel uses")


def test_the_trigger_writes_to_its_pipe(served: Served) -> None:
    """``pull_trigger`` calls ``_physical_pull``, which writes one byte to the file descriptor ``trigger``."""
    trigger = served.server.trigger
    pulled: list[bytes] = []
    trigger._physical_pull = lambda: pulled.append(b"x")
    served.server.pull_trigger()
    assert pulled == [b"x"], CHANGED.format("pull_trigger does not call _physical_pull")
    del trigger._physical_pull
    served.server.pull_trigger()
    assert os.read(trigger._fds[0], 10) == b"x", CHANGED.format("_physical_pull writes something else")


def test_closing_the_dispatcher_closes_the_listening_socket_only(served: Served) -> None:
    """``wasyncore.dispatcher.close`` on the server leaves channels and trigger open."""
    channel = served.accept()
    waitress.wasyncore.dispatcher.close(served.server)
    open_here = (channel in served.sockets.values(), served.server.trigger in served.sockets.values())
    assert open_here == (True, True), CHANGED.format("dispatcher.close closes more than the listening socket")
    assert served.server not in served.sockets.values()


def test_the_parser_raises_the_errors_that_the_listener_catches() -> None:
    """The listener turns these classes of errors into 400."""
    assert issubclass(waitress.parser.ParsingError, Exception)
    assert issubclass(waitress.parser.TransferEncodingNotImplemented, Exception)
    assert not issubclass(waitress.parser.TransferEncodingNotImplemented, waitress.parser.ParsingError), CHANGED.format(
        "TransferEncodingNotImplemented is a ParsingError now"
    )


# Our own listener.


class Application:
    """An application that counts its requests and, while ``gate`` is closed, does not answer."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.inside = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Read the body and answer with its size."""
        size = len(environ["wsgi.input"].read())
        self.paths.append(environ["PATH_INFO"])
        self.inside.set()
        assert self.gate.wait(TIMEOUT)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d bytes\n" % size]


class Running:
    """A listener on loopback, its application, and what it reported."""

    def __init__(self, *, connections: int = 100) -> None:
        self.application = Application()
        self.refused: list[int] = []
        self.failed = threading.Event()
        self.listener = Listener(
            self.application,
            "127.0.0.1",
            0,
            threads=4,
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


@pytest.fixture
def running() -> Iterator[Running]:
    """Yield a listener that serves."""
    running = Running()
    running.listener.start()
    yield running
    running.application.gate.set()
    running.listener.stop()
    assert not running.failed.is_set()


def get(path: str = "/", *headers: str) -> bytes:
    """Return a request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of the answers."""
    return [int(status) for status in re.findall(rb"HTTP/1.[01] (\d+)", answers)]


def test_the_listener_serves_the_application(running: Running) -> None:
    """A request reaches the application, and its answer names no software."""
    answer = running.exchange(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    assert (answer.status, answer.text, "Server" in answer.headers) == (200, "3 bytes\n", False)
    assert (running.application.paths, running.refused) == (["/x"], [])


UNREADABLE: Final = {
    "garbage": (b"secret\r\n\r\n", 400),
    "length of 5,000 digits": (get("/", f"Content-Length: {'9' * 5_000}"), 400),
    "unparsable target": (get("http://["), 400),
    "unknown transfer coding": (get("/", "Transfer-Encoding: gzip"), 400),
    "headers over 16 KiB": (get("/", f"X-Long: {'x' * MAX_HEADER}"), 431),
    "announced body over 128 KiB": (get("/", f"Content-Length: {2 * MAX_BODY + 1}"), 413),
}


@pytest.mark.parametrize(("raw", "status"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_requests_are_reported(running: Running, raw: bytes, status: int) -> None:
    """A request that waitress rejects is answered without repeating it, and reported with its status."""
    answer = running.exchange(raw)
    assert (answer.status, "secret" in answer.text) == (status, False)
    assert (running.refused, running.application.paths) == ([status], [])


def test_a_malformed_request_ends_the_connection(running: Running) -> None:
    """What follows a malformed request is not parsed: it gets no answer, and is not reported."""
    with running.connect() as sock:
        sock.sendall(b"garbage\r\n\r\n" + get() + b"more garbage\r\n\r\n")
        assert statuses(read_to_end(sock)) == [400]
    assert (running.refused, running.application.paths) == ([400], [])


def test_pipelined_requests_up_to_the_limit_are_answered(running: Running) -> None:
    """MAX_PIPELINED requests on one connection are answered in order."""
    with running.connect() as sock:
        sock.sendall(
            b"".join(get(f"/{number}") for number in range(MAX_PIPELINED - 1)) + get("/x", "Connection: close")
        )
        assert statuses(read_to_end(sock)) == [200] * MAX_PIPELINED
    assert running.application.paths == [*(f"/{number}" for number in range(MAX_PIPELINED - 1)), "/x"]


def test_more_pipelined_requests_end_the_connection(running: Running) -> None:
    """A connection with one more unanswered request is closed and reported once."""
    running.application.gate.clear()
    with running.connect() as sock:
        sock.sendall(get() * (MAX_PIPELINED + 1))
        assert statuses(read_to_end(sock)) == []
    assert running.refused == [429]


def test_slow_requests_are_closed(monkeypatch: pytest.MonkeyPatch, running: Running) -> None:
    """A connection that delivers no complete request in time is closed; only one with half a request is reported."""
    monkeypatch.setattr(waitress_listener, "REQUEST_TIMEOUT", 2.0)  # enough to send half a request
    with running.connect() as idle, running.connect() as half:
        half.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid=")
        assert (read_to_end(idle), read_to_end(half)) == (b"", b"")
    assert running.refused == [408]


def test_a_slow_answer_is_not_closed(monkeypatch: pytest.MonkeyPatch, running: Running) -> None:
    """While the application works on a request, its connection stays, however long that takes."""
    running.application.gate.clear()
    with running.connect() as sock:
        sock.sendall(get("/", "Connection: close"))
        assert running.application.inside.wait(TIMEOUT)
        monkeypatch.setattr(waitress_listener, "REQUEST_TIMEOUT", 0.1)
        with running.connect() as idle:
            assert read_to_end(idle) == b""  # later than the time-out of the first connection
        running.application.gate.set()
        assert statuses(read_to_end(sock)) == [200]


def test_the_oldest_idle_connections_make_room() -> None:
    """With as many idle connections as are allowed, a request is answered and the oldest one is closed."""
    running = Running(connections=40)
    running.listener.start()
    try:
        with ExitStack() as stack:
            idle = [stack.enter_context(running.connect()) for _ in range(40)]
            assert running.exchange(get("/", "Connection: close")).status == 200
            assert read_to_end(idle[0]) == b""
            idle[-1].sendall(get("/", "Connection: close"))
            assert statuses(read_to_end(idle[-1])) == [200]
    finally:
        running.listener.stop()
    assert running.refused == []


def test_expect_without_a_body_is_answered(running: Running) -> None:
    """A client that expects 100 but sends no body gets its answer."""
    assert running.exchange(get("/", "Expect: 100-continue", "Content-Length: 0")).status == 200


def test_stop_answers_requests_in_flight() -> None:
    """When it stops, the listener answers the request that the application works on, then closes its socket."""
    running = Running()
    running.listener.start()
    running.application.gate.clear()
    with running.connect() as sock, running.connect() as idle:
        sock.sendall(get())
        assert running.application.inside.wait(TIMEOUT)
        stopping = threading.Thread(target=running.listener.stop)
        stopping.start()
        assert read_to_end(idle) == b""
        running.application.gate.set()
        assert statuses(read_to_end(sock)) == [200]
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_stop_does_not_wait_for_a_stuck_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener stops after DRAIN_TIMEOUT, although the application does not answer."""
    monkeypatch.setattr(waitress_listener, "DRAIN_TIMEOUT", 0.1)
    running = Running()
    running.listener.start()
    running.application.gate.clear()
    with running.connect() as sock:
        sock.sendall(get())
        assert running.application.inside.wait(TIMEOUT)
        running.listener.stop()
        assert read_to_end(sock) == b""
    running.application.gate.set()


def test_a_listener_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If the serving thread dies, ``failed`` is called and the traceback is in the log."""

    def broken(_now: float) -> None:
        raise ZeroDivisionError

    running = Running()
    monkeypatch.setattr(running.listener, "_sweep", broken)
    running.listener.start()
    assert running.failed.wait(TIMEOUT)
    (logged,) = [record for record in caplog.records if record.name == waitress_listener.__name__]
    assert logged.exc_info
    assert logged.exc_info[0] is ZeroDivisionError
    running.listener.stop()
    running.listener._server.close()  # which a listener that died leaves to the end of the process


def test_an_exception_of_the_application_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """A request whose application raises is answered 500, and the worker threads survive."""

    def broken(_environ: object, _start_response: object) -> list[bytes]:
        raise SystemError

    running = Running()
    running.listener._server.application = broken
    running.listener.start()
    try:
        answered = [running.exchange(get()).status for _ in range(8)]  # twice as many as there are threads
    finally:
        running.listener.stop()
    assert answered == [500] * 8
    assert not running.failed.is_set()
    assert caplog.records


def test_the_trigger_never_blocks(served: Served) -> None:
    """A thread that wakes the event loop does not wait, even if the loop's pipe is full."""
    make_nonblocking(served.server.trigger)
    waking = threading.Thread(
        target=lambda: [served.server.trigger._physical_pull() for _ in range(100_000)], daemon=True
    )
    waking.start()
    waking.join(TIMEOUT)
    assert not waking.is_alive()
