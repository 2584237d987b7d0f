"""Verification files: which files of a directory are served, and what the status page learns about them."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import falcon
import pytest
from falcon.testing import Result, TestClient, create_req

from exporter.refusals import Refusal
from exporter.webhook.answering import PENDING, Answering
from exporter.webhook.verification_files import MAX_READING, MAX_SIZE, FileName, Found, VerificationFiles
from tests.support.running import TIMEOUT, until
from tests.support.texts import Texts

NAME: Final = "smtpeter-x7_Y-z.txt"
NO_COMMITTER: Final[Any] = SimpleNamespace(expire=lambda: None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the directory to serve; beside it is a file of the right name."""
    (tmp_path / NAME).write_bytes(b"outside")
    directory = tmp_path / "served"
    directory.mkdir()
    return directory


def ask(files: VerificationFiles, name: str, method: str = "GET") -> Result:
    """Return the answer to a request for the name; a refusal is answered as its reason."""

    def refuse(_req: falcon.Request, resp: falcon.Response, error: Refusal, _params: object) -> None:
        resp.status, resp.text = falcon.code_to_http_status(error.status), error.reason

    app = falcon.App()
    app.add_route("/{name}", files)
    app.add_error_handler(Refusal, refuse)
    return TestClient(Answering(app, NO_COMMITTER)).simulate_request(method, f"/{name}")


CONTENTS: Final = {
    "line": b"proof\r\n",
    "no text": bytes(range(256)),
    "byte order mark": b"\xef\xbb\xbfproof",
    "empty": b"",
    "largest": b"x" * MAX_SIZE,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_is_served_unchanged(directory: Path, content: bytes) -> None:
    """GET returns the bytes of the file as plain text, HEAD the same headers."""
    (directory / NAME).write_bytes(content)
    got, head = ask(VerificationFiles(directory), NAME), ask(VerificationFiles(directory), NAME, "HEAD")
    assert (got.status_code, got.content, got.headers["Content-Type"]) == (200, content, falcon.MEDIA_TEXT)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(content))


def test_each_request_reads_the_file(directory: Path) -> None:
    """A file that appears, changes or disappears is noticed at the next request."""
    files = VerificationFiles(directory)
    answers: list[bytes | int] = [ask(files, NAME).status_code]
    for content in (b"one", b"two, and longer"):
        (directory / NAME).write_bytes(content)
        answers.append(ask(files, NAME).content)
    (directory / NAME).unlink()
    answers.append(ask(files, NAME).status_code)
    assert answers == [404, b"one", b"two, and longer", 404]


def test_each_served_file_is_reported(directory: Path) -> None:
    """The callback is called for a file that is served, and not for other requests."""
    fetched: list[bool] = []
    files = VerificationFiles(directory, lambda: fetched.append(True))
    (directory / NAME).write_bytes(b"proof")
    assert [ask(files, name).status_code for name in (NAME, "smtpeter-other.txt", "robots.txt")] == [200, 404, 404]
    assert fetched == [True]


def test_other_names_are_no_paths_of_files() -> None:
    """A path with another name is not found, even by POST: it may be that of a loop that is not served."""
    assert [FileName().convert(name) for name in (NAME, "deliveries")] == [NAME, None]


@pytest.mark.parametrize(
    "name",
    [
        *("smtpeter-.txt", "smtpeter.txt", "SMTPETER-x.txt", "smtpeter-x.TXT", "smtpeter-a.b.txt", "smtpeter-é.txt"),
        *("other.txt", ".smtpeter-x.txt", "smtpeter-x.txt.bak", "smtpeter-x.txt ", "smtpeter-x.txt\n"),
        "smtpeter-" + "x" * 101 + ".txt",
    ],
)
def test_other_names_are_not_served(directory: Path, name: str) -> None:
    """Only names of SMTPeter's form are looked up, whatever else is in the directory."""
    (directory / name).write_bytes(b"secret")
    with pytest.raises(Refusal) as caught:
        VerificationFiles(directory).on_get(create_req(), falcon.Response(), name)
    assert (caught.value.status, caught.value.reason) == (404, "not_found")
    assert VerificationFiles(directory).look() == Found(0, None)


