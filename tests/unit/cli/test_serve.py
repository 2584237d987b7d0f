"""``serve`` and ``check-config``: which settings they accept, show and pass on."""

import logging
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.cli import serve as module
from exporter.errors import SettingError
from exporter.settings.table import SETTINGS
from tests.support.command_line import invoke

OFF: Final = ("--signature.mode", "off")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replace the server by a list of what it was started with; it exits with 7."""
    calls: list[tuple[Any, ...]] = []

    def serve(*arguments: Any) -> int:
        calls.append(arguments)
        return 7

    monkeypatch.setattr("exporter.serve.serve", serve)
    monkeypatch.setattr(module, "configure", lambda *arguments: calls.append(arguments))
    return calls


def test_check_config_shows_each_setting() -> None:
    """Each setting is printed with its value and origin, in the order of the table."""
    outcome = invoke("check-config", *OFF, "--log.format", "json")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.partition(" = ")[0] for line in lines] == [setting.name for setting in SETTINGS]
    assert (lines[0], lines[-1]) == (
        "webhook.listen-address = '127.0.0.1:10125'  # default",
        "log.format = 'json'  # --log.format",
    )


def test_check_config_shows_no_password() -> None:
    """The password of PostgreSQL is redacted."""
    outcome = invoke("check-config", *OFF, "--storage.url", "postgresql://exporter:secret@db.example/x")
    assert outcome.code == 0
    assert "storage.url = 'postgresql://exporter:***@db.example/x'  # --storage.url" in outcome.out.splitlines()
    assert "secret" not in outcome.out


@pytest.mark.parametrize("command", ["check-config", "serve"])
@pytest.mark.parametrize(
    ("setting", "flags"),
    [
        ("log.level", ("--log.level", "loud")),
        ("signature.account", ()),
        ("webhook.verification-dir", (*OFF, "--webhook.verification-dir", "/nowhere")),
        ("reasons", (*OFF, "--reasons", "queue quota=rate")),
        ("reasons", (*OFF, "--reasons", "a(=policy")),
        ("config.file", (*OFF, "--config.file", "/nowhere/config.toml")),
    ],
)
def test_an_invalid_setting_is_exit_code_2(command: str, setting: str, flags: tuple[str, ...]) -> None:
    """``check-config`` finds the errors with which ``serve`` would not start; neither prints anything else."""
    outcome = invoke(command, *flags)
    assert isinstance(outcome.error, SettingError)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", "")
    assert str(outcome.error).startswith(f"{setting}: ")


def test_check_config_reads_the_web_configuration(tmp_path: Path) -> None:
    """An error in the file that ``web.config.file`` names, or its absence, is found; a valid file is only named."""
    file = tmp_path / "web.yml"
    assert isinstance(invoke("check-config", *OFF, "--web.config.file", str(file)).error, SettingError)
    file.write_text("colour: red")
    assert isinstance(invoke("check-config", *OFF, "--web.config.file", str(file)).error, SettingError)
    file.write_text("{}")
    outcome = invoke("check-config", *OFF, "--web.config.file", str(file))
    assert (outcome.code, f"web.config.file = '{file}'  # --web.config.file" in outcome.out.splitlines()) == (0, True)


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_granian_must_be_installed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error is one of the setting, and says how to install it."""
    monkeypatch.setitem(sys.modules, "exporter.webhook.granian_listener", None)
    outcome = invoke(command, *OFF, "--webhook.server", "granian")
    assert isinstance(outcome.error, SettingError)
    assert str(outcome.error).startswith("webhook.server: 'granian' ")
    assert "pip install 'smtpeter-exporter[granian]'" in str(outcome.error)


def test_serve_starts_with_the_settings(started: list[tuple[Any, ...]]) -> None:
    """The server gets the parsed settings and systemd's socket; its exit code is that of the command."""
    variables = {"SMTPETER_EXPORTER_LOG_LEVEL": "debug", "NOTIFY_SOCKET": "/run/notify"}
    outcome = invoke("serve", *OFF, "--log.format", "json", variables=variables)
    (log_level, log_format), (settings, notify_socket) = started
    assert (outcome.code, log_level, log_format, notify_socket) == (7, "debug", "json", "/run/notify")
    assert (settings.signature_mode, settings.log_level, settings.log_format) == ("off", "debug", "json")


def test_check_config_starts_nothing(started: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """It creates no ledger, starts no server, and does not log."""
    before = logging.getLogger().handlers[:]
    assert invoke("check-config", *OFF, "--storage.url", f"sqlite:///{tmp_path}/ledger.db").code == 0
    assert (started, list(tmp_path.iterdir()), logging.getLogger().handlers) == ([], [], before)
