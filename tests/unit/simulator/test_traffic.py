"""Simulated traffic is realistic, the same for the same seed, and has the wanted spikes, mailings and blocks."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Final
from urllib.parse import urlencode

import pytest

from exporter.classification.loops import LOOPS
from exporter.classification.providers import Providers
from exporter.classification.reason import reason_of
from exporter.classification.report import Report
from exporter.simulator.consequences import RECOGNIZED
from exporter.simulator.mailings import BLOCK_REPLIES, VOLUME, Block, Mailing, mailings_from
from exporter.simulator.requests import SimulatedRequest
from exporter.simulator.traffic import DAY, HOUR, WEEK, Spike, Traffic
from exporter.webhook.parsing import parse

MONDAY: Final = datetime(2026, 11, 23, tzinfo=UTC).timestamp()


def report(fields: Mapping[str, str]) -> Report:
    """Return the report that the exporter reads from the variables."""
    return parse("application/x-www-form-urlencoded", urlencode(fields).encode())


def day(traffic: Traffic, hours: float = 24) -> list[SimulatedRequest]:
    """Return all requests of the first hours of a Monday."""
    return list(takewhile(lambda request: request.at < MONDAY + hours * HOUR, traffic.requests(MONDAY)))


def test_the_rate_follows_the_hours_of_the_week() -> None:
    """It is low at night and at the weekend, and changes by a factor of at most 1.6 per hour; its mean is 1."""
    assert len(WEEK) == 7 * 24
    assert sum(WEEK) / len(WEEK) == pytest.approx(1)
    assert WEEK[3] < WEEK[20] < WEEK[8]
    assert sum(WEEK[5 * 24 :]) / 2 < sum(WEEK[: 5 * 24]) / 5 * 0.55
    steps = [max(one, two) / min(one, two) for one, two in zip(WEEK, (*WEEK[1:], WEEK[0]), strict=True)]
    assert max(steps) < 1.61
    traffic = Traffic(DAY)
    assert traffic.usual(MONDAY + 8 * HOUR) == pytest.approx(WEEK[8])
    assert traffic.usual(MONDAY + 8.5 * HOUR) == pytest.approx((WEEK[8] + WEEK[9]) / 2)


def test_a_seed_always_gives_the_same_traffic() -> None:
    """The first failure of a seed is this one, in each variable; another seed has another one."""
    first = next(Traffic(1_000, seed=1).requests(MONDAY))
    again = next(Traffic(1_000, seed=1).requests(MONDAY))
    other = next(Traffic(1_000, seed=2).requests(MONDAY))
    assert first == again
    assert first.fields["id"] != other.fields["id"]
    assert (round(first.at - MONDAY, 3), dict(first.fields)) == (
        127.088,
        {
            "id": "1a205b5c06f551fb1d6",
            "recipient": "sanne.bos85@jansenbouw.example",
            "state": "bounce",
            "code": "550",
            "extended": "5.1.10",
            "description": (
                "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient sanne.bos85@jansenbouw.example not found by SMTP "
                "address lookup"
            ),
            "type": "failure",
            "action": "failure",
            "time": "1795392127",
            "timestamp": "2026-11-23 00:02:07",
            "tags": "newsletter;offers",
        },
    )


def test_a_week_has_the_requested_number() -> None:
    """A week of 1,000 failures per day has about 7,000, in the order of time, each with its own id."""
    week = day(Traffic(1_000, seed=3, repeats=0), hours=7 * 24)
    assert abs(len(week) - 7_000) < 4 * 7_000**0.5
    assert [request.at for request in week] == sorted(request.at for request in week)
    assert len({request.fields["id"] for request in week}) == len(week)


def test_variables_are_those_of_smtpeter() -> None:
    """Each request has the variables of the later generation; its reason and provider are those of the table."""
    providers = Providers({})
    for request in islice(Traffic(1_000, seed=4, repeats=0).requests(MONDAY), 2_000):
        read = report(request.fields)
        assert (reason_of(read).reason, providers.provider_of(read.recipient)) == request.answer[:2]
        assert request.fields["type"] == "failure"
        assert request.fields["action"] in {"failure", "failed"}
        assert request.fields["time"] == str(int(request.at))
        assert datetime.fromisoformat(request.fields["timestamp"]).replace(tzinfo=UTC).timestamp() == int(request.at)
        assert read.tags


def test_some_requests_are_repeated() -> None:
    """One in fifty is repeated within a minute, unchanged, and marked as a repeat."""
    sent = day(Traffic(10_000, seed=5))
    firsts = {request.fields["id"]: request for request in sent if not request.repeated}
    repeats = [request for request in sent if request.repeated]
    assert 0.015 < len(repeats) / len(firsts) < 0.025
    for request in repeats:
        first = firsts[request.fields["id"]]
        assert request.fields == first.fields
        assert 0 < request.at - first.at <= 60


@pytest.mark.parametrize(("reason", "times"), [(None, 10), ("recipient_unknown", 10), ("mailbox_full", 10)])
def test_a_spike_multiplies_the_usual_rate(reason: str | None, times: float) -> None:
    """While it lasts there are ten times as many failures of its reason, or of all; before and after as usual."""
    begin, end = MONDAY + 10 * HOUR, MONDAY + 12 * HOUR
    spike = Spike(reason, times, begin, end)
    with_spike = day(Traffic(10_000, seed=6, spike=spike, repeats=0))
    without = day(Traffic(10_000, seed=6, repeats=0))

    def count(requests: list[SimulatedRequest], *, inside: bool) -> int:
        return sum(
            (begin <= request.at < end) is inside and reason in {None, request.answer.reason} for request in requests
        )

    assert count(with_spike, inside=False) == count(without, inside=False)
    assert count(with_spike, inside=True) / count(without, inside=True) == pytest.approx(times, rel=0.1)


def test_a_spike_of_a_rare_reason_is_as_high_as_the_mean_of_all_failures() -> None:
    """Otherwise it would not be visible. Nine in ten of its failures are of one provider."""
    begin = MONDAY + 10 * HOUR
    spike = Spike("blocked", 10, begin, begin + HOUR)
    requests = day(Traffic(10_000, seed=7, spike=spike, repeats=0), hours=11)
    blocked = [request for request in requests if request.at >= begin and request.answer.reason == "blocked"]
    assert len(blocked) == pytest.approx(10_000 / 24, rel=0.15)
    microsoft = sum(request.answer.provider == "microsoft" for request in blocked)
    assert 0.85 < microsoft / len(blocked) < 0.95


# All loops


def counts(requests: list[SimulatedRequest], provider: str | None = None) -> Counter[str]:
    """Return the number of requests by loop, of all providers or of one."""
    return Counter(request.loop for request in requests if provider in {None, request.answer.provider})


def test_a_seed_always_gives_the_same_events() -> None:
    """The same arguments give the same requests of each loop; another seed gives others."""
    one, again, other = (day(Traffic(500, seed=seed, loops=LOOPS)) for seed in (1, 1, 2))
    assert one == again
    assert {request.fields["id"] for request in one}.isdisjoint(request.fields["id"] for request in other)
    assert set(counts(one)) == set(LOOPS)


def test_each_loop_is_the_same_with_and_without_others() -> None:
    """The requests of a loop don't depend on which other loops are sent."""
    everything = day(Traffic(500, seed=2, loops=LOOPS, repeats=0))
    for loops in ({"deliveries"}, {"bounces", "abuses"}, {"failures", "bounces"}):
        some = day(Traffic(500, seed=2, loops=loops, repeats=0))
        assert some == [request for request in everything if request.loop in loops]


