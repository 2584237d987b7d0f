"""Verification files on the public listener of the real exporter: byte for byte, beside the callback, nothing else."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from exporter.webhook.verification_files import MAX_SIZE
from tests.support.running import Exporter, Response, Samples, changes, exchange, exporter
from tests.support.tree import ROOT

NAME: Final = "smtpeter-x7_Y-z.txt"
LINE: Final = b"smtpeter-verification=4711"
NOT_FOUND: Final = {'smtpeter_exporter_refused_total{reason="not_found"}': 1.0}
METHOD: Final = {'smtpeter_exporter_refused_total{reason="method"}': 1.0}
FOLDERS: Final = ["", "/smtpeter/hooks"]

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
    """A running exporter and the folder that it serves."""

    running: Exporter
    folder: Path

    def ask(self, method: str, path: str) -> Response:
        """What is answered to a request with just this path."""
        return exchange(
            self.running.public, f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def refused(self, method: str, path: str) -> tuple[int, str, Samples]:
        """Status and text of the answer, and the counters that it raises."""
        before = self.running.samples()
        answer = self.ask(method, path)
        return answer.status, answer.text, changes(before, self.running.samples())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests, below a public path; the folder is itself behind a link, and no event is for the log."""
    outside = tmp_path_factory.mktemp("verification")
    (outside / "real").mkdir()
    (outside / "served").symlink_to("real")
    (outside / NAME).write_bytes(b"outside\n")
    flags = ("--webhook.public-url", "https://mail.example.com/smtpeter/hooks/")
    with exporter(outside, *flags, "--webhook.verification-dir", str(outside / "served")) as running:
        yield Site(running, outside / "real")
        assert {line["level"] for line in running.log() if line["msg"] != "ready"} == {"warning"}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_is_served_byte_for_byte(site: Site, content: bytes, folder: str) -> None:
    """As it is at the moment, at the root and below the public path, and HEAD tells the same without the body."""
    (site.folder / NAME).write_bytes(content)
    before = site.running.samples()
    got, told = site.ask("GET", f"{folder}/{NAME}"), site.ask("HEAD", f"{folder}/{NAME}")
    assert (got.status, got.body) == (200, content)
    assert (told.status, told.body) == (200, b"")
    for answer in (got, told):
        headers = {name: answer.headers.get(name) for name in ("Content-Type", "Content-Length")}
        assert headers == {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(content))}
    assert changes(before, site.running.samples()) == {}


def test_a_query_does_not_matter(site: Site) -> None:
    """A file with something after a question mark is still that file."""
    (site.folder / NAME).write_bytes(LINE)
    assert site.ask("GET", f"/{NAME}?x=../y&%ff").body == LINE


def test_new_files_are_seen_and_old_ones_gone_at_once(site: Site) -> None:
    """No restart is needed for a file that comes, changes, or goes."""
    file = site.folder / "smtpeter-new.txt"
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
    """With other things in the folder than verification files."""
    (site.folder / "sub").mkdir()
    for name in (
        *(NAME, f"sub/{NAME}", f"{NAME}.bak", f".{NAME}", f"{NAME}~", f"{NAME} ", f" {NAME}", f"{NAME}\n"),
        *("smtpeter-.txt", "smtpeter.txt", "smtpeter-a.b.txt", "smtpeter-é.txt", "smtpeter-secret.key", "other.txt"),
        *("robots.txt", "smtpeter-*.txt", "smtpeter-%.txt", "smtpeter-" + "x" * 101 + ".txt", f"..\\{NAME}"),
    ):
        (site.folder / name).write_bytes(b"secret")
    return site


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", NAMES)
def test_other_names_are_not_served(littered: Site, name: str, folder: str) -> None:
    """Whatever lies there, only verification files in the folder itself are looked for; each try is counted."""
    assert littered.refused("GET", f"{folder}/{name}") == (404, "not_found\n", NOT_FOUND)


def too_large(file: Path) -> None:
    """A byte more than is served."""
    file.write_bytes(b"x" * (MAX_SIZE + 1))


def huge(file: Path) -> None:
    """More than the process could hold."""
    with file.open("wb") as opened:
        opened.truncate(1 << 40)


def link_out(file: Path) -> None:
    """A link to a file beside the folder."""
    file.symlink_to(f"../{NAME}")


def absolute_link_out(file: Path) -> None:
    """A link to a file anywhere."""
    file.symlink_to("/etc/passwd")


def link_to_neighbour(file: Path) -> None:
    """A link into a folder whose name begins like that of the folder served."""
    neighbour = file.parent.with_name(f"{file.parent.name}-not")
    neighbour.mkdir()
    (neighbour / NAME).write_bytes(b"secret")
    file.symlink_to(neighbour / NAME)


