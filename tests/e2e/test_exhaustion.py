"""Nobody can exhaust the exporter through its private listener, and it copes with few open files and few threads."""

import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Final

import bcrypt
import pytest

from exporter.serve import THREADS
from exporter.web.listener import PrivateListener
from tests.support.guarded import guarded_exporter
from tests.support.running import (
    FORM,
    TIMEOUT,
    Exporter,
    command,
    connect,
    environment,
    exchange,
    exporter,
    failure,
    free_port,
    read_to_end,
    throughout,
    until,
)
from tests.support.signing import headers_for
from tests.support.web_config import authority, basic, hashed, tls, users, write_pair

FLOOD: Final = b"GET /metrics HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"x" * 65_500) for n in range(100))
"""As many and as long headers as the standard library reads."""


def memory(running: Exporter, kind: str) -> int:
    """Return the memory that the process has (VmRSS) or had at most (VmHWM), in bytes."""
    lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))


def flood(sock: socket.socket) -> None:
    """Send the headers until the server closes the connection."""
    with suppress(OSError):
        sock.sendall(FLOOD)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_large_headers_need_no_memory(tmp_path: Path, *, secure: bool) -> None:
    """95 clients without a password that send 6.5 MB of headers each cost less than 25 MB together."""
    write_pair(tmp_path)
    file = tmp_path / "web.yml"
    file.write_text(users(alice=hashed("sesame")) + (tls() if secure else ""))
    context = ssl.create_default_context()
    authority().configure_trust(context)
    with exporter(tmp_path, "--web.config.file", str(file), measured=False) as running, ExitStack() as stack:

        def client() -> socket.socket:
            sock = stack.enter_context(connect(running.private))
            return stack.enter_context(context.wrap_socket(sock, server_hostname="localhost")) if secure else sock

        client().sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
        before = memory(running, "VmRSS")
        clients = [client() for _ in range(95)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(flood, clients))
        assert memory(running, "VmHWM") - before < 25_000_000
        last = client()
        last.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
        assert last.recv(12) == b"HTTP/1.0 200"


def scrape(running: Exporter, password: str, source: str = "127.0.0.1") -> tuple[int, float]:
    """Scrape as alice from an address of loopback; return the status and the seconds that it took."""
    began = time.monotonic()
    connection = HTTPConnection(running.private, timeout=TIMEOUT, source_address=(source, 0))
    try:
        connection.request("GET", "/metrics", headers={"Authorization": basic(f"alice:{password}")})
        with connection.getresponse() as response:
            response.read()
            return response.status, time.monotonic() - began
    finally:
        connection.close()


@contextmanager
def guessing(running: Exporter, source: str) -> Iterator[list[int]]:
    """Try 20 wrong passwords a second from an address, without waiting for answers; yield the statuses so far."""
    ended = threading.Event()
    statuses: list[int] = []
    with ThreadPoolExecutor(40) as pool:

        def guess(number: int) -> None:
            statuses.append(scrape(running, f"guess {number}", source)[0])

        def start() -> None:
            for number in count():
                pool.submit(guess, number)
                if ended.wait(0.05):
                    break

        thread = threading.Thread(target=start)
        thread.start()
        try:
            yield statuses
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.1"], ids=["another address", "the scraper's address"])
def test_wrong_passwords_do_not_delay_scrapes(tmp_path: Path, source: str) -> None:
    """Beside 20 wrong passwords a second, each scrape takes less than 0.5 s, and the first, with bcrypt, less than 1 s.

    If the wrong ones come from the scraper's address, the first may have to be repeated.
    """
    file = tmp_path / "web.yml"
    file.write_text(users(alice=bcrypt.hashpw(b"sesame", bcrypt.gensalt(10)).decode()))
    flags = ("--web.config.file", str(file))
    with exporter(tmp_path, *flags, measured=False) as running, guessing(running, source) as statuses:
        until(lambda: len(statuses) >= 20)
        first = scrape(running, "sesame")
        if source == "127.0.0.1":
            first = until(lambda: again if (again := scrape(running, "sesame"))[0] == 200 else None)
        scrapes = [scrape(running, "sesame") for _ in range(10)]
        assert [status for status, _ in [first, *scrapes]] == [200] * 11
        assert first[1] < 1
        assert max(seconds for _, seconds in scrapes) < 0.5
        assert set(statuses) <= {401, 503}


def with_files(number: int) -> tuple[str, ...]:
    """Return the program that runs the exporter with a hard limit on open files."""
    script = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({number}, {number}))"
    return (
        sys.executable,
        "-c",
        f"{script}; os.execv(sys.executable, [sys.executable, '-m', 'exporter', *sys.argv[1:]])",
    )


@pytest.mark.parametrize(("files", "public", "private"), [(48, "12", "4"), (64, "24", "8")])
def test_few_open_files_are_enough(tmp_path: Path, files: int, public: str, private: str) -> None:
    """With a low hard limit, requests and scrapes are answered while 200 idle clients connect to each listener."""
    with exporter(tmp_path, program=with_files(files), measured=False) as running, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(running.public))
            stack.enter_context(connect(running.private))
        assert [running.post(failure(number)).status for number in range(5)] == [200] * 5
        assert running.failures() == {"rcptto/5xx/5.1.1": 5}
        assert running.get("/-/ready").status == 200
        (warning,) = [line for line in running.log() if "limit on open files" in line["msg"]]
        assert [warning[key] for key in ("level", "public", "private", "expected")] == [
            "warning",
            public,
            private,
            "1100",
        ]


