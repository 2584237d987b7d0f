"""Verification files: SMTPeter fetches ``smtpeter-….txt`` to check that its customer owns the webhook's URL.

Each file must be served unchanged, at the root of the host or in the same directory as the webhook:
https://www.smtpeter.com/en/documentation/webhooks
"""

import os
import re
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple

import falcon

from exporter.refusals import Refusal
from exporter.webhook.answering import PENDING, WAIT_TIMEOUT

MAX_SIZE: Final = 4_096
"""Maximum size of a file in bytes; SMTPeter's files have one line."""

MAX_READING: Final = 32
"""Maximum number of requests that may wait for the file system."""

_READING: Final = "exporter.reading"
_NAME: Final = re.compile(r"smtpeter-[A-Za-z0-9_-]{1,100}\.txt")


class Found(NamedTuple):
    """The number of files that can be served, and why another file or the directory cannot; None if all can."""

    files: int
    problem: str | None


class FileName(falcon.routing.BaseConverter):
    """Matches the last part of a path if it is the name of a verification file.

    Any other path is not found, whatever the method: so a request for a loop that is not served is answered 404.
    """

    def convert(self, value: str) -> str | None:
        """Return the name, or None if the path does not match."""
        return value if _NAME.fullmatch(value) else None


class VerificationFiles:
    """The resource for the verification files in a directory, read anew for each request.

    Each read has a thread of its own, because a file system may hang. ``fetched`` is called each time that a file is
    served.
    """

    def __init__(self, directory: Path, fetched: Callable[[], None] = lambda: None) -> None:
        self._directory = directory
        self._fetched = fetched
        self._free = threading.Semaphore(MAX_READING)

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer with the unchanged file, once it is read. Raises Refusal (404)."""
        reading: Future[bytes] | None = req.env.get(_READING)
        if reading is None:
            req.env[PENDING] = req.env[_READING] = self._start_reading(name)
            return
        if not reading.done():
            raise Refusal(404, "not_found", f"{name} in {self._directory} was not read within {WAIT_TIMEOUT:.0f} s")
        resp.data = reading.result()
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

    def _start_reading(self, name: str) -> Future[bytes]:
        if not _NAME.fullmatch(name):
            raise Refusal(404, "not_found", f"'{name[:100]}' is not the name of a verification file")
        if not self._free.acquire(blocking=False):
            raise Refusal(404, "not_found", f"{self._directory} does not answer")
        reading: Future[bytes] = Future()

        def read() -> None:
            try:
                reading.set_result(self._read(name))
            except Exception as error:  # noqa: BLE001 -- result() raises it where it is handled
                reading.set_exception(error)
            finally:
                self._free.release()

        try:
            threading.Thread(target=read, name=f"read {name}", daemon=True).start()  # must not delay the end
        except RuntimeError:  # the system allows no more threads
            self._free.release()
            raise
        return reading

    def _read(self, name: str) -> bytes:
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
