"""Verification files on the public listener of a running exporter: unchanged, beside the webhook, and nothing else."""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from exporter.webhook.verification_files import MAX_READING, MAX_SIZE
from tests.support.confinement import namespace
from tests.support.running import (
    PROGRAM,
    Exporter,
    Response,
    Samples,
    changes,
    exchange,
    exporter,
    failure,
    until,
)
from tests.support.tree import ROOT

NAME: Final = "smtpeter-x7_Y-z.txt"
LINE: Final = b"smtpeter-verification=4711"
NOT_FOUND: Final = {'smtpeter_exporter_refused_total{reason="not_found"}': 1.0}
METHOD: Final = {'smtpeter_exporter_refused_total{reason="method"}': 1.0}
BASES: Final = ["", "/smtpeter/hooks"]

CONTENTS: Final = {
    "line": LINE + b"\n",
    "no newline": LINE,
    "CRLF": LINE + b"\r\n\r\n",
    "BOM": b"\xef\xbb\xbf" + LINE,
    "UTF-16": LINE.decode().encode("utf-16"),
    "no text": bytes(range(256)),
    "spaces": b" \t\n" + LINE + b" \n\n",
    "empty": b"",
    "largest": b"x" * MAX_SIZE,
}


class Site(NamedTuple):
    """A running exporter and the directory that it serves."""

    running: Exporter
    directory: Path

    def ask(self, method: str, path: str) -> Response:
        """Return the answer to a request with exactly this path."""
        return exchange(
            self.running.public, f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def refused(self, method: str, path: str) -> tuple[int, str, Samples]:
        """Return status and text of the answer, and the counters that it increments."""
        before = self.running.samples()
        answer = self.ask(method, path)
        return answer.status, answer.text, changes(before, self.running.samples())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield an exporter with a public path; its directory is reached through a link. Requests cause no log lines."""
    outside = tmp_path_factory.mktemp("verification")
    (outside / "real").mkdir()
    (outside / "served").symlink_to("real")
    (outside / NAME).write_bytes(b"outside\n")
    flags = ("--webhook.public-url", "https://mail.example.com/smtpeter/hooks/")
    with exporter(outside, *flags, "--webhook.verification-dir", str(outside / "served")) as running:
        yield Site(running, outside / "real")
        assert {line["level"] for line in running.log() if line["msg"] != "ready"} == {"warning"}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_is_served_byte_for_byte(site: Site, content: bytes, base: str) -> None:
    """The current file is served at the root and below the public path; HEAD has the same headers."""
    (site.directory / NAME).write_bytes(content)
    before = site.running.samples()
    got, head = site.ask("GET", f"{base}/{NAME}"), site.ask("HEAD", f"{base}/{NAME}")
    assert (got.status, got.body) == (200, content)
    assert (head.status, head.body) == (200, b"")
    for answer in (got, head):
        headers = {name: answer.headers.get(name) for name in ("Content-Type", "Content-Length")}
        assert headers == {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(content))}
    assert changes(before, site.running.samples()) == {}


def test_a_query_is_ignored(site: Site) -> None:
    """A query string does not change which file is served."""
    (site.directory / NAME).write_bytes(LINE)
    assert site.ask("GET", f"/{NAME}?x=../y&%ff").body == LINE


def test_changes_need_no_restart(site: Site) -> None:
    """A file that appears, changes or disappears is noticed at the next request."""
    file = site.directory / "smtpeter-new.txt"
    assert site.refused("GET", "/smtpeter-new.txt") == (404, "not_found\n", NOT_FOUND)
    for content in (b"one", b"two, and longer"):
        file.write_bytes(content)
        assert site.ask("GET", "/smtpeter-new.txt").body == content
    file.unlink()
    assert site.refused("GET", "/smtpeter-new.txt") == (404, "not_found\n", NOT_FOUND)


NAMES: Final = [
    f"../{NAME}",
    f"/../{NAME}",
    f"./../{NAME}",
    f"..%2f{NAME}",
    f"%2e%2e/{NAME}",
    f"%2e%2e%2f{NAME}",
    f"..%252f{NAME}",
    f"..%5c{NAME}",
    f"..%c0%af{NAME}",
    f"smtpeter-x/../../{NAME}",
    f"smtpeter-x/../{NAME}",
    f"smtpeter-..%2f..%2f{NAME}",
    f"sub/{NAME}",
    f"sub%2f{NAME}",
    f"sub/../{NAME}",
    f"{NAME}/",
    f"{NAME}%00",
    f"{NAME}%00.txt",
    f"{NAME}%0a",
    f"{NAME}%20",
    f"%20{NAME}",
    f"{NAME}.bak",
    f"{NAME};x",
    f".{NAME}",
    f"{NAME}~",
    "SMTPETER-x7_Y-z.txt",
    "smtpeter-X7_y-Z.txt",
    "smtpeter-x7_Y-z.TXT",
    "smtpeter-.txt",
    "smtpeter.txt",
    "smtpeter-a.b.txt",
    "smtpeter-%c3%a9.txt",
    "smtpeter-%ff.txt",
    "smtpeter-%.txt",
    "smtpeter-*.txt",
    "smtpeter-secret.key",
    "other.txt",
    "robots.txt",
    "",
    ".",
    "..",
    "sub",
    "sub/",
    "smtpeter-" + "x" * 101 + ".txt",
    "smtpeter-" + "x" * 8_000 + ".txt",
]


@pytest.fixture(scope="module")
def littered(site: Site) -> Site:
    """Return the site with other files beside the verification file."""
    (site.directory / "sub").mkdir()
    for name in (
        *(NAME, f"sub/{NAME}", f"{NAME}.bak", f".{NAME}", f"{NAME}~", f"{NAME} ", f" {NAME}", f"{NAME}\n"),
        *("smtpeter-.txt", "smtpeter.txt", "smtpeter-a.b.txt", "smtpeter-é.txt", "smtpeter-secret.key", "other.txt"),
        *("robots.txt", "smtpeter-*.txt", "smtpeter-%.txt", "smtpeter-" + "x" * 101 + ".txt", f"..\\{NAME}"),
    ):
        (site.directory / name).write_bytes(b"secret")
    return site


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", NAMES)
def test_other_names_are_not_served(littered: Site, name: str, base: str) -> None:
    """Only verification files in the directory itself are served; each other request is counted."""
    assert littered.refused("GET", f"{base}/{name}") == (404, "not_found\n", NOT_FOUND)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=lambda make: make.__name__)
def test_a_request_waits_for_no_file(site: Site, make: Callable[[Path], None]) -> None:
    """A pipe or a directory of the right name is not found, at once; tests/unit has the other kinds of files."""
    file = site.directory / f"smtpeter-{make.__name__}.txt"
    make(file)
    for base in BASES:
        assert site.refused("GET", f"{base}/{file.name}") == (404, "not_found\n", NOT_FOUND)
    assert site.refused("HEAD", f"/{file.name}") == (404, "", NOT_FOUND)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_files_are_read_only(site: Site, method: str, base: str) -> None:
    """Other methods are rejected with a list of the allowed ones, and leave the file unchanged."""
    (site.directory / NAME).write_bytes(LINE)
    assert site.refused(method, f"{base}/{NAME}") == (405, "method\n", METHOD)
    assert site.ask(method, f"{base}/{NAME}").headers["Allow"] == "GET, HEAD"
    assert (site.directory / NAME).read_bytes() == LINE


def test_the_webhook_is_not_a_file(site: Site) -> None:
    """GET on the webhook's path is a wrong method, although files are beside it."""
    for base in BASES:
        assert site.refused("GET", f"{base}/failures") == (405, "method\n", METHOD)


def test_without_a_directory_nothing_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting, no file is served, not even from the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / NAME).write_bytes(LINE)
    with exporter(tmp_path) as running:
        for method in ("GET", "POST"):
            assert Site(running, tmp_path).refused(method, f"/{NAME}") == (404, "not_found\n", NOT_FOUND)


