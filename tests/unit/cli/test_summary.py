"""The tables of ``classify --summary``: their order, their limits, and the day of a failure."""

import pytest

from exporter.classification.fields import Fields
from exporter.cli.summary import MAX_DAYS, Summary, day_of


def rows(summary: Summary) -> list[list[tuple[str, int, str]]]:
    """Return key, count and text of the rows of each table."""
    tables: list[list[tuple[str, int, str]]] = []
    for line in filter(None, summary.lines()):
        if line[20:].lstrip().startswith("failures"):
            tables.append([])
        else:
            tables[-1].append((line[:20].strip(), int(line[20:30].replace(",", "")), line[39:]))
    return tables


def test_each_table_has_its_order() -> None:
    """Reasons and providers are in order of frequency, days in that of time. A row has its most frequent reason."""
    summary = Summary()
    for reason, provider, day, times in (
        ("content", "yahoo", "2026-11-23", 2),
        ("blocked", "gmail", "no time", 1),
        ("blocked", "gmail", "2026-11-22", 1_000),
        ("expired", "gmail", "2026-11-23", 1),
    ):
        for number in range(times):
            summary.add(reason, provider, day, f"{day} {number}".__str__)
    assert rows(summary) == [
        [
            ("blocked", 1_001, "no time 0"),
            ("content", 2, "2026-11-23 0"),
            ("expired", 1, "2026-11-23 0"),
            ("all", 1_004, ""),
        ],
        [("gmail", 1_002, "blocked (99.9%)"), ("yahoo", 2, "content (100.0%)")],
        [
            ("2026-11-22", 1_000, "blocked (100.0%)"),
            ("2026-11-23", 3, "content (66.7%)"),
            ("no time", 1, "blocked (100.0%)"),
        ],
    ]


def test_an_example_is_short() -> None:
    """It has at most 100 characters."""
    summary = Summary()
    summary.add("content", "gmail", "no time", lambda: "many words " * 50)
    assert rows(summary)[0][0] == ("content", 1, f"{'many words ' * 9}…")


def test_the_number_of_days_is_limited() -> None:
    """More days are counted together, in the last row. The total stays right."""
    summary = Summary()
    days = [f"{1000 + number}-01-01" for number in range(MAX_DAYS + 100)]
    for day in days * 2:
        summary.add("content", "gmail", day, str)
    table = rows(summary)[2]
    assert [day for day, _, _ in table[:-1]] == days[: len(table) - 1]
    assert (len(table) <= MAX_DAYS + 2, table[-1][0], sum(count for _, count, _ in table)) == (
        True,
        "other days",
        2 * len(days),
    )


@pytest.mark.parametrize(
    ("variables", "day"),
    [
        ({"time": "2026-11-23 23:59:59"}, "2026-11-23"),
        ({"time": "2026-11-23T23:30:00-02:00"}, "2026-11-24"),
        ({"time": "1795478399"}, "2026-11-23"),
        ({"time": "1795478400.5", "timestamp": "2026-11-20 00:00:00"}, "2026-11-24"),
        ({"time": "", "timestamp": "2026-11-20 00:00:00"}, "2026-11-20"),
        ({"time": "soon", "timestamp": "2026-11-20"}, "2026-11-20"),
        ({"time": "99999999999999999999"}, "no time"),
        ({"time": "99999999999", "timestamp": "later"}, "5138-11-16"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "no time"),
        ({"time": []}, "no time"),
        ({}, "no time"),
    ],
)
def test_the_day_is_in_utc(variables: dict[str, object], day: str) -> None:
    """Log files have a date in ``time``, webhooks Unix time there and a date in ``timestamp``."""
    assert day_of(Fields(variables.items())) == day
