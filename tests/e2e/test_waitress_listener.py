"""Waitress still has the internals that ``webhook/waitress_listener.py`` uses."""

import inspect
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest
import waitress.channel
import waitress.parser
import waitress.server
import waitress.task
import waitress.trigger
import waitress.wasyncore

from tests.support.running import until

# Each callable, and the parameters that it is called or overridden with.
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
    """A channel class of our own."""


class Dispatcher:
    """What waitress wants of a dispatcher."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def add_task(self, task: Any) -> None:
        """Keep it."""
        self.tasks.append(task)

    def set_thread_count(self, count: int) -> None:
        """Waitress calls this only when it makes the threads itself."""
        raise NotImplementedError

    def shutdown(self, *_: object, **__: object) -> bool:
        """Nothing runs."""
        return True


class Served(NamedTuple):
    """A server whose event loop the test turns, and a client that is connected to it."""

    server: Any
    sockets: dict[int, Any]
    dispatcher: Dispatcher
    client: socket.socket

    def turn_until(self, condition: Callable[[], Any]) -> Any:
        """Turn the event loop until the condition is true."""

        def turned() -> Any:
            waitress.wasyncore.loop(timeout=0.1, use_poll=True, map=self.sockets, count=1)
            return condition()

        return until(turned)

    def accept(self) -> Any:
        """The channel of the client."""
        return self.turn_until(lambda: next(iter(self.server.active_channels.values()), None))


@pytest.fixture
def served() -> Iterator[Served]:
    """A server made as the listener makes it."""
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
def test_a_callable_has_its_parameters(name: str) -> None:
    """Each function and method that is called or overridden takes what it took."""
    found, parameters = CALLABLES[name]
    here = str(inspect.signature(found))
    assert here == parameters, CHANGED.format(f"{name} takes {here} instead of {parameters}")


def test_the_channel_class_of_the_server_is_used(served: Served) -> None:
    """A connection becomes a channel of the class that the server names, and is kept in ``active_channels``."""
    assert isinstance(served.accept(), Channel), CHANGED.format("a server ignores channel_class")


def test_a_channel_hands_whole_requests_to_the_dispatcher(served: Served) -> None:
    """A channel appends each request to ``requests``, clears ``request``, and becomes a task of the dispatcher."""
    channel = served.accept()
    served.client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
    served.turn_until(lambda: channel.request)
    request = channel.request
    begun = (request.completed, request.expect_continue, request.error, list(channel.requests))
    assert begun == (False, False, None, []), CHANGED.format("the state of a request that is not whole")
    served.client.sendall(b"ab")
    served.turn_until(lambda: served.dispatcher.tasks)
    ended = (served.dispatcher.tasks, channel.request, channel.requests, request.completed)
    assert ended == ([channel], None, [request], True), CHANGED.format("what a channel does with a whole request")


def test_a_channel_tells_what_draining_asks(served: Served) -> None:
    """``total_outbufs_len`` counts what is still to be sent, and ``will_close`` closes a channel in the next turn."""
    channel = served.accept()
    assert channel.total_outbufs_len == 0, CHANGED.format("total_outbufs_len of a new channel")
    assert channel.addr[0] == "127.0.0.1", CHANGED.format("addr of a channel")
    channel.will_close = True
    served.turn_until(lambda: not served.server.active_channels)


def test_a_request_that_cannot_be_read_has_an_error(served: Served) -> None:
    """Such a request is completed with an ``error`` that has a code and a body, which is what ErrorTask sends."""
    channel = served.accept()
    served.client.sendall(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n")
    served.turn_until(lambda: served.dispatcher.tasks)
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


def test_the_parser_raises_what_the_listener_catches() -> None:
    """The parser's own errors are the classes that the listener turns into 400."""
    assert issubclass(waitress.parser.ParsingError, Exception)
    assert issubclass(waitress.parser.TransferEncodingNotImplemented, Exception)
    assert not issubclass(waitress.parser.TransferEncodingNotImplemented, waitress.parser.ParsingError), CHANGED.format(
        "TransferEncodingNotImplemented is a ParsingError now"
    )
