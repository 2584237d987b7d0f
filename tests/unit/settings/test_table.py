"""The table of settings: defaults, names, and what the texts of its rows promise."""

from pathlib import Path

import pytest

from exporter.classification.loops import FAILURES
from exporter.net import Address
from exporter.settings.table import BY_NAME, SETTINGS, Settings
from tests.support.settings import gathered, parsed


def settings_of(**flags: str) -> Settings:
    """Return the settings with ``signature.mode`` off and these flags, named as fields."""
    texts = {"signature_mode": "off"} | flags
    return parsed(gathered({setting.name: texts.get(setting.field) for setting in SETTINGS}))


def test_defaults() -> None:
    """Without flags, environment and file, each setting has its default."""
    assert vars(settings_of()) == {
        "webhook_listen_address": Address("127.0.0.1", 10_125),
        "webhook_public_url": "",
        "webhook_loops": (FAILURES,),
        "web_listen_address": Address("127.0.0.1", 10_126),
        "storage_url": Path("smtpeter-exporter.db"),
        "webhook_verification_dir": None,
        "webhook_server": "waitress",
        "web_config_file": None,
        "web_docs_url": "",
        "storage_keep_deliveries": 259_200.0,
        "signature_mode": "off",
        "signature_account": (),
        "signature_key_domain": "copernica.com",
        "signature_nameserver": (),
        "signature_max_age": 300.0,
        "metrics_birth_hold": 60.0,
        "providers": (),
        "reasons": (),
        "tags_count": (),
        "log_level": "info",
        "log_format": "logfmt",
        "log_events": "off",
    }
    assert BY_NAME["signature.mode"].default == "required"


def test_passwords_are_redacted() -> None:
    """What is printed of ``storage.url`` has no password."""
    text = "postgresql://exporter:secret@db.example/smtpeter"
    assert BY_NAME["storage.url"].redact(text) == "postgresql://exporter:***@db.example/smtpeter"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("", "", ""),
        ("https://x.example", "x.example", ""),
        ("https://x.example/a/", "x.example", "/a"),
        ("http://x.example:8080/a/b", "x.example:8080", "/a/b"),
    ],
)
def test_public_url_has_host_and_path(url: str, host: str, path: str) -> None:
    """The public host has the port of the URL, and the public path has no slash at its end."""
    settings = settings_of(webhook_public_url=url)
    assert (settings.public_host, settings.public_path) == (host, path)
