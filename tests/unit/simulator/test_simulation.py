"""The parts of a simulation: target, clock and tally. tests/e2e runs whole simulations."""

from threading import Thread

import pytest

from exporter.errors import SettingError
from exporter.simulator.simulation import Clock, Tally, Target, target_of
from tests.support.texts import Texts


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:10125/failures", (False, "127.0.0.1:10125", "/failures")),
        ("https://example.com", (True, "example.com", "/")),
        ("http://[::1]:80/a?b=c", (False, "[::1]:80", "/a?b=c")),
        ("http://example.com/?x", (False, "example.com", "/?x")),
    ],
)
def test_a_url_is_split(url: str, target: tuple[bool, str, str]) -> None:
    """A target has the scheme, the host with its port, and the path with its query."""
    assert target_of(url) == Target(url, *target)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "nonsense",
            "ftp://example.com/x",
            "http://",
            "http:///x",
            "http://a:b/",
            "http://a:0/",
            "http://a:65536/",
        ),
        *("http://user@a/", "http://u:p@a/", "http://a/ b", "http://a/\n", "http://ü/", "http://[::1/", "//a/"),
        f"http://{'a' * 64}.example/",
    ],
)
def test_other_urls_are_errors(url: str) -> None:
    """A URL without host, with a user, with an invalid port, or not in ASCII is an error that names it."""
    with pytest.raises(SettingError, match=r"^URL: ") as caught:
        target_of(url)
    assert repr(url) in str(caught.value)


def test_the_error_says_what_was_expected(texts: Texts) -> None:
    """The error about a URL has an example."""
    with pytest.raises(SettingError) as caught:
        target_of("ftp://example.com/x")
    texts.check(caught.value)


def test_the_clock_runs_at_its_speed() -> None:
    """At sixty times the speed, a simulated minute is a second. A time in the past is negative."""
    now = 50.0
    clock = Clock(1_000.0, 60.0, lambda: now)
    assert clock.until(1_060.0) == 1.0
    now = 50.5
    assert clock.until(1_060.0) == 0.5
    assert clock.until(940.0) == -1.5


def test_the_tally_is_a_summary(texts: Texts) -> None:
    """It counts answers by status, and repeats only if they were answered 200."""
    tally = Tally()
    texts.check(tally)
    for status, repeated in [(200, False)] * 1_200 + [(200, True), (503, True), (403, False), (403, False)]:
        tally.add(status, repeated=repeated)
    assert tally.requests == 1_204
    texts.check(tally)


def test_requests_without_an_answer_are_in_the_summary(texts: Texts) -> None:
    """They are listed after the answers."""
    tally = Tally()
    tally.add(200, repeated=False)
    tally.add(None, repeated=True)
    texts.check(tally)


def test_requests_that_were_not_answered_200_are_uncounted() -> None:
    """A rejected request is not counted, nor is one without an answer."""
    tally = Tally()
    uncounted = []
    for status in (200, 404, None, 200):
        tally.add(status, repeated=False)
        uncounted.append(tally.uncounted)
    assert (uncounted, tally.requests) == ([0, 1, 2, 2], 4)


def test_threads_lose_no_answer() -> None:
    """Answers that several threads count at the same time are all counted."""
    tally = Tally()

    def add() -> None:
        for _ in range(2_000):
            tally.add(200, repeated=False)

    threads = [Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.requests == 16_000
