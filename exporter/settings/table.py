"""The table of the settings of ``serve``: name, metavariable, default, expected value, help and parser of each.

Flags, environment variables, the configuration file, ``check-config`` and docs/reference.md all derive from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from exporter.classification.loops import Loop
from exporter.ledger.url import PostgresUrl, storage, without_password
from exporter.net import Address, parse_address
from exporter.settings.setting import Setting
from exporter.settings.values import (
    OneOf,
    list_of,
    parse_account,
    parse_docs_url,
    parse_domain,
    parse_duration,
    parse_keep_deliveries,
    parse_loops,
    parse_max_age,
    parse_nameserver,
    parse_path,
    parse_provider,
    parse_public_url,
    parse_rules,
    parse_tag,
)

T = TypeVar("T")


def _setting(  # noqa: PLR0913, PLR0917 -- the columns of the table
    name: str,
    metavar: str,
    default: str,
    expected: str,
    help: str,  # noqa: A002 -- as the column is called
    parse: Callable[[str], T],
    *,
    repeatable: bool = False,
    separator: str = ",",
    redact: Callable[[str], str] = str,
) -> T:
    """Return a required dataclass field that carries its row.

    The return type is that of ``parse``, so that mypy compares it with the type of the field.
    """
    row = Setting(
        name, metavar, default, expected, help, parse, repeatable=repeatable, separator=separator, redact=redact
    )
    made: T = field(metadata={"row": row})
    return made


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of ``serve``, parsed and checked. A field has its setting's name, with ``_`` for dots and dashes."""

    webhook_listen_address: Address = _setting(
        "webhook.listen-address",
        "HOST:PORT",
        "127.0.0.1:10125",
        "HOST:PORT",
        "Address of the public listener, to which SMTPeter posts.",
        parse_address,
    )
    webhook_public_url: str = _setting(
        "webhook.public-url",
        "URL",
        "",
        "a URL such as https://mail.example.com/smtpeter, without user name, query, % or the path of a loop at the end",
        "The URL of the webhooks in SMTPeter's dashboard, without /failures. Set it in production: signatures are "
        "verified for its host and path, and requests are also accepted below its path.",
        parse_public_url,
    )
    webhook_loops: tuple[Loop, ...] = _setting(
        "webhook.loops",
        "LOOP",
        "failures",
        "failures, deliveries, bounces or abuses",
        "Feedback loop of SMTPeter to serve, at the path of its name, such as /deliveries. Deliveries make a failure "
        "ratio possible; see docs/how-to/failure-ratio.md.",
        parse_loops,
        repeatable=True,
    )
    webhook_verification_dir: Path | None = _setting(
        "webhook.verification-dir",
        "DIR",
        "",
        "an existing directory",
        "Directory with SMTPeter's verification files (smtpeter-….txt). They are served next to /failures.",
        parse_path,
    )
    webhook_server: str = _setting(
        "webhook.server",
        "SERVER",
        "waitress",
        "waitress or granian",
        "Deprecated, has no effect and will be removed in the next release. There is only one server now.",
        OneOf("waitress", "granian"),
    )
    web_listen_address: Address = _setting(
        "web.listen-address",
        "HOST:PORT",
        "127.0.0.1:10126",
        "HOST:PORT",
        "Address of the private listener: metrics, health checks and the status page.",
        parse_address,
    )
    web_config_file: Path | None = _setting(
        "web.config.file",
        "FILE",
        "",
        "a YAML file in the format of Prometheus's exporter-toolkit",
        "TLS and basic authentication of the private listener.",
        parse_path,
    )
    web_docs_url: str = _setting(
        "web.docs-url",
        "URL",
        "",
        "a URL such as https://git.example.com/smtpeter-exporter/docs, without user name, query or fragment",
        "URL of a copy of the directory docs/, to which the status page links. If not set, the page has no such links.",
        parse_docs_url,
    )
    storage_url: Path | PostgresUrl = _setting(
        "storage.url",
        "URL",
        "sqlite:///smtpeter-exporter.db",
        "sqlite:///relative/path, sqlite:////absolute/path or postgresql://host/database",
        "The ledger, which stores what was counted. If not set under systemd, it is a file in the unit's state "
        "directory. Several exporters can share a PostgreSQL database; see docs/postgresql.md.",
        storage,
        redact=without_password,
    )
    storage_keep_deliveries: float = _setting(
        "storage.keep-deliveries",
        "DURATION",
        "3d",
        "a duration from 1d to 30d, at least twice signature.max-age",
        "How long a delivery that is reported again is recognized. Failures, bounces and abuses are recognized for 30 "
        "days.",
        parse_keep_deliveries,
    )
    signature_mode: str = _setting(
        "signature.mode",
        "MODE",
        "required",
        "required or off",
        'Require SMTPeter\'s signature; "off" accepts every request (for testing only).',
        OneOf("required", "off"),
    )
    signature_account: tuple[str, ...] = _setting(
        "signature.account",
        "ACCOUNT",
        "",
        "environment- followed by the number of your account, such as environment-1234",
        "Your SMTPeter account, as in the header X-Copernica-ID. Signed requests for other accounts are rejected. Must "
        "be set if signatures are required.",
        list_of(parse_account),
        repeatable=True,
    )
    signature_key_domain: str = _setting(
        "signature.key-domain",
        "DOMAIN",
        "copernica.com",
        "a domain name",
        "Domain below which SMTPeter publishes its public keys in DNS.",
        parse_domain,
    )
    signature_nameserver: tuple[Address, ...] = _setting(
        "signature.nameserver",
        "ADDRESS",
        "",
        "an IP address with or without a port, such as 192.0.2.53:53",
        "Name server for the lookup of public keys. If not set, those of the system are used.",
        list_of(parse_nameserver),
        repeatable=True,
    )
    signature_max_age: float = _setting(
        "signature.max-age",
        "DURATION",
        "300s",
        "a duration from 1s to 1d, such as 300s",
        "Maximum difference between the Date of a signed request and the current time, in either direction.",
        parse_max_age,
    )
    metrics_birth_hold: float = _setting(
        "metrics.birth-hold",
        "DURATION",
        "60s",
        "a duration such as 60s or 2m; 0s turns it off",
        "How long a new time series is first exposed as 0, so that increase() sees its first failures.",
        parse_duration,
    )
    providers: tuple[tuple[str, str], ...] = _setting(
        "providers",
        "NAME=DOMAIN",
        "",
        "NAME=DOMAIN, such as school=example.edu or school=*.example.edu, with a name of a-z, 0-9 and _",
        "Mailbox providers in addition to the built-in ones. In the file: a table with a list of domains for each "
        "name.",
        list_of(parse_provider),
        repeatable=True,
    )
    reasons: tuple[tuple[str, str], ...] = _setting(
        "reasons",
        "PATTERN=REASON",
        "",
        "one PATTERN=REASON per line, a regular expression and a reason, such as queue quota exceeded=rate_limited",
        "Your own rules for reasons, tried in this order before the built-in ones. In the file: a table with a reason "
        "for each pattern. In the variable: one rule per line. Needs the extra reasons; see docs/reasons/README.md.",
        parse_rules,
        repeatable=True,
        separator="\n",
    )
    tags_count: tuple[str, ...] = _setting(
        "tags.count",
        "TAG",
        "",
        "a tag of at most 64 characters, without comma and semicolon, and not other",
        "Tag of your messages that gets a time series of its own. Events without such a tag are counted as other.",
        list_of(parse_tag),
        repeatable=True,
    )
    log_level: str = _setting(
        "log.level",
        "LEVEL",
        "info",
        "debug, info, warning or error",
        "Lowest level to log. At debug, each accepted event and each rejected request is logged, without recipients "
        "and server responses.",
        OneOf("debug", "info", "warning", "error"),
    )
    log_format: str = _setting(
        "log.format", "FORMAT", "logfmt", "logfmt or json", "Format of the log lines.", OneOf("logfmt", "json")
    )
    log_events: str = _setting(
        "log.events",
        "MODE",
        "off",
        "off or masked",
        'Log a line for each counted event, for a log database such as Loki; "masked" means without addresses. At most '
        "100 lines per second for each loop, at the level info.",
        OneOf("off", "masked"),
    )

    @property
    def public_path(self) -> str:
        """Path of the public URL without a final slash; empty if there is none."""
        return urlsplit(self.webhook_public_url).path.rstrip("/")

    @property
    def public_host(self) -> str:
        """Host of the public URL, with the port if the URL has one; empty if there is no public URL."""
        return urlsplit(self.webhook_public_url).netloc


SETTINGS: Final[tuple[Setting, ...]] = tuple(field.metadata["row"] for field in fields(Settings))
"""The rows of the table, in the order of the fields."""

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
"""The rows of the table by the names of the settings."""
