"""The status page as text, for a terminal: the same lines as the HTML of ``page.py``."""

from collections.abc import Iterable
from datetime import UTC, datetime

from exporter.web.checks import notices, parts, rejections, steps, verdict
from exporter.web.facts import Facts
from exporter.web.lines import Line, ago
from exporter.web.loops import loop_lines
from exporter.web.table import Table, period, remarks, table


def text(facts: Facts) -> str:
    """Return the page as plain text. Names of settings and commands are in backquotes."""
    _, sentence = verdict(facts)
    now = datetime.fromtimestamp(facts.now, UTC)
    started = f"smtpeter-exporter {facts.version}, started {ago(facts.now - facts.since)}"
    known = [notice.text for notice in notices(facts)]
    loops = loop_lines(facts)
    sections = [
        [f"{started}. State at {now:%Y-%m-%d %H:%M:%S} UTC.", sentence],
        _section("Does it work?", _lines(steps(facts), facts)),
        *([known] if known else []),
        *([_section("Other loops", _lines(loops, facts))] if loops else []),
        _section("Failures in the last 24 hours", _table(facts)),
        _section("Rejected in the last hour", _rejected(facts)),
        _section(f"Ledger{' and keys' if facts.signature_required else ''}", _lines(parts(facts), facts)),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _section(heading: str, lines: Iterable[str]) -> list[str]:
    return [heading, *(f"  {line}" for line in lines)]


def _lines(lines: Iterable[Line], facts: Facts) -> list[str]:
    rows = []
    for line in lines:
        when = "" if line.at is None else f" {ago(facts.now - line.at)}"
        requested = "" if line.requested is None else f" The last request arrived {ago(facts.now - line.requested)}."
        rows += [f"{line.title}: {line.state}", f"  {line.text}{when}.{requested}"]
        if line.docs and line.todo:
            rows.append(f"  To do: {line.todo}")
        if line.docs and facts.docs_url:
            rows.append(f"  More: {facts.docs_url}/{line.docs}")
    return rows


def _rejected(facts: Facts) -> list[str]:
    if not facts.refusals:
        return ["No request was rejected."]
    rows = []
    for reason, times, what, todo in rejections(facts):
        rows += [f"{reason}: {times}", f"  {what}", f"  To do: {todo}"]
    return rows


def _table(facts: Facts) -> list[str]:
    covered, at = period(facts)
    counted = f"counted {covered}{'' if at is None else f' {ago(facts.now - at)}'}."
    found = table(facts)
    if found is None:
        return [f"No failure was {counted}"]
    return [*_columns(found), f"The table shows failures {counted}", *remarks(facts)]


def _columns(found: Table) -> list[str]:
    rows = [["Reason", *found.columns], *([heading, *cells] for heading, cells in (*found.rows, *found.sums))]
    plain = [[cell.strip("`") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in plain
    ]
