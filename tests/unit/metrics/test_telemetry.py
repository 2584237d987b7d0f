"""Events of the exporter are counted in its own metrics."""

import platform
import time

import pytest
from prometheus_client import generate_latest

from exporter import __version__
from exporter.classification.fields import REPAIRS
from exporter.classification.loops import BOUNCES, DELIVERIES, FAILURES, LOOPS, Loop
from exporter.classification.reason import DECIDERS, Decision
from exporter.classification.series import Record
from exporter.ledger.committer import Commit, Ticket
from exporter.metrics.activity import Misdirected
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import REFUSAL_REASONS
from exporter.signature.keys import LOOKUP_RESULTS
from tests.support.running import TIMEOUT, Samples, samples_of
from tests.support.texts import Texts
from tests.support.tickets import REPORT, Pending


@pytest.fixture
def telemetry() -> Telemetry:
    """Create telemetry of all loops that has recorded nothing yet."""
    return Telemetry(LOOPS.values())


def own(telemetry: Telemetry) -> Samples:
    """Return the samples of the exporter's own metrics, without their prefix."""
    samples = samples_of(generate_latest(telemetry.registry).decode())
    prefix = "smtpeter_exporter_"
    return {name.removeprefix(prefix): value for name, value in samples.items() if name.startswith(prefix)}


def changed(telemetry: Telemetry, before: Samples) -> Samples:
    """Return the samples that changed, without buckets of histograms."""
    return {
        name: value for name, value in own(telemetry).items() if value != before.get(name) and "_bucket{" not in name
    }


def test_counters_start_at_zero(telemetry: Telemetry) -> None:
    """Each value of a label has a series from the start, so that increase() sees its first event."""
    samples = {name: value for name, value in own(telemetry).items() if "_bucket{" not in name}
    closed = {
        *(f'refused_total{{reason="{reason}"}}' for reason in REFUSAL_REASONS),
        *(f'repaired_total{{what="{what}"}}' for what in REPAIRS),
        *(f'reason_decisions_total{{decided_by="{step}"}}' for step in DECIDERS),
        *(f'key_lookups_total{{result="{result}"}}' for result in LOOKUP_RESULTS),
        *(f'keys{{state="{state}"}}' for state in ("fresh", "stale")),
        *(f'accepted_total{{loop="{name}"}}' for name in LOOPS),
        *(f'last_request_timestamp_seconds{{loop="{name}"}}' for name in LOOPS),
    }
    assert closed <= samples.keys()
    assert {name: value for name, value in samples.items() if value and not name.startswith("build_info")} == {}


def test_loops_that_are_off_have_no_series() -> None:
    """By default, only failures are on."""
    assert [name for name in own(Telemetry()) if "loop=" in name] == [
        'accepted_total{loop="failures"}',
        'last_request_timestamp_seconds{loop="failures"}',
        'signature_refused_total{loop="failures"}',
    ]


def test_build_info_has_the_versions(telemetry: Telemetry) -> None:
    """The labels of build_info are the versions of the exporter, Python and SQLite."""
    (info,) = [name for name in own(telemetry) if name.startswith("build_info")]
    assert f'version="{__version__}"' in info
    assert f'python="{platform.python_version()}"' in info
    assert 'sqlite="3.' in info


def test_a_rejected_request_is_counted_by_its_reason(telemetry: Telemetry) -> None:
    """It is also kept for the status page."""
    before = own(telemetry)
    telemetry.refused("unsigned")
    telemetry.refused("unsigned")
    assert changed(telemetry, before) == {'refused_total{reason="unsigned"}': 2}
    assert telemetry.activity.refusals() == {"unsigned": 2}


def test_a_rejected_signature_is_counted_by_the_loop_that_was_called(telemetry: Telemetry) -> None:
    """Not so what SMTPeter would not sign, and other rejections."""
    before = own(telemetry)
    for reason in ("url", "digest", "unsigned", "algorithm", "missing_field"):
        telemetry.refused(reason, "failures")
    counted = {name: by for name, by in changed(telemetry, before).items() if "loop" in name}
    assert counted == {'signature_refused_total{loop="failures"}': 2}


def test_the_webhook_of_a_rejected_event_is_kept(telemetry: Telemetry) -> None:
    """The status page names it; the metric has only the reason."""
    before = own(telemetry)
    telemetry.refused("other_loop", "failures", Misdirected("click", "failures"))
    assert changed(telemetry, before) == {'refused_total{reason="other_loop"}': 1}
    assert telemetry.activity.misdirected() == [Misdirected("click", "failures")]


def ticket(*repaired: str, loop: Loop = FAILURES, decided_by: str = "extended", overflowed: bool = False) -> Ticket:
    """Return the ticket of an event of whose report ``repaired`` was repaired."""
    report = REPORT._replace(repaired=frozenset(repaired))
    made = Pending(Record(b"", (), loop.number), report, began=time.perf_counter())
    made.event = made.event._replace(decision=Decision("blocked", decided_by), overflowed=overflowed)
    return made