def test_failures_are_the_same_without_deliveries() -> None:
    """Except in mailings, there are as many failures, of the same messages, if only failures are sent."""
    mailing = next(mailings_from(MONDAY, 1))
    only = day(Traffic(1_000, seed=1, repeats=0), hours=4 * 24)
    traffic = Traffic(1_000, seed=1, repeats=0, loops={"failures", "deliveries"}, deliveries_per_failure=1)
    among = day(traffic, hours=4 * 24)
    among = [request for request in among if request.loop == "failures"]
    added = set(map(id_of, among)) - set(map(id_of, only))
    assert [request for request in among if id_of(request) not in added] == only
    assert {mailing.begin <= request.at < mailing.end for request in among if id_of(request) in added} == {True}


def id_of(request: SimulatedRequest) -> str:
    """Return the id of the message."""
    return request.fields["id"]


def test_requests_of_all_loops_are_in_the_order_of_time() -> None:
    """None is before the start, although deliveries precede their failures, and complaints come hours later."""
    sent = day(Traffic(1_000, seed=3, loops=LOOPS))
    times = [request.at for request in sent]
    assert (times == sorted(times), times[0] >= MONDAY) == (True, True)


def test_there_are_fifty_deliveries_per_failure() -> None:
    """Outside of mailings, the ratio is this or the chosen one. Deliveries follow the hours of the week, too."""
    sent = counts(day(Traffic(1_000, seed=1, loops=LOOPS, repeats=0)))
    assert sent["deliveries"] / sent["failures"] == pytest.approx(50, rel=0.15)
    few = counts(day(Traffic(1_000, seed=1, loops=LOOPS, repeats=0, deliveries_per_failure=5)))
    assert few["deliveries"] / few["failures"] == pytest.approx(5, rel=0.15)
    night = counts(day(Traffic(1_000, seed=1, loops=LOOPS, repeats=0), hours=4))
    assert night["deliveries"] / 4 < sent["deliveries"] / 24 / 2


def test_without_deliveries_only_failures_have_consequences() -> None:
    """With 0 deliveries per failure, the only ones are those that failed later."""
    sent = day(Traffic(1_000, seed=1, loops=LOOPS, repeats=0, deliveries_per_failure=0))
    delivered = {id_of(request) for request in sent if request.loop == "deliveries"}
    assert delivered == {id_of(request) for request in sent if request.after_delivery} != set()


