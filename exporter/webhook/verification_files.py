"""Verification files: SMTPeter fetches ``smtpeter-….txt`` to check that its customer owns the webhook's URL.

Each file must be served unchanged, at the root of the host or in the same directory as the webhook:
https://www.smtpeter.com/en/documentation/webhooks
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
"""Maximum size of a file in bytes; SMTPeter's files have one line."""

_NAME: Final = re.compile(r"smtpeter-[A-Za-z0-9_-]{1,100}\.txt")


class Found(NamedTuple):
    """The number of files that can be served, and why another file or the directory cannot; None if all can."""

    files: int
    problem: str | None


class VerificationFiles:
    """The resource for the verification files in a directory, read anew for each request.

    ``fetched`` is called each time that a file is served.
    """

    def __init__(self, directory: Path, fetched: Callable[[], None] = lambda: None) -> None:
        self._directory = directory
        self._fetched = fetched

    def on_get(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer with the unchanged file. Raises Refusal (404)."""
        resp.data = self._read(name)
        resp.content_type = falcon.MEDIA_TEXT
        self._fetched()

    def on_head(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer as for GET; the server omits the body."""
        self.on_get(req, resp, name)

    def on_options(self, _req: falcon.Request, _resp: falcon.Response, **_: str) -> None:
        """Reject OPTIONS, which falcon would answer. Raises HTTPMethodNotAllowed."""
        raise falcon.HTTPMethodNotAllowed(["GET", "HEAD"])

    def look(self) -> Found:
        """Return what is in the directory now."""
        try:
            names = [file.name for file in self._directory.iterdir() if _NAME.fullmatch(file.name)]
        except OSError as error:
            return Found(0, f"{self._directory}: {error.strerror}")
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
            raise Refusal(404, "not_found", f"'{name[:100]}' is not the name of a verification file")
        try:
            # Follow links that stay inside the directory: Kubernetes mounts files as links.
            path = (self._directory / name).resolve(strict=True)
            if not path.is_relative_to(self._directory.resolve()):
                raise Refusal(404, "not_found", f"{name} links to a file outside {self._directory}")
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SIZE:
                    raise Refusal(404, "not_found", f"{name} is not a regular file of at most {MAX_SIZE} bytes")
                return os.read(descriptor, MAX_SIZE)
            finally:
                os.close(descriptor)
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise Refusal(404, "not_found", f"{name} in {self._directory} cannot be read: {error}") from error
