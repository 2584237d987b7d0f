"""The options that ``send`` and ``simulate`` share. Their errors come before any request."""

from pathlib import Path
from typing import Final

import pytest

from exporter.errors import SettingError
from tests.support.command_line import invoke

URL: Final = "http://127.0.0.1:10125/failures"


@pytest.mark.parametrize("command", ["send", "simulate"])
@pytest.mark.parametrize(
    "flags",
    [("--sign-key", "x"), ("--sign-key-id", "x"), ("--sign-account", "x"), ("--sign-key", "x", "--sign-key-id", "x")],
)
def test_the_options_of_signing_go_together(command: str, flags: tuple[str, ...]) -> None:
    """One or two of the three are an error that names all of them."""
    outcome = invoke(command, URL, *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert [name for name in ("--sign-key", "--sign-key-id", "--sign-account") if name not in outcome.err] == []


@pytest.mark.parametrize("command", ["send", "simulate"])
def test_the_key_must_be_readable(command: str, tmp_path: Path) -> None:
    """A missing file is an error that names the option."""
    flags = ("--sign-key", str(tmp_path / "none"), "--sign-key-id", "x", "--sign-account", "environment-1")
    outcome = invoke(command, URL, *flags)
    assert isinstance(outcome.error, SettingError)
    assert str(outcome.error).startswith("--sign-key: ")
