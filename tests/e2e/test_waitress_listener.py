"""The listener on waitress: its limits, its stop, and the internals of waitress that it depends on."""

import inspect
import select
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

from exporter.classification.loops import SMALL_BODY
from exporter.webhook import waitress_listener
from exporter.webhook.answering import Give
from exporter.webhook.verification_files import MAX_SIZE
from exporter.webhook.waitress_channel import MAX_PIPELINED
from exporter.webhook.waitress_listener import MAX_ACCEPTED, MAX_HEADER
from tests.support.listening import LONG, Application, Listening, answer, get, statuses
from tests.support.running import TIMEOUT, read_to_end, until

# Each callable of waitress that is called or overridden, with its signature.
CALLABLES: Final[dict[str, tuple[Callable[..., Any], str]]] = {
    "wasyncore.loop": (waitress.wasyncore.loop, "(timeout=30.0, use_poll=False, map=None, count=None)"),
    "wasyncore.dispatcher.accept": (waitress.wasyncore.dispatcher.accept, "(self)"),
    "server.BaseWSGIServer.handle_accept": (waitress.server.BaseWSGIServer.handle_accept, "(self)"),
    "server.BaseWSGIServer.readable": (waitress.server.BaseWSGIServer.readable, "(self)"),
    "wasyncore.dispatcher.close": (waitress.wasyncore.dispatcher.close, "(self)"),
    "server.create_server": (
        waitress.server.create_server,
        "(application, map=None, _start=True, _sock=None, _dispatcher=None, **kw)",
    ),
    "server.BaseWSGIServer.pull_trigger": (waitress.server.BaseWSGIServer.pull_trigger, "(self)"),
    "trigger.trigger.pull_trigger": (waitress.trigger.trigger.pull_trigger, "(self, thunk=None)"),
    "trigger.trigger.close": (waitress.trigger.trigger.close, "(self)"),
    "channel.HTTPChannel": (waitress.channel.HTTPChannel.__init__, "(self, server, sock, addr, adj, map=None)"),
    "channel.HTTPChannel.received": (waitress.channel.HTTPChannel.received, "(self, data)"),
    "channel.HTTPChannel.send": (waitress.channel.HTTPChannel.send, "(self, data, do_close=True)"),
    "channel.HTTPChannel.send_continue": (waitress.channel.HTTPChannel.send_continue, "(self)"),
    "channel.HTTPChannel.service": (waitress.channel.HTTPChannel.service, "(self)"),
    "channel.HTTPChannel.handle_close": (waitress.channel.HTTPChannel.handle_close, "(self)"),
    "channel.HTTPChannel.write_soon": (waitress.channel.HTTPChannel.write_soon, "(self, data)"),
    "parser.HTTPRequestParser": (waitress.parser.HTTPRequestParser.__init__, "(self, adj)"),
    "parser.HTTPRequestParser.parse_header": (waitress.parser.HTTPRequestParser.parse_header, "(self, header_plus)"),
    "task.Task": (waitress.task.Task.__init__, "(self, channel, request)"),
    "task.Task.write": (waitress.task.Task.write, "(self, data)"),
    "task.ErrorTask.execute": (waitress.task.ErrorTask.execute, "(self)"),
    "task.WSGITask": (waitress.task.WSGITask.__init__, "(self, channel, request)"),
    "task.WSGITask.get_environment": (waitress.task.WSGITask.get_environment, "(self)"),
}
CHANGED: Final = "waitress has changed: {}; adapt exporter/webhook/waitress_*.py before raising the pin <3.1"


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


