"""The table of settings: defaults, names, and what the texts of its rows promise."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from exporter.net import Address
from exporter.settings.table import BY_NAME, SETTINGS, Setting, Settings
from exporter.settings.values import OneOf
from tests.support.settings import gathered, parsed
from tests.support.texts import Texts

each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)


def settings_of(**flags: str) -> Settings:
    """Return the settings with ``signature.mode`` off and these flags, named as fields."""
    texts = {"signature_mode": "off"} | flags
    return parsed(gathered({setting.name: texts.get(setting.field) for setting in SETTINGS}))


def test_defaults() -> None:
    """Without flags, environment and file, each setting has its default."""
    assert vars(settings_of()) == {
        "webhook_listen_address": Address("127.0.0.1", 10_125),
        "webhook_public_url": "",
        "web_listen_address": Address("127.0.0.1", 10_126),
        "storage_url": Path("smtpeter-exporter.db"),
        "webhook_verification_dir": None,
        "webhook_server": "waitress",
        "web_config_file": None,
        "web_docs_url": "",
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
    }
    assert BY_NAME["signature.mode"].default == "required"


@each_setting
def test_each_setting_has_its_names(setting: Setting) -> None:
    """The environment variable and the field follow from the name of the setting."""
    field = setting.name.replace(".", "_").replace("-", "_")
    assert (setting.field, setting.variable) == (field, f"SMTPETER_EXPORTER_{field.upper()}")
    assert BY_NAME[setting.name] is setting
    assert field in {field.name for field in fields(Settings)}


@each_setting
def test_the_description_says_nothing_twice(setting: Setting) -> None:
    """It does not repeat the placeholder as what is expected, nor the default; a flag that may be repeated says so."""
    assert re.fullmatch(r"[A-Z]+(:[A-Z]+|=[A-Z]+)?", setting.metavar)
    expected = 0 if setting.expected == setting.metavar else 1
    assert [setting.description.lower().count(word) for word in ("expected", "default", "may be repeated")] == [
        expected,
        0,
        int(setting.repeatable),
    ]


@each_setting
def test_each_setting_is_described(setting: Setting, texts: Texts) -> None:
    """The description in ``--help`` and in docs/reference.md names all words of a setting that accepts only some."""
    assert isinstance(setting.parse, OneOf) <= (
        set(getattr(setting.parse, "words", ())) <= set(setting.expected.replace(",", "").split())
    )
    texts.check(f"--{setting.name} {setting.metavar}\n{setting.description}")


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
