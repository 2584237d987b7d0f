"""``python -m exporter.healthcheck``: whether the exporter with these settings is alive, for containers.

Asks ``/-/healthy`` of the private listener that environment and configuration file name, from beside it, and knows no
more of ``serve`` than that. Exits with 0, or with 1 and a line that says why not.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

from exporter.errors import SettingError
from exporter.net import address
from exporter.settings.sources import gather
from exporter.settings.table import ENVIRONMENT_PREFIX

TIMEOUT: Final = 4
"""Seconds to wait for an answer."""
_BESIDE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- what "all of them" is for who stands beside it


def problem(environment: Mapping[str, str]) -> str:
    """Why the exporter with these settings is not alive; empty when it is."""
    try:
        file = environment.get(f"{ENVIRONMENT_PREFIX}CONFIG_FILE")
        values = gather({}, environment, Path(file) if file else None)
    except SettingError as error:
        return str(error)
    text, origin = values["web.listen-address"]
    try:
        host, port = address(text)
    except ValueError:
        return f"web.listen-address: {text!r} (from {origin}): expected HOST:PORT"
    host = _BESIDE.get(host, host)
    why = ""
    for kind in (HTTPConnection, _SECURE) if values["web.config.file"].text else (HTTPConnection,):
        try:
            connection = kind(host, port, timeout=TIMEOUT)
            connection.request("GET", "/-/healthy")
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            why = f"{host} port {port}: {error}"
            if isinstance(error, TimeoutError):
                break
        else:
            connection.close()
            return "" if status == 200 else f"{host} port {port}: status {status}"
    return why


# Tried where plain HTTP gets no answer: the web configuration may have changed since it was read, and what is in force
# then stays. Whose certificate it is doesn't matter to whether it is alive, and the name in it is not this one.
_SECURE: Final = partial(HTTPSConnection, context=ssl._create_unverified_context())  # noqa: S323, SLF001 -- see above


if __name__ == "__main__":
    sys.exit(problem(os.environ) or 0)
