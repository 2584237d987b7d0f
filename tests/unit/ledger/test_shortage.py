"""When only failures are recorded, and what the log says about it."""

import logging
import time

import pytest

from exporter.ledger import shortage as module
from exporter.ledger.shortage import FULL_PAUSE, Shortage


def test_space_is_short_while_the_ledger_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line when it begins and one when it ends."""
    caplog.set_level(logging.INFO)
    answers = iter(["", "3 MB free", "2 MB free", "", ""])
    shortage = Shortage(lambda: next(answers))
    assert [(shortage.look(), shortage.why) for _ in range(5)] == [
        (False, ""),
        (True, "3 MB free"),
        (True, "2 MB free"),
        (False, ""),
        (False, ""),
    ]
    assert [(entry.levelname, entry.getMessage(), vars(entry).get("why")) for entry in caplog.records] == [
        ("WARNING", "space is short; counting only failures, and answering 503 to other events", "3 MB free"),
        ("INFO", "space is no longer short; counting all events", None),
    ]
    assert {entry.name for entry in caplog.records} == {module.__name__}


def test_space_is_short_for_a_while_after_the_disk_was_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the disk is full, the pause begins again."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shortage = Shortage(str)
    shortage.full()
    assert (shortage.why, shortage.look()) == ("the disk was full", True)
    now += FULL_PAUSE - 1
    shortage.full()
    now += FULL_PAUSE - 1
    assert shortage.look() is True
    now += 1
    assert (shortage.look(), shortage.why) == (False, "")
