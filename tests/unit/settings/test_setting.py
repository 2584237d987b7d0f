"""Each row of the table of settings: its names, and what its texts promise."""

import re
from dataclasses import fields

import pytest

from exporter.settings.setting import Setting
from exporter.settings.table import BY_NAME, SETTINGS, Settings
from exporter.settings.values import OneOf
from tests.support.texts import Texts

each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)


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
