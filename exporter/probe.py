"""``python -m exporter.probe``: whether the exporter with these settings is alive, for a container's health check.

Asks ``/-/healthy`` of the private listener that environment and configuration file name, from beside it, and knows no
more of ``serve`` than that. Exits with 0, or with 1 and a line that says why not.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

import yaml

from exporter import setting_values
from exporter.config import gather
from exporter.errors import SettingError
from exporter.settings import ENVIRONMENT_PREFIX

TIMEOUT: Final = 4
"""Seconds to wait for an answer."""
_BESIDE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- what "all of them" is for who stands beside it


def trouble(environment: Mapping[str, str]) -> str:
    """Why the exporter with these settings is not alive; empty when it is."""
    try:
        file = environment.get(f"{ENVIRONMENT_PREFIX}CONFIG_FILE")
        values = gather({}, environment, Path(file) if file else None)
        host, port = setting_values.address(values["web.listen-address"].text)
        secure = _secure(values["web.config.file"].text)
    except (SettingError, OSError, ValueError, yaml.YAMLError) as error:
        return " ".join(str(error).split()) or "web.listen-address: expected HOST:PORT"
    host = _BESIDE.get(host, host)
    # Whose certificate it is doesn't matter to whether it is alive, and the name in it is not this one.
    connection = (
        HTTPSConnection(host, port, timeout=TIMEOUT, context=ssl._create_unverified_context())  # noqa: S323, SLF001
        if secure
        else HTTPConnection(host, port, timeout=TIMEOUT)
    )
    try:
        connection.request("GET", "/-/healthy")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"{host} port {port}: {error}"
    finally:
        connection.close()
    return "" if status == 200 else f"{host} port {port}: status {status}"  # noqa: PLR2004


def _secure(web_config: str) -> bool:
    """Whether the private listener speaks TLS."""
    if not web_config:
        return False
    content = yaml.safe_load(Path(web_config).read_text())
    return isinstance(content, dict) and bool(content.get("tls_server_config"))


if __name__ == "__main__":
    sys.exit(trouble(os.environ) or 0)
