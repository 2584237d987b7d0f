"""The sources of settings: which one wins, and the errors for invalid, contradicting and unknown settings."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from exporter.classification.reason import Decision
from exporter.errors import Findings, SettingError
from exporter.net import Address
from exporter.settings.setting import Setting
from exporter.settings.sources import (
    Value,
    gather_values,
    parse_settings,
    providers_in_file,
    reasons_in_file,
)
from exporter.settings.table import SETTINGS, Settings
from tests.support.settings import gathered, parsed
from tests.support.texts import Texts

OFF: Final = {"signature.mode": "off"}


def settings_of(
    flags: dict[str, str | None] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Return the settings with ``signature.mode`` off, unless a flag has another mode or None."""
    return parsed(gathered({**OFF, **(flags or {})}, environment, file))


def error_of(
    flags: dict[str, str | None] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> str:
    """Return the text of the SettingError that these settings raise."""
    with pytest.raises(SettingError) as caught:
        settings_of(flags, environment, file)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a configuration file, which does not exist yet."""
    return tmp_path / "config.toml"


def test_a_flag_overrides_the_environment_and_that_overrides_the_file(file: Path) -> None:
    """The first of flag, variable, file and default that has a setting wins, and is named as the origin."""
    file.write_text('log.level = "error"\nlog.format = "json"\n[web]\nlisten-address = ":9100"\n')
    environment = {"SMTPETER_EXPORTER_LOG_LEVEL": "warning", "SMTPETER_EXPORTER_LOG_FORMAT": "logfmt", "HOME": "/"}
    values = gathered({"log.level": "debug"}, environment, file)
    assert {name: values[name] for name in ("log.level", "log.format", "web.listen-address", "storage.url")} == {
        "log.level": Value("debug", "--log.level"),
        "log.format": Value("logfmt", "SMTPETER_EXPORTER_LOG_FORMAT"),
        "web.listen-address": Value(":9100", str(file)),
        "storage.url": Value("sqlite:///smtpeter-exporter.db", "default"),
    }
    assert values.keys() == {setting.name for setting in SETTINGS}


def test_the_default_ledger_is_in_systemds_state_directory() -> None:
    """The first state directory of the unit has the ledger, unless ``storage.url`` is set."""
    values = gathered({}, {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"})
    assert values["storage.url"] == Value("sqlite:////var/lib/a/smtpeter-exporter.db", "STATE_DIRECTORY")
    environment = {"STATE_DIRECTORY": "/var/lib/a", "SMTPETER_EXPORTER_STORAGE_URL": "sqlite:////srv/x.db"}
    assert settings_of(environment=environment).storage_url == Path("/srv/x.db")


def test_variables_of_a_kubernetes_service_are_ignored() -> None:
    """Kubernetes sets such variables for a Service that is called smtpeter-exporter."""
    service = {
        "SMTPETER_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "SMTPETER_EXPORTER_SERVICE_PORT_METRICS": "10126",
        "SMTPETER_EXPORTER_PORT": "tcp://10.0.0.1:10126",
        "SMTPETER_EXPORTER_PORT_10126_TCP_ADDR": "10.0.0.1",
    }
    assert settings_of(environment=service) == settings_of()


def test_providers_are_a_table_in_the_file(file: Path) -> None:
    """In the file, a name has a domain or a list of domains. A variable replaces the whole table."""
    file.write_text('[providers]\nschool = ["example.edu", "*.example.edu"]\nfirm = "example.nl"\n')
    in_file = (("example.edu", "school"), ("*.example.edu", "school"), ("example.nl", "firm"))
    assert settings_of(file=file).providers == in_file
    assert providers_in_file(file) == in_file
    environment = {"SMTPETER_EXPORTER_PROVIDERS": "firm=example.nl"}
    assert settings_of(environment=environment, file=file).providers == (("example.nl", "firm"),)


def test_classify_reads_only_the_providers(file: Path) -> None:
    """Invalid values of other settings do not matter to ``providers_in_file``; invalid providers do."""
    file.write_text('[log]\nlevel = "loud"\n')
    assert providers_in_file(file) == ()
    assert providers_in_file(None) == ()
    file.write_text('[providers]\nschool = "exa mple"\n')
    with pytest.raises(SettingError, match=re.escape(f"providers: 'school=exa mple' (from {file}): expected ")):
        providers_in_file(file)


RULES: Final = {
    "zeta": "policy",
    "alpha, beta; gamma": "blocked",
    "a=b==": "content",
    r" \d{1,3} = '\\' ": "rate_limited",
    "boîte #1": "mailbox_full",
}
"""Patterns with commas, equals signs, backslashes and spaces at both ends, not in alphabetical order."""


def test_reasons_are_a_table_in_the_file(file: Path) -> None:
    """Patterns and their order are kept exactly. A variable, with a rule in each line, replaces the whole table."""
    file.write_text("[reasons]\n" + "".join(f'{json.dumps(pattern)} = "{RULES[pattern]}"\n' for pattern in RULES))
    assert settings_of(file=file).reasons == tuple(RULES.items())
    own_reasons = reasons_in_file(file)
    assert [own_reasons.decision_of(text) for text in ("A=B==", "none")] == [Decision("content", "configured"), None]
    lines = "".join(f"{pattern}={reason}\n" for pattern, reason in RULES.items())
    file.write_text('[reasons]\nother = "policy"\n')
    assert settings_of(environment={"SMTPETER_EXPORTER_REASONS": lines}, file=file).reasons == tuple(RULES.items())


@pytest.mark.parametrize("content", ["", "[reasons]\n", "reasons = []\n", 'reasons = ""\n', '[log]\nlevel = "loud"\n'])
def test_without_reasons_in_the_file_none_is_decided(content: str, file: Path) -> None:
    """Invalid values of other settings do not matter to ``reasons_in_file``."""
    file.write_text(content)
    assert reasons_in_file(file).decision_of("a") is None
    assert reasons_in_file(None).decision_of("a") is None


BAD_RULES: Final = {
    "unknown reason": '"queue quota" = "ratelimited"',
    "bad pattern": '"queue quota" = "policy"\n"(" = "policy"',
    "everything": '".*" = "policy"',
    "too many": "".join(f'"phrase {number}" = "policy"\n' for number in range(51)),
}


@pytest.mark.parametrize("mistake", BAD_RULES)
def test_a_mistake_in_a_rule_is_an_error(mistake: str, file: Path, texts: Texts) -> None:
    """The error names the setting and the file, for ``serve`` and for ``classify``."""
    file.write_text(f"[reasons]\n{BAD_RULES[mistake]}\n")
    error = error_of(file=file)
    assert (error.startswith("reasons: "), error.endswith(f" (from {file})"), error.count("\n")) == (True, True, 0)
    with pytest.raises(SettingError) as caught:
        reasons_in_file(file)
    assert str(caught.value) == error
    texts.check(error)


def test_reasons_need_an_extra(file: Path, monkeypatch: pytest.MonkeyPatch, texts: Texts) -> None:
    """Without google-re2, rules are an error that says how to install it; so is another package with its name."""
    file.write_text('[reasons]\n"queue quota" = "rate_limited"\n')
    for module in (ModuleType("re2"), None):
        monkeypatch.setitem(sys.modules, "re2", module)
        error = error_of(file=file)
        assert error.startswith(f"reasons: set (from {file}), ")
        assert error.endswith("pip install 'smtpeter-exporter[reasons]'")
    assert settings_of().reasons == ()
    texts.check(error)


def test_some_settings_have_several_values(file: Path) -> None:
    """They are a list in the file, and separated by commas in a variable."""
    file.write_text('[signature]\nmode = "required"\naccount = ["environment-1", "environment_2"]\n')
    environment = {"SMTPETER_EXPORTER_SIGNATURE_NAMESERVER": "127.0.0.1:5353, 2001:db8::1"}
    settings = settings_of({"signature.mode": None}, environment, file)
    assert settings.signature_account == ("environment-1", "environment_2")
    assert settings.signature_nameserver == (Address("127.0.0.1", 5_353), Address("2001:db8::1", 53))


INVALID: Final = {
    "webhook.listen-address": "9100",
    "webhook.public-url": "mail.example.com",
    "webhook.loops": "failures,clicks",
    "webhook.verification-dir": "/nowhere",
    "webhook.server": "apache",
    "web.listen-address": "::1:9100",
    "web.config.file": "a\0b",
    "web.docs-url": "docs",
    "storage.url": "mysql:///x",
    "storage.keep-deliveries": "12h",
    "signature.mode": "Off",
    "signature.account": "1234",
    "signature.key-domain": "a..b",
    "signature.nameserver": "dns.example.com",
    "signature.max-age": "25h",
    "metrics.birth-hold": "60",
    "providers": "example.edu",
    "reasons": "rate_limited",
    "tags.count": "other",
    "log.level": "loud",
    "log.format": "text",
    "log.events": "on",
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_an_invalid_value_is_an_error_that_says_what_was_expected(setting: Setting) -> None:
    """The error names the setting, its value, the origin of the value, and what was expected."""
    name, text = setting.name, INVALID[setting.name]
    assert error_of({name: text}) == f"{name}: {text!r} (from --{name}): expected {setting.expected}"


@pytest.mark.parametrize("text", ["", "ledger.db", "sqlite:///", "sqlite://x", "sqlite:///x?mode=ro", "sqlite:///a\0b"])
def test_an_invalid_storage_url_is_an_error(text: str) -> None:
    """Only paths after ``sqlite:///`` and URLs of PostgreSQL are accepted."""
    assert error_of({"storage.url": text}).startswith(f"storage.url: {text!r} (from --storage.url): expected ")


def test_an_error_shows_no_password(file: Path) -> None:
    """A password in an invalid ``storage.url`` is redacted, wherever the setting comes from."""
    file.write_text("storage.url = 'mysql://exporter:secret@db/x'")
    assert "secret" not in error_of(file=file)
    file.write_text("storage.url = ['postgresql://exporter:secret@db/x']")
    assert "secret" not in error_of(file=file)


CONTRADICTIONS: Final[dict[str, dict[str, str | None]]] = {
    "signature.account": {"signature.mode": None},
    "signature.mode": {"signature.account": "environment-1"},
    "storage.keep-deliveries": {"storage.keep-deliveries": "47h", "signature.max-age": "1d"},
    "web.listen-address": {"web.listen-address": "[::1]:9", "webhook.listen-address": "[::1]:9"},
}
OVERLAPS: Final = [("0.0.0.0:9", "127.0.0.1:9"), ("10.0.0.1:9", ":9"), ("[::]:9", "[::1]:9")]


@pytest.mark.parametrize("setting", CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_an_error(setting: str, texts: Texts) -> None:
    """Each value alone is valid. The error names both settings."""
    error = error_of(CONTRADICTIONS[setting])
    assert error.startswith(f"{setting}: ")
    assert [name for name in CONTRADICTIONS[setting] if name not in error] == []
    texts.check(error)


@pytest.mark.parametrize(("public", "private"), OVERLAPS)
def test_an_address_that_includes_the_other_is_an_error(public: str, private: str) -> None:
    """All interfaces include each one, so both listeners can't have the same port there."""
    error = error_of({"webhook.listen-address": public, "web.listen-address": private})
    assert error.startswith("web.listen-address: ")
    assert "webhook.listen-address" in error


@pytest.mark.parametrize("addresses", [("127.0.0.1:9", "127.0.0.2:9"), ("0.0.0.0:9", "[::1]:9"), (":9", "x.example:9")])
def test_different_hosts_may_have_the_same_port(addresses: tuple[str, str]) -> None:
    """Addresses of different families and interfaces are different; what a name means is not known here."""
    public, private = addresses
    assert settings_of({"webhook.listen-address": public, "web.listen-address": private}).web_listen_address.port == 9


def found(
    flags: dict[str, str | None] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> tuple[list[str], set[str], Settings]:
    """Return the first word of each error, the invalid settings, and the settings."""
    findings = Findings()
    settings = parse_settings(gather_values(flags or {}, environment or {}, file, findings), findings)
    return [str(error).partition(": ")[0] for error in findings.errors], findings.invalid, settings


def test_all_errors_are_found_at_once(file: Path) -> None:
    """Errors in environment, file, values and contradictions; an invalid setting has its default."""
    file.write_text(
        'colour = "red"\nlog.level = 3\nsignature.account = ["environment-1"]\nreasons = {a = 1, "b(" = "policy"}\n'
        'tags.count = ["other"]\n'
    )
    environment = {"SMTPETER_EXPORTER_X": "1", "SMTPETER_EXPORTER_SIGNATURE_MODE": "off"}
    address: dict[str, str | None] = {"web.listen-address": "127.0.0.1:10125", "storage.url": "x"}
    errors, invalid, settings = found(address, environment, file)
    assert errors == [
        "environment variable SMTPETER_EXPORTER_X",
        "config.file",  # reasons: a = 1
        "config.file",  # colour
        "config.file",  # log.level
        "storage.url",
        "tags.count",
        "web.listen-address",
        "signature.mode",
        "reasons",
    ]
    assert {"log.level", "storage.url", "tags.count", "web.listen-address", "reasons"} <= invalid
    assert (settings.log_level, settings.storage_url) == ("info", Path("smtpeter-exporter.db"))


def test_a_file_that_cannot_be_read_is_one_error(file: Path) -> None:
    """What it may contain is not reported as missing; other values are still checked."""
    errors, invalid, _ = found({"log.level": "info", "log.format": "text"}, {}, file)
    assert errors == ["config.file", "log.format"]
    assert "signature.account" in invalid
    assert "log.level" not in invalid


def test_a_flag_makes_a_bad_entry_of_the_file_harmless_for_checks(file: Path) -> None:
    """The entry is still an error, but the setting has the value of the flag."""
    file.write_text("log.level = 3\n")
    errors, invalid, settings = found({"log.level": "debug", **OFF}, {}, file)
    assert (errors, invalid, settings.log_level) == (["config.file"], set(), "debug")


def test_both_listeners_may_have_any_free_port() -> None:
    """Port 0 means another free port for each listener, so this is no contradiction."""
    settings = settings_of({"web.listen-address": "127.0.0.1:0", "webhook.listen-address": "127.0.0.1:0"})
    assert settings.web_listen_address == settings.webhook_listen_address == Address("127.0.0.1", 0)


MISTAKES: Final = {
    "unknown key": ('colour = "red"', "colour"),
    "unknown key with a similar name": ('[log]\nlevels = "info"', "log.levels"),
    "number": ("log.level = 3", "log.level"),
    "list for one value": ('log.level = ["info"]', "log.level"),
    "list of numbers": ("signature.account = [1234]", "signature.account"),
    "pattern with a dot, not in quotes": ('[reasons]\nclosed.by = "policy"', "reasons: 'closed'"),
    "number for a reason": ('[reasons]\n"closed" = 3', "reasons: 'closed'"),
    "list of reasons": ('[reasons]\n"closed" = ["policy"]', "reasons: 'closed'"),
    "pattern of two lines": ('[reasons]\n"closed\\nby" = "policy"', r"reasons: 'closed\nby'"),
    "reason with an equals sign": ('[reasons]\n"closed" = "by=policy"', "reasons: 'closed'"),
    "number for the reasons": ("reasons = 3", "reasons"),
    "set twice": ('log.level = "info"\n"log.level" = "debug"', "log.level"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_an_error(mistake: str, file: Path, texts: Texts) -> None:
    """The error names the file and the key."""
    content, key = MISTAKES[mistake]
    file.write_text(content)
    error = error_of(file=file)
    assert error.startswith((f"config.file: '{file}': {key}: ", f"config.file: '{file}': {key} = "))
    texts.check(error)


def test_a_file_that_is_not_toml_is_an_error(file: Path) -> None:
    """The error names the file and the place in it."""
    file.write_text("log.level = ")
    assert re.fullmatch(rf"config\.file: '{re.escape(str(file))}': .*\(at .*\): expected TOML", error_of(file=file))
    file.write_bytes(b"\xff")
    assert error_of(file=file).endswith(": expected TOML")


def test_a_missing_file_is_an_error(file: Path, texts: Texts) -> None:
    """It is not treated as an empty file."""
    texts.check(error_of(file=file))


@pytest.mark.parametrize("variable", ["SMTPETER_EXPORTER_LOG_LEVELS", "SMTPETER_EXPORTER_X"])
def test_an_unknown_variable_is_an_error(variable: str, texts: Texts) -> None:
    """A variable with the exporter's prefix that is no setting is probably a mistake; a similar name is suggested."""
    error = error_of(environment={variable: "info"})
    assert variable in error
    assert ("SMTPETER_EXPORTER_LOG_LEVEL?" in error) == (variable != "SMTPETER_EXPORTER_X")
    texts.check(error)
