"""bench/agreement.py finds the answers whose reason is not an accepted one."""

import json
import sys
from pathlib import Path

import pytest

from bench.agreement import main
from tests.support.tree import ROOT

ANSWERS = ROOT / "tests/unit/classification/answers.jsonl"


def run(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that it prints for a file."""
    monkeypatch.setattr(sys, "argv", ["agreement", str(file)])
    main()
    return capsys.readouterr().out.splitlines()


def test_the_answers_of_the_tests_agree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each answer in the tests' own file has its reason."""
    number = len(ANSWERS.read_text("utf-8").splitlines())
    assert run(ANSWERS, monkeypatch, capsys) == [f"{number:,} of {number:,} reasons agree (100.0%)"]


def test_differing_answers_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file may have one right reason or several; a missing variable is empty."""
    answers = [
        {"state": "rcptto", "code": 550, "extended": "5.1.1", "description": "", "accept": ["blocked", "policy"]},
        {"description": "mailbox full", "accept": ["mailbox_full", "policy"]},
        {"description": "mailbox full", "reason": "mailbox_full"},
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, answers)))
    first, total = run(file, monkeypatch, capsys)
    assert "recipient_unknown" in first
    assert "blocked" in first
    assert total == "2 of 3 reasons agree (66.7%)"
