"""The tables of ``smtpeter-exporter classify --summary``: failures by reason, by provider and by day."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from exporter.classification.fields import Fields

MAX_DAYS: Final = 400
"""Maximum number of days with a row of their own, so that the memory is bounded."""
_OTHER_DAYS: Final = "other days"
_NO_TIME: Final = "no time"
_MAX_EXAMPLE: Final = 100
_UNIX_TIME: Final = re.compile(r"([0-9]{1,11})(\.[0-9]*)?", re.ASCII)


class Summary:
    """Counts failures. The memory is bounded, because reasons and providers come from tables."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._providers: dict[str, Counter[str]] = {}
        self._days: dict[str, Counter[str]] = {}

    def add(self, reason: str, provider: str, day: str, example: Callable[[], str]) -> None:
        """Count a failure; ``day`` is one of :func:`day_of`, and ``example`` returns the server's answer."""
        self._reasons[reason] += 1
        if reason not in self._examples:
            self._examples[reason] = example()
        self._providers.setdefault(provider, Counter())[reason] += 1
        if day not in self._days and len(self._days) > MAX_DAYS:
            day = _OTHER_DAYS
        self._days.setdefault(day, Counter())[reason] += 1

    def lines(self) -> Iterator[str]:
        """Yield the lines of the tables, with counts and shares.

        Each reason has an example, each provider and day its most frequent reason. Reasons and providers are in order
        of frequency, days in that of time.
        """
        total = self._reasons.total()
        yield from _table("reason", "example", self._reasons.most_common(), self._examples, total)
        yield f"{'all':20} {total:9,}"
        by_provider = sorted(self._providers.items(), key=lambda row: (-row[1].total(), row[0]))
        by_day = sorted(self._days.items(), key=lambda row: (row[0] in {_OTHER_DAYS, _NO_TIME}, row[0]))
        for name, groups in (("provider", by_provider), ("day (UTC)", by_day)):
            rows = [(group, reasons.total()) for group, reasons in groups]
            yield ""
            yield from _table(name, "most frequent reason", rows, {key: _top(of) for key, of in groups}, total)


def _table(name: str, about: str, rows: Iterable[tuple[str, int]], texts: dict[str, str], total: int) -> Iterator[str]:
    yield f"{name:20} {'failures':>9} {'share':>6}  {about}"
    for key, count in rows:
        text = texts[key]
        short = text if len(text) <= _MAX_EXAMPLE else f"{text[: _MAX_EXAMPLE - 1]}…"
        yield f"{key:20} {count:9,} {count / total:6.1%}  {short}".rstrip()


def _top(reasons: Counter[str]) -> str:
    ((reason, count),) = reasons.most_common(1)
    return f"{reason} ({count / reasons.total():.1%})"


def day_of(fields: Fields) -> str:
    """Return the day of a failure in UTC as ``YYYY-MM-DD``, or that it has none.

    Log files have a date and time in ``time``. Webhooks have Unix time there, and a date and time in ``timestamp``. The
    time zone is not documented; the names of log files have days in UTC.
    """
    for name in ("time", "timestamp"):
        text = fields.word(name)
        unix = _UNIX_TIME.fullmatch(text)
        with suppress(ValueError, OverflowError, OSError):  # OSError, OverflowError: out of the range of a date
            moment = datetime.fromtimestamp(int(unix[1]), UTC) if unix else datetime.fromisoformat(text)
            return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
    return _NO_TIME