def test_too_few_open_files_prevent_the_start(tmp_path: Path) -> None:
    """With a limit that is too low to work, the exporter ends with 1 and says what to do in one line."""
    done = subprocess.run(
        command(tmp_path, program=with_files(40)), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("smtpeter-exporter: the limit on open files is 40: expected at least 48")


def cpu_time(running: Exporter) -> float:
    """Return the seconds of CPU time that the process has used."""
    fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("listener", ["public", "private"])
def test_no_file_left_is_no_busy_loop(tmp_path: Path, listener: str) -> None:
    """While the process can't open files, a client waits, and the listener neither fails nor uses the CPU."""
    with exporter(tmp_path, measured=False) as running:
        assert running.post(failure(1)).status == 200
        before = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        used = cpu_time(running)
        with connect(getattr(running, listener)) as sock:
            throughout(lambda: cpu_time(running) - used < 0.7, 2)
            resource.prlimit(running.pid, resource.RLIMIT_NOFILE, before)
            sock.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
            assert sock.recv(9) == b"HTTP/1.0 "
        assert running.post(failure(2)).status == 200
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}


LIMITED: Final = """
import socket, sys, threading
from exporter.cli.main import main

left, private = int(sys.argv.pop(1)), int(sys.argv.pop(1))
start = threading.Thread.start


def limited(thread):
    global left
    if threading.current_thread() is threading.main_thread():
        if left == 0:
            with socket.create_connection(("127.0.0.1", private), timeout=0.5) as sock:
                sock.sendall(b"GET /-/ready HTTP/1.0\\r\\n\\r\\n")
                try:
                    sys.stderr.write(sock.recv(100).decode())
                except TimeoutError:
                    pass
            raise RuntimeError("can't start new thread")
        left -= 1
    start(thread)


threading.Thread.start = limited
main()
"""
"""Runs the exporter, which can start only a number of threads; then prints the answer of /-/ready, if there is one."""


NO_THREAD: Final = (
    f"smtpeter-exporter: can't start new thread: expected about {THREADS}; raise the limit on processes (ulimit -u, "
    "TasksMax= of systemd, pids of the container) or on memory"
)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_too_few_threads_prevent_the_start(tmp_path: Path, number: int) -> None:
    """If a thread can't start, the exporter ends with 1 and says what to do, and was never ready."""
    port = free_port()
    flags = ("--web.listen-address", f"127.0.0.1:{port}")
    program = (sys.executable, "-c", LIMITED, str(number), str(port))
    done = subprocess.run(
        command(tmp_path, *flags, program=program),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(measured=False),
    )
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, last) == (1, NO_THREAD)
    assert {line for line in done.stderr.splitlines()[:-1] if "level=warning" not in line} == set()
    with exporter(tmp_path) as running:  # the ledger was closed
        assert running.post(failure(1)).status == 200


AS_USER: Final = """
import os, resource, sys
import exporter.cli.group, exporter.cli.serve, exporter.cli.streams, exporter.serve
from exporter.cli.main import main

most, user = int(sys.argv.pop(1)), int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
os.setuid(user)
main()
"""
"""Runs the exporter as a user who may have a number of threads."""
FIRST_USER: Final = 54_321
"""Each number of threads has a user of its own, because the limit applies to all processes of a user."""


@contextmanager
def limited_user(threads: int) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the directory of a user who may have this many threads, and the program that runs the exporter so."""
    if os.geteuid() != 0:
        pytest.skip("needs root, as a user who has no other process is needed")
    with tempfile.TemporaryDirectory() as directory:
        user = FIRST_USER + threads
        os.chown(directory, user, -1)
        yield Path(directory), (sys.executable, "-c", AS_USER, str(threads), str(user))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_system_s_limit_on_threads_prevents_the_start(threads: int) -> None:
    """As a user who may have fewer threads than the start needs, the exporter ends with 1 and one line of error."""
    with limited_user(threads) as (directory, program):
        done = subprocess.run(
            command(directory, program=program),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=environment(measured=False),
        )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, NO_THREAD)
    assert "Traceback" not in done.stderr
    assert "msg=ready" not in done.stderr


def test_as_many_threads_as_the_error_names_are_enough() -> None:
    """As a user who may have that many, the exporter looks a key up, counts a signed failure, and is scraped."""
    with limited_user(THREADS) as (directory, program), guarded_exporter(directory, program=program) as guarded:
        for _ in range(3):
            body = guarded.new()
            host = guarded.running.public
            assert guarded.post(headers_for(host, "/failures", body, FORM), body).status == 200
        assert guarded.running.failures() == {"rcptto/5xx/5.1.1": 3}
        assert not [line for line in guarded.running.log() if line["level"] == "error"]


def test_connections_without_a_thread_are_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While no thread can start, connections to the private listener are closed; then it goes on."""
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if "process_request_thread" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    listener = PrivateListener(empty, "127.0.0.1", 0, None, connections=10, failed=pytest.fail)
    listener.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", limited)
            for _ in range(20):
                with connect(listener.address) as sock:
                    assert read_to_end(sock) == b""
        assert exchange(listener.address, b"GET / HTTP/1.0\r\n\r\n").status == 200
        assert caplog.records == []
    finally:
        listener.stop()


def empty(_environ: object, start_response: Callable[..., object]) -> list[bytes]:
    """Answer 200."""
    start_response("200 OK", [])
    return []
