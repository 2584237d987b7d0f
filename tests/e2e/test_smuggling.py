"""Requests with another one hidden inside, sent directly. ``make hostile`` sends all, also through nginx and Caddy."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.support.guarded import guarded_exporter
from tests.support.running import Exporter, Samples, connect
from tests.support.smuggling import HOST, PAYLOADS, attempt

PATH: Final = "/smtpeter/failures"
VALID: Final = "chunks: 0000{size}\r\n{body}\r\n0\r\n\r\n"
"""A payload with two requests, both of which are valid."""
SERIES: Final = 'smtpeter_failures_total{code_class="5xx",extended="5.1.1",state="rcptto"}'
REFUSED: Final = 'smtpeter_exporter_refused_total{reason="signature"}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter that requires signatures and knows its public URL."""
    url = ("--webhook.public-url", f"https://{HOST}/smtpeter")
    with guarded_exporter(tmp_path_factory.mktemp("smuggling"), *url) as guarded:
        yield guarded.running


@pytest.mark.parametrize("name", list(PAYLOADS)[::4])
def test_nothing_is_smuggled(running: Exporter, name: str) -> None:
    """Each failure that is counted and each request that is handled has an answer; later requests are unaffected."""
    assert attempt(name, PATH, partial(connect, running.public), running.samples).problem == ""


def test_two_valid_requests_are_both_answered(running: Exporter) -> None:
    """A hidden request that is a valid next one has an answer of its own."""
    assert attempt(VALID, PATH, partial(connect, running.public), running.samples).statuses == [200, 200, 404]


@pytest.mark.parametrize("metric", [SERIES, REFUSED])
def test_an_attempt_that_succeeds_is_noticed(running: Exporter, metric: str) -> None:
    """It is a problem if one failure more is counted, or one request more handled, than the client got answers for."""
    scrapes = count()

    def scrape() -> Samples:
        samples = running.samples()
        return samples | {metric: samples.get(metric, 0) + next(scrapes)}

    assert attempt(VALID, PATH, partial(connect, running.public), scrape).problem != ""


def test_a_confused_server_is_noticed(tmp_path: Path, running: Exporter) -> None:
    """It is a problem if the valid requests that follow are not answered 200."""
    with guarded_exporter(tmp_path, "--webhook.public-url", "https://other.example/smtpeter") as other:
        addresses: Callable[[], str] = iter([running.public, other.running.public, running.public]).__next__
        assert attempt(VALID, PATH, lambda: connect(addresses()), running.samples).problem != ""
