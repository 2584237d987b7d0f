"""``classify``: what it prints for each line, its table, and lines that it cannot read."""

import json
from pathlib import Path
from typing import Final

import pytest

from exporter.errors import SettingError
from tests.support.command_line import invoke
from tests.support.texts import Texts

LOG: Final = """\
{"id":"a","time":"2026-11-23 10:00:00","recipient":"jane@gmail.com","type":"failure","code":"550","status":"5.1.1",\
"description":"5.1.1 The email account <jane@gmail.com> does not exist","state":"rcptto","tags":"news;may"}
{"id":"b","recipient":"joe@gmail.com","code":"550","status":"5.1.1","description":"no such user","state":"rcptto"}
{"id":"c","recipient":"joe@school.example","code":"","status":"4.4.7","description":"","state":"bounce"}
"""
"""Lines of one of SMTPeter's log files, which say ``status`` for ``extended``."""

UNKNOWN_AT_GMAIL: Final = {
    "state": "rcptto",
    "code_class": "5xx",
    "extended": "5.1.1",
    "reason": "recipient_unknown",
    "decided_by": "extended",
    "provider": "gmail",
}
"""What ``classify`` prints for an unknown user at Gmail."""


def test_each_line_has_an_answer() -> None:
    """The output has one line for each line of input, in order, with the labels, the reason and the provider."""
    lines = ['{"state": "rcpt to", "code": 550, "extended": "5.1.1", "recipient": "a@gmail.com"}', "{}"]
    outcome = invoke("classify", stdin="\n".join(lines))
    assert (outcome.code, outcome.err, [json.loads(line) for line in outcome.out.splitlines()]) == (
        0,
        "",
        [
            UNKNOWN_AT_GMAIL,
            {
                "state": "none",
                "code_class": "none",
                "extended": "none",
                "reason": "unclassified",
                "decided_by": "unclassified",
                "provider": "other",
            },
        ],
    )


def test_unreadable_lines_are_errors_of_their_own() -> None:
    """Each unreadable line gives an error with its number; the others are still classified; the exit code is 1."""
    outcome = invoke("classify", stdin=b'x\n[1]\n{}\n\xff\n{"code": "550"\n')
    errors = [json.loads(line).get("error") for line in outcome.out.splitlines()]
    assert outcome.code == 1
    assert [error and error.partition(":")[0] for error in errors] == ["line 1", "line 2", None, "line 4", "line 5"]
    assert (outcome.err.count("\n"), "line 1: " in outcome.err) == (1, True)


def test_the_errors_of_lines_are_kept(texts: Texts) -> None:
    """The last line on standard error has the number of unreadable lines, and the first of them."""
    outcome = invoke("classify", stdin=b"[1]\n\xff\n")
    texts.check(outcome.out)
    texts.check(outcome.err)


@pytest.mark.parametrize(
    "line",
    [
        b'{"state": "rcpt-to", "code": 550.0, "status": "5.1.1", "recipient": "<a@gmail.com.>", "type": "click"}',
        b'\xef\xbb\xbf{"state": "RCPT TO", "code": "550 5.1.1", "recipient": "\xef\xbb\xbfa@gmail.com", "id": []}',
        b'{"state": "rcptto", "code": "550", "extended": "5.1.1", "recipient": "a@gmail.com", "description": "\xee"}',
        b'{"state": "rcptto", "code": 550, "extended": "5.1.1", "recipient": "a@gmail.com", "code": {}, "x": NaN}',
    ],
    ids=["spellings", "byte order mark", "Latin-1", "repeated"],
)
def test_odd_lines_are_classified(line: bytes) -> None:
    """A line is read as the webhook reads a report, but nothing in it is required, and its type decides nothing."""
    outcome = invoke("classify", stdin=line)
    assert (outcome.code, json.loads(outcome.out)) == (0, UNKNOWN_AT_GMAIL)


