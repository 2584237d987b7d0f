"""What SMTPeter sends about one message: the delivery, the failure, and what comes back later. Pure."""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Final, NamedTuple

from exporter.classification.labels import OTHER
from exporter.simulator import mime
from exporter.simulator.answers import ACCEPTING_REPLIES, SampleReply
from exporter.simulator.requests import Message, SimulatedRequest, abuse, bounce, delivery, failure

LEAD: Final = 600.0
"""Maximum number of seconds from a delivery to the failure that is reported later."""
RECOGNIZED: Final = 0.9
"""Share of the failures after a delivery whose notification also comes as a bounce."""

_MINUTE: Final = 60.0
_HOUR: Final = 60 * _MINUTE


class _Return(NamedTuple):
    """A message that comes back: its share of the deliveries, the mean of its delay in seconds, and its writer."""

    share: float
    delay: float
    write: Callable[[Message, SampleReply, float, Random], str]


_RETURNS: Final = (_Return(0.004, 5, mime.auto_reply),)
_RETURNS_OF_COMPANIES: Final = (
    *_RETURNS,
    _Return(0.004, 10 * _MINUTE, mime.notice),
    _Return(0.002, 4 * _HOUR, mime.delay),
    _Return(0.001, _MINUTE, mime.challenge),
)
COMPLAINTS: Final[Mapping[str, float]] = {"microsoft": 0.0008, "yahoo": 0.001, "ziggo": 0.0003, "kpn": 0.0003}
"""For each provider that reports complaints, their share of its deliveries. Gmail and Apple report none."""
_COMPLAINT_DELAY: Final = 20 * _MINUTE


def of_delivery(message: Message, answer: SampleReply, at: float, random: Random) -> Iterator[SimulatedRequest]:
    """Yield the delivery of a message, and what comes back."""
    yield delivery(message, answer, at)
    drawn = random.random()
    for each in _RETURNS_OF_COMPANIES if answer.provider == OTHER else _RETURNS:
        if 0 <= drawn < each.share:
            later = at + 1 + random.expovariate(1 / each.delay)
            yield bounce(message, answer, later, each.write(message, answer, later, random))
        drawn -= each.share
    complaints = COMPLAINTS.get(answer.provider, 0.0)
    if 0 <= drawn < complaints:
        later = at + 1 + random.expovariate(1 / _COMPLAINT_DELAY)
        yield abuse(message, answer, later, mime.complaint(message, answer, later, random))


def of_failure(
    message: Message, answer: SampleReply, at: float, start: float, random: Random
) -> Iterator[SimulatedRequest]:
    """Yield a failure. If it came after a delivery, also yield that delivery, from ``start`` on, and the bounce."""
    reported = failure(message, answer, at)
    if not reported.after_delivery:
        yield reported
        return
    delivered = max(start, at - 1 - (LEAD - 1) * random.random() ** 3)
    yield delivery(message, ACCEPTING_REPLIES[answer.provider], delivered)
    yield reported
    if random.random() < RECOGNIZED:
        later = at + random.random()
        yield bounce(message, answer, later, mime.notification(message, answer, later, random))
