"""The settings of ``serve``, each with its row: flag, default, expected value, help, and the parser of its value.

Flags, environment, file, ``check-config`` and the reference of the documentation are made from these rows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from exporter.ledger.url import PostgresUrl, storage, without_password
from exporter.net import Address, address
from exporter.settings import values as read_as

ENVIRONMENT_PREFIX: Final = "SMTPETER_EXPORTER_"

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One row. ``read`` takes the text and raises ValueError when it is not what is ``expected``."""

    name: str
    default: str
    expected: str
    help: str
    read: Callable[[str], Any]
    many: bool = False
    """Whether it may be given several times; the text then has the values with commas between them."""
    shown: Callable[[str], str] = str
    """How the text is printed: of some, not all."""

    @property
    def field(self) -> str:
        """Name of the field in Settings."""
        return re.sub(r"[.-]", "_", self.name)

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.field.upper()


def _setting(  # noqa: PLR0913 -- the columns of the table
    name: str,
    default: str,
    expected: str,
    help: str,  # noqa: A002 -- as the column is called
    read: Callable[[str], T],
    *,
    many: bool = False,
    shown: Callable[[str], str] = str,
) -> T:
    """Return a required field that carries its row; mypy compares the field's type with what ``read`` returns."""
    row = Setting(name, default, expected, help, read, many=many, shown=shown)
    made: T = field(metadata={"row": row})
    return made


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of ``serve``, read and checked; a field is called as its setting, with ``_`` for dots and dashes."""

    webhook_listen_address: Address = _setting(
        "webhook.listen-address",
        "127.0.0.1:10125",
        "HOST:PORT",
        "Address of the public listener, which SMTPeter calls.",
        address,
    )
    webhook_public_url: str = _setting(
        "webhook.public-url",
        "",
        "a URL such as https://mail.example.com/smtpeter, without user, query, % and the last /failures",
        "Base URL as SMTPeter calls it, when a proxy stands before the exporter; its path is served, too.",
        read_as.public_url,
    )
    webhook_verification_dir: Path | None = _setting(
        "webhook.verification-dir",
        "",
        "a folder",
        "Folder with the smtpeter-….txt files that SMTPeter hands out; they are served beside the callback.",
        read_as.path,
    )
    webhook_server: str = _setting(
        "webhook.server",
        "waitress",
        "waitress or granian",
        "What serves the public listener; granian is faster, an extra, and only for behind a proxy: see security.md.",
        read_as.OneOf("waitress", "granian"),
    )
    web_listen_address: Address = _setting(
        "web.listen-address",
        "127.0.0.1:10126",
        "HOST:PORT",
        "Address of the private listener: metrics and health, for Prometheus and the operator.",
        address,
    )
    web_config_file: Path | None = _setting(
        "web.config.file",
        "",
        "a YAML file as Prometheus's exporter-toolkit documents it",
        "TLS and basic authentication of the private listener.",
        read_as.path,
    )
    web_docs_url: str = _setting(
        "web.docs-url",
        "",
        "a URL such as https://git.example.com/smtpeter-exporter/docs, without user, query and fragment",
        "URL of a copy of the folder docs/. The status page links to it; if not set, the page has no such links.",
        read_as.docs_url,
    )
    storage_url: Path | PostgresUrl = _setting(
        "storage.url",
        "sqlite:///smtpeter-exporter.db",
        "sqlite:///relative/path, sqlite:////absolute/path or postgresql://host/database",
        "The ledger: what was counted. Under systemd the default lies in the unit's state directory. "
        "A PostgreSQL database may be shared by several exporters; see docs/postgresql.md.",
        storage,
        shown=without_password,
    )
    signature_mode: str = _setting(
        "signature.mode",
        "required",
        "required or off",
        "Which requests count: those that SMTPeter signed, or (off) all, for trials on a machine of your own.",
        read_as.OneOf("required", "off"),
    )
    signature_account: tuple[str, ...] = _setting(
        "signature.account",
        "",
        "environment- and the number of your account, such as environment-1234",
        "Whose calls count: the X-Copernica-ID that SMTPeter sends. Needed where signatures are required.",
        read_as.many(read_as.account),
        many=True,
    )
    signature_key_domain: str = _setting(
        "signature.key-domain",
        "copernica.com",
        "a domain name",
        "Domain that the names of SMTPeter's public keys lie under.",
        read_as.domain,
    )
    signature_nameserver: tuple[Address, ...] = _setting(
        "signature.nameserver",
        "",
        "an IP address with or without a port, such as 192.0.2.53:53",
        "Name servers to ask for public keys. Default: the system's.",
        read_as.many(read_as.nameserver),
        many=True,
    )
    signature_max_age: float = _setting(
        "signature.max-age",
        "300s",
        "a duration of 1s to 1d, such as 300s",
        "How old, or how far ahead, the Date of a signed call may be.",
        read_as.max_age,
    )
    metrics_birth_hold: float = _setting(
        "metrics.birth-hold",
        "60s",
        "a duration such as 60s or 2m; 0s turns it off",
        "How long a new series is shown as 0 first, so that increase() sees its first failures.",
        read_as.duration,
    )
    providers: tuple[tuple[str, str], ...] = _setting(
        "providers",
        "",
        "NAME=DOMAIN, such as school=example.edu or school=*.example.edu, the name of a-z, 0-9 and _",
        "Mailbox providers besides the built-in ones. In the file: a table with a list of domains for each name.",
        read_as.many(read_as.provider),
        many=True,
    )
    tags_count: tuple[str, ...] = _setting(
        "tags.count",
        "",
        "a tag of at most 64 characters, without comma and semicolon, and not other",
        "Tags of your mails that are counted, each in a series of its own; all others are counted as other.",
        read_as.many(read_as.tag),
        many=True,
    )
    log_level: str = _setting(
        "log.level",
        "info",
        "debug, info, warning or error",
        "How much to log; debug also shows each failure (addresses masked) and each refusal.",
        read_as.OneOf("debug", "info", "warning", "error"),
    )
    log_format: str = _setting(
        "log.format", "logfmt", "logfmt or json", "Form of the log lines.", read_as.OneOf("logfmt", "json")
    )

    @property
    def public_path(self) -> str:
        """The path of the public URL, without a slash at the end; empty when there is none."""
        return urlsplit(self.webhook_public_url).path.rstrip("/")

    @property
    def public_host(self) -> str:
        """The host of the public URL, with its port if it names one; empty when there is none."""
        return urlsplit(self.webhook_public_url).netloc


SETTINGS: Final[tuple[Setting, ...]] = tuple(field.metadata["row"] for field in fields(Settings))
"""The rows, in the order of the fields."""

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
"""The rows of the table by the names of the settings."""
