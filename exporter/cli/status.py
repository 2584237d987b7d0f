"""``status``: the status page of a running exporter as text."""

import ssl
import sys
from base64 import b64encode
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import click

from exporter.errors import NoStatusPage, SettingError
from exporter.settings.table import BY_NAME
from exporter.web.lines import STATE_HEADER, State

TIMEOUT: Final = 15
"""Seconds to wait for a connection, and for each part of the answer."""
_MAX_PAGE: Final = 2**20
_PORTS: Final = {"http": 80, "https": 443}


@click.command("status")
@click.argument("url", default=f"http://{BY_NAME['web.listen-address'].default}")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    help="PEM file with the authority of the exporter's certificate, or with the certificate itself. Default: the "
    "authorities of the system.",
)
@click.option("--user", help="Name of the user, if the private listener requires a password.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File whose first line is the user's password.")
def status_command(url: str, ca_file: Path | None, user: str | None, password_file: Path | None) -> None:
    """Print the status page of the exporter at URL, by default on this host.

    URL is that of its private listener. Exits with 1 if the page shows a problem, and with 5 if there is no such page.
    """
    parts = _parse(url)
    if (user is None) != (password_file is None):
        raise click.UsageError("--user and --password-file go together")
    if ca_file and parts.scheme != "https":
        raise click.UsageError("--ca-file needs a URL with https")
    headers = {"Accept": "text/plain"}
    if user is not None and password_file is not None:
        headers["Authorization"] = _credentials(user, password_file)
    connection = _connection(parts, ca_file)
    try:
        with closing(connection):
            connection.request("GET", parts.path or "/", headers=headers)
            response = connection.getresponse()
            text = response.read(_MAX_PAGE).decode(errors="replace")
    except (OSError, ValueError, HTTPException) as error:
        raise NoStatusPage(f"no status page at {url}: {_reason(error)}") from error
    if why := _refusal(response, with_password=user is not None):
        raise NoStatusPage(f"no status page at {url}: {why}")
    # Another server could send sequences that control the terminal.
    click.echo("".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text), nl=False)
    if response.headers[STATE_HEADER] == State.PROBLEM:
        sys.exit(1)


def _parse(url: str) -> SplitResult:
    """Return the parts of the URL. Raises BadParameter without the URL if it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if "@" in url:
        raise click.BadParameter("expected a URL without user and password; use --user and --password-file")
    if not usable or parts.query or parts.fragment:
        raise click.BadParameter(f"{url!r}: expected a URL such as https://exporter.example.com:10126")
    return parts


def _credentials(user: str, password_file: Path) -> str:
    """Return the value of the header Authorization (RFC 7617). Raises SettingError."""
    if ":" in user:
        raise click.BadParameter("expected a name without a colon", param_hint="--user")
    try:
        password, *_ = password_file.read_bytes().splitlines() or [b""]
    except OSError as error:
        raise SettingError(f"--password-file: '{password_file}': {error.strerror}: expected a readable file") from error
    if not password:
        raise SettingError(f"--password-file: '{password_file}': expected a password in the first line")
    return f"Basic {b64encode(user.encode(errors='surrogateescape') + b':' + password).decode()}"


def _connection(parts: SplitResult, ca_file: Path | None) -> HTTPConnection:
    """Return a connection that is not yet open. Raises SettingError if the file has no certificates."""
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    if parts.scheme == "http":
        return HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # among them ssl.SSLError
        why = "no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingError(f"--ca-file: '{ca_file}': {why}: expected a PEM file with certificates") from error
    return HTTPSConnection(host, port, timeout=TIMEOUT, context=context)


def _reason(error: Exception) -> str:
    """Return why there is no answer, in one line."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate not trusted: {error.verify_message}; see --ca-file"
        case ssl.SSLError():
            return f"no TLS: {error.reason}; try a URL with http"
        case TimeoutError():
            return f"no answer within {TIMEOUT} seconds; is it a listener with TLS (https) or without (http)?"
        case HTTPException() | ConnectionResetError():
            return "no HTTP; try a URL with https"
        case OSError(strerror=str(text)):
            return text
        case _:
            return " ".join(str(error).split()) or type(error).__name__


def _refusal(response: HTTPResponse, *, with_password: bool) -> str:
    """Return why the answer is not the page, or nothing if it is."""
    if response.status == HTTPStatus.UNAUTHORIZED:
        return "wrong user or password" if with_password else "password required; see --user and --password-file"
    if response.status != HTTPStatus.OK:
        return f"{response.status} {response.reason}".rstrip() + "; is it the URL of the private listener?"
    if response.headers[STATE_HEADER] is None:
        return "another program answered, or an earlier version of the exporter"
    return ""
