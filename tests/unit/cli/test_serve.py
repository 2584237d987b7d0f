"""``serve`` and ``check-config``: which settings they accept, show and pass on."""

import logging
import os
import re
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.cli import serve as module
from exporter.errors import SettingError
from exporter.settings.table import SETTINGS
from tests.support.command_line import invoke
from tests.support.texts import Texts

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
    outcome = invoke("check-config", *OFF, *usable, "--log.events", "masked")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    shown, rest = lines[: len(SETTINGS)], lines[len(SETTINGS) :]
    assert [line.partition(" = ")[0] for line in shown] == [setting.name for setting in SETTINGS]
    assert (shown[0], shown[-1]) == (
        "webhook.listen-address = '127.0.0.1:0'  # --webhook.listen-address",
        "log.events = 'masked'  # --log.events",
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


@pytest.fixture(params=["flag, to the default", "flag", "variable", "file"])
def server_set(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Set ``webhook.server``, which is deprecated, in one of its sources; return the flags and the variables."""
    file = tmp_path / "config.toml"
    file.write_text('webhook.server = "granian"\n')
    sources: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "flag, to the default": (("--webhook.server", "waitress"), {}),
        "flag": (("--webhook.server", "granian"), {}),
        "variable": ((), {"SMTPETER_EXPORTER_WEBHOOK_SERVER": "granian"}),
        "file": (("--config.file", str(file)), {}),
    }
    return sources[request.param]


def test_a_deprecated_setting_has_no_effect_but_a_warning(
    server_set: tuple[tuple[str, ...], dict[str, str]],
    started: list[tuple[Any, ...]],
    usable: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From each source it is valid; ``serve`` starts and logs one warning, which is also a note of ``check-config``."""
    flags, variables = server_set
    assert invoke("serve", *OFF, *usable, *flags, variables=variables).code == 7
    ((level, warning),) = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert (len(started), level, warning.startswith("webhook.server ")) == (2, "WARNING", True)
    outcome = invoke("check-config", *OFF, *usable, *flags, variables=variables)
    notes = [line for line in outcome.out.splitlines() if line.startswith("note: webhook.server")]
    assert (outcome.code, outcome.err, notes) == (0, "", [f"note: {warning}"])


def test_the_warning_of_a_deprecated_setting_says_what_replaces_it(usable: tuple[str, ...], texts: Texts) -> None:
    """The first note is a text that a user can act on."""
    lines = invoke("check-config", *OFF, *usable, "--webhook.server", "granian").out.splitlines()
    texts.check(lines[len(SETTINGS)])


def test_a_deprecated_setting_that_is_not_set_is_not_mentioned(
    started: list[tuple[Any, ...]], usable: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """With the default, ``check-config`` has no note about it, and ``serve`` logs nothing."""
    assert "note: webhook.server" not in invoke("check-config", *OFF, *usable).out
    assert invoke("serve", *OFF).code == 7
    assert (len(started), caplog.records) == (2, [])


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_a_deprecated_setting_is_still_checked(command: str, usable: tuple[str, ...]) -> None:
    """A value that no earlier version accepted is an error."""
    outcome = invoke(command, *OFF, *usable, "--webhook.server", "nginx")
    assert (outcome.code, str(outcome.error).partition(":")[0]) == (2, "webhook.server")


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
