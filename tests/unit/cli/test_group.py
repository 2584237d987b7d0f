"""The command line as a whole: its commands, its version, and the exit code of each kind of error."""

import sys
from collections.abc import Callable
from typing import Final

import click
import pytest

from exporter import __version__
from exporter.cli.group import LazyCommand, cli, run
from exporter.errors import ExporterError, LedgerError, ListenError, SettingError
from tests.support.command_line import invoke
from tests.support.texts import Texts

COMMANDS: Final = "assets check-config classify completion ledger send serve simulate status".split()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    """Run ``run`` with arguments; returns exit code, standard output and standard error."""

    def ran(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["smtpeter-exporter", *words])
        with pytest.raises(SystemExit) as exited:
            run()
        return exited.value.code, *capsys.readouterr()

    return ran


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make a command ``fail`` that raises the error."""

    @click.command()
    def fail() -> None:
        raise error

    monkeypatch.setitem(cli.commands, "fail", fail)


def loaded(command: click.Command) -> click.Command:
    """Return the command, imported if it is not yet."""
    return command.load() if isinstance(command, LazyCommand) else command


def test_it_has_these_commands() -> None:
    """The commands are what users' scripts rely on."""
    assert sorted(cli.commands) == COMMANDS


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["ledger", "copy"]], ids=" ".join)
def test_each_command_has_help(command: list[str]) -> None:
    """``--help`` and ``-h`` print the same help."""
    outcome = invoke(*command, "--help")
    assert (outcome.code, outcome.out.startswith("Usage: "), outcome.err) == (0, True, "")
    assert invoke(*command, "-h") == outcome


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["ledger", "copy"]], ids=" ".join)
def test_the_help_of_each_command_is_kept(command: list[str], texts: Texts) -> None:
    """The help of a command says what it does."""
    found: click.Command = cli
    for name in command:
        assert isinstance(found, click.Group)
        found = loaded(found.commands[name])
    texts.check(" ".join((found.help or "").split()))


@pytest.mark.parametrize("name", [name for name, command in cli.commands.items() if isinstance(command, LazyCommand)])
def test_the_list_of_commands_says_what_their_help_says(name: str) -> None:
    """The short help of a command that is not yet imported is the first sentence of its help."""
    listed = cli.commands[name]
    assert listed.get_short_help_str() == loaded(listed).get_short_help_str(1_000)


def test_it_has_a_version() -> None:
    """``--version`` prints the name of the program and its version."""
    assert invoke("--version") == (0, f"smtpeter-exporter, version {__version__}\n", "", None)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    """The script asks the program for words with the variable that click reads."""
    outcome = invoke("completion", shell)
    assert (outcome.code, f"_SMTPETER_EXPORTER_COMPLETE={shell}_complete" in outcome.out, outcome.err) == (0, True, "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ExporterError("some text"), 1),
        (OSError("some text"), 1),
        (SettingError("some text"), 2),
        (LedgerError("some text"), 3),
        (ListenError("some text"), 4),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    ran: Callable[..., tuple[object, str, str]], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """The line has the name of the program and the text of the error; there is no traceback."""
    failing(monkeypatch, error)
    assert ran("fail") == (code, "", "smtpeter-exporter: some text\n")


def test_an_error_shows_no_address(
    ran: Callable[..., tuple[object, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local part of an e-mail address is masked in errors as in the log."""
    failing(monkeypatch, ExporterError("no <jane@example.com>"))
    assert ran("fail") == (1, "", "smtpeter-exporter: no <***@example.com>\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EOFError()])
def test_an_interrupt_is_exit_code_130(
    ran: Callable[..., tuple[object, str, str]], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Ctrl-C prints one line, as click ends it."""
    failing(monkeypatch, error)
    code, out, err = ran("fail")
    assert (code, out, err.strip()) == (130, "", "smtpeter-exporter: interrupted")


@pytest.mark.parametrize("words", [["serve", "--log.levle", "info"], ["surve"], ["completion", "csh"]])
def test_a_wrong_argument_is_exit_code_2(ran: Callable[..., tuple[object, str, str]], words: list[str]) -> None:
    """An unknown option, command or value is named in the last line."""
    code, out, err = ran(*words)
    assert (code, out, words[1 if len(words) > 1 else 0] in err.splitlines()[-1]) == (2, "", True)
    assert err.splitlines()[-1].startswith("Error: ")
