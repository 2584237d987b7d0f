"""The connections of the public listener: answers that come later, from other threads, and in any order."""

import re
import select
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from queue import SimpleQueue
from random import Random
from types import SimpleNamespace
from typing import Any, Final

import pytest
import waitress.server
import waitress.task
import waitress.wasyncore
from hypothesis import given
from hypothesis import strategies as st

from exporter.webhook import waitress_listener
from exporter.webhook.answering import COUNTED, DUPLICATE, Answer, Give
from exporter.webhook.waitress_channel import MAX_PIPELINED, Turns, _head, _Respond
from tests.support.listening import LONG, Application, Listening, answer, get, read_until, statuses
from tests.support.running import TIMEOUT, connect, exporter, read_to_end, until

# Whose turn it is.


class Channel:
    """A channel that calls a function when it is its turn."""

    def __init__(self, service: Callable[[], object] = lambda: None) -> None:
        self._service = service
        self.turns = 0
        self.closed = False

    def service(self) -> None:
        """Count the call, and call the function."""
        self.turns += 1
        self._service()

    def handle_close(self) -> None:
        """Note that the channel is closed."""
        self.closed = True


def test_the_loop_is_woken_once() -> None:
    """However many channels other threads add, the event loop is woken once before it serves them, and then again."""
    wakes: list[None] = []
    turns: Any = Turns(lambda: wakes.append(None))
    channels = [Channel() for _ in range(10_000)]
    for channel in channels:
        turns.give(channel)
    assert len(wakes) == 1
    turns.run()
    turns.run()
    assert {channel.turns for channel in channels} == {1}
    turns.give(channels[0])
    assert len(wakes) == 2
    turns.run()
    assert channels[0].turns == 2


def test_a_channel_that_is_added_during_a_turn_is_served_in_it() -> None:
    """The event loop need not be woken for the channels that are added while it serves others."""
    turns: Any = Turns(pytest.fail)
    last = Channel()
    turns.add_task(Channel(lambda: turns.add_task(Channel(lambda: turns.give(last)))))
    turns.run()
    assert last.turns == 1


def test_a_channel_that_is_added_when_the_turn_ends_is_served() -> None:
    """If another thread adds a channel just after the last one was served, and wakes nobody, it is served, too."""
    late = Channel()
    turns: Any = Turns(pytest.fail)

    class Channels(deque[Channel]):
        """Gets another channel when it was found to be empty."""

        def __len__(self) -> int:
            size = super().__len__()
            if size == 0 and not late.turns:
                turns.give(late)
            return size

    turns._channels = Channels()
    turns.run()
    assert late.turns == 1


def test_an_error_on_one_connection_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """A channel that raises is closed, with the traceback in the log, and the next one is served."""
    turns: Any = Turns(pytest.fail)
    broken, last = Channel({}.popitem), Channel()
    turns.add_task(broken)
    turns.add_task(last)
    turns.run()
    assert (broken.closed, last.turns, last.closed) == (True, 1, False)
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [KeyError]


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_no_turn_is_lost(threads: int) -> None:
    """Threads that wait for their turn before they add another channel are never left waiting."""
    woken = threading.Event()
    turns: Any = Turns(woken.set)
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            woken.wait()
            woken.clear()
            turns.run()

    def give(_: int) -> int:
        served: SimpleQueue[None] = SimpleQueue()
        channel = Channel(lambda: served.put(None))
        for _ in range(8_000 // threads):
            turns.give(channel)
            served.get(timeout=TIMEOUT)
        return channel.turns

    loop = threading.Thread(target=run, daemon=True)
    loop.start()
    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(give, range(threads))) == 8_000
    ended.set()
    woken.set()
    loop.join(TIMEOUT)
    assert not loop.is_alive()


def test_the_loop_is_never_woken_after_its_end() -> None:
    """After ``close``, an answer wakes nothing: the descriptor for that is closed, and its number may be reused."""
    turns: Any = Turns(pytest.fail)
    turns.close()
    turns.give(Channel())
    turns.wake()


# Answers that come later.


def text_of(sock: socket.socket) -> str:
    """Read an answer with status 200; return its text."""
    with HTTPResponse(sock) as response:
        response.begin()
        assert response.status == 200
        return response.read().decode()


