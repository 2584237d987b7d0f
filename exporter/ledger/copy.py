"""``smtpeter-exporter ledger copy``: all that one ledger holds into another one that is empty, of any engine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from exporter.errors import LedgerError, SettingError
from exporter.ledger.contract import COPYING, Ledger, Total
from exporter.ledger.factory import open_ledger
from exporter.settings.table import BY_NAME
from exporter.settings.values import PostgresUrl

PAGE: Final = 5_000
"""Identities that are copied and compared at a time."""
REPORT: Final = 2.0
"""Seconds between two lines of progress."""


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


def copy(source: Ledger, target: Ledger, *, say: Callable[[str], None]) -> str:
    """Copy, or go on copying, and compare; a line that tells what was copied. Raises LedgerError."""
    totals = sorted(source.totals())
    if COPYING in [total.series for total in totals]:
        raise LedgerError("SRC is itself a copy that was not ended")
    there = target.totals()
    if totals and sorted(there) == totals:  # it was cut off after its last step: nothing is left but to compare
        number = _copy_identities(source, target, say)
        return f"was copied before: {number:,} identities and {len(totals):,} series are the same"
    if there and [total.series for total in there] != [COPYING]:
        raise LedgerError(
            "DST has counted failures of its own: expected an empty ledger, or one that a copy was begun to"
        )
    if not there:
        if not totals:
            raise LedgerError("SRC is empty: there is nothing to copy")
        if target.identities(b"", 1):
            raise LedgerError("DST knows failures of its own: expected an empty ledger")
        target.adopt([Total(COPYING, 0, held=False, raised_at=0)])
    number = _copy_identities(source, target, say)
    if sorted(source.totals()) != totals:
        raise LedgerError("SRC was written to meanwhile: stop the exporters that use it, and run this again")
    target.adopt(totals)
    if sorted(target.totals()) != totals:
        raise LedgerError("DST does not show the totals that were written to it: don't use it, and please report this")
    return f"copied {number:,} identities and {len(totals):,} series, {sum(total.value for total in totals):,} in all"


def _copy_identities(source: Ledger, target: Ledger, say: Callable[[str], None]) -> int:
    after, number, reported = b"", 0, time.monotonic()
    while page := source.identities(after, PAGE):
        if target.identities(after, len(page)) != page:  # else they were copied before
            target.keep(page)
            if target.identities(after, len(page)) != page:
                raise LedgerError("DST knows failures that SRC does not: begin with an empty ledger")
        number += len(page)
        after = page[-1].identity
        if time.monotonic() > reported + REPORT:
            reported = time.monotonic()
            # Hashes are spread evenly, and come in order: how far it is, the last one tells.
            say(f"{number:,} identities, {int.from_bytes(after[:2], 'big') / 65_536:.0%}")
    if target.identities(after, 1):
        raise LedgerError("DST knows failures that SRC does not: begin with an empty ledger")
    return number
