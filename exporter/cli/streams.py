"""The standard streams of the process, which may be closed, full or without a reader."""

import io
import os
import sys
from typing import Any, TextIO


class Stdout(io.FileIO):
    """Standard output that ends the process quietly when its reader has gone, as ``head`` does after some lines."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 -- any buffer; Python 3.11 has no type for it
        """Write the data."""
        try:
            return super().write(data)
        except BrokenPipeError:
            os._exit(0)


class Stderr(io.FileIO):
    """Standard error that drops what cannot be written, so that no message changes the exit code or stops ``serve``."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 -- as above
        """Write the data if possible; returns their length as if all were written."""
        try:
            return super().write(data) or len(data)  # None if it would block
        except OSError:
            return len(data)


def open_streams() -> int:
    """Open the standard streams again, so that they can be used whatever they are; returns the null device.

    The null device replaces streams that are closed: otherwise, the next file or socket would get their numbers.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 -- used until the end
    sys.stdout = _text(Stdout(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(Stderr(2, "w", closefd=False), sys.stderr)
    return null


def _text(raw: io.FileIO, old: TextIO | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old else None,
        errors="backslashreplace",  # answers of mail servers may be in any script
        line_buffering=True,
    )