def test_a_request_is_answered_by_a_task(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """``service`` runs ``execute`` of a ``task_class``, removes the request, and adds itself for the next one."""
    executed: list[tuple[Any, Any]] = []

    class Task(waitress.task.Task):
        """Writes an answer without the help of waitress."""

        complete = True

        def execute(self) -> None:
            """Write half of the answer directly, and the rest through the channel."""
            executed.append((self.channel, self.request))
            assert (self.version, self.status, self.response_headers, self.close_on_finish) == (
                "1.1",
                "200 OK",
                [],
                False,
            )
            assert self.start_time > 0
            assert self.channel.send(b"half", do_close=False) == 4
            self.channel.write_soon(b" and half")
            self.wrote_header = True

    monkeypatch.setattr(Channel, "task_class", Task)
    channel = served.accept()
    served.client.sendall(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    first, second = served.run_until(lambda: len(channel.requests) == 2 and list(channel.requests))
    channel.service()
    after_one = (executed, channel.requests, served.dispatcher.tasks)
    assert after_one == ([(channel, first)], [second], [channel] * 2), CHANGED.format("how a task is run")
    channel.service()
    assert (channel.requests, served.dispatcher.tasks) == ([], [channel] * 2), CHANGED.format("how a task ends")
    sent = (served.client.recv(100), channel.total_outbufs_len, channel.connected)
    assert sent == (b"half and half" * 2, 0, True), CHANGED.format("write_soon does not send")


def test_the_environment_of_a_request(served: Served) -> None:
    """A WSGITask makes the environment without calling the application; ``path`` may be empty."""
    channel = served.accept()
    served.client.sendall(b"POST /x%20y?q HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na")
    served.run_until(lambda: served.dispatcher.tasks)
    environ = waitress.task.WSGITask(channel, channel.requests[0]).get_environment()
    names = ("REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "QUERY_STRING", "HTTP_HOST", "CONTENT_LENGTH", "REMOTE_ADDR")
    values = [environ[name] for name in names] + [environ["wsgi.input"].read()]
    expected = ["POST", "/x%20y?q", "/x y", "q", "h", "1", "127.0.0.1", b"a"]
    assert values == expected, CHANGED.format("the environment")


def test_a_request_of_a_client_that_left_is_dropped(served: Served) -> None:
    """``service`` of a channel that is no longer ``connected`` runs no task, and removes all requests."""
    channel = served.accept()
    served.client.sendall(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    served.run_until(lambda: len(channel.requests) == 2)
    channel.handle_close()
    channel.service()
    left = (channel.connected, channel.requests, served.dispatcher.tasks, channel in served.sockets.values())
    assert left == (False, [], [channel], False), CHANGED.format("what remains of a closed channel")


def test_only_the_trigger_wakes_the_loop(served: Served) -> None:
    """``trigger.pull_trigger`` writes to a pipe of its own, and the event loop empties it."""
    trigger = served.server.trigger
    trigger.pull_trigger()
    trigger.pull_trigger()
    assert select.select([trigger._fds[0]], [], [], TIMEOUT)[0], CHANGED.format("pull_trigger writes something else")
    waitress.wasyncore.loop(timeout=TIMEOUT, use_poll=True, map=served.sockets, count=1)
    assert not select.select([trigger._fds[0]], [], [], 0)[0], CHANGED.format("the loop does not empty the pipe")


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


def test_nothing_of_waitress_waits(listening: Listening) -> None:
    """Waitress waits, or writes to a file, if a connection has more data than ours can have.

    The thread of the event loop would wait for itself, and forever. A connection has at most the answers to the
    pipelined requests, because no more are read before these are sent; the largest answer is a verification file.
    """
    adjusted = listening.listener._server.adj
    largest = MAX_PIPELINED * (MAX_SIZE + 1_000)
    assert largest < adjusted.outbuf_overflow < adjusted.outbuf_high_watermark
    assert adjusted.channel_request_lookahead == 0
    assert adjusted.inbuf_overflow > 2 * SMALL_BODY + MAX_HEADER


# Our own listener.


def test_the_listener_serves_the_application(listening: Listening) -> None:
    """A request reaches the application, and its answer names no software."""
    answer = listening.exchange(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    assert (answer.status, answer.text, "Server" in answer.headers) == (200, "3 bytes\n", False)
    assert (listening.application.paths, listening.refused) == (["/x"], [])


UNREADABLE: Final = {
    "garbage": (b"secret\r\n\r\n", 400),
    "length of 5,000 digits": (get("/", f"Content-Length: {'9' * 5_000}"), 400),
    "unparsable target": (get("http://["), 400),
    "unknown transfer coding": (get("/", "Transfer-Encoding: gzip"), 400),
    "headers over 16 KiB": (get("/", f"X-Long: {'x' * MAX_HEADER}"), 431),
    "announced body over 128 KiB": (get("/", f"Content-Length: {2 * SMALL_BODY + 1}"), 413),
}


@pytest.mark.parametrize(("raw", "status"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_requests_are_reported(listening: Listening, raw: bytes, status: int) -> None:
    """A request that waitress rejects is answered without repeating it, and reported with its status."""
    answer = listening.exchange(raw)
    assert (answer.status, "secret" in answer.text) == (status, False)
    assert (listening.refused, listening.application.paths) == ([status], [])


def test_a_malformed_request_ends_the_connection(listening: Listening) -> None:
    """What follows a malformed request is not parsed: it gets no answer, and is not reported."""
    with listening.connect() as sock:
        sock.sendall(b"garbage\r\n\r\n" + get() + b"more garbage\r\n\r\n")
        assert statuses(read_to_end(sock)) == [400]
    assert (listening.refused, listening.application.paths) == ([400], [])


def test_pipelined_requests_up_to_the_limit_are_answered(listening: Listening) -> None:
    """MAX_PIPELINED requests on one connection are answered in order."""
    with listening.connect() as sock:
        sock.sendall(
            b"".join(get(f"/{number}") for number in range(MAX_PIPELINED - 1)) + get("/x", "Connection: close")
        )
        assert statuses(read_to_end(sock)) == [200] * MAX_PIPELINED
    assert listening.application.paths == [*(f"/{number}" for number in range(MAX_PIPELINED - 1)), "/x"]


def test_more_pipelined_requests_end_the_connection(listening: Listening) -> None:
    """A connection with one more unanswered request is closed and reported once; none of them is begun."""
    with listening.connect() as sock:
        sock.sendall(get() * (MAX_PIPELINED + 1))
        assert statuses(read_to_end(sock)) == []
    assert (listening.refused, listening.application.paths) == ([429], [])


def test_slow_requests_are_closed(monkeypatch: pytest.MonkeyPatch, listening: Listening) -> None:
    """A connection that delivers no complete request in time is closed; only one with half a request is reported."""
    monkeypatch.setattr(waitress_listener, "REQUEST_TIMEOUT", 2.0)  # enough to send half a request
    with listening.connect() as idle, listening.connect() as half:
        half.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid=")
        assert (read_to_end(idle), read_to_end(half)) == (b"", b"")
    assert listening.refused == [408]


def test_a_slow_answer_is_not_closed(monkeypatch: pytest.MonkeyPatch, listening: Listening) -> None:
    """While a request waits for its answer, its connection stays, however long that takes."""
    listening.application.parking = True
    with listening.connect() as sock:
        sock.sendall(get("/slow", "Connection: close"))
        give = listening.application.parked("/slow")
        monkeypatch.setattr(waitress_listener, "REQUEST_TIMEOUT", 0.1)
        with listening.connect() as idle:
            assert read_to_end(idle) == b""  # later than the time-out of the first connection
        give(answer("answer\n"))
        assert statuses(read_to_end(sock)) == [200]
    assert listening.refused == []


def test_the_oldest_idle_connections_make_room() -> None:
    """With as many idle connections as are allowed, a request is answered and the oldest one is closed."""
    listening = Listening(connections=40)
    listening.listener.start()
    try:
        with ExitStack() as stack:
            idle = [stack.enter_context(listening.connect()) for _ in range(40)]
            assert listening.exchange(get("/", "Connection: close")).status == 200
            assert read_to_end(idle[0]) == b""
            idle[-1].sendall(get("/", "Connection: close"))
            assert statuses(read_to_end(idle[-1])) == [200]
    finally:
        listening.listener.stop()
    assert listening.refused == []


def test_a_few_idle_connections_make_room_between_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few connections, too, a request is answered while some wait for an answer and the rest are idle."""
    monkeypatch.setattr(waitress_listener, "REQUEST_TIMEOUT", 10 * TIMEOUT)
    listening = Listening(connections=12)
    listening.application.parking = True
    listening.listener.start()
    try:
        with ExitStack() as stack:
            for number in range(3):
                stack.enter_context(listening.connect()).sendall(get(f"/{number}"))
            gives = [listening.application.parked(f"/{number}") for number in range(3)]
            idle = [stack.enter_context(listening.connect()) for _ in range(9)]
            listening.application.parking = False
            assert listening.exchange(get("/", "Connection: close")).status == 200
            assert read_to_end(idle[0]) == b""
            for give in gives:
                give(answer("answer\n"))
    finally:
        listening.listener.stop()
    assert listening.refused == []


def test_expect_without_a_body_is_answered(listening: Listening) -> None:
    """A client that expects 100 but sends no body gets its answer."""
    assert listening.exchange(get("/", "Expect: 100-continue", "Content-Length: 0")).status == 200


def test_what_waits_is_looked_at_once_per_second() -> None:
    """``expire`` is called once per second, even while idle connections are closed because there are too many."""
    listening = Listening(connections=10)
    listening.listener.start()
    listening.listener.stop()
    before = listening.application.expiries
    listening.listener._sweep(1e9)
    for most in (100, -1):
        listening.listener._connections = most  # below zero, there are too many
        for now in range(10):
            listening.listener._sweep(1e9 + now / 10)
    assert listening.application.expiries - before == 1
    listening.listener._sweep(1e9 + 1)
    assert listening.application.expiries - before == 2


def test_what_waits_is_looked_at_while_nothing_happens(listening: Listening) -> None:
    """``flush`` is called after each turn of the event loop, and ``expire`` although no client is there."""
    until(lambda: listening.application.expiries >= 2)
    assert listening.application.flushes >= listening.application.expiries


def test_a_batch_is_what_one_turn_received() -> None:
    """The requests that arrive while the event loop is busy are all begun before ``flush`` is called."""
    gate = threading.Event()
    flushed: list[int] = []

    class Busy(Application):
        """Waits at the first request, and notes how many were begun at each flush."""

        parking = True

        def begin(self, environ: dict[str, Any], give: Give) -> None:
            """Wait for the gate."""
            super().begin(environ, give)
            assert gate.wait(TIMEOUT)

        def flush(self) -> None:
            """Note the number of requests."""
            flushed.append(len(self.begun))

    listening = Listening(Busy())
    listening.listener.start()
    with ExitStack() as stack:
        clients = [stack.enter_context(listening.connect()) for _ in range(10)]
        until(lambda: len(listening.channels()) == 10)
        clients[0].sendall(get("/0"))
        listening.application.parked("/0")
        for number in range(1, 10):
            clients[number].sendall(get(f"/{number}"))
        gate.set()
        for begun in listening.application.wait_for(10):
            begun.give(answer("answer\n"))
        listening.listener.stop()
    assert sorted(set(flushed)) == [0, 1, 10]


def test_connections_that_wait_are_accepted_together() -> None:
    """However long a turn of the event loop takes, new connections wait for only one, up to MAX_ACCEPTED of them."""
    gate = threading.Event()
    connected = set[int]()
    listening: Listening

    class Busy(Application):
        """Waits at each request, and notes how many connections there are at each flush."""

        def begin(self, environ: dict[str, Any], give: Give) -> None:
            """Wait for the gate."""
            super().begin(environ, give)
            assert gate.wait(TIMEOUT)

        def flush(self) -> None:
            """Note the number of connections."""
            connected.add(len(listening.channels()))

    listening = Listening(Busy())
    listening.listener.start()
    with ExitStack() as stack:
        stack.enter_context(listening.connect()).sendall(get("/"))
        listening.application.wait_for(1)
        for _ in range(MAX_ACCEPTED + 9):
            stack.enter_context(listening.connect())
        gate.set()
        until(lambda: MAX_ACCEPTED + 10 in connected)
        listening.listener.stop()
    assert connected - {0, 1} == {MAX_ACCEPTED + 1, MAX_ACCEPTED + 10}


def stop(listening: Listening) -> threading.Thread:
    """Begin to stop the listener; return the thread that does so."""
    stopping = threading.Thread(target=listening.listener.stop)
    stopping.start()
    return stopping


def test_stop_answers_requests_in_flight() -> None:
    """When it stops, the listener begins again and answers the requests that wait, then closes its socket."""
    listening = Listening()
    listening.listener.start()
    listening.application.parking = True
    with listening.connect() as first, listening.connect() as second, listening.connect() as idle:
        first.sendall(get("/1") + get("/2"))
        second.sendall(get("/3"))
        gives = [listening.application.parked(path) for path in ("/1", "/3")]
        stopping = stop(listening)
        assert read_to_end(idle) == b""
        gives[0](answer("answer\n"))
        listening.application.parked("/2")(answer("answer\n"))
        assert statuses(read_to_end(first)) == [200, 200]
        gives[1](None)
        listening.application.wait_for(4)[-1].give(answer("answer\n"))
        assert statuses(read_to_end(second)) == [200]
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()
    with pytest.raises(ConnectionRefusedError):
        listening.connect()


def test_stop_sends_what_a_slow_reader_has_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not fit into the socket's buffer is sent to its end."""
    monkeypatch.setattr(waitress_listener, "DRAIN_TIMEOUT", TIMEOUT)
    listening = Listening()
    listening.application.parking = True
    listening.listener.start()
    with listening.connect_slowly() as sock:
        sock.sendall(get("/long"))
        listening.application.parked("/long")(LONG)
        (channel,) = listening.channels()
        until(lambda: not channel.requests)
        assert channel.total_outbufs_len > 1_000_000
        stopping = stop(listening)
        until(lambda: not listening.listener._server.accepting)
        assert read_to_end(sock).endswith(b"\r\n\r\n" + LONG.body)
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()


def test_stop_does_not_wait_for_a_stuck_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener stops after DRAIN_TIMEOUT without the answers. Those that come later wake nothing.

    The descriptor that wakes the event loop is closed then, and its number may be that of another file.
    """
    monkeypatch.setattr(waitress_listener, "DRAIN_TIMEOUT", 0.1)
    listening = Listening()
    listening.listener.start()
    listening.application.parking = True
    with listening.connect() as sock:
        sock.sendall(get())
        give = listening.application.parked("/")
        listening.listener.stop()
        assert read_to_end(sock) == b""
    monkeypatch.setattr(listening.listener._server.trigger, "_physical_pull", pytest.fail)
    give(None)
    give(answer("answer\n"))
    assert len(listening.application.begun) == 1


def test_stop_may_find_that_the_loop_has_ended() -> None:
    """If the event loop has already ended when ``stop`` would wake it, nothing is written to its pipe."""
    listening = Listening()
    listening.listener.start()
    ending = listening.listener._stopping.set

    def end() -> None:
        ending()
        listening.listener._thread.join(TIMEOUT)

    listening.listener._stopping.set = end  # type: ignore[method-assign]  # the moment between two statements
    listening.listener.stop()
    assert not listening.listener._thread.is_alive()


def test_a_listener_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If the serving thread dies, ``failed`` is called and the traceback is in the log."""

    def broken(_now: float) -> None:
        raise ZeroDivisionError

    listening = Listening()
    monkeypatch.setattr(listening.listener, "_sweep", broken)
    listening.listener.start()
    assert listening.failed.wait(TIMEOUT)
    (logged,) = [record for record in caplog.records if record.name == waitress_listener.__name__]
    assert logged.exc_info
    assert logged.exc_info[0] is ZeroDivisionError
    listening.listener.stop()
    listening.listener._server.close()  # which a listener that died leaves to the end of the process
