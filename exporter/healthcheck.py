"""``python -m exporter.healthcheck``: exit with 0 if the exporter is healthy, or with 1 and the reason if it is not.

Made for containers. Requests ``/-/healthy`` from the private listener, whose address is in the settings: the
environment and the configuration file. Imports nothing of ``serve``.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

from exporter.errors import Findings
from exporter.net import Address, parse_address
from exporter.settings.setting import ENVIRONMENT_PREFIX
from exporter.settings.sources import gather_values

TIMEOUT: Final = 4
"""Seconds to wait for an answer."""

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- an exporter on all interfaces is on this one
# The health check only asks whether the exporter answers, so neither the certificate nor its name matters.
_HTTPS: Final = partial(HTTPSConnection, context=ssl._create_unverified_context())  # noqa: S323, SLF001 -- see above


def find_problem(environment: Mapping[str, str]) -> str:
    """Return why the exporter with these settings is not healthy, or an empty string if it is."""
    findings = Findings()
    file = environment.get(f"{ENVIRONMENT_PREFIX}CONFIG_FILE")
    values = gather_values({}, environment, Path(file) if file else None, findings)
    if findings.errors:
        return "\n".join(map(str, findings.errors))
    text, origin = values["web.listen-address"]
    try:
        host, port = address = parse_address(text)
    except ValueError:
        return f"web.listen-address: {text!r} (from {origin}): expected HOST:PORT"
    problem = ""
    # With a web configuration, the listener may speak either: the exporter keeps the previous configuration if the
    # file has become invalid, so the file itself does not tell.
    for tls in (False, True) if values["web.config.file"].text else (False,):
        try:
            status, _ = ask(address, tls=tls)
        except TimeoutError as error:
            return f"{host} port {port}: {error}"
        except (OSError, HTTPException) as error:
            problem = f"{host} port {port}: {error}"
        else:
            return "" if status == 200 else f"{host} port {port}: status {status}"
    return problem


def ask(address: Address, *, tls: bool) -> tuple[int, bytes]:
    """Return status and body of the answer to ``/-/healthy`` at a listen address. Raises OSError or HTTPException."""
    host = _LOOPBACK.get(address.host, address.host)
    with closing((_HTTPS if tls else HTTPConnection)(host, address.port, timeout=TIMEOUT)) as connection:
        connection.request("GET", "/-/healthy")
        response = connection.getresponse()
        return response.status, response.read(100)


if __name__ == "__main__":
    sys.exit(find_problem(os.environ) or 0)
