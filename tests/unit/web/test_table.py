"""The table of the last 24 hours: counts by reason and provider, sums, ratios, and what is folded."""

from typing import Final

import pytest

from exporter.classification.loops import DELIVERIES
from exporter.metrics import recent
from exporter.metrics.recent import BUCKET, SPAN, LastDay
from exporter.web.table import NO_RATIO, PROVIDERS, REASONS, Table, period, remarks, table
from tests.support.status_page import NOW, START, TWO, facts, last_day
from tests.support.texts import Texts


def made(day: LastDay) -> Table:
    """Return the table of an exporter that serves failures and deliveries."""
    found = table(facts(loops=TWO, recent=day))
    assert found
    return found


def ratios(day: LastDay) -> list[str]:
    """Return the failure ratios, that of all providers first."""
    heading, cells = made(day).sums[-1]
    assert heading == "Failure ratio"
    return cells


SOME: Final = last_day(
    {("blocked", "other"): 1_000, ("policy", "gmail"): 20, ("blocked", "gmail"): 10},
    {"gmail": 970, "other": 9_000, "ziggo": 4},
    {"gmail": 10, "other": 250},
)


def test_counts_and_sums() -> None:
    """Rows and columns begin with the most failures. A provider with deliveries only has a column, too."""
    assert made(SOME) == Table(
        ["All", "`other`", "`gmail`", "`ziggo`"],
        [("`blocked`", ["1,010", "1,000", "10", "0"]), ("`policy`", ["20", "0", "20", "0"])],
        [
            ("All failures", ["1,030", "1,000", "30", "0"]),
            ("Deliveries", ["9,974", "9,000", "970", "4"]),
            # Finished are 9,974 + 1,030 - 260; 9,000 + 1,000 - 250; 970 + 30 - 10; and 4.
            ("Failure ratio", ["9.6%", "10.3%", "3.0%", "0%"]),
        ],
    )


def test_no_table_without_failures() -> None:
    """Deliveries alone need no table."""
    assert table(facts(loops=TWO, recent=last_day({}, {"gmail": 5}))) is None


def test_no_ratio_without_deliveries() -> None:
    """If the loop is off, the table has neither deliveries nor ratios."""
    found = table(facts(recent=last_day({("blocked", "gmail"): 1})))
    assert found == Table(["All", "`gmail`"], [("`blocked`", ["1", "1"])], [("All failures", ["1", "1"])])


@pytest.mark.parametrize(
    ("failed", "delivered", "late", "ratio"),
    [
        (1, 3, 0, "25.0%"),
        (1, 1_999, 0, "0.1%"),
        (1, 2_000, 0, "<0.1%"),
        (0, 5, 0, "0%"),
        (5, 5, 5, "100.0%"),
        (5, 0, 0, "100.0%"),
        (5, 0, 5, NO_RATIO),
        (5, 4, 5, NO_RATIO),
        (0, 0, 0, NO_RATIO),
    ],
)
def test_ratio(failed: int, delivered: int, late: int, ratio: str) -> None:
    """A ratio has one decimal. There is none if nothing finished, or more failed than finished."""
    day = last_day(
        {("blocked", "gmail"): failed, ("blocked", "yahoo"): 1}, {"gmail": delivered, "other": 9}, {"gmail": late}
    )
    found = made(day)
    assert dict(zip(found.columns, found.sums[-1][1], strict=True))["`gmail`"] == ratio


def test_no_ratio_if_deliveries_began_late() -> None:
    """If the first delivery was counted more than an hour after the first failure, earlier ones may be missing."""
    day = last_day({("blocked", "gmail"): 1}, {"gmail": 9})
    late = {recent.BY_REASON_PROVIDER: START, recent.DELIVERIES_BY_PROVIDER: START + 3_601}
    assert ratios(day._replace(first=late)) == [NO_RATIO, NO_RATIO]
    in_time = late | {recent.DELIVERIES_BY_PROVIDER: START + 3_600}
    assert ratios(day._replace(first=in_time)) == ["10.0%", "10.0%"]
    assert ratios(last_day({("blocked", "gmail"): 1})) == [NO_RATIO, NO_RATIO]


def test_rare_reasons_and_providers_share_a_row_and_a_column() -> None:
    """The sums stay complete. The rest is not called other, which is the name of a provider."""
    failures = {(f"reason{row:02}", f"provider{at:02}"): 100 - row - at for row in range(13) for at in range(11)}
    failures["reason00", "other"] = 9_999
    found = made(last_day(failures, {"provider10": 7, "elsewhere": 5}))
    shown = [f"`provider{at:02}`" for at in range(PROVIDERS - 1)]
    assert found.columns == ["All", "`other`", *shown, "5 more providers"]
    headings = [heading for heading, _ in found.rows]
    assert headings == [*(f"`reason{row:02}`" for row in range(REASONS)), "3 more reasons"]
    columns = list(zip(*([int(cell.replace(",", "")) for cell in cells] for _, cells in found.rows), strict=True))
    for all_, *parts in zip(*columns, strict=True):
        assert all_ == sum(parts)
    assert [f"{sum(column):,}" for column in columns] == found.sums[0][1]
    assert found.sums[0][1][0] == f"{sum(failures.values()):,}"
    assert found.sums[1][1] == ["12", *["0"] * PROVIDERS, "12"]


def test_one_more_is_not_folded() -> None:
    """A single further reason or provider has its own row or column."""
    found = made(last_day({(f"reason{number:02}", f"provider{number:02}"): 1 for number in range(PROVIDERS + 1)}))
    assert found.columns == ["All", *(f"`provider{number:02}`" for number in range(PROVIDERS + 1))]
    found = made(last_day({(f"reason{number:02}", "gmail"): 1 for number in range(REASONS + 1)}))
    assert [heading for heading, _ in found.rows] == [f"`reason{number:02}`" for number in range(REASONS + 1)]


@pytest.mark.parametrize(
    ("since", "at"), [(NOW - 60, NOW - 60), (NOW - SPAN + BUCKET + 1, NOW - SPAN + BUCKET + 1), (NOW - SPAN, None)]
)
def test_period(since: float, at: float | None, texts: Texts) -> None:
    """Until the process is a day old, the table says since when it counts."""
    words, found = period(facts(recent=last_day({}, since=since)))
    assert found == at
    texts.check(words)


def test_remarks(texts: Texts) -> None:
    """They say why there is no ratio, how it is defined, and that other replicas are left out."""
    day = last_day({("blocked", "gmail"): 1}, {"gmail": 9})
    late = day._replace(first={**day.first, recent.DELIVERIES_BY_PROVIDER: START + 3_601})
    for given in (
        facts(shared=True),
        facts(loops=(DELIVERIES,), recent=day),
        facts(loops=TWO, recent=late),
        facts(loops=TWO, recent=last_day({("blocked", "gmail"): 1})),
    ):
        texts.check(remarks(given))
