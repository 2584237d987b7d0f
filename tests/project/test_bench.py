"""The tools of bench/: the paced client, the requests, and the computation of results."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, repeat
from pathlib import Path

import pytest

from bench import throughput
from bench.contestants import CONTESTANTS, FASTAPI, OURS, POSTGRES, Contestant, Target
from bench.measure import ROOT, Sample, results
from bench.paced import Plan, send_paced, status_of
from bench.requests import FORMS, SIGNED, body_of, requests, write_signed
from bench.servers import missing
from bench.throughput import Result, checklist, table
from tests.support.running import exchange, exporter
from tests.support.texts import Texts


@contextmanager
def served(statuses: Iterator[int], before: Callable[[], object] = bool) -> Iterator[int]:
    """Run a server that answers with the statuses in turn, and calls ``before`` before each; yield its port."""

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
def test_an_answer_has_a_status_once_it_is_complete(answer: bytes, status: int | None) -> None:
    """The client takes the status of an answer when all of the answer has arrived, and not earlier."""
    assert status_of(answer) == status


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A server that stalls delays all requests that are due meanwhile, including those that were not sent yet."""
    go = threading.Event()
    first = iter([threading.Timer(0.6, go.set).start])

    def stall() -> None:
        next(first, bool)()
        go.wait()

    with served(repeat(200), stall) as port:
        outcome = send_paced(Plan([port], FORMS, "stall", rate=400, seconds=0.5))
    assert (outcome.answered, outcome.unanswered, outcome.errors) == (200, 0, 0)
    # The last of 200 was due after 0.5 s, the one in the middle after 0.25 s, and none was answered before 0.6 s.
    assert outcome.p50 > 0.3
    assert outcome.longest > 0.5


def test_a_request_is_repeated_until_it_succeeds() -> None:
    """Any other status than 2xx counts as an error, and the request is sent again."""
    with served(iter([503, 200, 500, *[200] * 50])) as port:
        outcome = send_paced(Plan([port], FORMS, "again", rate=500, seconds=0.1))
    assert (outcome.answered, outcome.unanswered, outcome.errors) == (50, 0, 2)


def test_paced_failures_are_counted_once_each(tmp_path: Path) -> None:
    """The exporter counts as many failures as the client reports as answered."""
    with exporter(tmp_path) as running:
        outcome = send_paced(Plan([int(running.public.rpartition(":")[2])], FORMS, "once", rate=300, seconds=1))
        assert (outcome.answered, outcome.errors) == (300, 0)
        assert running.failures() == {"rcptto/5xx/5.1.1": 300}


def test_wrk_and_the_paced_client_post_the_same_form() -> None:
    """The form in post.lua is the one in requests.py."""
    script = (ROOT / "bench/post.lua").read_text()
    form = re.search(r'"id=".*?"&recipient.*?(?=\)\nend)', script, re.DOTALL)
    assert form
    expression = form[0].replace('run .. "x" .. number .. "x" .. sent', '"rx0x7"').replace("sent % 1000", '"7"')
    assert "".join(re.findall(r'"([^"]*)"', expression)).encode() == body_of("rx0x7", 7)


def test_signed_requests_can_be_read_back(tmp_path: Path) -> None:
    """The file has at least as many requests as asked for, rounded up to thousands, all signed and all different."""
    write_signed(tmp_path / "signed", "r", 10)
    found = list(requests(SIGNED, "r", tmp_path / "signed"))
    assert len(set(found)) == 1_000
    assert all(b"\r\nsignature: " in request.lower() for request in found)


def test_requests_are_valid(tmp_path: Path) -> None:
    """The exporter answers the bytes of a request with 200."""
    with exporter(tmp_path) as running:
        statuses = [exchange(running.public, request).status for request in islice(requests(FORMS, "r"), 3)]
    assert statuses == [200] * 3


def test_results_of_a_script() -> None:
    """The line RESULT has the number of answers, the microseconds and the errors."""
    assert results("Running\nRESULT 500 250000 3\n") == (2_000, 500, 3)


def test_ratios_are_those_within_a_round() -> None:
    """A round that is slow for both contestants does not change the ratio."""
    one, other = Result(), Result()
    one.samples = [Sample(rate, rate, None) for rate in (200, 20, 220)]
    other.samples = [Sample(rate, rate, None) for rate in (100, 10, 100)]
    assert one.ratio_to(other) == 2


def test_each_target_has_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is reached, missed or not run; the first two show the ratio."""
    targets = Target(OURS, FASTAPI, 2.0), Target(OURS, FASTAPI, 2.0, of="per_cpu"), Target(POSTGRES, OURS, 0.8)
    monkeypatch.setattr(throughput, "TARGETS", targets)
    found = {OURS: Result([Sample(300, 150, None)]), FASTAPI: Result([Sample(100, 100, None)])}
    assert list(checklist(found).values()) == ["PASS 3.00", "FAIL 1.50", "NOT RUN"]


def test_the_table_lists_contestants_that_did_not_run() -> None:
    """A contestant that did not run has a row, and all rows have the same columns."""
    found = {OURS: Result([Sample(1_234, 1_000, None)], left="all")}
    lines = [line for line in table(found, CONTESTANTS).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(CONTESTANTS)
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert lines[2] == f"| {OURS.name} | 1.00 | 1.00 | 1,234 | 1,000 |  |  |  |  | all |"
    assert all(" | not run | " in line for line in lines[3:])


def test_a_missing_program_is_named(texts: Texts) -> None:
    """A contestant that needs a program or a PostgreSQL that is not installed is skipped, with the reason."""
    reasons = [missing(Contestant("x", (), needs="no-such-program"), None), missing(POSTGRES, None)]
    assert ["no-such-program" in (reasons[0] or ""), "PostgreSQL" in (reasons[1] or "")] == [True, True]
    for reason in reasons:
        texts.check(reason)
    assert missing(OURS, None) is None
