"""The parts of a simulation: target and clock. tests/e2e runs whole simulations."""

import pytest

from exporter.errors import SettingError
from exporter.simulator.simulation import Clock, Target, target_of
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


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("http://127.0.0.1:10125/failures", "http://127.0.0.1:10125/bounces"),
        ("https://example.com/smtpeter/failures", "https://example.com/smtpeter/bounces"),
        ("https://example.com/failures?a=b", "https://example.com/bounces?a=b"),
    ],
)
def test_the_other_loops_are_beside_failures(url: str, other: str) -> None:
    """Only the last part of the path differs."""
    assert target_of(url).of_loop("bounces") == target_of(other)
    assert target_of(url).of_loop("failures") == target_of(url)


@pytest.mark.parametrize("url", ["http://example.com", "http://example.com/bounces", "http://example.com/failures/"])
def test_the_url_of_failures_shows_where_the_others_are(url: str) -> None:
    """If the path does not end in /failures, the other loops have no URL, which is an error. Failures have one."""
    assert target_of(url).of_loop("failures") == target_of(url)
    with pytest.raises(SettingError, match=r"^URL: "):
        target_of(url).of_loop("bounces")
