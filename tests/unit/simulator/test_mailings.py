"""Mailings begin at irregular times, each with a ratio of its own; blocks are those of one provider for a time."""

from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator.answers import ACCEPTING_REPLIES
from exporter.simulator.mailings import BLOCK_REPLIES, Block, Mailing, mailing_at, mailings_from

MONDAY: Final = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
WEEK: Final = 7 * 86_400.0


def test_mailings_are_irregular() -> None:
    """There are one to three a week on workdays between 6:00 and 19:00, for about half an hour.

    Neither the times between them nor their ratios are the same. The ratios are a quarter to four times the usual one.
    """
    mailings = list(islice(mailings_from(MONDAY, 1), 200))
    weeks = [int((mailing.begin - MONDAY) // WEEK) for mailing in mailings]
    assert {weeks.count(week) for week in range(weeks[-1])} == {1, 2, 3}
    begins = [datetime.fromtimestamp(mailing.begin, UTC) for mailing in mailings]
    assert {begin.weekday() for begin in begins} == set(range(5))
    assert {begin.hour for begin in begins} == set(range(6, 19))
    assert all(1_200 <= mailing.end - mailing.begin <= 2_400 for mailing in mailings)
    assert all(0.25 <= mailing.failing <= 4 for mailing in mailings)
    assert sum(mailing.failing < 1 for mailing in mailings) in range(80, 120)
    gaps = {round(two.begin - one.begin) for one, two in pairwise(mailings)}
    assert len(gaps) == len({mailing.failing for mailing in mailings}) - 1 == len(mailings) - 1


@given(seed=st.integers(), at=st.floats(0, 4e9), later=st.floats(0, 1e7))
def test_mailings_do_not_depend_on_the_start(seed: int, at: float, later: float) -> None:
    """They are in order and do not overlap. From a later start, they are the same ones, but for those that are over."""
    mailings = list(islice(mailings_from(at, seed), 80))
    assert all(one.end < two.begin for one, two in pairwise(mailings))
    left = [mailing for mailing in mailings if mailing.end > at + later]
    assert list(islice(mailings_from(at + later, seed), len(left))) == left


@given(seed=st.integers(), at=st.floats(0, 4e9))
def test_the_mailing_at_a_time_is_found(seed: int, at: float) -> None:
    """It is found from its begin until its end, which is exclusive."""
    mailing = next(mailings_from(at, seed))
    assert mailing_at(mailing.begin, seed) == mailing_at((mailing.begin + mailing.end) / 2, seed) == mailing
    assert mailing_at(mailing.end, seed) is None
    assert mailing_at(at, seed) == (mailing if mailing.begin <= at else None)


def test_a_mailing_on_demand_has_the_ratio_of_its_seed() -> None:
    """It lasts half an hour."""
    mailings = [Mailing.on_demand(MONDAY, seed) for seed in (1, 1, 2)]
    assert [(mailing.begin, mailing.end) for mailing in mailings] == [(MONDAY, MONDAY + 1_800)] * 3
    assert (mailings[0] == mailings[1], mailings[0] == mailings[2]) == (True, False)


def test_a_block_is_of_one_provider_for_a_time() -> None:
    """It covers what the provider would accept from the begin to the end, which is exclusive."""
    block = Block("gmail", 10, 20)
    covered = [
        (at, name) for at in (9, 10, 19, 20) for name, reply in ACCEPTING_REPLIES.items() if block.covers(at, reply)
    ]
    assert covered == [(10, "gmail"), (19, "gmail")]


def test_providers_that_block_say_so() -> None:
    """Each answer is one of its provider, during the SMTP conversation."""
    assert set(BLOCK_REPLIES) == {"gmail", "microsoft", "yahoo", "ziggo", "other"}
    assert {(name, reply.provider, reply.reason) for name, reply in BLOCK_REPLIES.items()} == {
        (name, name, "blocked") for name in BLOCK_REPLIES
    }
    assert "bounce" not in {reply.state for reply in BLOCK_REPLIES.values()}
