"""The part of ``serve`` that needs no process: warnings about settings."""

import logging
from typing import Final

import pytest

from exporter.serve import warn_insecure
from tests.support.settings import gathered, parsed
from tests.support.texts import Texts

SIGNED: Final[dict[str, str | None]] = {"signature.account": "environment-1"}
INSECURE: Final[dict[str, dict[str, str | None]]] = {
    "signatures off": {"signature.mode": "off"},
    "public URL not set": SIGNED,
    "private listener open": SIGNED | {"webhook.public-url": "https://x.example", "web.listen-address": ":10126"},
}
SECURE: Final[dict[str, dict[str, str | None]]] = {
    "password": INSECURE["private listener open"] | {"web.config.file": "/etc/web.yml"},
    **{
        address: INSECURE["private listener open"] | {"web.listen-address": address}
        for address in ("127.0.0.1:0", "127.0.0.2:0", "localhost:0", "[::1]:0")
    },
}


@pytest.mark.parametrize("case", INSECURE)
def test_an_insecure_setting_is_logged(case: str, caplog: pytest.LogCaptureFixture, texts: Texts) -> None:
    """It is allowed, but the log has a warning."""
    warn_insecure(parsed(gathered(INSECURE[case])))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    texts.check(record.getMessage())


@pytest.mark.parametrize("case", SECURE)
def test_secure_settings_are_not_logged(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """Loopback and a web configuration are both secure."""
    warn_insecure(parsed(gathered(SECURE[case])))
    assert caplog.records == []


def test_each_insecure_setting_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Several insecure settings have a warning each."""
    flags: dict[str, str | None] = {"signature.mode": "off", "web.listen-address": "192.0.2.1:1"}
    warn_insecure(parsed(gathered(flags)))
    assert len(caplog.records) == 2
