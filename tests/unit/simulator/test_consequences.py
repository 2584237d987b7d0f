"""Each message has the requests that SMTPeter sends about it, in the order in which they happen."""

from collections import Counter
from email import message_from_string
from random import Random
from typing import Final

import pytest

from exporter.simulator.answers import ACCEPTING_REPLIES, SAMPLE_REPLIES, SampleReply
from exporter.simulator.consequences import COMPLAINTS, LEAD, RECOGNIZED, of_delivery, of_failure
from exporter.simulator.requests import Message, SimulatedRequest, delivery, failure

AT: Final = 1_795_392_127.75
MESSAGE: Final = Message("m1", "jan.bos7@dekade.example", "dekade.example", "0123456789ab", "failed", "newsletter")
REFUSED: Final = next(reply for reply in SAMPLE_REPLIES if reply.state == "rcptto")
BOUNCED: Final = next(reply for reply in SAMPLE_REPLIES if reply.state == "bounce" and reply.provider == "other")


def after(provider: str, number: int) -> list[SimulatedRequest]:
    """Return the requests that follow so many deliveries to a provider."""
    answer, random = ACCEPTING_REPLIES[provider], Random(5)
    found = []
    for _ in range(number):
        first, *others = of_delivery(MESSAGE, answer, AT, random)
        assert first == delivery(MESSAGE, answer, AT)
        found += others
    return found


def test_a_refused_message_has_one_request() -> None:
    """It is the failure."""
    assert list(of_failure(MESSAGE, REFUSED, AT, AT - 100, Random(1))) == [failure(MESSAGE, REFUSED, AT)]


@pytest.mark.parametrize("history", [0.0, 5.0, 10 * LEAD])
def test_a_failure_after_delivery_was_delivered_before(history: float) -> None:
    """The same message was delivered up to ten minutes before the failure, but not before the start of the traffic."""
    random = Random(2)
    for _ in range(1_000):
        delivered, failed, *_ = of_failure(MESSAGE, BOUNCED, AT, AT - history, random)
        assert delivered == delivery(MESSAGE, ACCEPTING_REPLIES["other"], delivered.at)
        assert failed == failure(MESSAGE, BOUNCED, AT)
        assert max(AT - LEAD, AT - history) <= delivered.at <= AT


def test_most_failures_after_delivery_are_also_bounces() -> None:
    """In nine of ten cases, the notification of the failure comes within a second."""
    random = Random(3)
    later = [request for _ in range(2_000) for request in list(of_failure(MESSAGE, BOUNCED, AT, 0, random))[2:]]
    assert abs(len(later) / 2_000 - RECOGNIZED) < 0.02
    assert {(request.loop, request.answer, request.fields["id"]) for request in later} == {("bounces", BOUNCED, "m1")}
    assert all(AT <= request.at <= AT + 1 for request in later)
    assert {message_from_string(request.fields["mime"]).get_param("report-type") for request in later} == {
        "delivery-status"
    }


def kind_of(request: SimulatedRequest) -> str:
    """Return a word for what came back."""
    message = message_from_string(request.fields["mime"])
    if report := message.get_param("report-type"):
        return str(report)
    return {"failure notice": "notice", "Please confirm your message": "challenge"}.get(message["Subject"], "reply")


def test_people_who_are_away_reply() -> None:
    """One in 250 deliveries to a provider has an automatic reply; Gmail sends nothing else back."""
    found = after("gmail", 20_000)
    assert {(request.loop, kind_of(request)) for request in found} == {("bounces", "reply")}
    assert 60 < len(found) < 100
    assert all(request.at > AT + 1 for request in found)


def test_servers_of_companies_return_more() -> None:
    """They also send notices, delays and challenges, and never complaints."""
    found = after("other", 20_000)
    kinds = Counter((request.loop, kind_of(request)) for request in found)
    expected = {"reply": 80, "notice": 80, "delivery-status": 40, "challenge": 20}
    assert set(kinds) == {("bounces", kind) for kind in expected}
    assert [(kind, number) for (_, kind), number in kinds.items() if abs(number - expected[kind]) > 30] == []


@pytest.mark.parametrize("provider", ACCEPTING_REPLIES)
def test_some_providers_report_complaints(provider: str) -> None:
    """Each has its own share. Gmail reports none."""
    complaints = [request for request in after(provider, 50_000) if request.loop == "abuses"]
    expected = 50_000 * COMPLAINTS.get(provider, 0)
    assert abs(len(complaints) - expected) <= 3 * expected**0.5
    assert {kind_of(request) for request in complaints} <= {"feedback-report"}
    assert (COMPLAINTS.get("gmail"), len(COMPLAINTS)) == (None, 4)


def test_the_same_random_numbers_give_the_same_requests() -> None:
    """Nothing else is random."""

    def everything(answer: SampleReply) -> list[SimulatedRequest]:
        random = Random(4)
        return [request for _ in range(500) for request in of_delivery(MESSAGE, answer, AT, random)]

    for answer in ACCEPTING_REPLIES.values():
        assert everything(answer) == everything(answer)
