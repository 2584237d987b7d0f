"""Limits of the system on the process: few open files, few threads."""

import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from deploy.demo.running import PROGRAM
from tests.support.running import (
    TIMEOUT,
    Client,
    command,
    connect,
    environment,
    exporter,
    failure,
    failures_of,
    free_port,
)


def limited(*options: str) -> tuple[str, ...]:
    """Return the program with limits that the shell's ulimit sets."""
    limits = "".join(f"ulimit {option}; " for option in options)
    return ("sh", "-c", f'{limits}exec "$@"', "sh", *PROGRAM)


@pytest.mark.parametrize(("files", "public", "private"), [(48, "12", "4"), (64, "24", "8")])
def test_both_listeners_work_with_few_open_files(tmp_path: Path, files: int, public: str, private: str) -> None:
    """A warning says how many connections remain. Idle clients of both listeners do not stop them."""
    with exporter(tmp_path, program=limited(f"-n {files}"), measured=False) as running, ExitStack() as stack:
        (warning,) = (line for line in running.log() if line["level"] == "warning" and "open files" in line["msg"])
        assert (warning["public"], warning["private"], warning["expected"]) == (public, private, "1100")
        for _ in range(40):
            stack.enter_context(connect(running.public))
            stack.enter_context(connect(running.private))
        for number in range(30):
            assert running.post(failure(number)).status == 200
            assert sum(failures_of(running.samples()).values()) == number + 1
            assert running.get("/-/ready").status == 200


def test_too_few_open_files_are_an_error(tmp_path: Path) -> None:
    """One line says how many there are and how many are needed."""
    ended = subprocess.run(
        command(tmp_path, program=limited("-n 40")),
        env=environment(measured=False),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert "the limit on open files is 40: expected at least 48" in ended.stderr


def test_too_few_threads_are_an_error(tmp_path: Path) -> None:
    """One line says so, and until then the exporter has never said that it is ready.

    The stacks of 64 threads need more memory than the process may have.
    """
    port = free_port()
    process = subprocess.Popen(
        command(tmp_path, "--web.listen-address", f"127.0.0.1:{port}", program=limited("-s 65536", "-v 2000000")),
        env=environment(measured=False),
        stderr=subprocess.PIPE,
        text=True,
    )
    answers: list[int] = []
    try:
        while process.poll() is None and not answers:
            with suppress(OSError), Client(f"127.0.0.1:{port}") as client:
                answers.append(client.request("GET", "/-/ready").status)
        assert answers == []
    finally:
        process.kill()
        _, text = process.communicate()
    assert process.returncode == 1, text
    (line,) = (line for line in text.splitlines() if "level=warning" not in line)
    assert line.startswith("smtpeter-exporter: can't start new thread: "), line
