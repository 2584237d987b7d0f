"""Hundreds of signed requests at the same moment while DNS is slow: they wait without threads, and hold up nobody."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.crowd import Answered, all_at_once
from tests.support.guarded import Guarded, guarded_exporter
from tests.support.hostility import signed
from tests.support.raw_http import form, http, refused
from tests.support.running import TIMEOUT, changes, exchange, until, with_constants

REQUESTS: Final = 600
WAIT: Final = {"unverified": 500, "trusted": 250}
"""How many of them may wait for DNS: see MAX_WAITING in keys.py."""
TTL: Final = 0.5
HASTY: Final = with_constants(
    {
        "exporter.signature.keys.MIN_TTL": TTL,
        "exporter.signature.keys.RETRY": 0,
        "exporter.webhook.answering.WAIT_TIMEOUT": 1,
    }
)
"""An exporter in which a key expires early, DNS is asked again at once, and requests wait for at most a second."""
THREADS: Final = 20
"""More than the exporter needs, and far fewer than there are requests."""


@contextmanager
def waiting(guarded: Guarded, requests: Sequence[bytes]) -> Iterator["Future[list[Answered]]"]:
    """Send the requests, and check that others are answered; the block runs when the exporter has received all."""
    sent = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(all_at_once, guarded.running.public, requests, sent)
        assert sent.wait(TIMEOUT)
        assert exchange(guarded.running.public, http(body=form())).status == 403
        assert guarded.running.get("/metrics").status == 200
        assert len(list(Path(f"/proc/{guarded.running.pid}/task").iterdir())) < THREADS
        yield answers


def answers_in(answers: "Future[list[Answered]]") -> dict[tuple[int, str], int]:
    """Return the number of answers by status and body."""
    return Counter((answer.status, answer.text) for answer in answers.result())


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """Yield an exporter that requires signatures, whose name server does not answer; it may not log an error."""
    with guarded_exporter(tmp_path, program=HASTY) as guarded:
        guarded.name_server.ttl = 0
        guarded.name_server.silent = True
        yield guarded
    assert [line for line in guarded.running.lines if "Traceback" in line or "level=error" in line] == []


def test_requests_wait_for_a_slow_answer(tmp_path: Path) -> None:
    """One lookup serves all that wait; too many do not wait. Others are answered meanwhile, by the same threads."""
    requests = signed(range(REQUESTS))
    with guarded_exporter(tmp_path) as guarded:
        guarded.name_server.silent = True
        with waiting(guarded, requests) as answers:
            assert not answers.done()
            guarded.name_server.silent = False  # the resolver asks again after 1.5 s
        assert answers_in(answers) == {
            (200, "counted\n"): WAIT["unverified"],
            (503, "key_unavailable\n"): REQUESTS - WAIT["unverified"],
        }
        samples = guarded.running.samples()
        assert samples['smtpeter_exporter_key_lookups_total{result="found"}'] == 1
        assert guarded.running.failures() == {"rcptto/5xx/5.1.1": WAIT["unverified"]}
        assert {answer.status for answer in all_at_once(guarded.running.public, requests)} == {200}
        assert guarded.running.failures() == {"rcptto/5xx/5.1.1": REQUESTS}


def test_without_a_key_requests_are_answered_503(guarded: Guarded) -> None:
    """If DNS does not answer, requests get 503 in time, nothing is counted, and retries succeed when DNS is back."""
    requests = signed(range(REQUESTS))
    before = guarded.running.samples()
    with waiting(guarded, requests) as answers:
        pass
    assert answers_in(answers) == {(503, "key_unavailable\n"): REQUESTS}
    raised = changes(before, guarded.running.samples())
    expected = refused("unsigned") | dict.fromkeys(refused("key_unavailable"), REQUESTS)
    assert {name: by for name, by in raised.items() if "lookups" not in name} == expected
    guarded.name_server.silent = False
    until(lambda: {answer.status for answer in all_at_once(guarded.running.public, requests)} == {200})
    assert guarded.running.failures() == {"rcptto/5xx/5.1.1": REQUESTS}


def test_with_an_expired_key_requests_are_answered_200(guarded: Guarded) -> None:
    """If DNS does not answer, the expired key serves: at once for those too many to wait, soon for the others."""
    first, *requests = signed(range(REQUESTS + 1))
    guarded.name_server.silent = False
    assert exchange(guarded.running.public, first).status == 200
    until(lambda: guarded.running.samples()["smtpeter_exporter_key_age_seconds"] > TTL)
    guarded.name_server.silent = True
    with waiting(guarded, requests) as answers:
        pass
    assert answers_in(answers) == {(200, "counted\n"): REQUESTS}
    assert guarded.running.failures() == {"rcptto/5xx/5.1.1": REQUESTS + 1}
