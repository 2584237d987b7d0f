"""A line of the status page, and its state."""

from enum import StrEnum
from typing import Final, NamedTuple

STATE_HEADER: Final = "SMTPeter-Exporter-State"
"""The header with the overall state of the page, for ``smtpeter-exporter status``."""

_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


class State(StrEnum):
    """The state of one line, as the page shows it."""

    DONE = "done"
    OK = "OK"
    NOT_YET = "not yet"
    PROBLEM = "problem"
    UNKNOWN = "cannot tell"


class Line(NamedTuple):
    """One line of the page. ``text`` and ``todo`` are Markdown with code spans only.

    ``text`` has no full stop at the end; if ``at`` is given, the page appends how long ago that was. If ``requested``
    is given, the page adds that the last request arrived then. ``docs`` is a page and heading below docs/, for lines
    that are neither done nor OK.
    """

    state: State
    text: str
    at: float | None = None
    todo: str = ""
    docs: str = ""
    title: str = ""
    requested: float | None = None

    def titled(self, title: str) -> "Line":
        """Return the line with its title and, if it needs one, a link to the documentation."""
        docs = self.docs or f"page.md#{title.lower().replace(' ', '-')}"
        return self._replace(title=title, docs="" if self.state in {State.DONE, State.OK} else docs)


def ago(seconds: float) -> str:
    """Return a time span as words, in the largest unit that fits at least once, rounded down."""
    for size, unit in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"
