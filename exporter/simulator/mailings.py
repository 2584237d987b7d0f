"""Mailings and blocks: when there is far more mail than usual, and when a provider rejects it. Pure.

The mailings of a seed begin at the same times whenever the simulation starts, because each week has its own.
"""

from collections.abc import Iterator
from functools import lru_cache
from random import Random
from typing import Final, NamedTuple

from exporter.simulator.answers import SAMPLE_REPLIES, SampleReply

_HOUR: Final = 3_600.0
_DAY: Final = 24 * _HOUR
_WEEK: Final = 7 * _DAY
_FIRST_MONDAY: Final = 4 * _DAY  # Unix seconds; the epoch was a Thursday

VOLUME: Final = 20.0
"""How many times the usual deliveries there are during a mailing."""
LENGTH: Final = 30 * 60.0
"""Mean length of a mailing in seconds."""
_WORKDAYS: Final = 5
_EARLIEST, _LATEST = 6 * _HOUR, 19 * _HOUR  # UTC
_WORST: Final = 4.0

BLOCK_REPLIES: Final = {
    reply.provider: reply for reply in SAMPLE_REPLIES if reply.reason == "blocked" and reply.state != "bounce"
}
"""For each provider that can block the sender, its answer then."""


class Mailing(NamedTuple):
    """``VOLUME`` times the usual deliveries from ``begin`` to ``end`` (Unix seconds).

    Of the added messages, ``failing`` times as many fail as of others.
    """

    begin: float
    end: float
    failing: float = 1.0

    @classmethod
    def on_demand(cls, begin: float, seed: int) -> "Mailing":
        """Return the mailing of a seed that begins at a time and has the mean length."""
        return cls(begin, begin + LENGTH, _failing(Random(f"mailing {seed}")))  # noqa: S311 -- a simulation


class Block(NamedTuple):
    """A provider rejects ``share`` (0 to 1) of the messages from ``begin`` to ``end`` (Unix seconds)."""

    provider: str
    begin: float
    end: float
    share: float = 0.9

    def covers(self, at: float, reply: SampleReply) -> bool:
        """Return whether the block lasts at a time, and is that of the reply's provider."""
        return reply.provider == self.provider and self.begin <= at < self.end


@lru_cache(maxsize=64)
def _mailings_of(week: int, seed: int) -> tuple[Mailing, ...]:
    random = Random(f"mailings {week} {seed}")  # noqa: S311 -- a simulation
    order = sorted((random.random(), day) for day in range(_WORKDAYS))
    days = sorted(day for _, day in order[: 1 + int(random.random() * 3)])
    monday = _FIRST_MONDAY + week * _WEEK
    begins = [monday + day * _DAY + _EARLIEST + random.random() * (_LATEST - _EARLIEST) for day in days]
    return tuple(
        Mailing(begin, begin + LENGTH * (2 / 3 + random.random() * 2 / 3), _failing(random)) for begin in begins
    )


def _failing(random: Random) -> float:
    """Return a factor from a quarter to four; as many are below 1 as above."""
    return float(_WORST ** (2 * random.random() - 1))


def _week_of(at: float) -> int:
    return int((at - _FIRST_MONDAY) // _WEEK)


def mailings_from(start: float, seed: int) -> Iterator[Mailing]:
    """Yield the mailings that end after ``start``, without end: one to three a week, on different workdays."""
    week = _week_of(start)
    while True:
        yield from (mailing for mailing in _mailings_of(week, seed) if mailing.end > start)
        week += 1


def mailing_at(at: float, seed: int) -> Mailing | None:
    """Return the mailing that is going on at a time, or None."""
    return next((mailing for mailing in _mailings_of(_week_of(at), seed) if mailing.begin <= at < mailing.end), None)
