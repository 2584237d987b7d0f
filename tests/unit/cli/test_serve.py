"""``serve`` and ``check-config``: which settings they accept, show and pass on."""

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.cli import serve as module
from exporter.errors import SettingError
from exporter.settings.table import SETTINGS
from tests.support.command_line import invoke

OFF: Final = ("--signature.mode", "off")
ROOT_NOTE: Final = "note: this check ran as root, so it does not show whether the exporter's user may use the files"


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


@pytest.fixture
def usable(tmp_path: Path) -> tuple[str, ...]:
    """Return flags with free addresses and a ledger that does not exist yet."""
    return (
        *("--webhook.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.1:0"),
        *("--storage.url", f"sqlite:///{tmp_path}/ledger.db"),
    )


def test_check_config_shows_each_setting(usable: tuple[str, ...], tmp_path: Path) -> None:
    """Each setting is printed with its value and origin, in the order of the table; then notes, then one last line."""
    outcome = invoke("check-config", *OFF, *usable, "--log.format", "json")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    shown, rest = lines[: len(SETTINGS)], lines[len(SETTINGS) :]
    assert [line.partition(" = ")[0] for line in shown] == [setting.name for setting in SETTINGS]
    assert (shown[0], shown[-1]) == (
        "webhook.listen-address = '127.0.0.1:0'  # --webhook.listen-address",
        "log.format = 'json'  # --log.format",
    )
    assert rest == [
        "note: signature verification is off: anyone who can reach the public listener can submit fake failures",
        f"note: ledger {tmp_path}/ledger.db: the file does not exist yet; serve will create it",
        *([] if os.geteuid() else [ROOT_NOTE]),
        "configuration is valid",
    ]


def test_check_config_shows_no_password(usable: tuple[str, ...]) -> None:
    """The password of PostgreSQL is redacted, also in the error if the server is not reachable."""
    outcome = invoke("check-config", *OFF, *usable, "--storage.url", "postgresql://exporter:secret@127.0.0.1:1/x")
    assert "storage.url = 'postgresql://exporter:***@127.0.0.1:1/x'  # --storage.url" in outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (3, "")
    assert "ledger postgresql://exporter:***@127.0.0.1:1/x: " in str(outcome.error)
    assert "secret" not in f"{outcome.out}{outcome.error}"


def test_check_config_reports_all_errors(tmp_path: Path) -> None:
    """Errors of all sources and of all checks are reported at once, a line each; the first decides the exit code."""
    (tmp_path / "config.toml").write_text('colour = "red"\nlog.level = 3\n[signature]\nmode = "Off"\n')
    (tmp_path / "web.yml").write_text("colour: red")
    flags = (
        *("--config.file", str(tmp_path / "config.toml"), "--web.config.file", str(tmp_path / "web.yml")),
        *("--web.listen-address", "192.0.2.1:1", "--webhook.listen-address", "127.0.0.1:0"),
        *("--storage.url", f"sqlite:///{tmp_path}/none/ledger.db"),
    )
    outcome = invoke("check-config", *flags, variables={"SMTPETER_EXPORTER_LOGLEVEL": "info"})
    assert [line.partition(": ")[0] for line in str(outcome.error).splitlines()] == [
        "environment variable SMTPETER_EXPORTER_LOGLEVEL",
        "config.file",
        "config.file",
        "signature.mode",
        "web.config.file",
        f"ledger {tmp_path}/none/ledger.db",
        "web.listen-address",
    ]
    assert (outcome.code, "configuration is valid" in outcome.out) == (2, False)


def test_serve_reports_all_errors_of_settings(started: list[tuple[Any, ...]]) -> None:
    """It does not start, and prints as many errors of settings as check-config."""
    outcome = invoke("serve", "--log.level", "loud", "--log.format", "text")
    assert [line.partition(": ")[0] for line in str(outcome.error).splitlines()] == [
        "log.level",
        "log.format",
        "signature.account",
    ]
    assert (outcome.code, started) == (2, [])


@pytest.mark.parametrize("command", ["check-config", "serve"])
@pytest.mark.parametrize(
    ("setting", "flags"),
    [
        ("log.level", (*OFF, "--log.level", "loud")),
        ("signature.account", ()),
        ("webhook.verification-dir", (*OFF, "--webhook.verification-dir", "/nowhere")),
        ("reasons", (*OFF, "--reasons", "queue quota=rate")),
        ("reasons", (*OFF, "--reasons", "a(=policy")),
        ("config.file", (*OFF, "--config.file", "/nowhere/config.toml")),
    ],
)
def test_an_invalid_setting_is_exit_code_2(
    command: str, setting: str, flags: tuple[str, ...], usable: tuple[str, ...]
) -> None:
    """``check-config`` finds the errors with which ``serve`` would not start; neither prints any settings."""
    outcome = invoke(command, *usable, *flags)
    assert isinstance(outcome.error, SettingError)
    assert (outcome.code, outcome.err) == (2, "")
    assert [line for line in outcome.out.splitlines() if not line.startswith("note: ")] == []
    assert re.fullmatch(f"{setting}: .*", str(outcome.error))


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_granian_must_be_installed(command: str, monkeypatch: pytest.MonkeyPatch, usable: tuple[str, ...]) -> None:
    """Without the extra, the error is one of the setting, and says how to install it."""
    monkeypatch.setitem(sys.modules, "exporter.webhook.granian_listener", None)
    outcome = invoke(command, *OFF, *usable, "--webhook.server", "granian")
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


def test_check_config_starts_nothing(started: list[tuple[Any, ...]], tmp_path: Path, usable: tuple[str, ...]) -> None:
    """It creates no ledger, starts no server, and does not log."""
    before = logging.getLogger().handlers[:]
    assert invoke("check-config", *OFF, *usable).code == 0
    assert (started, list(tmp_path.iterdir()), logging.getLogger().handlers) == ([], [], before)
