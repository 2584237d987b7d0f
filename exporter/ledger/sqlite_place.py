"""Check the path of a SQLite ledger. Its file must have only one name: SQLite finds its WAL by name, and we its lock.

Under another name, a second exporter would not see the lock, and would not find the WAL, which holds the newest
commits.
"""

import os
import re
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from exporter.errors import LedgerError

_MOUNTS: Final = Path("/proc/self/mountinfo")
"""See proc_pid_mountinfo(5). ``os.path.ismount`` does not see all bind mounts."""


def check_path(path: Path) -> None:
    """Raise LedgerError if there is no directory for the ledger, or something else in its place. Raises OSError."""
    if not path.parent.is_dir():
        raise LedgerError(f"ledger {path}: the directory {path.parent} does not exist; create it first")
    if path.is_dir():
        raise LedgerError(f"ledger {path}: this is a directory, expected a file")
    if path.exists() and not path.is_file():
        raise LedgerError(f"ledger {path}: this is not a regular file")


def check_place(path: Path) -> None:
    """Raise LedgerError if the ledger's file has another hard link or is a mount point. It need not exist."""
    path = Path(os.path.realpath(path))
    for file in (path, Path(f"{path}-wal")):
        if source := _mounted_from(file):
            raise LedgerError(
                f"ledger {path}: {file.name} is mounted as a single file (from {source}); stop the old exporter "
                "cleanly, mount the directory instead, and copy the ledger and its -wal into it"
            )
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"ledger {path}: {error}") from error
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise LedgerError(
            f"ledger {path}: the file has another hard link, {_other_link(path, status)}; stop the exporters that "
            "use it, and keep only one name, the one with a -wal next to it if there is one"
        )


def _mounted_from(path: Path) -> str:
    """Return the source of the mount at the path, or an empty string if there is none."""
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:  # not Linux, or no access: mounts are unknown
        return ""
    for line in reversed(lines):  # the last mount is the visible one
        mount, _, device = line.partition(b" - ")
        _, _, _, root, point, *_ = map(_unescape, mount.split(b" "))
        if point == str(path):
            return f"{root} on {_unescape(device.split(b' ')[1])}"
    return ""


def _unescape(field: bytes) -> str:
    """Decode a field of mountinfo, where a space, for example, is written as an octal number."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field))


def _other_link(path: Path, status: os.stat_result) -> str:
    """Return the file's other name if it is in the same directory, otherwise the command that finds it."""
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name != path.name and os.path.samestat(entry.stat(follow_symlinks=False), status):
                return entry.path
    top = next(parent for parent in path.parents if os.path.ismount(parent))  # the root always is
    return f"which this command finds: find {shlex.quote(str(top))} -xdev -inum {status.st_ino}"
