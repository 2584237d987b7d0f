"""A running exporter that serves several loops: what counts where, once, and what large bodies may cost."""

import random
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest

from exporter.classification.loops import ABUSES, BOUNCES, LARGE_BODY, LOOPS, SMALL_BODY, Loop
from exporter.webhook.waitress_listener import MAX_LARGE
from tests.support.engines import ALL_ENGINES, ENGINES, url_of
from tests.support.events import ALL_LOOPS, event, totals
from tests.support.guarded import guarded_exporter
from tests.support.records import NOW
from tests.support.running import (
    FORM,
    HASTY,
    Exporter,
    changes,
    connect,
    exporter,
    failure,
    read_to_end,
    until,
    with_constants,
)
from tests.support.signing import headers_for

MEMORY: Final = "process_resident_memory_bytes"
each_loop = pytest.mark.parametrize("loop", LOOPS)
large_loop = pytest.mark.parametrize("loop", [BOUNCES, ABUSES], ids=lambda loop: loop.name)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter that serves all loops, also below a path."""
    flags = ("--webhook.public-url", "https://mail.example.com/smtpeter", "--metrics.birth-hold", "0s")
    with exporter(tmp_path_factory.mktemp("loops"), *ALL_LOOPS, *flags) as running:
        yield running


def counted(running: Exporter, loop: str, number: int, path: str = "") -> tuple[list[str], dict[str, float]]:
    """Post an event twice. Return the answers, and the series about mail that the event incremented."""
    before = running.samples()
    answers = [running.post(event(loop, number), path or f"/{loop}").text for _ in range(2)]
    after = changes(before, running.samples())
    return answers, {name: by for name, by in after.items() if "exporter" not in name}


SERIES: Final = {
    "failures": {
        'smtpeter_failures_total{code_class="5xx",extended="5.1.1",state="rcptto"}': 1,
        'smtpeter_failures_by_reason_total{reason="recipient_unknown"}': 1,
        'smtpeter_failures_by_provider_total{code_class="5xx",provider="other"}': 1,
        'smtpeter_failures_by_reason_provider_total{provider="other",reason="recipient_unknown"}': 1,
        'smtpeter_failures_by_tag_total{tag="other"}': 1,
    },
    "deliveries": {
        "smtpeter_deliveries_total": 1,
        'smtpeter_deliveries_by_provider_total{provider="other"}': 1,
        'smtpeter_deliveries_by_tag_total{tag="other"}': 1,
    },
    "bounces": {
        'smtpeter_bounces_total{kind="dsn"}': 1,
        'smtpeter_bounces_by_reason_total{reason="recipient_unknown"}': 1,
    },
    "abuses": {'smtpeter_complaints_total{provider="ziggo"}': 1},
}


@each_loop
@pytest.mark.parametrize("prefix", ["", "/smtpeter"])
def test_each_loop_counts_once(running: Exporter, loop: str, prefix: str) -> None:
    """An event counts in the series of its loop, once, at the root and below the path of the public URL."""
    number = len(prefix)
    assert counted(running, loop, number, f"{prefix}/{loop}") == (["counted\n", "duplicate\n"], SERIES[loop])


def test_a_failure_after_a_delivery(running: Exporter) -> None:
    """It counts as a failure, and in the families that a ratio needs to know it as a delivery, too."""
    before = running.samples()
    running.post(failure(77, state="bounce", code="", recipient="jane@gmail.com"))
    after = changes(before, running.samples())
    assert {name: by for name, by in after.items() if "after" in name or "deliver" in name} == {
        'smtpeter_failures_after_delivery_by_provider_total{provider="gmail"}': 1,
        'smtpeter_failures_after_delivery_by_tag_total{tag="other"}': 1,
    }


def test_only_the_loops_in_the_setting_are_served(tmp_path: Path) -> None:
    """The others have no route and no series. A loop that is turned off and on again keeps its counts."""
    with exporter(tmp_path, "--webhook.loops", "failures", "--webhook.loops", "deliveries") as running:
        answers = {loop: running.post(event(loop, 1), f"/{loop}").status for loop in LOOPS}
        names = {name.partition("{")[0] for name in running.samples()}
    assert answers == {"failures": 200, "deliveries": 200, "bounces": 404, "abuses": 404}
    assert {name for name in names if "bounces" in name or "complaints" in name} == set()
    with exporter(tmp_path) as running:
        assert running.post(event("deliveries", 1), "/deliveries").status == 404
        assert [name for name in running.samples() if "deliver" in name and "after" not in name] == []
    with exporter(tmp_path, "--webhook.loops", "bounces,deliveries,failures") as running:
        assert running.post(event("deliveries", 1), "/deliveries").text == "duplicate\n"
        assert totals(running.samples()) == {"failures": 1, "deliveries": 1, "bounces": 0, "abuses": 0}


def test_a_new_ledger_shows_few_series(tmp_path: Path) -> None:
    """Reasons, kinds and tags are 0 from the start, and nothing by provider, because most providers never occur."""
    with exporter(tmp_path, *ALL_LOOPS, "--tags.count", "may") as running:
        names = [name for name in running.samples() if not name.startswith(("smtpeter_exporter", "process"))]
    families = Counter(name.partition("{")[0] for name in names)
    assert families == {
        "smtpeter_failures_by_reason_total": 20,
        "smtpeter_failures_by_tag_total": 2,
        "smtpeter_failures_after_delivery_by_tag_total": 2,
        "smtpeter_deliveries_total": 1,
        "smtpeter_deliveries_by_tag_total": 2,
        "smtpeter_bounces_total": 6,
        "smtpeter_bounces_by_reason_total": 20,
        "smtpeter_last_failure_timestamp_seconds": 1,
        "smtpeter_last_event_timestamp_seconds": 3,
    }


def test_the_last_failure_is_a_failure(tmp_path: Path) -> None:
    """Events of other loops do not move the time of the last failure; each loop has its own."""
    with exporter(tmp_path, *ALL_LOOPS) as running:
        running.post(event("deliveries", 1), "/deliveries")
        samples = running.samples()
    assert samples["smtpeter_last_failure_timestamp_seconds"] == 0
    times = {
        loop: samples[f'smtpeter_last_event_timestamp_seconds{{loop="{loop}"}}'] for loop in LOOPS if loop != "failures"
    }
    assert [loop for loop, at in times.items() if at] == ["deliveries"]
    requests = {loop: samples[f'smtpeter_exporter_last_request_timestamp_seconds{{loop="{loop}"}}'] for loop in LOOPS}
    assert [loop for loop, at in requests.items() if at] == ["deliveries"]


# Signatures

HOST: Final = "mail.example.com"


@pytest.mark.parametrize("url", [f"https://{HOST}/smtpeter", f"https://{HOST}", ""])
def test_a_request_of_one_loop_is_rejected_by_the_others(tmp_path: Path, url: str) -> None:
    """A recorded request is accepted at its own URL, a duplicate there later, and answered 403 at each other one."""
    prefix = "/smtpeter" if url.endswith("/smtpeter") else ""
    flags = (*ALL_LOOPS, *(("--webhook.public-url", url) if url else ()))
    with guarded_exporter(tmp_path, *flags) as guarded:
        for loop in LOOPS:
            body = urlencode(event(loop, 1)).encode()
            headers = headers_for(HOST, f"{prefix}/{loop}", body, FORM)
            answers = {path: guarded.post(headers, body, f"{prefix}/{path}").status for path in LOOPS}
            assert answers == {path: 200 if path == loop else 403 for path in LOOPS}
            assert guarded.post(headers, body, f"{prefix}/{loop}").text == "duplicate\n"
        assert totals(guarded.running.samples()) == dict.fromkeys(LOOPS, 1)


# Exactly once


@pytest.mark.parametrize("engine", ALL_ENGINES)
def test_kill_9_with_all_loops(tmp_path: Path, engine: str) -> None:
    """Events of all loops are sent over many connections until each is answered 200, while the exporter is killed."""
    ENGINES[engine](tmp_path, NOW).close()
    flags = (*ALL_LOOPS, "--storage.url", url_of(engine, tmp_path))
    events = [(loop, number) for loop in LOOPS for number in range(60)]
    random.Random(7).shuffle(events)
    answered: set[tuple[str, int]] = set()
    for _ in range(3):
        with exporter(tmp_path, *flags) as running:
            left = [one for one in events if one not in answered]
            with ThreadPoolExecutor(16) as pool:
                sent = [pool.submit(_post, running, one) for one in left]
                until(partial(_some_are_done, sent))
                running.send_signal(signal.SIGKILL)
            answered |= {one for one, outcome in zip(left, sent, strict=True) if outcome.result() == 200}
            running.wait()
    with exporter(tmp_path, *flags) as running:
        again = {one: running.post(event(*one), f"/{one[0]}").text for one in events}
        assert {again[one] for one in answered} == {"duplicate\n"}
        assert totals(running.samples()) == dict.fromkeys(LOOPS, 60)


def _some_are_done(posts: list[Future[int | None]]) -> bool:
    return sum(post.done() for post in posts) >= len(posts) // 3


def _post(running: Exporter, one: tuple[str, int]) -> int | None:
    try:
        return running.post(event(*one), f"/{one[0]}").status
    except (OSError, HTTPException):
        return None


# Large bodies


def body_of(loop: Loop, number: int, size: int) -> bytes:
    """Return an event with a message, as a form of that many bytes."""
    body = urlencode(event(loop.name, number)).encode()
    return body + b"x" * (size - len(body))


def head(path: str, length: int) -> bytes:
    """Return the head of a request."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {FORM}", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


