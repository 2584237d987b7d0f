"""Log lines about single events: their fields, their number, and that nothing personal is in them."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LOOPS, Loop
from exporter.classification.providers import Providers
from exporter.classification.report import Report
from exporter.ledger.committer import Commit, Ticket
from exporter.logs import LineFormatter
from exporter.metrics.event_log import MAX_LINES, EventLog
from tests.support.events import COMPLAINT, DSN
from tests.support.log_lines import read_line

REPORT: Final = Report(
    "m1",
    "jane.doe@gmail.com",
    "RCPT TO",
    "550 5.1.1",
    "",
    "5.1.1 <jane.doe@gmail.com>: user unknown",
    ("june", "may", "customer-4711"),
    frozenset({"encoding"}),
    DSN.encode(),
    "fbl@ziggo.nl",
)
RETURNED: Final = Report("m1", "jane.doe@gmail.com", tags=("may", "customer-4711"), mime=DSN.encode())
HASH: Final = "d11f79d4b490b654"
"""The hash of the id m1: BLAKE2b of 8 bytes."""


class Clock:
    """A clock that shows the time to which it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Lines(logging.Handler):
    """Keeps the fields of all lines, in the order of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)

    def fields(self) -> list[dict[str, str]]:
        """Return the fields as they are logged, without the time."""
        lines = [read_line(LineFormatter(as_json=False).format(record)) for record in self.records]
        return [{name: text for name, text in line.items() if name != "ts"} for line in lines]

    def numbers(self) -> list[tuple[str, str, str]]:
        """Return the message, the loop and the number of dropped lines of each line."""
        return [(line["msg"], line["loop"], line.get("dropped", "")) for line in self.fields()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Keep the lines of the event log at level info."""
    log, handler = logging.getLogger("exporter.metrics.event_log"), Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.setLevel(logging.NOTSET)
    log.removeHandler(handler)


def commit(*reports: tuple[Report, Loop], new: Sequence[bool] = ()) -> Commit:
    """Return a commit of classified reports, by default all new."""
    classifier = Classifier(LabelSets(), Providers({}), ("may", "june"))
    tickets = [Ticket(classifier.event_of(report, loop), 0.0) for report, loop in reports]
    return Commit(0.1, tickets, new or [True] * len(tickets), in_time=tickets)


def test_a_failure_has_its_labels(lines: Lines) -> None:
    """The tags are those that are counted, and the id is hashed."""
    EventLog(masked=True).committed(commit((REPORT, FAILURES)))
    assert lines.fields() == [
        {
            "level": "info",
            "msg": "event",
            "loop": "failures",
            "provider": "gmail",
            "reason": "recipient_unknown",
            "state": "rcptto",
            "extended": "5.1.1",
            "code": "550",
            "tags": "june;may",
            "id_hash": HASH,
        }
    ]


def test_other_loops_have_fewer_fields(lines: Lines) -> None:
    """A delivery has no reason, a returned message has a kind, and a complaint has only a provider."""
    complaint = Report("m1", mime=COMPLAINT.encode(), emailfrom="fbl@example.org")
    delivery = Report("m1", "jane.doe@gmail.com")
    EventLog(masked=True).committed(commit((delivery, DELIVERIES), (RETURNED, BOUNCES), (complaint, ABUSES)))
    every = {"level": "info", "msg": "event", "id_hash": HASH}
    assert lines.fields() == [
        {**every, "loop": "deliveries", "provider": "gmail"},
        {
            **every,
            "loop": "bounces",
            "provider": "gmail",
            "reason": "recipient_unknown",
            "kind": "dsn",
            "tags": "may",
        },
        {**every, "loop": "abuses", "provider": "ziggo"},
    ]


def test_duplicates_have_no_line(lines: Lines) -> None:
    """Only new events are logged."""
    reports = [(REPORT._replace(id=f"m{number}"), FAILURES) for number in range(3)]
    EventLog(masked=True).committed(commit(*reports, new=[False, True, False]))
    assert lines.numbers() == [("event", "failures", "")]


def test_nothing_is_logged_by_default(lines: Lines) -> None:
    """Without ``masked``, events have lines at debug only."""
    log = EventLog(masked=False)
    log.committed(commit((REPORT, FAILURES)))
    log.close()
    assert lines.records == []