def too_large(file: Path) -> None:
    """Make a file that is one byte too large."""
    file.write_bytes(b"x" * (MAX_SIZE + 1))


def huge(file: Path) -> None:
    """Make a sparse file of a terabyte."""
    with file.open("wb") as opened:
        opened.truncate(1 << 40)


def link_out(file: Path) -> None:
    """Link to a file beside the directory."""
    file.symlink_to(f"../{NAME}")


def absolute_link_out(file: Path) -> None:
    """Link to a file elsewhere."""
    file.symlink_to("/etc/passwd")


def link_to_sibling(file: Path) -> None:
    """Link into a directory whose name starts with that of the served directory."""
    sibling = file.parent.with_name(f"{file.parent.name}-not")
    sibling.mkdir()
    (sibling / NAME).write_bytes(b"secret")
    file.symlink_to(sibling / NAME)


def link_to_link_out(file: Path) -> None:
    """Link to a link that leads outside."""
    (file.parent / "hop").symlink_to(f"../{NAME}")
    file.symlink_to("hop")


def link_through_directory(file: Path) -> None:
    """Link into a directory that is a link to the outside."""
    (file.parent / "up").symlink_to("..")
    file.symlink_to(f"up/{NAME}")


def loop(file: Path) -> None:
    """Make two links that lead to each other."""
    (file.parent / "back").symlink_to(file.name)
    file.symlink_to("back")


def broken_link(file: Path) -> None:
    """Link to nothing."""
    file.symlink_to("nothing")


def device(file: Path) -> None:
    """Link to a device that never ends."""
    file.symlink_to("/dev/zero")


KINDS: Final = [
    *(Path.mkdir, os.mkfifo, too_large, huge, link_out, absolute_link_out, link_to_sibling),
    *(link_to_link_out, link_through_directory, loop, broken_link, device),
]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_only_small_regular_files_inside_are_served(directory: Path, make: Callable[[Path], None]) -> None:
    """Anything else of the right name is not found, at once, and is a problem for the status page."""
    make(directory / NAME)
    files = VerificationFiles(directory)
    assert [ask(files, NAME, method).status_code for method in ("GET", "HEAD")] == [404, 404]
    found = files.look()
    assert found.files == 0
    assert found.problem is not None
    assert found.problem.startswith(f"{NAME} ")


def test_problems_are_explained(directory: Path, texts: Texts) -> None:
    """The status page shows what is wrong with a file."""
    for make in (too_large, link_out):
        make(directory / NAME)
        texts.check(VerificationFiles(directory).look().problem)
        (directory / NAME).unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_not_served(directory: Path) -> None:
    """A file that the exporter may not read is not found, and is a problem for the status page."""
    (directory / NAME).touch(0)
    files = VerificationFiles(directory)
    assert ask(files, NAME).status_code == 404
    assert files.look().problem is not None


def test_links_inside_the_directory_are_followed(directory: Path) -> None:
    """Kubernetes mounts files as links through ..data, which it replaces when they change."""
    for name in ("..2026_1", "..2026_2"):
        (directory / name).mkdir()
        (directory / name / NAME).write_text(name)
    (directory / "..data").symlink_to("..2026_1")
    (directory / NAME).symlink_to(f"..data/{NAME}")
    files = VerificationFiles(directory)
    assert ask(files, NAME).text == "..2026_1"
    (directory / "..data_tmp").symlink_to("..2026_2")
    (directory / "..data_tmp").rename(directory / "..data")
    assert ask(files, NAME).text == "..2026_2"