def test_a_missing_directory(tmp_path: Path) -> None:
    """Without the directory its files are not found; when it is back, they are served again."""
    directory = tmp_path / "served"
    directory.mkdir()
    (directory / NAME).write_bytes(LINE)
    with exporter(tmp_path, "--webhook.verification-dir", str(directory)) as running:
        site = Site(running, directory)
        directory.rename(tmp_path / "away")
        assert site.refused("GET", f"/{NAME}") == (404, "not_found\n", NOT_FOUND)
        (tmp_path / "away").rename(directory)
        assert site.ask("GET", f"/{NAME}").body == LINE


def test_rejected_files_leave_nothing_open(site: Site) -> None:
    """Docker creates a directory for a missing mounted file; requests for it leave no file descriptor open."""
    (site.directory / "smtpeter-directory.txt").mkdir()
    before = site.running.samples()["process_open_fds"]
    assert {site.ask("GET", "/smtpeter-directory.txt").status for _ in range(50)} == {404}
    assert site.running.samples()["process_open_fds"] < before + 25


@contextmanager
def hung(running: Exporter, directory: Path) -> Iterator[None]:
    """Mount a file system that never answers over a directory, as the exporter sees it: FUSE without a server.

    The exporter has mounts of its own. Afterwards the requests that wait for the file system fail.
    """
    device = os.open("/dev/fuse", os.O_RDWR)
    inside = ["nsenter", "--mount", f"--target={running.pid}"]
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    try:
        subprocess.run(
            [*inside, "mount", "-i", "-t", "fuse", "-o", options, "none", directory], pass_fds=[device], check=True
        )
        yield
    finally:
        os.close(device)
    if running.alive:
        subprocess.run([*inside, "umount", "--lazy", directory], check=True)


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Site]:
    """Yield an exporter with mounts of its own."""
    if os.geteuid() != 0 or not (words := namespace()) or not Path("/dev/fuse").exists():
        pytest.skip("needs root, the privilege to mount, and FUSE")
    directory = tmp_path / "served"
    directory.mkdir()
    (directory / NAME).write_bytes(LINE)
    with exporter(tmp_path, "--webhook.verification-dir", str(directory), program=(*words, *PROGRAM)) as running:
        yield Site(running, directory)


