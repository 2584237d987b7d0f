"""Each loop's requests have the variables that SMTPeter documents."""

from random import Random
from typing import Final

import pytest

from exporter.simulator.answers import ACCEPTING_REPLIES, SampleReply
from exporter.simulator.requests import (
    Message,
    SimulatedRequest,
    abuse,
    bounce,
    delivery,
    failure,
    message_to,
    text_of,
)

AT: Final = 1_795_392_127.75
MESSAGE: Final = Message("m1", "jan.bos7@gmail.com", "gmail.com", "a1b2", "failed", "newsletter;offers")
REFUSED: Final = SampleReply("policy", "gmail", 0.1, "rcptto", "550", "", "no {recipient} at {domain}, {queue}", ())
TIMES: Final = {"time": "1795392127", "timestamp": "2026-11-23 00:02:07"}
ACCEPTED: Final = ACCEPTING_REPLIES["gmail"]


def test_a_failure_has_its_variables() -> None:
    """Tags are one text, and empty variables are left out."""
    fields = {
        "id": "m1",
        "recipient": "jan.bos7@gmail.com",
        "state": "rcptto",
        "code": "550",
        "description": "no jan.bos7@gmail.com at gmail.com, a1b2",
        "type": "failure",
        "action": "failed",
        **TIMES,
        "tags": "newsletter;offers",
    }
    assert failure(MESSAGE, REFUSED, AT) == SimulatedRequest(AT, REFUSED, fields)


def test_a_delivery_has_its_variables() -> None:
    """It has the answer that accepts the message, but neither state nor action; tags are a list."""
    fields = {
        "id": "m1",
        "recipient": "jan.bos7@gmail.com",
        **TIMES,
        "code": "250",
        "extended": "2.0.0",
        "description": "2.0.0 OK a1b2 - gsmtp",
        "type": "delivery",
    }
    expected = SimulatedRequest(AT, ACCEPTED, fields, loop="deliveries", tags=("newsletter", "offers"))
    assert delivery(MESSAGE, ACCEPTED, AT) == expected


def test_a_bounce_has_its_variables() -> None:
    """It has the returned message and the address that it came to."""
    fields = {
        "id": "m1",
        "type": "bounce",
        **TIMES,
        "recipient": "jan.bos7@gmail.com",
        "envelope": "bounces-m1@example.com",
        "mime": "A: b",
    }
    expected = SimulatedRequest(AT, ACCEPTED, fields, loop="bounces", tags=("newsletter", "offers"))
    assert bounce(MESSAGE, ACCEPTED, AT, "A: b") == expected


def test_a_complaint_has_its_variables() -> None:
    """It has neither a recipient nor a time nor tags."""
    fields = {"id": "m1", "type": "abuse", "emailfrom": "feedback@gmail.com", "mime": "A: b"}
    assert abuse(MESSAGE, ACCEPTED, AT, "A: b") == SimulatedRequest(AT, ACCEPTED, fields, loop="abuses")


@pytest.mark.parametrize(
    ("loop", "state", "after"),
    [("failures", "bounce", True), ("failures", "data", False), ("bounces", "bounce", False)],
)
def test_only_failures_are_after_a_delivery(loop: str, state: str, *, after: bool) -> None:
    """They are those that the recipient's server reported in a bounce."""
    assert SimulatedRequest(AT, REFUSED._replace(state=state), {}, loop=loop).after_delivery is after


def test_messages_are_drawn() -> None:
    """Recipient and domain agree, the id contains the time, and the sender's address contains the id."""
    message = message_to(("gmail.com", "kpnmail.nl"), AT, ("receipts",), Random(1))
    assert message == Message(
        "1a205b5c3067311d8af", "sanne.vandijk25@gmail.com", "gmail.com", "7ed4d57859cd", "failed", "receipts"
    )
    assert message.sender == "bounces-1a205b5c3067311d8af@example.com"
    assert text_of(message, REFUSED) == "no sanne.vandijk25@gmail.com at gmail.com, 7ed4d57859cd"
