"""A believable stream of failures, with a spike on demand. Pure: no clock, and the same seed gives the same stream.

Failures are a Poisson process whose rate follows the hours of the week (in UTC) of a sender in the Netherlands. A spike
is a second process on top of it, so that the usual traffic of a seed is the same with and without one.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from heapq import heappop, heappush, merge
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple

from exporter.simulator.answers import JUDGES, SAMPLE_REPLIES, SampleReply

DAY: Final = 86_400.0
HOUR: Final = 3_600.0

# The rate at each full hour of a working day from 0:00 on, against the mean of that day; in between it is interpolated.
# No hour has more than 1.6 times the one before, nor the other way round.
_HOURS: Final = (
    *(0.42, 0.35, 0.30, 0.30, 0.40, 0.60, 0.90, 1.40, 2.00, 1.90, 1.80, 1.60),
    *(1.40, 1.40, 1.33, 1.30, 1.20, 1.00, 0.90, 0.90, 0.80, 0.70, 0.60, 0.50),
)
_WEEKEND: Final = 0.4  # of a working day
_RAMP: Final = 8  # hours that Friday evening and Sunday evening take to get there and back, around midnight
_MONDAY: Final = 72  # 1970 began on a Thursday: three days before it was a Monday

_FIRST_NAMES: Final = (
    "anna bram daan emma eva fleur hans ingrid jan kees lars lisa maria noor peter sanne sem tess".split()
)
_LAST_NAMES: Final = "bakker bos dejong devries dijkstra jansen mulder peters smit vandijk vermeer visser".split()
_TAGS: Final = "newsletter newsletter newsletter;offers receipts receipts passwords".split()
_ACTIONS: Final = "failed failed failed failure".split()  # the vendor's pages have both

_LATEST_REPEAT: Final = 60.0
_OF_ITS_JUDGE: Final = 0.9


def _week() -> tuple[float, ...]:
    """The rate at each full hour from Monday 0:00 on, against the mean of the week."""
    days = [0.0] * 5 * 24 + [1.0] * 2 * 24  # how much of a weekend it is, averaged over the length of the ramp
    half = _RAMP // 2
    weekend = [sum(days[(hour + by) % len(days)] for by in range(-half, half)) / _RAMP for hour in range(len(days))]
    raw = [_HOURS[hour % 24] * (1 - (1 - _WEEKEND) * share) for hour, share in enumerate(weekend)]
    mean = sum(raw) / len(raw)
    return tuple(rate / mean for rate in raw)


WEEK: Final = _week()
"""The rate at each full hour from Monday 0:00 UTC on, against the mean of the week, which is 1."""
_PEAK: Final = max(WEEK)


class Spike(NamedTuple):
    """From ``begin`` to ``end`` (Unix seconds) there are ``factor`` times as many failures of a reason; None: of all.

    Those of one reason are not fewer than the mean of the account's failures of all reasons, so that a spike of a rare
    reason is seen, too. Where providers judge the sender (``answers.JUDGES``), nine in ten of what
    the spike adds are of one provider.
    """

    reason: str | None
    factor: float
    begin: float
    end: float


class SimulatedRequest(NamedTuple):
    """A call of SMTPeter's: when (Unix seconds), which answer, the variables, and whether it came once before."""

    at: float
    answer: SampleReply
    fields: Mapping[str, str]
    repeated: bool = False