@large_loop
def test_a_large_message_is_counted(running: Exporter, loop: Loop) -> None:
    """A body of 1 MiB is accepted with a length and in chunks; one of a byte more is answered 413."""
    with running.client() as client:
        answers = [client.request("POST", loop.path, body_of(loop, 200, LARGE_BODY), {"Content-Type": FORM}).status]
    with connect(running.public) as sock:
        sock.sendall(head(loop.path, LARGE_BODY + 1))
        answers.append(int(sock.recv(12).split()[1]))
    body = body_of(loop, 202, LARGE_BODY)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:100_000], body[100_000:])) + b"0\r\n\r\n"
    with connect(running.public) as sock:
        lines = [f"POST {loop.path} HTTP/1.1", "Host: x", f"Content-Type: {FORM}", "Transfer-Encoding: chunked"]
        sock.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + chunks)
        answers.append(int(read_to_end(sock).split()[1]))
    assert answers == [200, 413, 200]


@pytest.mark.parametrize("path", ["/failures", "/deliveries", "/other", "/bounces/", "/smtpeter/failures"])
def test_only_loops_with_messages_accept_large_bodies(running: Exporter, path: str) -> None:
    """At any other path the limit stays 64 KiB, and twice that is not read."""
    with connect(running.public) as sock:
        sock.sendall(head(path, 2 * SMALL_BODY + 1))
        assert sock.recv(12) == b"HTTP/1.1 413"


