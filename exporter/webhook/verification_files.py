"""The files by which SMTPeter sees that a URL is its customer's: ``smtpeter-….txt`` beside the callback.

See https://www.smtpeter.com/en/documentation/webhooks: the file is to be served unchanged, at the root of the host or
in the folder of the callback.
"""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import falcon

from exporter.refusals import Refusal

MAX_SIZE: Final = 4_096
"""The largest file that is served, in bytes; SMTPeter's have a line."""

_NAME: Final = re.compile(r"smtpeter-[A-Za-z0-9_-]{1,100}\.txt")


class Found(NamedTuple):
    """How many files are there to be served, and why one more, or the folder, can't be; None when nothing is wrong."""

    files: int
    problem: str | None


class VerificationFiles:
    """Serve the files of a folder that have such a name, as they are at the moment; ``fetched`` is told each time."""

    def __init__(self, folder: Path, fetched: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._fetched = fetched

    def on_get(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer with the file, byte for byte. Raises Refusal (404)."""
        resp.data = self._read(name)
        resp.content_type = falcon.MEDIA_TEXT
        self._fetched()

    def on_head(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer as for GET; the server leaves the body out."""
        self.on_get(req, resp, name)

    def on_options(self, _req: falcon.Request, _resp: falcon.Response, **_: str) -> None:
        """Refuse what falcon would answer by itself."""
        raise falcon.HTTPMethodNotAllowed(["GET", "HEAD"])

    def look(self) -> Found:
        """What is there now."""
        try:
            names = [file.name for file in self._folder.iterdir() if _NAME.fullmatch(file.name)]
        except OSError as error:
            return Found(0, f"{self._folder}: {error.strerror}")
        files, problem = 0, None
        for name in names:
            try:
                self._read(name)
                files += 1
            except Refusal as error:
                problem = str(error)
        return Found(files, problem)

    def _read(self, name: str) -> bytes:
        if not _NAME.fullmatch(name):
            raise Refusal(404, "not_found", f"{name[:100]!r} is not the name of a verification file")
        try:
            # A link is followed as long as it stays inside: Kubernetes mounts files as links within the folder.
            path = (self._folder / name).resolve(strict=True)
            if not path.is_relative_to(self._folder.resolve()):
                raise Refusal(404, "not_found", f"{name} is a link out of the folder {self._folder}")
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SIZE:
                    raise Refusal(404, "not_found", f"{name} is no regular file of at most {MAX_SIZE} bytes")
                return os.read(descriptor, MAX_SIZE)
            finally:
                os.close(descriptor)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise Refusal(404, "not_found", f"{name} can't be read in {self._folder}: {error}") from error
