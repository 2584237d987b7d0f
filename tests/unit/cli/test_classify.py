"""``classify``: what it prints for each record, its tables, its progress, and records that it cannot read."""

import json
from pathlib import Path
from typing import Final

import pytest

from exporter.cli.classify import with_progress
from exporter.errors import SettingError
from tests.support.command_line import invoke
from tests.support.log_files import RECORDS, WRITERS
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
    lines = ['{"state": "rcpt to", "code": 550, "extended": "5.1.1", "recipient": "a@gmail.com"}', '{"state": null}']
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


@pytest.mark.parametrize("form", WRITERS)
def test_each_format_of_a_log_file_has_the_same_answers(form: str) -> None:
    """A log file is classified in each format in which SMTPeter serves it."""
    outcome = invoke("classify", stdin=WRITERS[form](RECORDS))
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert (outcome.code, outcome.err, found[0]) == (0, "", UNKNOWN_AT_GMAIL)
    answers = [(one["reason"], one["decided_by"], one["extended"], one["provider"]) for one in found[1:]]
    assert answers == [("expired", "extended", "4.4.7", "other"), ("content", "description", "none", "gmx")]


def test_unreadable_lines_are_errors_of_their_own() -> None:
    """Each unreadable line gives an error with its number; the others are still classified; the exit code is 1."""
    outcome = invoke("classify", stdin=b'x\n[1]\n{"state": ""}\n\xff\n{"code": "550"\n')
    errors = [json.loads(line).get("error") for line in outcome.out.splitlines()]
    assert outcome.code == 1
    assert [error and error.partition(":")[0] for error in errors] == ["line 1", "line 2", None, "line 4", "line 5"]
    assert (outcome.err.count("\n"), "line 1: " in outcome.err) == (1, True)


OTHERS: Final = {
    "nothing": b"{}",
    "an answer of SMTPeter": b'{"error": "jane@example.com"}',
    "a delivery": b'[{"id": "a", "recipient": "a@gmail.com", "to": "192.0.2.1", "attempt": 0}]',
    "a bounce": b"id,time,envelope,recipient,mime,tags,templateid\r\na,,,a@gmail.com,x,,0\r\n",
    "many names": json.dumps(dict.fromkeys(["x" * 100, *map(str, range(100))])).encode(),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_a_record_that_is_no_failure_is_an_error(data: bytes) -> None:
    """A record without a state, a code, a status or a description is not ``unclassified``."""
    outcome = invoke("classify", stdin=data)
    (line,) = outcome.out.splitlines()
    assert (outcome.code, list(json.loads(line)), len(line) < 400) == (1, ["error"], True)


def test_the_errors_of_records_that_are_no_failures_are_kept(texts: Texts) -> None:
    """They name the variables that were expected, and those that were found."""
    for data in OTHERS.values():
        texts.check(invoke("classify", stdin=data).out)


@pytest.mark.parametrize("form", ["JSON array", "JSON array on many lines", "XML"])
def test_the_records_before_an_error_are_classified(form: str) -> None:
    """If the rest of the input cannot be read, the last line says where; the exit code is 1."""
    data = WRITERS[form](RECORDS)
    outcome = invoke("classify", stdin=data[: data.index(b'c"' if "JSON" in form else b"c</id>")])
    first, second, error = map(json.loads, outcome.out.splitlines())
    assert (outcome.code, first, second["reason"]) == (1, UNKNOWN_AT_GMAIL, "expired")
    assert (list(error), error["error"].startswith("record 3 (line ")) == (["error"], True)
    assert (outcome.err.count("\n"), error["error"] in outcome.err) == (1, True)


def test_the_errors_of_lines_are_kept(texts: Texts) -> None:
    """The last line on standard error has the number of unreadable records, the first, and where reading stopped."""
    for data in (b"\xff\n{}\n", b'[{"code": 1}', b'[1,{"code": 1}'):
        outcome = invoke("classify", stdin=data)
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


def test_a_summary_has_tables_by_reason_provider_and_day(tmp_path: Path, texts: Texts) -> None:
    """Each row has count and share. Addresses in examples are masked."""
    log = tmp_path / "failures.log"
    log.write_text(LOG)
    outcome = invoke("classify", "--summary", str(log))
    assert (outcome.code, outcome.err) == (0, "")
    rows = [line.split()[:3] for line in outcome.out.splitlines()]
    assert rows == [
        ["reason", "failures", "share"],
        ["recipient_unknown", "2", "66.7%"],
        ["expired", "1", "33.3%"],
        ["all", "3"],
        [],
        ["provider", "failures", "share"],
        ["gmail", "2", "66.7%"],
        ["other", "1", "33.3%"],
        [],
        ["day", "(UTC)", "failures"],
        ["2026-11-23", "1", "33.3%"],
        ["no", "time", "2"],
    ]
    assert ("jane" in outcome.out, "<***@gmail.com>" in outcome.out) == (False, True)
    texts.check(outcome.out)


def test_a_summary_of_nothing_is_empty() -> None:
    """Without input, the tables have no rows but a total of 0."""
    outcome = invoke("classify", "--summary")
    assert (outcome.code, [line.split()[:2] for line in outcome.out.splitlines()]) == (
        0,
        [["reason", "failures"], ["all", "0"], [], ["provider", "failures"], [], ["day", "(UTC)"]],
    )


def test_a_summary_leaves_out_unreadable_records() -> None:
    """The tables have the readable ones; the exit code is 1, and standard error says what is missing."""
    outcome = invoke("classify", "--summary", stdin='[1, {"code": "550"}, x')
    assert (outcome.code, outcome.out.splitlines()[2].split(), outcome.err.count("\n")) == (1, ["all", "1"], 1)
    assert ("record 1: " in outcome.err, "record 3 (line 1, column 22): " in outcome.err) == (True, True)


def test_long_input_has_progress() -> None:
    """Every two seconds, there is a line with the number of records; a trickle of records has none."""
    now = 0.0
    said: list[str] = []

    def clock() -> float:
        return now

    for number in with_progress(range(1, 5_001), said.append, clock):
        now += 0.0009 if number <= 3_000 else 0.1
    assert said == ["3,000 records read", "4,000 records read", "5,000 records read"]
    trickle = with_progress(range(999), said.append, iter(range(0, 10_000, 10)).__next__)
    assert (len(list(trickle)), len(said)) == (999, 3)


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


@pytest.mark.parametrize("text", [b"", b"[]", b"<records></records>"], ids=["nothing", "array", "XML"])
def test_an_input_without_records_is_noted(tmp_path: Path, text: bytes) -> None:
    """It is no error, but a failed download looks the same, so one line says it."""
    log = tmp_path / "log"
    log.write_bytes(text)
    outcome = invoke("classify", str(log))
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no records in the input\n")