def test_details_at_debug(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    """Duplicates have a line, too. Recipient and description are left out: no mask knows all their spellings."""
    caplog.set_level(logging.DEBUG, "exporter.metrics.event_log")
    EventLog(masked=False).committed(commit((REPORT, FAILURES), (RETURNED, BOUNCES), new=[True, False]))
    every = {
        "level": "debug",
        "id": "m1",
        "provider": "gmail",
        "reason": "recipient_unknown",
        "decided_by": "extended",
    }
    assert lines.fields() == [
        {
            **every,
            "msg": "counted",
            "loop": "failures",
            "code": "550",
            "tags": "june;may;customer-4711",
            "description_length": "40",
            "repaired": "encoding",
            "labels": "rcptto/5xx/5.1.1",
        },
        {
            **every,
            "msg": "duplicate",
            "loop": "bounces",
            "tags": "may;customer-4711",
            "description_length": "0",
            "kind": "dsn",
        },
    ]


def many(loop: Loop, number: int) -> Commit:
    """Return a commit of that many events of a loop."""
    return commit(*((REPORT._replace(id=f"m{at}"), loop) for at in range(number)))


def test_a_flood_is_cut_each_second(lines: Lines) -> None:
    """Of each second, MAX_LINES are logged. The next commit says how many were dropped."""
    clock = Clock()
    log = EventLog(masked=True, clock=clock)
    log.committed(many(DELIVERIES, MAX_LINES - 1))
    clock.now += 0.9
    log.committed(many(DELIVERIES, 3))
    event = ("event", "deliveries", "")
    assert lines.numbers() == [event] * MAX_LINES
    clock.now += 0.1
    log.committed(many(DELIVERIES, 1))
    assert lines.numbers()[MAX_LINES:] == [("too many events to log each", "deliveries", "2"), event]
    assert lines.records[MAX_LINES].levelno == logging.WARNING
    clock.now += 1
    log.committed(many(DELIVERIES, 1))
    assert lines.numbers()[MAX_LINES + 2 :] == [event]


def test_a_flood_of_deliveries_does_not_push_out_failures(lines: Lines) -> None:
    """Each loop has lines of its own, and says itself how many were dropped."""
    clock = Clock()
    log = EventLog(masked=True, clock=clock)
    log.committed(many(DELIVERIES, MAX_LINES + 5))
    log.committed(many(FAILURES, MAX_LINES + 7))
    expected = [("event", "deliveries", "")] * MAX_LINES + [("event", "failures", "")] * MAX_LINES
    assert lines.numbers() == expected
    clock.now += 60
    log.committed(commit())
    dropped = "too many events to log each"
    assert lines.numbers()[2 * MAX_LINES :] == [(dropped, "deliveries", "5"), (dropped, "failures", "7")]


def test_the_end_says_how_many_were_dropped(lines: Lines) -> None:
    """At the end no further commit follows; a second call says nothing."""
    log = EventLog(masked=True, clock=Clock())
    log.committed(many(FAILURES, MAX_LINES + 1))
    log.close()
    log.close()
    assert lines.numbers()[MAX_LINES:] == [("too many events to log each", "failures", "1")]


PERSONAL: Final = "jqzvx"
AROUND: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
AT: Final = st.sampled_from(
    ["@", "%40", "=40", "&#64;", "\\u0040", " (at) ", "\uff20", "\n@", "@\u2028", '" @', "@@", "@[1.2.3.4]", "\u202e@"]
)
TEXT: Final = st.builds(lambda *parts: "".join(parts), AROUND, st.just(PERSONAL), AT, st.just(f"{PERSONAL}.nl"), AROUND)
VALUES: Final = st.one_of(
    TEXT, st.builds(lambda word, text: word + text, st.sampled_from(["rcptto", "550", "5.1.1 "]), TEXT)
)
MIME: Final = st.builds(
    lambda text, template: template.replace("jane.doe{number}@example.org", text).encode(),
    TEXT,
    st.sampled_from([DSN, COMPLAINT, "{number}", "jane.doe{number}@example.org"]),
)


@given(
    texts=st.fixed_dictionaries(
        dict.fromkeys(("id", "recipient", "state", "code", "extended", "description", "emailfrom"), VALUES)
    ),
    tag=TEXT,
    mime=MIME,
    loop=st.sampled_from(list(LOOPS.values())),
    as_json=st.booleans(),
)
def test_nothing_personal_is_logged(texts: dict[str, Any], tag: str, mime: bytes, loop: Loop, as_json: bool) -> None:
    """Whatever the variables hold, in whatever spelling, a line has no at sign and no part of them."""
    log, handler = logging.getLogger("exporter.metrics.event_log"), Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        EventLog(masked=True).committed(commit((Report(**texts, tags=("may", tag), mime=mime), loop)))
    finally:
        log.setLevel(logging.NOTSET)
        log.removeHandler(handler)
    (record,) = handler.records
    line = LineFormatter(as_json=as_json).format(record)
    values = [text for name, text in vars(record).items() if name not in vars(logging.makeLogRecord({}))]
    assert read_line(line, as_json=as_json)["loop"] == loop.name
    assert [word for word in ("@", PERSONAL, "jane", "%40") if word in line or word in str(values)] == []