def test_the_directory_may_be_a_link(directory: Path, tmp_path: Path) -> None:
    """A directory that is reached through a link is served like any other."""
    (directory / NAME).write_bytes(b"proof")
    (tmp_path / "link").symlink_to(directory.name)
    files = VerificationFiles(tmp_path / "link")
    assert ask(files, NAME).content == b"proof"
    assert files.look() == Found(1, None)


def test_look_counts_the_files_that_can_be_served(directory: Path) -> None:
    """Among many other files, those that can be served are counted beside one that cannot."""
    for number in range(300):
        (directory / f"{number}.html").touch()
    for number in range(3):
        (directory / f"smtpeter-{number}.txt").touch()
    assert VerificationFiles(directory).look() == Found(3, None)
    too_large(directory / NAME)
    found = VerificationFiles(directory).look()
    assert (found.files, bool(found.problem)) == (3, True)


def test_a_missing_directory_is_a_problem(directory: Path) -> None:
    """Without the directory nothing is served, and the status page names it."""
    directory.rmdir()
    files = VerificationFiles(directory)
    assert ask(files, NAME).status_code == 404
    assert files.look() == Found(0, f"{directory}: {os.strerror(2)}")


def test_options_is_rejected(directory: Path) -> None:
    """OPTIONS, which falcon would answer, is a wrong method."""
    answer = ask(VerificationFiles(directory), NAME, "OPTIONS")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.fixture
def hanging(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Make reads of files hang, until the event is set that is yielded."""
    (directory / NAME).write_bytes(b"proof")
    released, read = threading.Event(), VerificationFiles._read

    def wait_and_read(files: VerificationFiles, name: str) -> bytes:
        assert released.wait(TIMEOUT)
        return read(files, name)

    monkeypatch.setattr(VerificationFiles, "_read", wait_and_read)
    yield released
    released.set()


def start(files: VerificationFiles) -> dict[str, Any]:
    """Begin a request for the file, and return its environment."""
    request = create_req(path=f"/{NAME}")
    files.on_get(request, falcon.Response(), NAME)
    return request.env


def test_a_request_does_not_wait_for_the_file_system(directory: Path, hanging: threading.Event) -> None:
    """It leaves a future; when that is done, the file is served."""
    files = VerificationFiles(directory)
    environment = start(files)
    assert not environment[PENDING].done()
    hanging.set()
    environment[PENDING].result(TIMEOUT)
    response = falcon.Response()
    files.on_get(falcon.Request(environment), response, NAME)
    assert response.data == b"proof"


@pytest.mark.usefixtures("hanging")
def test_a_file_that_is_not_read_in_time_is_not_served(directory: Path) -> None:
    """The second call, after the deadline, rejects the request."""
    files = VerificationFiles(directory)
    environment = start(files)
    with pytest.raises(Refusal) as caught:
        files.on_get(falcon.Request(environment), falcon.Response(), NAME)
    assert (caught.value.status, caught.value.reason) == (404, "not_found")


def test_few_requests_wait_for_the_file_system(directory: Path, hanging: threading.Event) -> None:
    """At most MAX_READING threads read. More requests are rejected at once, until the file system answers."""
    files = VerificationFiles(directory)
    environments = [start(files) for _ in range(MAX_READING)]
    with pytest.raises(Refusal) as caught:
        start(files)
    assert (caught.value.status, caught.value.reason) == (404, "not_found")
    hanging.set()
    assert [environment[PENDING].result(TIMEOUT) for environment in environments] == [b"proof"] * MAX_READING
    until(lambda: ask(files, NAME).status_code == 200)  # a thread ends soon after its future is done


def test_a_thread_that_cannot_start_does_not_count(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system allows no more threads, requests fail, but are served as soon as it does."""
    (directory / NAME).write_bytes(b"proof")
    files = VerificationFiles(directory)

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", fail)
        for _ in range(MAX_READING + 1):
            with pytest.raises(RuntimeError):
                start(files)
    assert ask(files, NAME).status_code == 200
