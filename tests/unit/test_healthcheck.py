"""The health check's settings: which ones it reads, and what it prints about those that it cannot use."""

from pathlib import Path

import pytest

from exporter.healthcheck import find_problem
from tests.support.texts import Texts

ADDRESS = "SMTPETER_EXPORTER_WEB_LISTEN_ADDRESS"


@pytest.mark.parametrize("text", ["nonsense", f"{'x' * 64}:1"])
def test_an_invalid_address_is_a_problem(text: str, texts: Texts) -> None:
    """The text names the setting, its value and its origin."""
    problem = find_problem({ADDRESS: text})
    assert problem.startswith(f"web.listen-address: '{text}' (from {ADDRESS})")
    texts.check(problem)


def test_a_missing_configuration_file_is_a_problem(tmp_path: Path) -> None:
    """The variable that names the file is read as by the exporter."""
    file = tmp_path / "none.toml"
    assert f"'{file}'" in find_problem({"SMTPETER_EXPORTER_CONFIG_FILE": str(file)})


def test_an_unknown_variable_is_a_problem() -> None:
    """With such a variable the exporter does not start either."""
    assert "SMTPETER_EXPORTER_LOG_LEVLE" in find_problem({"SMTPETER_EXPORTER_LOG_LEVLE": "info"})
