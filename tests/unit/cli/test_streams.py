"""The standard streams, one write at a time. tests/e2e/test_main.py has what they do for the process."""

import errno
import fcntl
import os

import pytest

from exporter.cli.streams import Stderr, Stdout


def test_a_full_disk_is_an_error_of_standard_output_only() -> None:
    """The caller of standard error does not notice that nothing was written."""
    with Stdout("/dev/full", "w") as stdout, pytest.raises(OSError, match="No space left") as raised:
        stdout.write(b"text")
    assert raised.value.errno == errno.ENOSPC
    with Stderr("/dev/full", "w") as stderr:
        assert stderr.write(b"text") == 4


def test_the_process_ends_without_a_reader_of_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 0; standard error drops what nobody reads."""
    monkeypatch.setattr(os, "_exit", lambda code: pytest.fail(f"exit {code}"))
    read, write = os.pipe()
    os.close(read)
    with Stdout(write, "w", closefd=False) as stdout, pytest.raises(pytest.fail.Exception, match="exit 0"):
        stdout.write(b"text")
    with Stderr(write, "w") as stderr:
        assert stderr.write(b"text") == 4


def test_standard_error_does_not_wait_for_a_busy_reader() -> None:
    """If the pipe is full and does not block, the text is dropped."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with open(read, "rb") as reader, Stderr(write, "w") as stderr:  # noqa: PTH123 -- a number
        assert [stderr.write(b"x" * 4096), stderr.write(b"dropped")] == [4096, 7]
        os.set_blocking(read, False)
        assert reader.read() == b"x" * 4096
