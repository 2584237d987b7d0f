"""Fixtures of more than one test module."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

import exporter
from tests.support.running import Prometheus, server

# How long an example takes says something of the machine, not of the code.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


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
