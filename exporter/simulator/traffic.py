"""A realistic stream of events, optionally with a spike. Pure: no clock, and the same seed gives the same stream.

Failures are a Poisson process whose rate follows the hours of the week (in UTC) of a sender in the Netherlands. A spike
is a second process that is added to it, so the usual traffic of a seed is the same with and without a spike. Deliveries
and mailings are further processes. Most events have consequences: see ``consequences``.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from heapq import heappop, heappush, merge
from itertools import accumulate, count
from math import inf
from operator import itemgetter
from random import Random
from typing import Final, NamedTuple, TypeAlias

from exporter.classification.loops import FAILURES
from exporter.simulator.answers import ACCEPTING_REPLIES, JUDGES, SAMPLE_REPLIES, SampleReply
from exporter.simulator.consequences import LEAD, of_delivery, of_failure
from exporter.simulator.mailings import BLOCK_REPLIES, VOLUME, Block, Mailing, mailings_from
from exporter.simulator.requests import MAILING_TAGS, TAGS, SimulatedRequest, failure, message_to

DAY: Final = 86_400.0
HOUR: Final = 3_600.0

# The rate at each full hour of a working day from 0:00, relative to the mean of that day. The rate in between is
# interpolated. Consecutive hours differ by a factor of at most 1.6.
_HOURS: Final = (
    *(0.42, 0.35, 0.30, 0.30, 0.40, 0.60, 0.90, 1.40, 2.00, 1.90, 1.80, 1.60),
    *(1.40, 1.40, 1.33, 1.30, 1.20, 1.00, 0.90, 0.90, 0.80, 0.70, 0.60, 0.50),
)
_WEEKEND: Final = 0.4  # rate relative to a working day
_RAMP: Final = 8  # hours of the transitions to and from the weekend, centered on midnight
_MONDAY: Final = 72  # hours from a Monday to the epoch, which was a Thursday

_LATEST_REPEAT: Final = 60.0  # seconds
_JUDGES_SHARE: Final = 0.9

_Group: TypeAlias = tuple[float, list[SimulatedRequest]]
"""The time at which an attempt to deliver ended, and all requests about it."""


def _week() -> tuple[float, ...]:
    days = [0.0] * 5 * 24 + [1.0] * 2 * 24  # 1 at the weekend; its moving average makes the ramps
    half = _RAMP // 2
    weekend = [sum(days[(hour + by) % len(days)] for by in range(-half, half)) / _RAMP for hour in range(len(days))]
    raw = [_HOURS[hour % 24] * (1 - (1 - _WEEKEND) * share) for hour, share in enumerate(weekend)]
    mean = sum(raw) / len(raw)
    return tuple(rate / mean for rate in raw)


WEEK: Final = _week()
"""The rate at each full hour of a week from Monday 0:00 UTC, relative to the mean of the week."""
_PEAK: Final = max(WEEK)


class Spike(NamedTuple):
    """``factor`` times the usual failures of a reason (None: of all reasons), from ``begin`` to ``end`` (Unix seconds).

    A spike of one reason is at least as high as the mean rate of all failures, so that a spike of a rare reason is
    visible. If the reason is in :data:`JUDGES`, nine in ten of the added failures are of its provider.
    """

    reason: str | None
    factor: float
    begin: float
    end: float


_SHARES: Final = {answer: answer.share for answer in SAMPLE_REPLIES}
_ACCEPTING: Final = {answer: answer.share for answer in ACCEPTING_REPLIES.values()}


class _Process(NamedTuple):
    """A Poisson process from ``begin`` to ``end`` with a rate of at most ``most`` per second.

    Its events are drawn from answers with their ``shares``, and from ``tags``.
    """

    name: str
    begin: float
    end: float
    rate: Callable[[float], float]
    most: float
    shares: Mapping[SampleReply, float] = _SHARES
    tags: Sequence[str] = TAGS

    def draw(self, seed: int) -> Iterator[tuple[float, SampleReply, Random]]:
        """Yield each event: time, answer, and the source of its random numbers. Thins a process of constant rate."""
        random = Random(f"{self.name} {seed}")  # noqa: S311 -- a simulation
        answers, steps = list(self.shares), list(accumulate(self.shares.values()))
        at = self.begin
        while (at := at + random.expovariate(self.most)) < self.end:
            if random.random() * self.most < self.rate(at):
                yield at, answers[bisect_right(steps, random.random() * steps[-1], 0, len(steps) - 1)], random


class Traffic:
    """The events of an account that has ``per_day`` failures, averaged over a week, without mailings and spike.

    ``loops`` are those whose requests are wanted. If they are not only failures, there are ``deliveries_per_failure``
    times as many deliveries as failures, and mailings at irregular times; ``mailing`` adds one. A ``block`` turns
    deliveries into failures. A share of ``repeats`` of the requests is repeated within a minute.
    """

    def __init__(  # noqa: PLR0913 -- by name
        self,
        per_day: float,
        *,
        seed: int = 0,
        spike: Spike | None = None,
        repeats: float = 0.02,
        loops: Collection[str] = (FAILURES.name,),
        deliveries_per_failure: float = 50,
        mailing: Mailing | None = None,
        block: Block | None = None,
    ) -> None:
        self.mean: Final = per_day / DAY
        """Failures per second, averaged over a week, without mailings, spike and repeats."""
        self._seed = seed
        self._repeats = repeats
        self._spike = spike
        self._shares_added = _added(spike) if spike else {}
        self._loops = frozenset(loops)
        self._all = self._loops != {FAILURES.name}
        self._per_failure = deliveries_per_failure
        self._mailing = mailing
        self._block = block

    def usual(self, at: float) -> float:
        """Return failures per second at a time, without the spike."""
        hour, part = divmod(at / HOUR + _MONDAY, 1)
        before, after = WEEK[int(hour) % len(WEEK)], WEEK[int(hour + 1) % len(WEEK)]
        return self.mean * (before + part * (after - before))

    def added(self, at: float) -> float:
        """Return failures per second that the spike adds at a time."""
        spike = self._spike
        if spike is None or not spike.begin <= at < spike.end:
            return 0.0
        usual = self.usual(at)
        if spike.reason is None:
            return (spike.factor - 1) * usual
        usual *= sum(answer.share for answer in SAMPLE_REPLIES if answer.reason == spike.reason)
        return max(spike.factor * usual, self.mean) - usual

    def requests(self, start: float) -> Iterator[SimulatedRequest]:
        """Yield all requests from a time on, in the order of time, without end."""
        groups = merge(*self._streams(start), key=itemgetter(0))
        return self._with_repeats(request for request in self._in_order(groups) if request.loop in self._loops)

    def _streams(self, start: float) -> Iterator[Iterator[_Group]]:
        yield self._failures(_Process("usual", start, inf, self.usual, self.mean * _PEAK), start)
        if self._spike:
            begin, most = max(start, self._spike.begin), self.mean * max(1.0, self._spike.factor * _PEAK)
            process = _Process("spike", begin, self._spike.end, self.added, most, self._shares_added)
            yield self._failures(process, start)
        if self._all:
            yield self._deliveries("deliveries", start, inf, self._per_failure, TAGS)
            yield self._of_mailings("mailings", mailings_from(start, self._seed), start)
        if self._mailing:
            yield self._of_mailings("mailing", iter([self._mailing]), start)

    def _of_mailings(self, name: str, mailings: Iterator[Mailing], start: float) -> Iterator[_Group]:
        for mailing in mailings:
            begin, end, each = max(start, mailing.begin), mailing.end, f"{name} {mailing.begin:.0f}"
            times = (VOLUME - 1) * mailing.failing
            process = _Process(f"{each} failures", begin, end, self._times_usual(times), times * self.mean * _PEAK)
            failures = self._failures(process._replace(tags=MAILING_TAGS), start)
            deliveries = self._deliveries(each, begin, end, (VOLUME - 1) * self._per_failure, MAILING_TAGS)
            yield from merge(failures, deliveries, key=itemgetter(0))

    def _times_usual(self, times: float) -> Callable[[float], float]:
        return lambda at: times * self.usual(at)

    def _failures(self, process: _Process, start: float) -> Iterator[_Group]:
        later = Random(f"after {process.name} {self._seed}")  # noqa: S311 -- a simulation
        for at, answer, random in process.draw(self._seed):
            message = message_to(answer.domains, at, process.tags, random)
            if self._all:
                yield at, list(of_failure(message, answer, at, start, later))
            else:
                yield at, [failure(message, answer, at)]

    def _deliveries(self, name: str, begin: float, end: float, times: float, tags: Sequence[str]) -> Iterator[_Group]:
        if not times:
            return
        later = Random(f"after {name} {self._seed}")  # noqa: S311 -- a simulation
        judging = Random(f"block {name} {self._seed}")  # noqa: S311 -- a simulation
        process = _Process(name, begin, end, self._times_usual(times), times * self.mean * _PEAK, _ACCEPTING)
        for at, answer, random in process.draw(self._seed):
            message = message_to(answer.domains, at, tags, random)
            if self._block and self._block.covers(at, answer) and judging.random() < self._block.share:
                yield at, [failure(message, BLOCK_REPLIES[answer.provider], at)]
            else:
                yield at, list(of_delivery(message, answer, at, later))

    def _in_order(self, groups: Iterator[_Group]) -> Iterator[SimulatedRequest]:
        lead = LEAD if self._all else 0.0
        waiting: list[tuple[float, int, SimulatedRequest]] = []  # the number orders requests of the same time
        numbers = count()
        for at, requests in groups:
            for request in requests:
                heappush(waiting, (request.at, next(numbers), request))
            while waiting and waiting[0][0] <= at - lead:
                yield heappop(waiting)[2]

    def _with_repeats(self, requests: Iterator[SimulatedRequest]) -> Iterator[SimulatedRequest]:
        random = Random(f"repeats {self._seed}")  # noqa: S311 -- a simulation
        waiting: list[tuple[float, int, SimulatedRequest]] = []  # the number orders repeats of the same time
        for number, request in enumerate(requests):
            while waiting and waiting[0][0] <= request.at:
                yield heappop(waiting)[2]
            yield request
            if random.random() < self._repeats:
                again = request.at + 1 + random.random() * (_LATEST_REPEAT - 1)
                heappush(waiting, (again, number, request._replace(at=again, repeated=True)))


def _added(spike: Spike) -> dict[SampleReply, float]:
    """Return the answers that a spike adds, and the share of each in the added failures."""
    if spike.reason is None:
        return _SHARES
    judge = JUDGES.get(spike.reason)
    answers = [answer for answer in SAMPLE_REPLIES if answer.reason == spike.reason]
    judged = [answer for answer in answers if answer.provider == judge]
    others = [answer for answer in answers if answer.provider != judge]
    parts = ((judged, _JUDGES_SHARE), (others, 1 - _JUDGES_SHARE)) if judged and others else ((answers, 1.0),)
    return {answer: answer.share / sum(one.share for one in part) * weight for part, weight in parts for answer in part}
