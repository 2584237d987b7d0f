"""Fixtures of more than one test module."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

import exporter
from tests.support.running import Prometheus, server
from tests.support.texts import Snapshot, Texts
from tests.support.tree import ROOT

# How long an example takes says something of the machine, not of the code.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


SNAPSHOT = pytest.StashKey[Snapshot]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of "make texts"."""
    parser.addoption("--update-texts", action="store_true", help="run the tests of texts, and write tests/texts.yaml")


def pytest_configure(config: pytest.Config) -> None:
    """Read the texts, once in a process."""
    config.stash[SNAPSHOT] = Snapshot(update=config.getoption("--update-texts"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """To write the texts, run only the tests that have some."""
    if config.getoption("--update-texts"):
        items[:] = [item for item in items if "texts" in getattr(item, "fixturenames", ())]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the texts, if that was asked for."""
    session.config.stash[SNAPSHOT].write()


@pytest.fixture
def texts(request: pytest.FixtureRequest) -> Iterator[Texts]:
    """What compares texts for people with those in tests/texts.yaml."""
    snapshot = request.config.stash[SNAPSHOT]
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    file = request.path.relative_to(ROOT).as_posix()
    name = request.node.name
    texts = Texts(snapshot, file, name, folder)
    yield texts
    assert texts.shown, "a test that takes the fixture texts checks some"
    snapshot.seen(file, name, texts.shown)


def pytest_report_header() -> str:
    """Say which exporter is tested: the one in the tree, or an installed one."""
    return f"exporter: {exporter.__file__}"


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus; one for all tests of a process, for its first sample comes only seconds after its start."""
    running = Prometheus(server("prometheus"), tmp_path_factory.mktemp("prometheus"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of a real promtool."""
    return server("promtool")
