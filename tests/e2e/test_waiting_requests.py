"""Requests that wait for a commit or for DNS, when their client goes away, the commit fails, or the exporter stops."""

import random
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import psycopg
import pytest

from tests.support.crowd import all_at_once
from tests.support.guarded import guarded_exporter
from tests.support.hostility import signed
from tests.support.postgres import commits_held, shared_server
from tests.support.raw_http import http, refused
from tests.support.running import (
    TIMEOUT,
    Exporter,
    changes,
    connect,
    exchange,
    exporter,
    failure,
    read_to_end,
    until,
    with_constants,
)
from tests.support.signing import KEY_ID, key, record

SERIES: Final = "rcptto/5xx/5.1.1"
OTHER_KEY: Final = "two._domainkey.copernica.com"
ROUNDS: Final = 300
TTL: Final = 0.5


@pytest.fixture
def url() -> str:
    """Return the URL of a new database on the shared server."""
    return shared_server().create_new()


def post(number: int) -> bytes:
    """Return the request with a failure, for its own connection."""
    return http(body=urlencode(failure(number)).encode(), headers=("Connection: close",))


def all_received(running: Exporter) -> None:
    """Wait until the exporter has received what was sent to it before: it reads connections in order."""
    assert exchange(running.public, http("GET", "/other", content_type=None)).status == 404


