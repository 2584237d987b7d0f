"""Fixtures that several test modules use."""

import signal
import sys
from collections.abc import Collection, Generator, Iterator, Mapping

import pytest
from hypothesis import settings

import exporter
from tests.support.listening import Listening
from tests.support.running import Prometheus, server
from tests.support.texts import Snapshot, Texts
from tests.support.tree import ROOT

# No deadline: the duration of an example depends on the machine.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


SNAPSHOT = pytest.StashKey[Snapshot]()
COLLECTED = pytest.StashKey[Mapping[str, Collection[str]]]()
PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that "make texts" uses."""
    parser.addoption("--update-texts", action="store_true", help="run the tests that have texts, and write texts.yaml")


def pytest_configure(config: pytest.Config) -> None:
    """Read the texts, once per process."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a background job of a shell; programs would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    update = config.getoption("--update-texts")
    options = [config.getoption(name, None) for name in ("numprocesses", "keyword", "markexpr")]
    if update and (any(options) or any("::" in argument for argument in config.args)):
        raise pytest.UsageError("--update-texts runs whole files in one process: without -n, -k, -m and ::")
    config.stash[SNAPSHOT] = Snapshot(update=update)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run only the tests that have texts, if the texts are to be written."""
    if config.getoption("--update-texts"):
        collected: dict[str, set[str]] = {file_of(item): set() for item in items}
        items[:] = [item for item in items if "texts" in getattr(item, "fixturenames", ())]
        for item in items:
            collected[file_of(item)].add(item.name)
        config.stash[COLLECTED] = collected


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which test passed."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the texts, if the option was given."""
    if COLLECTED in session.config.stash:
        session.config.stash[SNAPSHOT].write(session.config.stash[COLLECTED])


def file_of(item: pytest.Item) -> str:
    """Return the path of a test's file, relative to ROOT."""
    return item.path.relative_to(ROOT).as_posix()


@pytest.fixture
def texts(request: pytest.FixtureRequest) -> Iterator[Texts]:
    """Compare texts for people with those in tests/texts.yaml."""
    snapshot = request.config.stash[SNAPSHOT]
    directory = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    file, name = file_of(request.node), request.node.name
    texts = Texts(snapshot, file, name, directory)
    yield texts
    if request.node.stash.get(PASSED, False):
        texts.check_number()
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


@pytest.fixture
def listening() -> Iterator[Listening]:
    """Yield a public listener that serves. The application runs in one thread."""
    made = Listening()
    made.listener.start()
    yield made
    made.listener.stop()
    assert not made.failed.is_set()
    assert {thread.name.partition(" ")[0] for thread in made.application.threads} <= {"listener"}
    assert len(made.application.threads) <= 1


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Make threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
