"""``smtpeter-exporter ledger``: what can be done with a ledger that no exporter uses."""

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
    """What can be done with a ledger that no exporter uses."""


@ledger_group.command("copy")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def copy_command(source: str, target: str) -> None:
    """Copy the ledger SRC to DST, which must be empty, and compare; both as in storage.url.

    No exporter may use either meanwhile. When it is cut off, run it again: it goes on where it was. Until it has come
    to its end no exporter starts on DST. SRC stays as it is.
    """
    places = [_place("SRC", source), _place("DST", target)]
    first = open_ledger(places[0], now=time.time(), copying=True, existing=True)
    try:
        second = open_ledger(places[1], now=time.time(), copying=True)
        try:
            copied = copy(first, second, say=lambda line: click.echo(line, err=True))
        finally:
            second.close()
    finally:
        first.close()
    click.echo(copied)


def _place(name: str, text: str) -> Path | PostgresUrl:
    setting = BY_NAME["storage.url"]
    try:
        place: Path | PostgresUrl = setting.read(text)
    except ValueError:
        raise SettingError(f"{name}: {setting.shown(text)!r}: expected {setting.expected}") from None
    return place
