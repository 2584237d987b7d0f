"""Decide on the reason of a report with given variables."""

from exporter.classification.reason import Decision, reason_of
from exporter.classification.report import Report


def decide(state: str = "", code: str = "", extended: str = "", description: str = "") -> Decision:
    """Return the decision on a report with these variables."""
    return reason_of(Report("1", "someone@example.com", state, code, extended, description))