def test_failures_after_delivery_were_delivered_before() -> None:
    """The delivery of the same message to the same recipient comes earlier; most also come as a bounce."""
    sent = day(Traffic(2_000, seed=4, loops=LOOPS, repeats=0, deliveries_per_failure=5))
    delivered: set[tuple[str, str]] = set()
    bounced = {id_of(request) for request in sent if request.loop == "bounces"}
    late = []
    for request in sent:
        key = (id_of(request), request.fields.get("recipient", ""))
        if request.loop == "deliveries":
            assert key not in delivered
            delivered.add(key)
        elif request.loop == "failures":
            assert (key in delivered) is request.after_delivery
            late += [request] if request.after_delivery else []
    assert len(late) > 150
    assert sum(id_of(request) in bounced for request in late) / len(late) == pytest.approx(RECOGNIZED, abs=0.05)


def test_each_loop_repeats_some_requests() -> None:
    """A repeat is the same request again."""
    sent = day(Traffic(1_000, seed=5, loops=LOOPS, repeats=0.1))
    firsts = {(request.loop, request.fields["id"], request.fields.get("mime")): request for request in sent[::-1]}
    repeats = [request for request in sent if request.repeated]
    assert set(counts(repeats)) == set(LOOPS)
    for request in repeats:
        first = firsts[request.loop, request.fields["id"], request.fields.get("mime")]
        assert request == first._replace(at=request.at, repeated=True)


def test_recipients_belong_to_their_provider() -> None:
    """In each loop, an answer has the provider of the recipient. For a complaint, it is the one in the report."""
    providers = Providers({})
    for request in day(Traffic(500, seed=6, loops=LOOPS)):
        recipient = request.fields.get("recipient") or re.findall("Original-Rcpt-To: <(.*)>", request.fields["mime"])[0]
        assert providers.provider_of(recipient) == request.answer.provider


# Mailings and blocks

BEGIN: Final = MONDAY + 10 * HOUR


def during(traffic: Traffic, begin: float, end: float) -> list[SimulatedRequest]:
    """Return the requests between two times, from traffic that starts before."""
    requests = takewhile(lambda request: request.at < end, traffic.requests(begin - 300))
    return [request for request in requests if request.at >= begin]


@pytest.mark.parametrize("failing", [0.25, 4.0])
def test_a_mailing_has_twenty_times_the_deliveries(failing: float) -> None:
    """The share of its messages that fail is that of the mailing. All have the tag of a newsletter."""
    usual, sent = (
        during(Traffic(1_000, seed=7, loops=LOOPS, repeats=0, mailing=mailing), BEGIN, BEGIN + 1_800)
        for mailing in (None, Mailing(BEGIN, BEGIN + 1_800, failing))
    )
    assert counts(sent)["deliveries"] / counts(usual)["deliveries"] == pytest.approx(VOLUME, rel=0.05)
    known = {id_of(request) for request in usual}
    added = [request for request in sent if id_of(request) not in known]
    assert counts(added)["deliveries"] / counts(added)["failures"] == pytest.approx(50 / failing, rel=0.2)
    assert {request.tags[0] for request in added if request.loop == "deliveries"} == {"newsletter"}


def test_mailings_of_the_seed_are_sent() -> None:
    """During each mailing of two weeks, there are far more deliveries than in the half hour before."""
    requests = day(Traffic(100, seed=8, loops={"deliveries"}, repeats=0), hours=14 * 24)
    mailings = list(takewhile(lambda mailing: mailing.end < MONDAY + 14 * DAY, mailings_from(MONDAY, 8)))
    assert len(mailings) >= 2
    for mailing in mailings:
        length = mailing.end - mailing.begin
        before = sum(mailing.begin - length <= request.at < mailing.begin for request in requests)
        assert sum(mailing.begin <= request.at < mailing.end for request in requests) > 10 * before > 0


@pytest.mark.parametrize("provider", ["gmail", "microsoft"])
def test_a_block_turns_deliveries_into_failures(provider: str) -> None:
    """Nine in ten messages to the provider are rejected during a block; all others are as without it."""
    mailing, block = Mailing(BEGIN, BEGIN + 1_800, 1.0), Block(provider, BEGIN + 600, BEGIN + 1_200)
    usual, sent = (
        during(Traffic(1_000, seed=9, loops=LOOPS, repeats=0, mailing=mailing, block=each), BEGIN, BEGIN + 1_800)
        for each in (None, block)
    )
    late = {id_of(request) for request in usual if request.after_delivery}
    outcomes = {id_of(request): request for request in usual if request.loop == "deliveries"}
    met = {id_of(each) for each in outcomes.values() if block.covers(each.at, each.answer)} - late
    rejected = [request for request in sent if request.answer == BLOCK_REPLIES[provider] and id_of(request) in outcomes]
    assert len(rejected) / len(met) == pytest.approx(0.9, abs=0.02)
    for request in rejected:
        before = outcomes.pop(id_of(request))
        met.remove(id_of(request))
        found = (request.loop, request.at, request.fields["recipient"])
        assert found == ("failures", before.at, before.fields["recipient"])
    assert outcomes == {id_of(request): request for request in sent if request.loop == "deliveries"}
