"""Limits of the process: open files and threads."""

import resource
from collections.abc import Iterator
from typing import Final

import pytest

from exporter.errors import ExporterError
from exporter.process import Connections, connections_within, raise_file_limit, requiring_threads
from tests.support.texts import Texts

WANTED: Final = Connections(public=1_000, private=100)


@pytest.fixture
def hard_limit() -> Iterator[int]:
    """Return the hard limit on open files, and restore the soft one afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_on_open_files_is_raised(hard_limit: int) -> None:
    """It becomes twice the connections of both listeners, or the hard limit if that is lower."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard_limit))
    raise_file_limit(WANTED)
    wanted = 2 * sum(WANTED)
    reached = wanted if hard_limit == resource.RLIM_INFINITY else min(wanted, hard_limit)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (reached, hard_limit)


def test_a_higher_limit_on_open_files_is_kept(hard_limit: int) -> None:
    """A soft limit that is high enough is not lowered."""
    higher = 2 * sum(WANTED) + 1
    if hard_limit != resource.RLIM_INFINITY and hard_limit < higher:
        pytest.skip(f"needs a hard limit of {higher} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (higher, hard_limit))
    assert raise_file_limit(WANTED) == WANTED
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (higher, hard_limit)


@pytest.mark.parametrize(
    ("limit", "connections"),
    [
        (48, Connections(12, 4)),
        (64, Connections(24, 8)),
        (256, Connections(168, 56)),
        (1_024, Connections(892, 100)),
        (1_132, WANTED),
        (1_000_000, WANTED),
    ],
)
def test_the_connections_follow_the_limit(limit: int, connections: Connections) -> None:
    """The private listener has a quarter of what is left, up to its usual number; the rest is for the public one."""
    assert connections_within(limit, WANTED) == connections


def test_a_limit_that_is_too_low_is_an_error(texts: Texts) -> None:
    """With fewer than 48 open files the exporter would not work."""
    with pytest.raises(ExporterError) as caught:
        connections_within(47, WANTED)
    texts.check(str(caught.value))


def test_a_lack_of_threads_is_an_error(texts: Texts) -> None:
    """Python says so with a RuntimeError; any other one is a bug and stays what it is."""
    with pytest.raises(ExporterError) as caught, requiring_threads(64):
        raise RuntimeError("can't start new thread")
    texts.check(str(caught.value))
    with pytest.raises(RuntimeError, match="bug"), requiring_threads(64):
        raise RuntimeError("bug")