def test_a_commit_counts_what_is_new(telemetry: Telemetry) -> None:
    """Its new failures count by the step that decided and by what was repaired; the other ones are duplicates."""
    before = own(telemetry)
    tickets = [
        ticket("encoding", "wrong_type", decided_by="vendor"),
        ticket("encoding", overflowed=True),
        ticket("malformed", decided_by="state", overflowed=True),
        ticket(),
    ]
    telemetry.committed(Commit(0.25, tickets, [True, True, False, True], in_time=tickets))
    after = changed(telemetry, before)
    assert 0 < after.pop("request_duration_seconds_sum") < TIMEOUT
    assert after == {
        "duplicates_total": 1,
        "commit_batch_size_count": 1,
        "commit_batch_size_sum": 4,
        "commit_duration_seconds_count": 1,
        "commit_duration_seconds_sum": 0.25,
        'reason_decisions_total{decided_by="vendor"}': 1,
        'reason_decisions_total{decided_by="extended"}': 2,
        'repaired_total{what="encoding"}': 2,
        'repaired_total{what="wrong_type"}': 1,
        "label_overflow_total": 1,
        "request_duration_seconds_count": 4,
        'accepted_total{loop="failures"}': 4,
    }
    assert telemetry.activity.counts().keys() == {"failures"}


def test_a_commit_counts_each_loop(telemetry: Telemetry) -> None:
    """Requests that were answered 200 count by loop, duplicates too; only failures count by the step that decided."""
    before = own(telemetry)
    tickets = [
        ticket("encoding", loop=DELIVERIES),
        ticket(loop=BOUNCES, decided_by="vendor"),
        ticket(loop=DELIVERIES),
        ticket(),
    ]
    telemetry.committed(Commit(0.25, tickets, [True, True, True, False], in_time=tickets))
    after = changed(telemetry, before)
    assert {name: value for name, value in after.items() if "_seconds_" not in name} == {
        'accepted_total{loop="failures"}': 1,
        'accepted_total{loop="deliveries"}': 2,
        'accepted_total{loop="bounces"}': 1,
        "duplicates_total": 1,
        "commit_batch_size_count": 1,
        "commit_batch_size_sum": 4,
        'repaired_total{what="encoding"}': 1,
    }
    assert telemetry.activity.counts().keys() == {"deliveries", "bounces"}


def test_duplicates_are_no_activity(telemetry: Telemetry) -> None:
    """The status page shows when the last new failure was counted."""
    telemetry.committed(Commit(0.25, [ticket()], [False], in_time=[]))
    assert telemetry.activity.counts() == {}


def test_requests_for_which_the_commit_is_late_are_not_observed(telemetry: Telemetry) -> None:
    """They were answered 503; their failures count nevertheless."""
    before = own(telemetry)
    tickets = [ticket(), ticket(), ticket()]
    telemetry.committed(Commit(12, tickets, [True, True, False], in_time=tickets[1:]))
    after = changed(telemetry, before)
    assert after['reason_decisions_total{decided_by="extended"}'] == 2
    assert after["request_duration_seconds_count"] == 2
    assert after['accepted_total{loop="failures"}'] == 2


def test_a_signed_request_is_kept_for_the_status_page(telemetry: Telemetry) -> None:
    """It has no metric."""
    before = own(telemetry)
    telemetry.signed()
    assert changed(telemetry, before) == {}
    assert telemetry.activity.last().keys() == {"signed"}


def test_a_request_is_dated_by_its_loop(telemetry: Telemetry) -> None:
    """The time of the last request is a metric, and on the status page."""
    before = own(telemetry)
    begin = time.time()
    telemetry.requested(BOUNCES)
    (item,) = changed(telemetry, before).items()
    assert item[0] == 'last_request_timestamp_seconds{loop="bounces"}'
    assert begin <= item[1] <= time.time()
    assert telemetry.activity.requests().keys() == {"bounces"}


def test_other_events(telemetry: Telemetry) -> None:
    """Each of the other events has a metric."""
    before = own(telemetry)
    telemetry.looked_up("failed")
    telemetry.signature_mode("required")
    assert changed(telemetry, before) == {
        'key_lookups_total{result="failed"}': 1,
        "signature_required": 1,
    }
    telemetry.signature_mode("off")
    assert own(telemetry)["signature_required"] == 0


def test_cached_keys_are_exposed_as_they_are_at_each_scrape(telemetry: Telemetry) -> None:
    """Their number by state, and the age of the oldest one."""
    ages: list[tuple[float, bool]] = []
    telemetry.watch_keys(lambda: ages)
    before = own(telemetry)
    ages += [(60.0, False), (90.0, True), (30.0, False)]
    assert changed(telemetry, before) == {
        'keys{state="fresh"}': 2,
        'keys{state="stale"}': 1,
        "key_age_seconds": 90,
    }
    ages.clear()
    assert own(telemetry) == before


def test_each_metric_is_described(telemetry: Telemetry, texts: Texts) -> None:
    """Each family has a help text."""
    for family in telemetry.registry.collect():
        if family.name.startswith("smtpeter_"):
            texts.check(f"{family.name}: {family.documentation}")
