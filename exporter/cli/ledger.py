"""``smtpeter-exporter ledger``: commands on a ledger that no exporter is using."""

import time
from pathlib import Path

import click

from exporter.errors import SettingError
from exporter.ledger.copy import copy
from exporter.ledger.factory import open_ledger
from exporter.ledger.url import PostgresUrl
from exporter.settings.table import BY_NAME


@click.group("ledger")
def ledger_group() -> None:
    """Commands on a ledger that no exporter is using."""


@ledger_group.command("copy")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def copy_command(source: str, target: str) -> None:
    """Copy the ledger SRC to the empty ledger DST, and compare them.

    SRC and DST are written as for storage.url. No exporter may use either of them meanwhile. If the copy is
    interrupted, run the same command again to resume it. No exporter starts on DST until the copy is complete. SRC is
    not changed.
    """
    from_url, to_url = _parse("SRC", source), _parse("DST", target)
    original = open_ledger(from_url, now=time.time(), copying=True, existing=True)
    try:
        new = open_ledger(to_url, now=time.time(), copying=True)
        try:
            copied = copy(original, new, say=lambda line: click.echo(line, err=True))
        finally:
            new.close()
    finally:
        original.close()
    click.echo(copied)


def _parse(name: str, text: str) -> Path | PostgresUrl:
    setting = BY_NAME["storage.url"]
    try:
        place: Path | PostgresUrl = setting.parse(text)
    except ValueError:
        raise SettingError(f"{name}: {setting.redact(text)!r}: expected {setting.expected}") from None
    return place
