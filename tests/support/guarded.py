"""An exporter that requires signatures, and signed requests to it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from tests.support.running import PROGRAM, Exporter, Response, Samples, changes, exporter, failure
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record

REQUIRED: Final = ("--signature.mode", "required", "--signature.account", ACCOUNT)


def without_details(incremented: Samples) -> Samples:
    """Leave out lookups, and the loop of a rejected signature."""
    return {name: by for name, by in incremented.items() if not re.search("lookups|signature_refused", name)}


class Guarded:
    """An exporter that requires signatures, and its name server; ``path`` is the path of the webhook's URL."""

    def __init__(self, running: Exporter, name_server: NameServer, path: str) -> None:
        self.running = running
        self.name_server = name_server
        self._path = path
        self._number = 0

    def new(self) -> bytes:
        """Return the body of a failure that no other request contains."""
        self._number += 1
        return urlencode(failure(self._number)).encode()

    def post(self, headers: Mapping[str, str], body: bytes, path: str = "") -> Response:
        """Send one request without changing it."""
        with self.running.client() as client:
            return client.request("POST", path or self._path, body, headers)

    def change(self, headers: Mapping[str, str], body: bytes, path: str = "") -> tuple[int, Samples]:
        """Send one request; return the status of the answer and the counters that it increments.

        Without details; see :func:`without_details`.
        """
        before = self.running.samples()
        status = self.post(headers, body, path).status
        incremented = changes(before, self.running.samples())
        return status, without_details(incremented)


@contextmanager
def guarded_exporter(
    directory: Path, *flags: str, path: str = "/failures", program: Sequence[str] = PROGRAM
) -> Iterator[Guarded]:
    """Run an exporter that requires signatures; its name server has the tests' key."""
    with NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        flags = (*REQUIRED, *flags, "--signature.nameserver", name_server.address)
        with exporter(directory, *flags, program=program) as running:
            yield Guarded(running, name_server, path)
