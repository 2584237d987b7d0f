"""Fixtures that several test modules use."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

import exporter
from tests.support.running import Prometheus, server
from tests.support.texts import Snapshot, Texts
from tests.support.tree import ROOT

# No deadline: the duration of an example depends on the machine.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


SNAPSHOT = pytest.StashKey[Snapshot]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that "make texts" uses."""
    parser.addoption("--update-texts", action="store_true", help="run the tests that have texts, and write texts.yaml")


def pytest_configure(config: pytest.Config) -> None:
    """Read the texts, once per process."""
    config.stash[SNAPSHOT] = Snapshot(update=config.getoption("--update-texts"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run only the tests that have texts, if the texts are to be written."""
    if config.getoption("--update-texts"):
        items[:] = [item for item in items if "texts" in getattr(item, "fixturenames", ())]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the texts, if the option was given."""
    session.config.stash[SNAPSHOT].write()


@pytest.fixture
def texts(request: pytest.FixtureRequest) -> Iterator[Texts]:
    """Compare texts for people with those in tests/texts.yaml."""
    snapshot = request.config.stash[SNAPSHOT]
    directory = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    file = request.path.relative_to(ROOT).as_posix()
    name = request.node.name
    texts = Texts(snapshot, file, name, directory)
    yield texts
    assert texts.shown, "a test with the fixture texts must check a text"
    snapshot.add(file, name, texts.shown)


def pytest_report_header() -> str:
    """Say whether the tests import the exporter from the tree or an installed one."""
    return f"exporter: {exporter.__file__}"


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a real Prometheus. All tests of a process share it, because it needs seconds until its first scrape."""
    running = Prometheus(server("prometheus"), tmp_path_factory.mktemp("prometheus"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def promtool() -> str:
    """Return the path of a real promtool."""
    return server("promtool")
