"""Settings: where they come from, and what is said of wrong ones."""

import re
from pathlib import Path

import pytest

from exporter.errors import SettingError
from exporter.net import Address
from exporter.settings.sources import Value, gather, read
from exporter.settings.table import SETTINGS

OFF = {"signature.mode": "off"}


def settings_of(
    flags: dict[str, str | None] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> dict[str, object]:
    """Read the settings and give them as a dictionary."""
    return dict(vars(read(gather({**OFF, **(flags or {})}, environment or {}, file))))


def test_defaults_are_those_of_the_design() -> None:
    """Without flags, environment and file each setting has its default."""
    assert settings_of() == {
        "webhook_listen_address": Address("127.0.0.1", 10125),
        "webhook_public_url": "",
        "web_listen_address": Address("127.0.0.1", 10126),
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
        "tags_count": (),
        "log_level": "info",
        "log_format": "logfmt",
    }


def test_a_flag_goes_before_the_environment_before_the_file(tmp_path: Path) -> None:
    """Of the places that have a setting, the first one in this order is heeded, and named as its origin."""
    file = tmp_path / "exporter.toml"
    file.write_text('log.level = "error"\nlog.format = "json"\n[web]\nlisten-address = ":9100"\n')
    environment = {"SMTPETER_EXPORTER_LOG_LEVEL": "warning", "SMTPETER_EXPORTER_LOG_FORMAT": "logfmt", "HOME": "/"}
    values = gather({"log.level": "debug"}, environment, file)
    assert {name: values[name] for name in ("log.level", "log.format", "web.listen-address", "storage.url")} == {
        "log.level": Value("debug", "--log.level"),
        "log.format": Value("logfmt", "SMTPETER_EXPORTER_LOG_FORMAT"),
        "web.listen-address": Value(":9100", str(file)),
        "storage.url": Value("sqlite:///smtpeter-exporter.db", "default"),
    }


def test_systemd_gives_the_ledger_its_folder() -> None:
    """With a state directory, the first one, the ledger lies there unless a setting says otherwise."""
    assert settings_of(environment={"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"})["storage_url"] == Path(
        "/var/lib/a/smtpeter-exporter.db"
    )
    flags: dict[str, str | None] = {"storage.url": "sqlite:////srv/x.db"}
    assert settings_of(flags, {"STATE_DIRECTORY": "/var/lib/a"})["storage_url"] == Path("/srv/x.db")


def test_what_kubernetes_puts_beside_a_service_is_no_setting() -> None:
    """The variables of a Service called smtpeter-exporter are passed over."""
    service = {
        "SMTPETER_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "SMTPETER_EXPORTER_SERVICE_PORT_METRICS": "10126",
        "SMTPETER_EXPORTER_PORT": "tcp://10.0.0.1:10126",
        "SMTPETER_EXPORTER_PORT_10126_TCP_ADDR": "10.0.0.1",
    }
    assert settings_of(environment=service) == settings_of()


GOOD = [
    ("web.listen-address", ":0", Address("0.0.0.0", 0)),  # noqa: S104 -- what is meant
    ("web.listen-address", "[::1]:9100", Address("::1", 9100)),
    ("webhook.listen-address", "example.com:65535", Address("example.com", 65535)),
    ("metrics.birth-hold", "0", 0.0),
    ("metrics.birth-hold", "1h1m1s500ms", 3661.5),
    ("storage.url", "sqlite:///a b.db", Path("a b.db")),
    ("webhook.public-url", "https://mail.example.com:8443/a/b/", "https://mail.example.com:8443/a/b/"),
    ("web.docs-url", "https://git.example.com:8443/a%20b/docs//", "https://git.example.com:8443/a%20b/docs"),
    ("web.docs-url", "http://[::1]/@docs", "http://[::1]/@docs"),
    ("web.docs-url", "", ""),
]


@pytest.mark.parametrize(("name", "text", "meaning"), GOOD)
def test_good_values_are_read(name: str, text: str, meaning: object) -> None:
    """Each form that the documentation allows has its meaning."""
    assert settings_of({name: text})[name.replace(".", "_").replace("-", "_")] == meaning


BAD = [
    ("web.listen-address", ["", "9100", "host:", "host:99999", "::1:9100", "h:1:2", "host:-1"]),
    ("metrics.birth-hold", ["", "60", "-1s", "1.5s", "s", "1w"]),
    (
        "storage.url",
        ["", "ledger.db", "sqlite:///", "sqlite://x", "mysql:///x", "sqlite:///x?mode=ro", "sqlite:///a\0b"],
    ),
    (
        "webhook.public-url",
        [
            *("example.com", "ftp://x/", "https://", "https://x/?q", "https://x/#f", "https://x/a b", "http://["),
            *("https://x/a%20b", "https://user@x/", "https://münchen.example", "https://x./", "https://x/a/failures"),
            *("https://x/a\n", "https://x\n", "https://x/a\tb", "https://x/./a", "https://x/a/.."),
        ],
    ),
    (
        "web.docs-url",
        [
            *("docs", "/docs", "https://", "https:///docs", "ftp://x/docs", "javascript:alert(1)", "https://x/a b"),
            *("https://user@x/docs", "https://x/?", "https://x/#", 'https://x/"', "https://x/<b>", "https://x/é"),
        ],
    ),
    ("signature.mode", ["", "Off", "none"]),
    ("signature.account", ["1234", "environment 1", "environment-", "environment-1,,environment-2", "-1"]),
    ("signature.key-domain", ["", ".com", "a..b", "exa mple.com", "x" * 64, "a." * 120 + "com"]),
    ("signature.nameserver", ["dns.example.com:53", "127.0.0.1:x", "127.0.0.1:70000", "::1:53x", "127.0.0.1,", ","]),
    ("signature.max-age", ["", "0s", "999ms", "-5s", "25h"]),
    ("webhook.verification-dir", ["a\0b"]),
    ("web.config.file", ["a\0b"]),
    ("providers", ["x", "x=", "=example.com", "X=example.com", "a b=example.com", "x=exa mple.com", "x=*", "x=a,,y=b"]),
    ("tags.count", ["other", "a;b", "a,,b", "x" * 65, "a\nb"]),
    ("log.level", ["", "INFO", "trace"]),
    ("log.format", ["", "text"]),
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD for text in texts])
def test_bad_values_are_told_with_setting_value_and_what_was_expected(name: str, text: str) -> None:
    """The error names the setting, the value, where it came from, and what was expected."""
    expected = next(setting.expected for setting in SETTINGS if setting.name == name)
    with pytest.raises(SettingError) as caught:
        settings_of({name: text})
    assert str(caught.value) == f"{name}: {text!r} (from --{name}): expected {expected}"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("signature.mode", None, "not given, but signature.mode is required (from default): expected the account"),
        ("signature.account", "environment-1", "'off' (from --signature.mode), but signature.account is"),
        ("webhook.verification-dir", "/nowhere", "'/nowhere' (from --webhook.verification-dir): expected a folder"),
    ],
)
def test_settings_that_do_not_go_together_are_told(name: str, text: str | None, message: str) -> None:
    """Each value is good, but not with the others, or not on this machine."""
    with pytest.raises(SettingError) as caught:
        settings_of({name: text})
    assert message in str(caught.value)