def threads(running: Exporter) -> int:
    """Return the number of threads of the process."""
    return len(list(Path(f"/proc/{running.pid}/task").iterdir()))


def test_a_file_system_that_hangs(hanging: Site) -> None:
    """While it hangs, requests for files wait in a limited number, then get 404; all others are served as before."""
    running = hanging.running
    before, samples = threads(running), running.samples()
    assert hanging.ask("GET", f"/{NAME}").body == LINE
    with ThreadPoolExecutor(MAX_READING) as pool, hung(running, hanging.directory):
        waiting = [pool.submit(hanging.ask, "GET", f"/{NAME}") for _ in range(MAX_READING)]
        until(lambda: threads(running) >= before + MAX_READING)
        assert hanging.ask("GET", f"/{NAME}").status == 404
        assert [running.post(failure(number)).status for number in range(5)] == [200] * 5
        assert running.get("/-/ready").status == 200
        assert {answer.result().status for answer in waiting} == {404}
        added = changes(samples, running.samples())
        assert added['smtpeter_exporter_refused_total{reason="not_found"}'] == MAX_READING + 1
    until(lambda: threads(running) <= before)
    assert hanging.ask("GET", f"/{NAME}").body == LINE
    assert [line for line in running.log() if line["level"] == "error"] == []


def test_a_file_system_that_hangs_delays_no_stop(hanging: Site) -> None:
    """The exporter stops in order, although a request waits for the file system."""
    running = hanging.running
    before = threads(running)
    with ThreadPoolExecutor(1) as pool, hung(running, hanging.directory):
        pool.submit(hanging.ask, "GET", f"/{NAME}")
        until(lambda: threads(running) > before)
        assert running.stop() == 0
        assert running.logged("stopped")
