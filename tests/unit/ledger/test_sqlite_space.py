"""The free space of a file system: from when on only failures should be recorded."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.ledger.sqlite_space import RESERVE, Space

LARGE = 100 * 2**30
SMALL = 100 * 2**20


class FileSystem(NamedTuple):
    """What the operating system says of a file system."""

    f_bavail: int
    f_blocks: int
    f_frsize: int = 4_096
    f_bfree: int = LARGE
    f_bsize: int = 2**20


def looks(monkeypatch: pytest.MonkeyPatch, size: int, free: list[int]) -> list[bool]:
    """Return for each look whether space is short, on a file system of this size."""
    space, found = Space(Path("/srv/ledger.db")), []
    for each in free:
        monkeypatch.setattr(os, "statvfs", lambda _path, each=each: FileSystem(each // 4_096, size // 4_096))
        space.look()
        found.append(bool(space.short))
    return found


@pytest.mark.parametrize(("size", "reserve"), [(LARGE, RESERVE), (SMALL, SMALL // 20)], ids=["large", "small"])
def test_the_reserve_is_for_failures(monkeypatch: pytest.MonkeyPatch, size: int, reserve: int) -> None:
    """Space is short from the reserve on, and until twice as much is free. A small file system has a small reserve."""
    page = 4_096
    free = [
        size,
        reserve + page,
        reserve - page,
        reserve + page,
        2 * reserve - page,
        2 * reserve + page,
        reserve + page,
    ]
    assert looks(monkeypatch, size, free) == [False, False, True, True, True, False, False]


def test_a_file_system_without_a_size_has_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems do not say how large they are."""
    assert looks(monkeypatch, 0, [0]) == [False]


def test_the_reason_names_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the threshold, not the free space, so that it does not change all the time."""
    monkeypatch.setattr(os, "statvfs", lambda _path: FileSystem(1_000, LARGE // 4_096))
    space = Space(Path("/srv/ledger.db"))
    space.look()
    assert space.short == "ledger /srv/ledger.db: less than 64.0 MiB are free on its file system"
