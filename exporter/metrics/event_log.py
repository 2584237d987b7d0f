"""Log lines about single events, without addresses: for debugging, and for a log database such as Loki."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from exporter.classification.classifier import Event
from exporter.classification.labels import separate
from exporter.ledger.committer import Commit

log = logging.getLogger(__name__)

MAX_LINES: Final = 100
"""Lines per second for each loop; more are dropped, and counted in a line of their own."""


class EventLog:
    """Logs the events of commits.

    At debug, each event has a line. With ``masked``, each new event has a line at info, at most MAX_LINES per second
    for each loop, so that a mailing does not push out the lines about failures. The next commit in another second, or
    ``close``, logs how many were dropped. One thread calls ``committed``. ``clock`` returns seconds.
    """

    def __init__(self, *, masked: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._masked = masked
        self._clock = clock
        self._second = 0
        self._lines: Counter[str] = Counter()  # by loop, in this second

    def committed(self, commit: Commit) -> None:
        """Log the events of a commit."""
        debug = log.isEnabledFor(logging.DEBUG)
        if not debug and not self._masked:
            return
        self._begin_second()
        for ticket, new in zip(commit.tickets, commit.new, strict=True):
            if debug:
                log.debug("counted" if new else "duplicate", extra=_details(ticket.event))
            if self._masked and new:
                self._lines[ticket.event.loop.name] += 1
                if self._lines[ticket.event.loop.name] <= MAX_LINES:
                    log.info("event", extra=_masked(ticket.event))

    def close(self) -> None:
        """Log how many lines were dropped last."""
        self._second = -1
        self._begin_second()

    def _begin_second(self) -> None:
        second = int(self._clock())
        if second == self._second:
            return
        for loop, number in sorted(self._lines.items()):
            if number > MAX_LINES:
                log.warning("too many events to log each", extra={"loop": loop, "dropped": number - MAX_LINES})
        self._second = second
        self._lines.clear()


def _details(event: Event) -> dict[str, Any]:
    """Return the fields of a line for debugging, without recipient and description: no mask knows all their spellings.

    State and status are shown as labels, because they could hold such a text, too.
    """
    report = event.report
    return {
        "loop": event.loop.name,
        "id": report.id,
        "code": _code(event),
        "tags": report.tags,
        "description_length": len(report.description),
        "repaired": sorted(report.repaired),
        "provider": event.provider,
        **({"labels": "/".join(event.labels)} if event.labels else {}),
        **({"kind": event.kind} if event.kind else {}),
        **(event.decision._asdict() if event.decision else {}),
    }


def _masked(event: Event) -> dict[str, Any]:
    """Return the fields of a line that anyone may read: labels, the SMTP code, and a hash of the id."""
    return {
        "loop": event.loop.name,
        "provider": event.provider,
        **({"reason": event.decision.reason} if event.decision else {}),
        **({"kind": event.kind} if event.kind else {}),
        **({"state": event.labels.state, "extended": event.labels.extended} if event.labels else {}),
        "code": _code(event),  # the formatter leaves out what is empty
        "tags": event.tags,
        "id_hash": blake2b(event.report.id.encode(), digest_size=8).hexdigest(),
    }


def _code(event: Event) -> str:
    """Return the SMTP reply code, or nothing if the variable has no such code."""
    code, _ = separate(event.report.code, event.report.extended)
    return code if len(code) <= 3 and code.isascii() and code.isdigit() else ""