def link_through_outside(file: Path) -> None:
    """A link inside that leads to a link out."""
    (file.parent / "hop").symlink_to(f"../{NAME}")
    file.symlink_to("hop")


def link_of_folder(file: Path) -> None:
    """A link into a folder that is itself a link out."""
    (file.parent / "up").symlink_to("..")
    file.symlink_to(f"up/{NAME}")


def circle(file: Path) -> None:
    """Two links that lead to each other."""
    (file.parent / "back").symlink_to(file.name)
    file.symlink_to("back")


def broken_link(file: Path) -> None:
    """A link to nothing."""
    file.symlink_to("nothing")


def device(file: Path) -> None:
    """A link to a file without end."""
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        os.mkfifo,
        too_large,
        huge,
        link_out,
        absolute_link_out,
        link_to_neighbour,
        link_through_outside,
        link_of_folder,
        circle,
        broken_link,
        device,
    ],
    ids=lambda make: make.__name__,
)
def test_other_things_are_not_served(site: Site, make: Callable[[Path], None]) -> None:
    """What has a good name, but is no small regular file inside the folder, is not there, and nobody waits for it."""
    file = site.folder / f"smtpeter-{make.__name__}.txt"
    make(file)
    for folder in FOLDERS:
        assert site.refused("GET", f"{folder}/{file.name}") == (404, "not_found\n", NOT_FOUND)
    assert site.refused("HEAD", f"/{file.name}") == (404, "", NOT_FOUND)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_not_served(site: Site) -> None:
    """A file that the exporter may not read is as good as none."""
    file = site.folder / "smtpeter-locked.txt"
    file.touch(0)
    assert site.refused("GET", f"/{file.name}") == (404, "not_found\n", NOT_FOUND)


def test_links_inside_the_folder_are_followed(site: Site) -> None:
    """As Kubernetes mounts files: a link by way of ..data, which is turned to another folder when they change."""
    for name in ("..2026_1", "..2026_2"):
        (site.folder / name).mkdir()
        (site.folder / name / "smtpeter-mounted.txt").write_text(name)
    (site.folder / "..data").symlink_to("..2026_1")
    (site.folder / "smtpeter-mounted.txt").symlink_to("..data/smtpeter-mounted.txt")
    assert site.ask("GET", "/smtpeter-mounted.txt").text == "..2026_1"
    (site.folder / "..data_tmp").symlink_to("..2026_2")
    (site.folder / "..data_tmp").rename(site.folder / "..data")
    assert site.ask("GET", "/smtpeter-mounted.txt").text == "..2026_2"


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_files_are_only_read(site: Site, method: str, folder: str) -> None:
    """Other methods are refused, with those that are not, and leave the file alone."""
    (site.folder / NAME).write_bytes(LINE)
    assert site.refused(method, f"{folder}/{NAME}") == (405, "method\n", METHOD)
    assert site.ask(method, f"{folder}/{NAME}").headers["Allow"] == "GET, HEAD"
    assert (site.folder / NAME).read_bytes() == LINE


def test_the_callback_stays_the_callback(site: Site) -> None:
    """A GET of the callback is a wrong method, though a file could lie beside it."""
    for folder in FOLDERS:
        assert site.refused("GET", f"{folder}/failures") == (405, "method\n", METHOD)


def test_without_a_folder_nothing_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless told of a folder, the exporter serves no files, not even those of the folder that it was started in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / NAME).write_bytes(LINE)
    with exporter(tmp_path) as running:
        for method in ("GET", "POST"):
            assert Site(running, tmp_path).refused(method, f"/{NAME}") == (404, "not_found\n", NOT_FOUND)


def test_a_folder_that_goes_takes_its_files_with_it(tmp_path: Path) -> None:
    """Without the folder its files are not found; when it is back, so are they."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / NAME).write_bytes(LINE)
    with exporter(tmp_path, "--webhook.verification-dir", str(folder)) as running:
        site = Site(running, folder)
        folder.rename(tmp_path / "away")
        assert site.refused("GET", f"/{NAME}") == (404, "not_found\n", NOT_FOUND)
        (tmp_path / "away").rename(folder)
        assert site.ask("GET", f"/{NAME}").body == LINE


def test_a_folder_of_that_name_costs_no_descriptor(site: Site) -> None:
    """Docker makes a folder of a mounted file that is not there; asking for it must leave nothing open."""
    (site.folder / "smtpeter-folder.txt").mkdir()
    before = site.running.samples()["process_open_fds"]
    assert {site.ask("GET", "/smtpeter-folder.txt").status for _ in range(50)} == {404}
    assert site.running.samples()["process_open_fds"] < before + 25
