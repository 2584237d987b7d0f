"""Tickets for a committer, whose outcomes a test can wait for."""

from collections.abc import Sequence
from queue import SimpleQueue

from exporter.classification.classifier import Event
from exporter.classification.labels import Labels
from exporter.classification.loops import LOOPS
from exporter.classification.reason import Decision
from exporter.classification.report import Report
from exporter.classification.series import Record
from exporter.errors import LedgerError
from exporter.ledger.committer import Committer, Ticket
from tests.support.fakes import TIMEOUT

REPORT = Report("m1", "jane@example.com", "rcptto", "550", "5.1.1")


class Pending(Ticket):
    """A ticket that keeps the outcomes with which it is settled; it should be only one."""

    def __init__(self, record: Record, report: Report = REPORT, *, began: float = float("inf")) -> None:
        """By default it began in the future, so that its age is never the reason why it expires."""
        labels = Labels("rcptto", "5xx", "5.1.1")
        decision = Decision("recipient_unknown", "extended")
        loop = list(LOOPS.values())[record.loop]
        super().__init__(Event(loop, record, report, "other", (), labels, decision), began)
        self.outcomes: SimpleQueue[bool | LedgerError] = SimpleQueue()
        self.settle = self.outcomes.put

    def outcome(self) -> bool | LedgerError:
        """Wait for the next outcome."""
        return self.outcomes.get(timeout=TIMEOUT)

    def error(self) -> str:
        """Wait for the next outcome, which is an error, and return its text."""
        outcome = self.outcome()
        assert isinstance(outcome, LedgerError)
        return str(outcome)


def submit(committer: Committer, records: Sequence[Record]) -> list[Pending]:
    """Submit the failures as one batch, and return their tickets."""
    tickets = [Pending(record) for record in records]
    committer.submit(tickets)
    return tickets


def record(committer: Committer, one: Record) -> bool:
    """Submit the failure alone, wait for its outcome, and return it. Raise LedgerError if it is not recorded."""
    (ticket,) = submit(committer, [one])
    outcome = ticket.outcome()
    if isinstance(outcome, LedgerError):
        raise outcome
    return outcome