def unread(running: Exporter, sock: socket.socket) -> int:
    """Return how many bytes the process has not read yet that were sent to it through the socket."""
    port = f"{sock.getsockname()[1]:04X}"
    rows = [line.split() for line in Path(f"/proc/{running.pid}/net/tcp").read_text("ascii").splitlines()[1:]]
    queues = [row[4] for row in rows if row[2].endswith(f":{port}") or row[1].endswith(f":{port}")]
    return sum(int(part, 16) for queue in queues for part in queue.split(":"))


def occupied(running: Exporter, stack: ExitStack) -> list[socket.socket]:
    """Open as many connections as there may be large bodies, and send most of one on each."""
    socks = [stack.enter_context(connect(running.public)) for _ in range(MAX_LARGE)]
    for number, sock in enumerate(socks):
        sock.sendall(head("/bounces", LARGE_BODY) + body_of(BOUNCES, 300 + number, 900_000))
    until(lambda: sum(unread(running, sock) for sock in socks) == 0)
    return socks


def test_large_bodies_have_a_maximum(tmp_path: Path) -> None:
    """While 64 large bodies arrive, one more is answered 503; a failure, and a small message, are counted."""
    patient = with_constants({"exporter.webhook.waitress_listener.SLOW_BODY": 1_000})
    with exporter(tmp_path, *ALL_LOOPS, program=patient) as running, ExitStack() as stack:
        running.post(event("bounces", 0), "/bounces")
        before = running.samples()[MEMORY]
        socks = occupied(running, stack)
        with running.client() as client:
            late = client.request("POST", "/bounces", body_of(BOUNCES, 390, SMALL_BODY + 1), {"Content-Type": FORM})
        assert (late.status, late.headers["Retry-After"]) == (503, "5")
        assert running.post(event("bounces", 391), "/bounces").text == "counted\n"
        assert running.post(event("failures", 391)).text == "counted\n"
        assert running.samples()[MEMORY] - before < 150_000_000
        assert running.samples()['smtpeter_exporter_refused_total{reason="busy"}'] == 1
        socks[0].sendall(b"x" * (LARGE_BODY - 900_000))
        assert socks[0].recv(12) == b"HTTP/1.1 200"
        assert _post_large(running, 392) == 200


