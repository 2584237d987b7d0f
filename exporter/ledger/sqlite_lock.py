"""The lock of a SQLite ledger, which keeps a second exporter out."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from exporter.errors import LedgerBusy, LedgerError

DISK_ERRORS: Final = {errno.EIO, errno.ENODEV, errno.ENOTCONN, errno.ENXIO, errno.EROFS, errno.ESTALE}
"""Error numbers of a file system that failed. A full one is not among them."""


class FileLock:
    """The lock on the ledger at ``path``, a file next to it. The kernel releases it however the process ends.

    It is a separate file, because closing any file descriptor of the ledger would drop SQLite's locks on it. Raises
    LedgerBusy if another process holds it, LedgerError if the file system has no locks, and OSError.
    """

    def __init__(self, path: Path) -> None:
        self._ledger = path
        self._path = path.with_name(path.name + ".lock")
        self._file = self._take()

    def renew(self) -> None:
        """Take the lock of the file that is there now, if that is another one or the lock was released."""
        with suppress(FileNotFoundError):
            if not self._file.closed and os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                return
        released, self._file = self._file, self._take()
        released.close()

    def is_dead(self) -> bool:
        """Return whether the file system on which the lock is held failed, or is now read-only."""
        try:
            if not self._file.closed:
                os.utime(self._file.fileno())  # a small write that needs no space
        except OSError as error:
            return error.errno in DISK_ERRORS
        return False

    def release(self) -> None:
        """Release the lock."""
        self._file.close()

    def _take(self) -> IO[bytes]:
        file = self._path.open("ab+", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            file.close()
            raise LedgerBusy(
                f"ledger {self._ledger}: another exporter (process {holder}) is using it; stop that one, "
                "or set another storage.url for this one"
            ) from error
        except OSError as error:
            file.close()
            raise LedgerError(
                f"ledger {self._ledger}: can't lock it: {error.strerror}; move it to a local disk"
            ) from error
        with suppress(OSError):  # disk full: the number only helps the user who starts a second exporter
            file.truncate(0)
            file.write(b"%d\n" % os.getpid())
        return file
