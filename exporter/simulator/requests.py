"""The requests that SMTPeter sends about one message: their variables, by loop. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple

from exporter.classification.loops import FAILURES, LOOPS
from exporter.simulator.answers import SampleReply

_FIRST_NAMES: Final = (
    "anna bram daan emma eva fleur hans ingrid jan kees lars lisa maria noor peter sanne sem tess".split()
)
_LAST_NAMES: Final = "bakker bos dejong devries dijkstra jansen mulder peters smit vandijk vermeer visser".split()
TAGS: Final = "newsletter newsletter newsletter;offers receipts receipts passwords".split()
MAILING_TAGS: Final = "newsletter newsletter newsletter;offers".split()
_ACTIONS: Final = "failed failed failed failure".split()  # SMTPeter's documentation has both


class SimulatedRequest(NamedTuple):
    """A request of SMTPeter: time (Unix seconds), the server's answer, the variables, and whether it is a repeat.

    ``tags`` are sent as a list, in addition to the variables. A failure has its tags in a variable instead.
    """

    at: float
    answer: SampleReply
    fields: Mapping[str, str]
    repeated: bool = False
    loop: str = FAILURES.name
    tags: tuple[str, ...] = ()

    @property
    def after_delivery(self) -> bool:
        """Whether this is a failure of a message that was delivered before."""
        return self.loop == FAILURES.name and self.answer.state == "bounce"


class Message(NamedTuple):
    """A message to one recipient. ``queue`` is the queue ID of the recipient's server, ``tags`` contains semicolons."""

    id: str
    recipient: str
    domain: str
    queue: str
    action: str
    tags: str

    @property
    def sender(self) -> str:
        """The address that returned messages are sent to (RFC 5321, MAIL FROM)."""
        return f"bounces-{self.id}@example.com"


def one_of(words: Sequence[str], random: Random) -> str:
    """Draw one of the words. ``Random.choice`` may change between versions of Python."""
    return words[int(random.random() * len(words))]


def message_to(domains: Sequence[str], at: float, tags: Sequence[str], random: Random) -> Message:
    """Draw a message to a mailbox of one of the domains."""
    domain = one_of(domains, random)
    recipient = f"{one_of(_FIRST_NAMES, random)}.{one_of(_LAST_NAMES, random)}{int(random.random() * 100)}@{domain}"
    queue = f"{int(random.random() * 16**12):012x}"
    # Contains the time, so that the same seed on another day gives new events.
    message_id = f"{int(at * 1_000):x}{int(random.random() * 16**8):08x}"
    return Message(message_id, recipient, domain, queue, one_of(_ACTIONS, random), one_of(tags, random))


def failure(message: Message, answer: SampleReply, at: float) -> SimulatedRequest:
    """Return a failure, with the variables of SMTPeter's later generation, without empty ones."""
    fields = {
        "id": message.id,
        "recipient": message.recipient,
        "state": answer.state,
        **_answer(message, answer),
        "type": FAILURES.type,
        "action": message.action,
        **_times(at),
        "tags": message.tags,
    }
    return SimulatedRequest(at, answer, {name: text for name, text in fields.items() if text})


def delivery(message: Message, answer: SampleReply, at: float) -> SimulatedRequest:
    """Return a delivery, which the recipient's server accepted with the answer."""
    fields = {
        "id": message.id,
        "recipient": message.recipient,
        **_times(at),
        **_answer(message, answer),
        "type": LOOPS["deliveries"].type,
    }
    return SimulatedRequest(at, answer, fields, loop="deliveries", tags=_tags(message))


def bounce(message: Message, answer: SampleReply, at: float, mime: str) -> SimulatedRequest:
    """Return a bounce: a message that came back after the server gave the answer."""
    fields = {
        "id": message.id,
        "type": LOOPS["bounces"].type,
        **_times(at),
        "recipient": message.recipient,
        "envelope": message.sender,
        "mime": mime,
    }
    return SimulatedRequest(at, answer, fields, loop="bounces", tags=_tags(message))


def abuse(message: Message, answer: SampleReply, at: float, mime: str) -> SimulatedRequest:
    """Return a complaint, which the recipient's provider reports."""
    fields = {
        "id": message.id,
        "type": LOOPS["abuses"].type,
        "emailfrom": f"feedback@{message.domain}",
        "mime": mime,
    }
    return SimulatedRequest(at, answer, fields, loop="abuses")


def text_of(message: Message, answer: SampleReply) -> str:
    """Return the text of the server's answer to the message."""
    return answer.text.format(recipient=message.recipient, domain=message.domain, queue=message.queue)


def _answer(message: Message, answer: SampleReply) -> dict[str, str]:
    return {"code": answer.code, "extended": answer.extended, "description": text_of(message, answer)}


def _times(at: float) -> dict[str, str]:
    stamp = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {"time": str(int(at)), "timestamp": stamp}


def _tags(message: Message) -> tuple[str, ...]:
    return tuple(message.tags.split(";"))