class Traffic:
    """The failures of an account that has ``per_day`` of them, on the average of a week.

    The share ``repeats`` of the calls comes a second time, within a minute.
    """

    def __init__(self, per_day: float, *, seed: int = 0, spike: Spike | None = None, repeats: float = 0.02) -> None:
        self.mean: Final = per_day / DAY
        """Failures per second, on the average of a week, without spike and repeats."""
        self._seed = seed
        self._repeats = repeats
        self._spike = spike
        self._shares_added = _added(spike) if spike else {}

    def usual(self, at: float) -> float:
        """Failures per second at a time, without the spike."""
        hour, part = divmod(at / HOUR + _MONDAY, 1)
        before, after = WEEK[int(hour) % len(WEEK)], WEEK[int(hour + 1) % len(WEEK)]
        return self.mean * (before + part * (after - before))

    def added(self, at: float) -> float:
        """Failures per second that the spike adds at a time."""
        spike = self._spike
        if spike is None or not spike.begin <= at < spike.end:
            return 0.0
        usual = self.usual(at)
        if spike.reason is None:
            return (spike.factor - 1) * usual
        usual *= sum(answer.share for answer in SAMPLE_REPLIES if answer.reason == spike.reason)
        return max(spike.factor * usual, self.mean) - usual

    def events(self, start: float) -> Iterator[SimulatedRequest]:
        """All calls from a time on, in the order of time, without end."""
        usual = self._failures("usual", start, float("inf"), self.usual, self.mean * _PEAK, _SHARES)
        streams = [usual]
        if self._spike:
            begin, end = max(start, self._spike.begin), self._spike.end
            most = self.mean * max(1.0, self._spike.factor * _PEAK)
            streams.append(self._failures("spike", begin, end, self.added, most, self._shares_added))
        return self._with_repeats(merge(*streams, key=lambda event: event.at))

    def _failures(  # noqa: PLR0913, PLR0917 -- of one process
        self,
        name: str,
        start: float,
        end: float,
        rate: Callable[[float], float],
        most: float,
        shares: Mapping[SampleReply, float],
    ) -> Iterator[SimulatedRequest]:
        """A Poisson process by thinning: of one at the constant rate ``most``, as many are kept as the rate says."""
        random = Random(f"{name} {self._seed}")  # noqa: S311 -- a simulation
        answers, steps = list(shares), list(accumulate(shares.values()))
        at = start
        while (at := at + random.expovariate(most)) < end:
            if random.random() * most < rate(at):
                answer = answers[bisect_right(steps, random.random() * steps[-1], 0, len(steps) - 1)]
                yield SimulatedRequest(at, answer, _fields(answer, at, random))

    def _with_repeats(self, events: Iterator[SimulatedRequest]) -> Iterator[SimulatedRequest]:
        random = Random(f"repeats {self._seed}")  # noqa: S311 -- a simulation
        waiting: list[tuple[float, int, SimulatedRequest]] = []  # the number decides between two of one time
        for number, event in enumerate(events):
            while waiting and waiting[0][0] <= event.at:
                yield heappop(waiting)[2]
            yield event
            if random.random() < self._repeats:
                again = event.at + 1 + random.random() * (_LATEST_REPEAT - 1)
                heappush(waiting, (again, number, event._replace(at=again, repeated=True)))


_SHARES: Final = {answer: answer.share for answer in SAMPLE_REPLIES}


def _added(spike: Spike) -> dict[SampleReply, float]:
    """The answers that a spike adds, and their shares in what it adds."""
    if spike.reason is None:
        return _SHARES
    judge = JUDGES.get(spike.reason)
    answers = [answer for answer in SAMPLE_REPLIES if answer.reason == spike.reason]
    judged = [answer for answer in answers if answer.provider == judge]
    others = [answer for answer in answers if answer.provider != judge]
    parts = ((judged, _OF_ITS_JUDGE), (others, 1 - _OF_ITS_JUDGE)) if judged and others else ((answers, 1.0),)
    return {answer: answer.share / sum(one.share for one in part) * weight for part, weight in parts for answer in part}


def _fields(answer: SampleReply, at: float, random: Random) -> dict[str, str]:
    """The variables of a failure, in SMTPeter's later generation; what has no value is left out."""

    def one_of(words: Sequence[str]) -> str:
        return words[int(random.random() * len(words))]  # Random.choice may differ from one Python to the next

    domain = one_of(answer.domains)
    recipient = f"{one_of(_FIRST_NAMES)}.{one_of(_LAST_NAMES)}{int(random.random() * 100)}@{domain}"
    queue = f"{int(random.random() * 16**12):012x}"
    # With the time in it, so that a seed that is used again another day makes failures that were not counted yet.
    number = f"{int(at * 1_000):x}{int(random.random() * 16**8):08x}"
    fields = {
        "id": number,
        "recipient": recipient,
        "state": answer.state,
        "code": answer.code,
        "extended": answer.extended,
        "description": answer.text.format(recipient=recipient, domain=domain, queue=queue),
        "type": "failure",
        "action": one_of(_ACTIONS),
        "time": str(int(at)),
        "timestamp": datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "tags": one_of(_TAGS),
    }
    return {name: text for name, text in fields.items() if text}