def test_slow_large_bodies_make_room(tmp_path: Path) -> None:
    """A large body that has been arriving for too long is given up when there are too many: it keeps nobody out."""
    hasty = with_constants({"exporter.webhook.waitress_listener.SLOW_BODY": 0})
    with exporter(tmp_path, *ALL_LOOPS, program=hasty) as running, ExitStack() as stack:
        socks = occupied(running, stack)
        assert _post_large(running, 392) == 200
        assert read_to_end(socks[0]) == b""
        assert running.samples()['smtpeter_exporter_refused_total{reason="slow"}'] == 1
        socks[1].sendall(b"x" * (LARGE_BODY - 900_000))
        assert socks[1].recv(12) == b"HTTP/1.1 200"


def test_messages_at_once_cost_little_memory(tmp_path: Path) -> None:
    """Sixty-four messages of 1 MiB at once are all counted, and memory rises by less than 150 MB."""
    with exporter(tmp_path, *ALL_LOOPS) as running:
        running.post(event("bounces", 0), "/bounces")
        before = running.samples()[MEMORY]
        with ThreadPoolExecutor(MAX_LARGE) as pool:
            posts = [pool.submit(_post_large, running, number) for number in range(1, MAX_LARGE + 1)]
            peak = before
            while not all(post.done() for post in posts):
                peak = max(peak, running.samples()[MEMORY])
        assert [post.result() for post in posts] == [200] * MAX_LARGE
        assert totals(running.samples())["bounces"] == MAX_LARGE + 1
    assert peak - before < 150_000_000


def _post_large(running: Exporter, number: int) -> int:
    with running.client() as client:
        return client.request("POST", "/bounces", body_of(BOUNCES, number, LARGE_BODY), {"Content-Type": FORM}).status


def files_of(running: Exporter) -> Counter[str]:
    """Return the files that the process has open, without sockets."""
    opened = Path(f"/proc/{running.pid}/fd").iterdir()
    return Counter(target for link in opened if "socket" not in (target := str(link.readlink())))


def test_no_temporary_file(tmp_path: Path) -> None:
    """A large message never touches a file, not even one that has no name."""
    with exporter(tmp_path, *ALL_LOOPS, program=HASTY) as running:
        before = files_of(running)
        with connect(running.public) as sock:
            sock.sendall(head("/bounces", LARGE_BODY) + body_of(BOUNCES, 1, LARGE_BODY - 1))
            until(lambda: unread(running, sock) == 0)
            assert files_of(running) == before
            sock.sendall(b"x")
            assert sock.recv(12) == b"HTTP/1.1 200"
        assert files_of(running) == before
