"""Times of the status page come from this process or from the ledger, whichever is later."""

from exporter.classification.loops import BOUNCES, DELIVERIES
from exporter.ledger.contract import Total
from exporter.metrics.collector import Snapshot
from exporter.web.lines import State
from tests.support.status_page import NOW, TWO, USED, facts, totals


def test_the_last_event_of_a_loop_is_the_latest_that_is_known() -> None:
    """It is 0 if there is none. Another replica may have counted later than this process, or earlier."""
    delivered = Total(("deliveries_by_tag", "may"), 1, held=True, raised_at=NOW - 50)
    ledger = Snapshot([*USED.totals, delivered], 1, NOW)
    for counted, expected in ((NOW - 60, NOW - 50), (NOW - 40, NOW - 40)):
        given = facts(loops=TWO, ledger=ledger, counts={"deliveries": counted})
        assert given.last_counted(DELIVERIES) == expected
        assert given.last_failure == NOW - 90
        assert given.last_counted(BOUNCES) == 0


def test_no_failure_is_shown_in_the_future() -> None:
    """After the clock was ahead, the page shows the last failure that was counted with the right time."""
    wrong = facts(ledger=USED._replace(totals=[*USED.totals, *totals(NOW + 9_000)]), counts={"failures": NOW + 9_000})
    assert wrong.last_failure == NOW - 90


def test_what_was_not_seen_may_have_happened_before_the_start() -> None:
    """If the ledger has failures, the exporter was in use before."""
    assert (facts().none_yet, facts(ledger=USED).none_yet) == (State.NOT_YET, State.UNKNOWN)
