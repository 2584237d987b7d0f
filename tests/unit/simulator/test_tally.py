"""The results of a simulation: answers by status, and events by loop and provider."""

from threading import Thread
from typing import Final

from exporter.simulator.answers import ACCEPTING_REPLIES, SAMPLE_REPLIES, SampleReply
from exporter.simulator.requests import SimulatedRequest
from exporter.simulator.tally import Tally, Truth
from tests.support.texts import Texts


def test_the_tally_is_a_summary(texts: Texts) -> None:
    """It counts answers by status, and repeats only if they were answered 200."""
    tally = Tally()
    texts.check(tally)
    for status, repeated in [(200, False)] * 1_200 + [(200, True), (503, True), (403, False), (403, False)]:
        tally.add(status, repeated=repeated)
    assert tally.requests == 1_204
    texts.check(tally)


def test_requests_without_an_answer_are_in_the_summary(texts: Texts) -> None:
    """They are listed after the answers."""
    tally = Tally()
    tally.add(200, repeated=False)
    tally.add(None, repeated=True)
    texts.check(tally)


def test_requests_that_were_not_answered_200_are_uncounted() -> None:
    """A rejected request is not counted, nor is one without an answer."""
    tally = Tally()
    uncounted = []
    for status in (200, 404, None, 200):
        tally.add(status, repeated=False)
        uncounted.append(tally.uncounted)
    assert (uncounted, tally.requests) == ([0, 1, 2, 2], 4)


def test_threads_lose_no_answer() -> None:
    """Answers that several threads count at the same time are all counted."""
    tally = Tally()

    def add() -> None:
        for _ in range(2_000):
            tally.add(200, repeated=False)

    threads = [Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.requests == 16_000


# The truth


def reply(provider: str, *, bounce: bool) -> SampleReply:
    """Return an answer of a provider, before or after it accepted the message."""
    return next(each for each in SAMPLE_REPLIES if each.provider == provider and (each.state == "bounce") is bounce)


REQUESTS: Final = (
    *[SimulatedRequest(0, ACCEPTING_REPLIES["gmail"], {}, loop="deliveries")] * 1_200,
    SimulatedRequest(0, ACCEPTING_REPLIES["gmail"], {}, repeated=True, loop="deliveries"),
    SimulatedRequest(0, ACCEPTING_REPLIES["microsoft"], {}, loop="deliveries"),
    *[SimulatedRequest(0, reply("gmail", bounce=False), {})] * 2,
    SimulatedRequest(0, reply("microsoft", bounce=True), {}),
    SimulatedRequest(0, reply("microsoft", bounce=True), {}, repeated=True),
    SimulatedRequest(0, reply("microsoft", bounce=True), {}, loop="bounces"),
    SimulatedRequest(0, ACCEPTING_REPLIES["yahoo"], {}, loop="abuses"),
)


def test_the_truth_has_each_event_once() -> None:
    """Events are counted by loop and provider, without repeats; failures after a delivery are those in a bounce."""
    truth = Truth(["failures", "deliveries", "bounces", "abuses"])
    for request in REQUESTS:
        truth.add(request)
    assert truth.events() == {
        ("deliveries", "gmail"): 1_200,
        ("deliveries", "microsoft"): 1,
        ("failures", "gmail"): 2,
        ("failures", "microsoft"): 1,
        ("bounces", "microsoft"): 1,
        ("abuses", "yahoo"): 1,
    }
    assert truth.after_delivery() == {"microsoft": 1}


def test_the_truth_is_a_table(texts: Texts) -> None:
    """It has a row for each provider and a column for each loop that was sent."""
    for loops in (("failures", "deliveries", "bounces", "abuses"), ("deliveries",)):
        truth = Truth(loops)
        for request in REQUESTS:
            if request.loop in loops:
                truth.add(request)
        texts.check(truth)