def test_a_summary_is_a_table_of_reasons(tmp_path: Path, texts: Texts) -> None:
    """Reasons are in order of frequency, with count, share and an example in which addresses are masked."""
    log = tmp_path / "failures.log"
    log.write_text(LOG)
    outcome = invoke("classify", "--summary", str(log))
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split()[:3] for line in outcome.out.splitlines()] == [
        ["reason", "failures", "share"],
        ["recipient_unknown", "2", "66.7%"],
        ["expired", "1", "33.3%"],
        ["all", "3"],
    ]
    assert ("jane" in outcome.out, "<***@gmail.com>" in outcome.out) == (False, True)
    texts.check(outcome.out)


def test_a_summary_of_nothing_is_empty() -> None:
    """Without input, the table has a total of 0."""
    outcome = invoke("classify", "--summary")
    assert (outcome.code, outcome.out.splitlines()[1].split()) == (0, ["all", "0"])


def test_a_summary_shortens_examples() -> None:
    """An example has at most 100 characters, on one line, however long the answer is."""
    outcome = invoke("classify", "--summary", stdin=json.dumps({"description": "many\nwords " * 50}))
    line = outcome.out.splitlines()[1]
    assert line.partition("%  ")[2] == f"{'many words ' * 9}…"


def test_a_summary_leaves_out_unreadable_lines() -> None:
    """The table has the readable lines; the exit code is 1."""
    outcome = invoke("classify", "--summary", stdin="x\n{}\n")
    assert (outcome.code, outcome.out.splitlines()[-1].split(), "line 1: " in outcome.err) == (1, ["all", "1"], True)


def test_the_users_own_providers_are_known(tmp_path: Path) -> None:
    """Of the configuration file, only the providers are used."""
    file = tmp_path / "config.toml"
    file.write_text('[providers]\nschool = "school.example"\n[log]\nlevel = "loud"\n')
    outcome = invoke("classify", "--config.file", str(file), stdin=LOG)
    providers = [json.loads(line)["provider"] for line in outcome.out.splitlines()]
    assert (outcome.code, providers) == (0, ["gmail", "gmail", "school"])


def test_the_users_own_reasons_are_known(tmp_path: Path) -> None:
    """The rules of the configuration file come before the built-in ones, which decide on the other lines."""
    file = tmp_path / "config.toml"
    file.write_text('[reasons]\n"did not .* exist" = "policy"\n"no such" = "content"\n"such user" = "security"\n')
    outcome = invoke("classify", "--config.file", str(file), stdin=LOG)
    decisions = [(one["reason"], one["decided_by"]) for one in map(json.loads, outcome.out.splitlines())]
    assert outcome.code == 0
    assert decisions == [("recipient_unknown", "extended"), ("content", "configured"), ("expired", "extended")]


def test_a_bad_rule_is_exit_code_2(tmp_path: Path) -> None:
    """No line is classified."""
    file = tmp_path / "config.toml"
    file.write_text('[reasons]\n"(" = "policy"\n')
    outcome = invoke("classify", "--config.file", str(file), stdin=LOG)
    assert isinstance(outcome.error, SettingError)
    assert (outcome.code, outcome.out) == (2, "")


@pytest.mark.parametrize("flag", ["--config.file", None])
def test_a_missing_configuration_file_is_an_error(tmp_path: Path, flag: str | None) -> None:
    """The file may be named by a flag or a variable."""
    file = str(tmp_path / "none")
    outcome = invoke("classify", flag, file) if flag else invoke("classify", variables={VARIABLE: file})
    assert isinstance(outcome.error, SettingError)


VARIABLE: Final = "SMTPETER_EXPORTER_CONFIG_FILE"


def test_a_missing_file_is_exit_code_2(tmp_path: Path) -> None:
    """The argument is named."""
    outcome = invoke("classify", str(tmp_path / "none"))
    assert (outcome.code, outcome.out, str(tmp_path / "none") in outcome.err) == (2, "", True)