def test_providers_are_a_table_in_the_file(tmp_path: Path) -> None:
    """Names stand before their domain or list of domains; elsewhere each pair is a value of its own."""
    file = tmp_path / "exporter.toml"
    file.write_text('[providers]\nschool = ["example.edu", "*.example.edu"]\nfirm = "example.nl"\n')
    settings = read(gather(OFF, {}, file))
    assert settings.providers == (("example.edu", "school"), ("*.example.edu", "school"), ("example.nl", "firm"))
    environment = {"SMTPETER_EXPORTER_PROVIDERS": "firm=example.nl"}
    assert read(gather(OFF, environment, file)).providers == (("example.nl", "firm"),)


def test_some_settings_take_several_values(tmp_path: Path) -> None:
    """They stand in a list in the file, and with commas between them elsewhere; flags are repeated."""
    file = tmp_path / "exporter.toml"
    file.write_text('[signature]\nmode = "required"\naccount = ["environment-1", "environment_2"]\n')
    environment = {"SMTPETER_EXPORTER_SIGNATURE_NAMESERVER": "127.0.0.1:5353, 2001:db8::1,[::1]:54,192.0.2.1"}
    settings = read(gather({}, environment, file))
    assert settings.signature_account == ("environment-1", "environment_2")
    assert settings.signature_nameserver == (
        Address("127.0.0.1", 5353),
        Address("2001:db8::1", 53),
        Address("::1", 54),
        Address("192.0.2.1", 53),
    )


def test_two_listeners_need_two_addresses() -> None:
    """The same address for both is a contradiction; port 0 is a free one each time."""
    with pytest.raises(SettingError) as caught:
        settings_of({"web.listen-address": "[::1]:9", "webhook.listen-address": "[::1]:9"})
    assert str(caught.value) == (
        "web.listen-address: '[::1]:9' is webhook.listen-address as well: expected two different addresses"
    )
    settings_of({"web.listen-address": "127.0.0.1:0", "webhook.listen-address": "127.0.0.1:0"})


UNKNOWN = [
    ('colour = "red"', "colour: no such setting"),
    ('[log]\nlevels = "info"', "log.levels: no such setting; did you mean log.level?"),
    ("log.level = 3", "log.level: 3: expected text in quotes"),
    ('log.level = ["info"]', "log.level: ['info']: expected text in quotes"),
    ("signature.account = [1234]", "signature.account: [1234]: expected a list of texts in quotes"),
    ("log.level = ", "Invalid value (at end of document): expected TOML"),
]


@pytest.mark.parametrize(("content", "message"), UNKNOWN)
def test_mistakes_in_the_file_are_told(tmp_path: Path, content: str, message: str) -> None:
    """An unknown key, another type and bad TOML are errors that name the file."""
    file = tmp_path / "exporter.toml"
    file.write_text(content)
    with pytest.raises(SettingError) as caught:
        settings_of(file=file)
    assert re.sub(r" \(at line.*column \d+\)", " (at end of document)", str(caught.value)) == (
        f"config.file: '{file}': {message}"
    )


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A missing file is an error, not an empty one."""
    with pytest.raises(SettingError) as caught:
        settings_of(file=tmp_path / "none.toml")
    assert str(caught.value) == (
        f"config.file: '{tmp_path}/none.toml': No such file or directory: expected a readable TOML file"
    )


def test_an_unknown_variable_is_told() -> None:
    """A variable with our prefix that is no setting is most likely a slip of the pen."""
    with pytest.raises(SettingError) as caught:
        settings_of(environment={"SMTPETER_EXPORTER_LOG_LEVELS": "info"})
    assert str(caught.value) == (
        "environment variable SMTPETER_EXPORTER_LOG_LEVELS: no such setting; did you mean SMTPETER_EXPORTER_LOG_LEVEL?"
    )


def test_the_path_of_the_public_url_is_where_failures_are_taken() -> None:
    """The public path has no slash at its end, and is empty without a public URL."""
    for url, path in (("", ""), ("https://x.example", ""), ("https://x.example/a/", "/a")):
        assert read(gather({**OFF, "webhook.public-url": url}, {}, None)).public_path == path
