"""What bench/ measures with is right: the paced client, the calls, and what is made of figures."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, repeat
from pathlib import Path

import pytest

from bench.calls import FORMS, SIGNED, body_of, calls, write_signed
from bench.contestants import CONTESTANTS, FASTAPI, GRANIAN, OURS, POSTGRES, Contestant
from bench.measure import ROOT, Sample, results
from bench.paced import Plan, paced, status_of
from bench.servers import missing
from bench.throughput import Result, checklist, table
from tests.support.running import exchange, exporter


@contextmanager
def served(statuses: Iterator[int], before: Callable[[], object] = bool) -> Iterator[int]:
    """A server that answers the statuses in turn, each after a call of ``before``; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            before()
            self.send_response(next(statuses))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno", 503),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nn", None),
        (b"HTTP/1.1 200 OK\r\nContent-", None),
    ],
)
def test_an_answer_is_done_when_it_is_whole(answer: bytes, status: int | None) -> None:
    """Its status is known as soon as all of it has come, not before."""
    assert status_of(answer) == status


def test_latency_counts_from_when_a_call_was_due() -> None:
    """A server that stands still for a while costs all the calls that were due meanwhile, sent or not."""
    go = threading.Event()
    first = iter([threading.Timer(0.6, go.set).start])

    def stand_still() -> None:
        next(first, bool)()
        go.wait()

    with served(repeat(200), stand_still) as port:
        outcome = paced(Plan([port], FORMS, "still", rate=400, seconds=0.5))
    assert (outcome.answered, outcome.unanswered, outcome.errors) == (200, 0, 0)
    # The last of 200 was due after 0.5 s, the one in the middle after 0.25 s, and none was answered before 0.6 s.
    assert outcome.p50 > 0.3
    assert outcome.longest > 0.5


def test_a_call_is_repeated_until_it_is_answered_well() -> None:
    """Other statuses are counted as errors, and the calls come again."""
    with served(iter([503, 200, 500, *[200] * 50])) as port:
        outcome = paced(Plan([port], FORMS, "again", rate=500, seconds=0.1))
    assert (outcome.answered, outcome.unanswered, outcome.errors) == (50, 0, 2)


def test_paced_failures_are_counted_each_once(tmp_path: Path) -> None:
    """The exporter counts as many as the client says were answered."""
    with exporter(tmp_path) as running:
        outcome = paced(Plan([int(running.public.rpartition(":")[2])], FORMS, "once", rate=300, seconds=1))
        assert (outcome.answered, outcome.errors) == (300, 0)
        assert running.failures() == {"rcptto/5xx/5.1.1": 300}


def test_scripts_post_what_the_paced_client_posts() -> None:
    """The form of post.lua is that of calls.py."""
    script = (ROOT / "bench/post.lua").read_text()
    form = re.search(r'"id=".*?"&recipient.*?(?=\)\nend)', script, re.DOTALL)
    assert form
    expression = form[0].replace('run .. "x" .. number .. "x" .. sent', '"rx0x7"').replace("sent % 1000", '"7"')
    assert "".join(re.findall(r'"([^"]*)"', expression)).encode() == body_of("rx0x7", 7)


def test_signed_calls_are_read_as_they_were_written(tmp_path: Path) -> None:
    """There are as many as were asked for, in thousands, and each is a call of its own."""
    write_signed(tmp_path / "signed", "r", 10)
    found = list(calls(SIGNED, "r", tmp_path / "signed"))
    assert len(set(found)) == 1_000
    assert all(b"Signature" in call or b"signature" in call for call in found)


def test_calls_are_answered_by_the_exporter(tmp_path: Path) -> None:
    """A call as bytes is whole and right."""
    with exporter(tmp_path) as running:
        statuses = [exchange(running.public, call).status for call in islice(calls(FORMS, "r"), 3)]
    assert statuses == [200] * 3


def test_results_of_a_script() -> None:
    """The line RESULT has answers, microseconds and errors."""
    assert results("Running\nRESULT 500 250000 3\n") == (2_000, 500, 3)


def test_ratios_are_those_within_a_round() -> None:
    """A round that was slow for both changes nothing."""
    one, other = Result(), Result()
    one.samples = [Sample(rate, rate, None) for rate in (200, 20, 220)]
    other.samples = [Sample(rate, rate, None) for rate in (100, 10, 100)]
    assert one.times(other) == 2


def test_targets_tell_what_is_short_and_what_was_not_run() -> None:
    """Each target has a line: reached, missed with its figure, or without one."""
    found = {OURS: Result(), GRANIAN: Result(), FASTAPI: Result()}
    for contestant, rate in ((OURS, 100), (GRANIAN, 300), (FASTAPI, 100)):
        found[contestant].samples = [Sample(rate, rate, None)]
    outcomes = checklist(found)
    assert sorted(outcomes.values()) == ["NOT RUN"] * 4 + ["PASS 3.00"]
    found[GRANIAN].samples = [Sample(200, 200, None)]
    assert sorted(checklist(found).values()) == ["NOT RUN"] * 4 + ["SHORT 2.00"]


def test_the_table_says_who_was_not_run() -> None:
    """Whoever could not be run has a line all the same, and all lines have the same columns."""
    found = {OURS: Result([Sample(1_234, 1_000, None)], left="all")}
    lines = [line for line in table(found, CONTESTANTS).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(CONTESTANTS)
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert lines[2] == f"| {OURS.name} | 1.00 | 1.00 | 1,234 | 1,000 |  |  |  |  | all |"
    assert all(" | not run | " in line for line in lines[3:])


def test_a_program_that_is_missing_is_named() -> None:
    """Whoever needs a program that is not here, or PostgreSQL, is not run, and why is told."""
    assert missing(Contestant("x", (), needs="no-such-program"), None) == "no-such-program is not here"
    assert missing(POSTGRES, None) == "PostgreSQL is not here"
    assert missing(OURS, None) is None