def reset(sock: socket.socket) -> None:
    """Close the connection with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def close(sock: socket.socket) -> None:
    """Close the connection as a client does that waits no longer."""
    sock.close()


def answer_on(sock: socket.socket) -> tuple[bytes, bytes]:
    """Return the first line and the body of the answer."""
    head, _, body = read_to_end(sock).partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], body


def errors(running: Exporter) -> list[str]:
    """Return the lines of the log that are about errors."""
    return [line for line in running.lines if "level=error" in line or not line.startswith("ts=")]


def connections(running: Exporter) -> int:
    """Return the number of sockets that the process has open."""
    count = 0
    for file in Path(f"/proc/{running.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(file.readlink()).startswith("socket:")
    return count


# The client goes away


@pytest.mark.parametrize("leave", [reset, close])
@pytest.mark.parametrize("replicas", [1, 2])
def test_one_of_two_clients_leaves_before_the_commit(
    tmp_path: Path, url: str, replicas: int, leave: Callable[[socket.socket], None]
) -> None:
    """If two send the same failure and one goes away, the other gets its 200, and the failure is counted once."""
    with ExitStack() as stack:
        for number in range(replicas):
            (tmp_path / str(number)).mkdir()
        running = [
            stack.enter_context(exporter(tmp_path / str(number), "--storage.url", url)) for number in range(replicas)
        ]
        with commits_held(url):
            gone, stays = connect(running[0].public), connect(running[-1].public)
            for sock in (gone, stays):
                sock.sendall(post(1))
            for each in running:
                all_received(each)
            leave(gone)
        with stays:
            status, body = answer_on(stays)
        assert (status, body in {b"counted\n", b"duplicate\n"}) == (b"HTTP/1.1 200 OK", True)
        until(lambda: sum(each.samples()["smtpeter_exporter_duplicates_total"] for each in running) == 1)
        assert [each.failures() for each in running] == [{SERIES: 1}] * replicas
        assert [errors(each) for each in running] == [[]] * replicas


def test_clients_that_leave_at_any_moment(tmp_path: Path) -> None:
    """Whenever one of two clients with the same failure goes away, the other gets its 200, and nothing remains."""
    chance = random.Random(5)
    with exporter(tmp_path) as running:
        before = connections(running)
        assert running.post(failure(0)).text == "counted\n"

        def race(numbers: range) -> Counter[tuple[bytes, bytes]]:
            answers: Counter[tuple[bytes, bytes]] = Counter()
            for number in numbers:
                gone = connect(running.public)
                with connect(running.public) as stays:
                    for sock in chance.sample([gone, stays], 2):
                        sock.sendall(post(number))
                    gone.settimeout(chance.random() * 0.004)
                    with suppress(TimeoutError):
                        gone.recv(1)
                    reset(gone)
                    answers[answer_on(stays)] += 1
            return answers

        with ThreadPoolExecutor(4) as pool:
            each = [pool.submit(race, range(first, ROUNDS + 1, 4)) for first in range(1, 5)]
            answers = sum((one.result() for one in each), Counter[tuple[bytes, bytes]]())
        counted, again = (answers[b"HTTP/1.1 200 OK", word] for word in (b"counted\n", b"duplicate\n"))
        assert (len(answers) <= 2, counted + again) == (True, ROUNDS)
        samples = running.samples()
        assert running.failures() == {SERIES: ROUNDS + 1}
        duplicates = samples["smtpeter_exporter_duplicates_total"]
        assert again <= duplicates <= ROUNDS
        assert samples["smtpeter_exporter_request_duration_seconds_count"] == ROUNDS + 1 + duplicates
        assert {name: value for name, value in samples.items() if "refused" in name and value} == {}
        until(lambda: connections(running) == before)
        assert errors(running) == []


def test_nearly_all_connections_may_wait(tmp_path: Path, url: str) -> None:
    """While 950 of 1,000 connections wait for a commit, a request on a new one is answered; then all are."""
    requests = [post(number) for number in range(950)]
    with exporter(tmp_path, "--storage.url", url) as running, ThreadPoolExecutor(1) as pool:
        with commits_held(url):
            answers = pool.submit(all_at_once, running.public, requests)
            until(lambda: connections(running) > len(requests))
            for _ in range(20):
                all_received(running)
        assert {(answer.status, answer.text) for answer in answers.result()} == {(200, "counted\n")}
        assert running.failures() == {SERIES: len(requests)}


# The commit fails


def test_an_error_of_a_commit_is_answered_503_without_another_look(tmp_path: Path, url: str) -> None:
    """The request is not verified again, although its key has expired and was revoked, and only its 503 is counted."""
    hasty = with_constants({"exporter.signature.keys.MIN_TTL": TTL, "exporter.signature.keys.RETRY": 0})
    first, second = signed(range(2))
    with guarded_exporter(tmp_path, "--storage.url", url, program=hasty) as guarded, ThreadPoolExecutor(1) as pool:
        running = guarded.running
        guarded.name_server.ttl = 0
        assert exchange(running.public, first).text == "counted\n"
        before = running.samples()
        with commits_held(url):
            answer = pool.submit(exchange, running.public, second)
            until(lambda: waiting_backends(url))
            until(lambda: running.samples()["smtpeter_exporter_key_age_seconds"] > TTL)
            guarded.name_server.records[KEY_ID] = ["v=DKIM1; k=rsa; p="]
            until(lambda: (waiting_backends(url, "pg_terminate_backend(pid)"), answer.done())[1])
        assert (answer.result().status, answer.result().text) == (503, "unavailable\n")
        raised = changes(before, running.samples())
        assert {name: by for name, by in raised.items() if "lookups" not in name} == refused("unavailable")
        assert exchange(running.public, second).text == "key_revoked\n"  # otherwise this would prove nothing
        assert running.failures() == {SERIES: 1}


def waiting_backends(url: str, action: str = "pid") -> list[tuple[object, ...]]:
    """Return the sessions in the database that wait for a lock, after ``action`` on each."""
    with psycopg.connect(url) as connection:
        statement = (
            f"SELECT {action} FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return connection.execute(statement.encode()).fetchall()


# The exporter stops


@pytest.fixture(params=[True, False], ids=["DNS answers", "DNS does not answer"])
def dns_answers(request: pytest.FixtureRequest) -> bool:
    """Return whether DNS answers before the exporter has stopped."""
    return bool(request.param)


def test_a_stop_answers_or_closes_what_waits(tmp_path: Path, url: str, *, dns_answers: bool) -> None:
    """If 64 requests wait for a commit and 20 for DNS, SIGTERM loses none that is answered 200. The exit code is 0."""
    commit, dns = signed(range(1, 65)), signed(range(65, 85), OTHER_KEY)
    with guarded_exporter(tmp_path, "--storage.url", url) as guarded, ThreadPoolExecutor(1) as pool:
        running, name_server = guarded.running, guarded.name_server
        name_server.records[OTHER_KEY] = [record(key())]
        assert exchange(running.public, signed(range(1))[0]).status == 200
        name_server.silent = True
        with commits_held(url):
            sent = threading.Event()
            answers = pool.submit(all_at_once, running.public, commit + dns, sent)
            assert sent.wait(TIMEOUT)
            all_received(running)
            running.send_signal(signal.SIGTERM)
            until(lambda: refuses_connections(running))
            name_server.silent = not dns_answers
        statuses = [answer.status for answer in answers.result()]
        assert running.wait() == 0
        assert errors(running) == []
    assert statuses[:64] == [200] * 64
    assert set(statuses[64:]) <= ({200} if dns_answers else {0, 503})
    with exporter(tmp_path, "--storage.url", url) as again:
        assert again.failures() == {SERIES: 1 + statuses.count(200)}
        assert {again.post(failure(number)).text for number in range(1, 65)} == {"duplicate\n"}


def refuses_connections(running: Exporter) -> bool:
    """Return whether the public listener accepts no more connections."""
    try:
        connect(running.public).close()
    except ConnectionRefusedError:
        return True
    return False
