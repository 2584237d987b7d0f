"""The free space on the file system of a SQLite ledger."""

import os
from pathlib import Path
from typing import Final

RESERVE: Final = 64 * 2**20
"""Bytes that only failures may use, unless RESERVE_SHARE is less."""
RESERVE_SHARE: Final = 0.05
"""Share of a small file system that only failures may use."""


class Space:
    """Watches the free space of the file system that holds ``ledger``.

    ``short`` is why only failures should be recorded, empty if there is enough space. Space stays short until twice as
    much is free, so that it does not begin and end all the time.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self.short = ""

    def look(self) -> None:
        """Ask the operating system. Raise OSError if the directory of the ledger is gone."""
        found = os.statvfs(self._ledger.parent)
        needed = min(RESERVE, found.f_blocks * found.f_frsize * RESERVE_SHARE) * (2 if self.short else 1)
        short = found.f_bavail * found.f_frsize < needed
        self.short = (
            f"ledger {self._ledger}: less than {needed / 2**20:.1f} MiB are free on its file system" if short else ""
        )
