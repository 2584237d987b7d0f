"""A realistic stream of failures, optionally with a spike. Pure: no clock, and the same seed gives the same stream.

Failures are a Poisson process whose rate follows the hours of the week (in UTC) of a sender in the Netherlands. A spike
is a second process that is added to it, so the usual traffic of a seed is the same with and without a spike.
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

# The rate at each full hour of a working day from 0:00, relative to the mean of that day. The rate in between is
# interpolated. Consecutive hours differ by a factor of at most 1.6.
_HOURS: Final = (
    *(0.42, 0.35, 0.30, 0.30, 0.40, 0.60, 0.90, 1.40, 2.00, 1.90, 1.80, 1.60),
    *(1.40, 1.40, 1.33, 1.30, 1.20, 1.00, 0.90, 0.90, 0.80, 0.70, 0.60, 0.50),
)
_WEEKEND: Final = 0.4  # rate relative to a working day
_RAMP: Final = 8  # hours of the transitions to and from the weekend, centered on midnight
_MONDAY: Final = 72  # hours from a Monday to the epoch, which was a Thursday

_FIRST_NAMES: Final = (
    "anna bram daan emma eva fleur hans ingrid jan kees lars lisa maria noor peter sanne sem tess".split()
)
_LAST_NAMES: Final = "bakker bos dejong devries dijkstra jansen mulder peters smit vandijk vermeer visser".split()
_TAGS: Final = "newsletter newsletter newsletter;offers receipts receipts passwords".split()
_ACTIONS: Final = "failed failed failed failure".split()  # SMTPeter's documentation has both

_LATEST_REPEAT: Final = 60.0  # seconds
_JUDGES_SHARE: Final = 0.9


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


class SimulatedRequest(NamedTuple):
    """A request of SMTPeter: time (Unix seconds), the server's answer, the variables, and whether it is a repeat."""

    at: float
    answer: SampleReply
    fields: Mapping[str, str]
    repeated: bool = False


class Traffic:
    """The failures of an account that has ``per_day`` failures, averaged over a week.

    A share of ``repeats`` of the requests is repeated within a minute.
    """

    def __init__(self, per_day: float, *, seed: int = 0, spike: Spike | None = None, repeats: float = 0.02) -> None:
        self.mean: Final = per_day / DAY
        """Failures per second, averaged over a week, without spike and repeats."""
        self._seed = seed
        self._repeats = repeats
        self._spike = spike
        self._shares_added = _added(spike) if spike else {}

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
        usual = self._failures("usual", start, float("inf"), self.usual, self.mean * _PEAK, _SHARES)
        streams = [usual]
        if self._spike:
            begin, end = max(start, self._spike.begin), self._spike.end
            most = self.mean * max(1.0, self._spike.factor * _PEAK)
            streams.append(self._failures("spike", begin, end, self.added, most, self._shares_added))
        return self._with_repeats(merge(*streams, key=lambda request: request.at))

    def _failures(  # noqa: PLR0913, PLR0917 -- the parameters of one process
        self,
        name: str,
        start: float,
        end: float,
        rate: Callable[[float], float],
        most: float,
        shares: Mapping[SampleReply, float],
    ) -> Iterator[SimulatedRequest]:
        """Yield a Poisson process by thinning one of the constant rate ``most``."""
        random = Random(f"{name} {self._seed}")  # noqa: S311 -- a simulation
        answers, steps = list(shares), list(accumulate(shares.values()))
        at = start
        while (at := at + random.expovariate(most)) < end:
            if random.random() * most < rate(at):
                answer = answers[bisect_right(steps, random.random() * steps[-1], 0, len(steps) - 1)]
                yield SimulatedRequest(at, answer, _fields(answer, at, random))

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


_SHARES: Final = {answer: answer.share for answer in SAMPLE_REPLIES}


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


def _fields(answer: SampleReply, at: float, random: Random) -> dict[str, str]:
    """Return the variables of a failure, those of SMTPeter's later generation, without empty ones."""

    def one_of(words: Sequence[str]) -> str:
        return words[int(random.random() * len(words))]  # Random.choice may change between versions of Python

    domain = one_of(answer.domains)
    recipient = f"{one_of(_FIRST_NAMES)}.{one_of(_LAST_NAMES)}{int(random.random() * 100)}@{domain}"
    queue = f"{int(random.random() * 16**12):012x}"
    # Contains the time, so that the same seed on another day gives new failures.
    message_id = f"{int(at * 1_000):x}{int(random.random() * 16**8):08x}"
    fields = {
        "id": message_id,
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