def test_answers_come_in_any_order(listening: Listening) -> None:
    """Each connection gets its own answer, whichever thread gives it, and nothing before that."""
    listening.application.parking = True
    numbers = list(range(20))
    with ExitStack() as stack:
        clients = [stack.enter_context(listening.connect()) for _ in numbers]
        for number in numbers:
            clients[number].sendall(get(f"/{number}"))
        gives = [listening.application.parked(f"/{number}") for number in numbers]
        assert select.select(clients, [], [], 0)[0] == []
        Random(7).shuffle(numbers)
        with ThreadPoolExecutor(4) as pool:
            for number in numbers:
                pool.submit(gives[number], answer(f"answer {number}\n"))
        assert [text_of(client) for client in clients] == [f"answer {number}\n" for number in range(20)]


def test_an_answer_that_is_given_at_once_wakes_nothing(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop writes it in the same turn, without writing to its pipe, which would cost another turn."""
    pulled: list[None] = []
    monkeypatch.setattr(listening.listener._server.trigger, "_physical_pull", lambda: pulled.append(None))
    with listening.connect() as sock:
        for _ in range(10):
            sock.sendall(get())
            assert text_of(sock) == "0 bytes\n"
    assert pulled == []
    monkeypatch.undo()


def test_pipelined_answers_keep_their_order(listening: Listening) -> None:
    """Of the requests on a connection, only the first that is not answered was begun."""
    listening.application.parking = True
    with listening.connect() as sock:
        sock.sendall(b"".join(get(f"/{number}") for number in range(MAX_PIPELINED)))
        for number in range(MAX_PIPELINED):
            give = listening.application.parked(f"/{number}")
            assert listening.application.paths == [f"/{one}" for one in range(number + 1)]
            with ThreadPoolExecutor(1) as pool:
                pool.submit(give, answer(f"answer {number}\n"))
            assert read_until(sock, lambda received: received.endswith(b"\n")).endswith(b"\n\r\nanswer %d\n" % number)


def test_a_request_that_is_begun_again_keeps_its_environ(listening: Listening) -> None:
    """``None`` means that ``begin`` is called again, with the same environ; the next request has another."""
    application = listening.application
    application.parking = True
    with listening.connect() as sock:
        sock.sendall(get("/first") + get("/second"))
        for number in range(1, 5):
            *_, (environ, give) = application.wait_for(number)
            assert environ.setdefault("test.mark", number) == 1
            give(None)
        *_, (environ, give) = application.wait_for(5)
        assert all(begun.environ is environ for begun in application.begun)
        give(answer("answer\n"))
        assert "test.mark" not in application.wait_for(6)[-1].environ
        application.begun[-1].give(answer("answer\n"))
        assert statuses(read_until(sock, lambda received: received.count(b"answer\n") == 2)) == [200, 200]
    assert application.paths == ["/first"] * 5 + ["/second"]


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_client_that_left(listening: Listening, caplog: pytest.LogCaptureFixture, how: str) -> None:
    """Its answer goes nowhere, its connection is removed, and others are served."""
    application = listening.application
    application.parking = True
    sock = listening.connect()
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.sendall(get("/gone") + get("/also"))
    give = application.parked("/gone")
    sock.close()
    application.parking = False
    give(answer("answer\n"))
    until(lambda: not listening.channels())
    assert listening.exchange(get("/here")).status == 200
    assert [record for record in caplog.records if record.name != "waitress"] == []
    assert listening.refused == []


def test_a_client_that_left_may_be_begun_again(listening: Listening) -> None:
    """If it was noticed that the client left, ``None`` begins nothing; an answer in two parts does no harm either."""
    application = listening.application
    application.parking = True
    with listening.connect() as sock:
        sock.sendall(get("/gone"))
        give = application.parked("/gone")
        (channel,) = listening.channels()
        channel.handle_close()
        give(None)
    application.parking = False
    assert listening.exchange(get("/here")).status == 200
    assert application.paths == ["/gone", "/here"]


def without_polling(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the event loop wait until it is woken, and not only for a second."""
    run_loop_once = listening.listener._run_loop_once
    monkeypatch.setattr(listening.listener, "_run_loop_once", lambda timeout: run_loop_once(timeout * 3 * TIMEOUT))
    monkeypatch.setattr(waitress_listener, "DRAIN_TIMEOUT", 0)


def test_flush_follows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop calls ``flush`` after ``begin``, before it waits for anything."""

    class Flushing(Application):
        """Answers what was begun when it is flushed."""

        parking = True

        def flush(self) -> None:
            """Give the answers."""
            while self.begun:
                self.begun.pop().give(answer("answer\n"))

    listening = Listening(Flushing())
    without_polling(listening, monkeypatch)
    listening.listener.start()
    try:
        assert [listening.exchange(get()).status for _ in range(3)] == [200] * 3
    finally:
        listening.listener.stop()


class Relay:
    """An application whose answers other threads give: the paths. Now and then they have the request begun again."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.waiting: SimpleQueue[tuple[dict[str, Any], Give] | None] = SimpleQueue()

    def begin(self, environ: dict[str, Any], give: Give) -> None:
        """Leave the answer to another thread."""
        self.begun[environ["PATH_INFO"]] += 1
        self.waiting.put((environ, give))

    def flush(self) -> None:
        """Do nothing."""

    def expire(self) -> None:
        """Do nothing."""

    def give(self, seed: int) -> None:
        """Give answers until there is None to give."""
        rng = Random(seed)
        while begun := self.waiting.get():
            environ, give = begun
            again = not environ.get("test.again") and rng.random() < 0.1
            environ["test.again"] = True
            give(None if again else answer(environ["PATH_INFO"] + "\n"))


def test_no_answer_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of answers that eight threads give at once all arrive, once and in order, without a loop that polls."""
    relay = Relay()
    listening = Listening(relay)
    without_polling(listening, monkeypatch)

    def exchange_many(client: int) -> list[str]:
        paths = [f"/{client}/{number}" for number in range(100 * MAX_PIPELINED)]
        answers: list[str] = []
        with connect(listening.listener.address) as sock:
            for start in range(0, len(paths), MAX_PIPELINED):
                sock.sendall(b"".join(map(get, paths[start : start + MAX_PIPELINED])))
                received = read_until(
                    sock, lambda received: len(re.findall(rb"^/.*\n", received, re.MULTILINE)) == MAX_PIPELINED
                )
                answers += re.findall(r"^/.*$", received.decode(), re.MULTILINE)
        assert answers == paths
        return paths

    listening.listener.start()
    with ThreadPoolExecutor(24) as pool:
        givers = [pool.submit(relay.give, seed) for seed in range(8)]
        clients = [pool.submit(exchange_many, client) for client in range(16)]
        try:
            paths = [path for client in clients for path in client.result()]
        finally:
            for _ in givers:
                relay.waiting.put(None)
    listening.listener.stop()
    assert set(relay.begun) == set(paths)
    assert Counter(relay.begun.values()).keys() == {1, 2}
    assert not listening.failed.is_set()


def test_an_exception_of_the_application_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """A request whose application raises is answered 500, reported and logged, and the next one is served."""

    class Broken(Application):
        """Raises at once, or when the request is begun again."""

        def begin(self, environ: dict[str, Any], give: Give) -> None:
            """Raise, have the request begun again, or leave the answer to the test."""
            super().begin(environ, give)
            if environ["PATH_INFO"] == "/at-once" or environ.get("test.again"):
                raise ZeroDivisionError
            if environ["PATH_INFO"] == "/again":
                environ["test.again"] = True
                give(None)

    listening = Listening(Broken())
    listening.application.parking = True
    listening.listener.start()
    try:
        with listening.connect() as sock:
            sock.sendall(get("/at-once") + get("/again") + get("/"))
            listening.application.parked("/")(answer("answer\n"))
            received = read_until(sock, lambda received: b"answer\n" in received)
    finally:
        listening.listener.stop()
    assert (statuses(received), listening.application.paths) == ([500, 500, 200], ["/at-once", "/again", "/again", "/"])
    assert listening.refused == [500, 500]
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2
    assert not listening.failed.is_set()


# What is written.


def test_a_slow_reader_gets_everything_in_order(listening: Listening) -> None:
    """What does not fit into the socket's buffer is sent later, before the next answer; others don't wait for it."""
    application = listening.application
    application.parking = True
    with listening.connect_slowly() as sock:
        sock.sendall(get("/long") + get("/short", "Connection: close"))
        application.parked("/long")(LONG)
        application.parked("/short")(answer("short\n"))
        (channel,) = listening.channels()
        until(lambda: not channel.requests)
        assert channel.total_outbufs_len > 1_000_000
        application.parking = False
        assert listening.exchange(get()).status == 200
        head, _, received = read_to_end(sock).partition(b"\r\n\r\n")
    body, rest = received[: len(LONG.body)], received[len(LONG.body) :]
    assert (statuses(head), body == LONG.body) == ([200], True)
    assert (statuses(rest), rest.partition(b"\r\n\r\n")[2]) == ([200], b"short\n")


def test_an_answer_does_not_overtake_another() -> None:
    """Nothing is sent directly while some of the last answer has not been sent, although there may be room again."""
    written: list[bytes] = []
    channel = SimpleNamespace(answer=COUNTED, total_outbufs_len=1, send=pytest.fail, write_soon=written.append)
    task: Any = _Respond
    task(channel, SimpleNamespace(version="1.1", headers={})).service()
    (data,) = written
    assert (statuses(data), data.endswith(b"\r\n\r\ncounted\n")) == ([200], True)


def test_a_client_that_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch, listening: Listening) -> None:
    """If it does not read its answer in time, its connection is closed; that is no rejected request."""
    application = listening.application
    application.parking = True
    with listening.connect_slowly() as sock:
        sock.sendall(get("/long"))
        application.parked("/long")(LONG)
        (channel,) = listening.channels()
        until(lambda: channel.total_outbufs_len)
        monkeypatch.setattr(waitress_listener, "REQUEST_TIMEOUT", 0)
        until(lambda: not listening.channels())
        assert len(read_to_end(sock)) < len(LONG.body)
    assert listening.refused == []


NAMES: Final = st.from_regex(r"[a-z]{1,8}(-[a-z]{1,8}){0,2}", fullmatch=True).filter(
    lambda name: name not in {"date", "server", "via", "connection", "content-length", "transfer-encoding"}
)
VALUES: Final = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=9)
STATUSES: Final = [f"{status.value} {status.phrase}" for status in HTTPStatus if status >= 200]
BODILESS: Final = ("204", "304")


def stock_head(status: str, headers: tuple[tuple[str, str], ...], at: float) -> bytes:
    """Return the head that waitress writes in HTTP/1.1 if the connection stays open."""
    channel = SimpleNamespace(server=SimpleNamespace(adj=SimpleNamespace(ident=None)))
    task = waitress.task.Task(channel, SimpleNamespace(version="1.1", headers={}))
    task.status, task.response_headers = status, list(headers)
    vars(task)["start_time"] = at
    head: bytes = task.build_response_header()
    assert not task.close_on_finish
    return head


@given(
    st.sampled_from([status for status in STATUSES if not status.startswith(BODILESS)]),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.integers(0, 10_000),
    st.floats(0, 4e9),
)
def test_a_head_is_that_of_waitress(status: str, more: list[tuple[str, str]], length: int, at: float) -> None:
    """It has the same status and the same headers, with the same capitals and Date; their order may differ."""
    headers = (*more, ("content-length", str(length)))
    (first, *lines), (same, *expected) = (
        head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        for head in (_head(status, headers, int(at)), stock_head(status, headers, at))
    )
    assert (first, sorted(lines)) == (same, sorted(expected))


def test_the_date_is_now(listening: Listening) -> None:
    """The header Date has the second in which the answer was written."""
    before = int(time.time())
    date = listening.exchange(get()).headers["Date"]
    assert before <= parsedate_to_datetime(date).timestamp() <= time.time()


@pytest.fixture(scope="module")
def stock() -> Iterator[str]:
    """Run waitress as it is, with the same answers; yield its address."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        status, headers, body = ANSWERS[environ["PATH_INFO"]]
        start_response(status, list(headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    sockets: dict[int, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = waitress.server.create_server(application, map=sockets, sockets=[bound], ident=None)
        ended = threading.Event()

        def run() -> None:
            while not ended.is_set():
                waitress.wasyncore.loop(timeout=1, map=sockets, count=1)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"127.0.0.1:{bound.getsockname()[1]}"
        ended.set()
        server.pull_trigger()
        thread.join()
        server.task_dispatcher.shutdown()
        waitress.wasyncore.close_all(sockets)


ANSWERS: Final[dict[str, Answer]] = {
    "/counted": COUNTED,
    "/duplicate": DUPLICATE,
    "/refused": Answer(
        "503 Service Unavailable",
        (("content-type", "text/plain; charset=utf-8"), ("retry-after", "5"), ("content-length", "12")),
        b"unavailable\n",
    ),
    "/empty": Answer("200 OK", (("content-length", "0"), ("content-type", "text/plain")), b""),
    "/head": Answer("200 OK", (("content-length", "8"), ("content-type", "text/plain")), b""),
}
KINDS: Final = {
    "HTTP/1.1": ("1.1", (), b""),
    "close": ("1.1", ("Connection: close",), b"Connection: close"),
    "CLOSE": ("1.1", ("Connection: CLOSE",), b"Connection: close"),
    "HTTP/1.1 keep-alive": ("1.1", ("Connection: keep-alive",), b""),
    "HTTP/1.0": ("1.0", (), b"Connection: close"),
    "HTTP/1.0 keep-alive": ("1.0", ("Connection: Keep-Alive",), b"Connection: Keep-Alive"),
    "unknown version": ("2.0", (), b"Connection: close"),
}


def lines_of(address: str, request: bytes, ending: bytes) -> tuple[list[bytes], bytes, bool]:
    """Send a request; return the lines of the answer's head, sorted and without the time, its body, and if it is last.

    ``ending`` is the end of the body.
    """
    with connect(address) as sock:
        sock.sendall(request)
        received = read_until(sock, lambda received: b"\r\n\r\n" in received and received.endswith(ending))
        head, _, body = received.partition(b"\r\n\r\n")
        with suppress(ConnectionError):
            sock.sendall(b"garbage\r\n\r\n")  # is answered unless the connection was closed
        last = b"400" not in read_to_end(sock)
        first, *lines = head.split(b"\r\n")
        return [first, *sorted(line for line in lines if not line.startswith(b"Date: "))], body, last


@pytest.mark.parametrize(("version", "headers", "connection"), KINDS.values(), ids=KINDS)
def test_answers_are_those_of_waitress(
    listening: Listening, stock: str, version: str, headers: tuple[str, ...], connection: bytes
) -> None:
    """In each version of HTTP, with a connection that stays or not, an answer is the one that waitress would write."""
    listening.application.parking = True
    for path, known in ANSWERS.items():
        request = get(path, *headers, version=version, method="HEAD" if path == "/head" else "GET")
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(lines_of, listening.listener.address, request, known.body)
            listening.application.parked(path)(known)
            ours = asking.result()
        assert ours == lines_of(stock, request, known.body)
        assert [line for line in ours[0] if line.startswith(b"Connection")] == ([connection] if connection else [])
        assert ours[1:] == (known.body, connection == b"Connection: close")


def test_each_answer_of_the_exporter_has_a_length(tmp_path: Path) -> None:
    """So that the connection can stay open: many requests on one connection, of any kind, are answered."""
    (tmp_path / "smtpeter-a.txt").write_text("smtpeter-verification=1")
    paths = ["/", "/failures", "/smtpeter-a.txt", "/smtpeter-b.txt", "/failures/"]
    with exporter(tmp_path, "--webhook.verification-dir", str(tmp_path)) as running:
        client = HTTPConnection(running.public, timeout=TIMEOUT)
        client.connect()
        sock = client.sock
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "TRACE", "BREW"):
            for path in paths:
                client.request(method, path)
                with client.getresponse() as response:
                    body = response.read()
                    length = int(response.headers["Content-Length"])
                assert length == len(body) if method != "HEAD" else (length > 0, body) == (True, b"")
                assert client.sock is sock
        client.close()
