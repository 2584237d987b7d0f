"""The options of ``serve`` and ``check-config``: one for each setting, their help, and what they give the command."""

import os
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from exporter.cli.options import SettingsCommand, fail, values_of, with_settings
from exporter.errors import Findings
from exporter.settings.sources import Value
from exporter.settings.table import SETTINGS


@click.command(cls=SettingsCommand)
@with_settings
def command(**arguments: Any) -> None:
    """Do nothing."""


def arguments_of(*words: str, **variables: str) -> dict[str, Any]:
    """Return the arguments that the command gets."""
    taken: dict[str, Any] = {}

    @click.command()
    @with_settings
    def probe(**arguments: Any) -> None:
        taken.update(arguments)

    assert CliRunner(env=variables).invoke(probe, words, catch_exceptions=False).exit_code == 0
    return taken


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings from the environment."""
    for name in [name for name in os.environ if name.startswith(("SMTPETER_EXPORTER_", "STATE_DIRECTORY"))]:
        monkeypatch.delenv(name)


def test_each_setting_has_an_option() -> None:
    """The options are in the order of the table, after the one for the file, with the setting's description."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.opts for option in options] == [["--config.file"], *([f"--{setting.name}"] for setting in SETTINGS)]
    for option, setting in zip(options[1:], SETTINGS, strict=True):
        assert (option.name, option.metavar, option.multiple) == (setting.field, setting.metavar, setting.repeatable)
        assert option.help == setting.description


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_help_lists_the_settings_by_section(width: int) -> None:
    """Each section has its settings in the order of the table. Each has its default, if any, and its variable once."""
    text = CliRunner().invoke(command, ["--help"], terminal_width=width).stdout
    assert max(map(len, text.splitlines())) <= width
    general, *sections = re.split(r"^(?=[A-Z]\w+:$)", text.partition("Options:\n")[2], flags=re.MULTILINE)
    assert re.findall(r"^  -.*", general, re.MULTILINE) == ["  --config.file FILE", "  --help"]
    assert "SMTPETER_EXPORTER_CONFIG_FILE" in general
    shown = []
    for section in sections:
        heading, *entries = re.split(r"^  (?=--)", section, flags=re.MULTILINE)
        for entry in entries:
            flag, *lines = entry.splitlines()
            shown.append((heading.strip(), flag, "".join("".join(lines).split())))  # lines may break at a hyphen
    for row, setting in zip(shown, SETTINGS, strict=True):
        default = f"Default: {setting.default}" if setting.default else ""
        text = f"{setting.description}{default}Variable: {setting.variable}"
        assert row == (
            f"{setting.section.capitalize()}:",
            f"--{setting.name} {setting.metavar}",
            "".join(text.split()),
        )
    headings = list(dict.fromkeys(heading for heading, *_ in shown))
    assert headings == "Webhook: Web: Storage: Signature: Metrics: Classification: Log:".split()


def test_flags_become_values() -> None:
    """A flag is the origin of its value; a repeated flag has its values separated; others have defaults."""
    flags = arguments_of(
        *("--log.level", "debug", "--tags.count", "a", "--tags.count", "b"),
        *("--reasons", "a, b=policy", "--reasons", "c=blocked"),
    )
    values = values_of(flags.pop("config_file"), flags, Findings())
    assert (values["log.level"], values["tags.count"]) == (Value("debug", "--log.level"), Value("a,b", "--tags.count"))
    assert values["reasons"] == Value("a, b=policy\nc=blocked", "--reasons")
    assert values["log.format"] == Value("logfmt", "default")
    assert values["providers"] == Value("", "default")


def test_an_empty_flag_is_a_value() -> None:
    """An empty flag is not the same as none: it overrides the environment."""
    flags = arguments_of("--web.docs-url", "")
    assert values_of(flags.pop("config_file"), flags, Findings())["web.docs-url"] == Value("", "--web.docs-url")


def test_the_environment_and_a_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that are not flags come from the environment, or from the file that the argument names."""
    file = tmp_path / "config.toml"
    file.write_text('log.format = "json"\n')
    monkeypatch.setenv("SMTPETER_EXPORTER_LOG_LEVEL", "error")
    flags = arguments_of()
    values = values_of(file, flags, Findings())
    assert values["log.level"] == Value("error", "SMTPETER_EXPORTER_LOG_LEVEL")
    assert values["log.format"] == Value("json", str(file))
    findings = Findings()
    values_of(tmp_path / "none", flags, findings)
    assert len(findings.errors) == 1


def test_a_variable_names_the_file() -> None:
    """``SMTPETER_EXPORTER_CONFIG_FILE`` is used unless there is a flag."""
    variables = {"SMTPETER_EXPORTER_CONFIG_FILE": "/variable"}
    assert arguments_of(**variables)["config_file"] == Path("/variable")
    assert arguments_of("--config.file", "/flag", **variables)["config_file"] == Path("/flag")


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [("log_level", "", ["debug", "info", "warning", "error"]), ("log_level", "in", ["info"]), ("tags_count", "", [])],
)
def test_words_are_completed(option: str, text: str, words: list[str]) -> None:
    """A shell offers the words that a setting accepts and that begin with what was typed."""
    context = click.Context(command)
    (found,) = (one for one in command.params if one.name == option)
    assert [item.value for item in found.shell_complete(context, text)] == words


def test_failing_masks_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line on standard error, with the exit code that was asked for."""
    with pytest.raises(SystemExit) as exited:
        fail("no <jane@example.com>", 7)
    assert (exited.value.code, *capsys.readouterr()) == (7, "", "smtpeter-exporter: no <***@example.com>\n")
