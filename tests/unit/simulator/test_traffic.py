"""Simulated traffic: believable, the same for the same seed, and a spike of the size that was asked for."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from urllib.parse import urlencode

import pytest

from deploy.demo.past import before
from exporter.classification.labels import STATES
from exporter.classification.providers import Providers
from exporter.classification.reason import REASONS, reason_of
from exporter.classification.report import Report
from exporter.simulator.answers import JUDGES, SAMPLE_REPLIES
from exporter.simulator.traffic import DAY, HOUR, WEEK, SimulatedRequest, Spike, Traffic
from exporter.webhook.parsing import parse

MONDAY: Final = datetime(2026, 11, 23, tzinfo=UTC).timestamp()


def report(fields: Mapping[str, str]) -> Report:
    """What the exporter reads of the variables."""
    return parse("application/x-www-form-urlencoded", urlencode(fields).encode())


def day(traffic: Traffic, hours: float = 24) -> list[SimulatedRequest]:
    """All calls of the first hours of a Monday."""
    return list(before(MONDAY + hours * HOUR, traffic.requests(MONDAY)))


@pytest.mark.parametrize("reason", REASONS)
def test_answers_have_the_reason_that_the_table_says(reason: str) -> None:
    """Each reason has an answer, and what the exporter makes of it is that reason."""
    found = {}
    for answer in SAMPLE_REPLIES:
        if answer.reason == reason:
            text = answer.text.format(recipient="jan@example.com", domain="example.com", queue="0")
            read = Report("1", "jan@example.com", answer.state, answer.code, answer.extended, text)
            found[answer.text] = reason_of(read).reason
    assert found
    assert set(found.values()) == {reason}


def test_answers_come_from_mailboxes_of_their_provider() -> None:
    """Each domain of an answer is one of its provider's, and each state is one that MailerQ has."""
    providers = Providers({})
    wrong = [
        (answer.provider, domain)
        for answer in SAMPLE_REPLIES
        for domain in answer.domains
        if providers.provider_of(f"jan@{domain}") != answer.provider
    ]
    assert wrong == []
    assert {answer.state for answer in SAMPLE_REPLIES} <= STATES


def test_shares_add_up() -> None:
    """The shares of all answers are one; nearly half are unknown recipients, and reputation costs a tenth or so."""
    shares = dict.fromkeys(REASONS, 0.0)
    for answer in SAMPLE_REPLIES:
        shares[answer.reason] += answer.share
    assert sum(shares.values()) == pytest.approx(1)
    assert 0.4 < shares["recipient_unknown"] < 0.5
    assert 0.1 < sum(shares[reason] for reason in JUDGES) < 0.2


def test_a_week_has_hours() -> None:
    """The rate is one on average, low at night and at the weekend, and rises or falls by at most 1.6 an hour."""
    assert len(WEEK) == 7 * 24
    assert sum(WEEK) / len(WEEK) == pytest.approx(1)
    assert WEEK[3] < WEEK[20] < WEEK[8]
    assert sum(WEEK[5 * 24 :]) / 2 < sum(WEEK[: 5 * 24]) / 5 * 0.55
    steps = [max(one, two) / min(one, two) for one, two in zip(WEEK, (*WEEK[1:], WEEK[0]), strict=True)]
    assert max(steps) < 1.61
    traffic = Traffic(DAY)
    assert traffic.usual(MONDAY + 8 * HOUR) == pytest.approx(WEEK[8])
    assert traffic.usual(MONDAY + 8.5 * HOUR) == pytest.approx((WEEK[8] + WEEK[9]) / 2)


def test_a_seed_always_gives_the_same() -> None:
    """The first failures of a seed are these, in every variable; another seed gives others."""
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


def test_a_week_has_as_many_as_were_asked_for() -> None:
    """A week of a thousand a day has seven thousand, as far as chance allows, in order, each another one."""
    week = day(Traffic(1_000, seed=3, repeats=0), hours=7 * 24)
    assert abs(len(week) - 7_000) < 4 * 7_000**0.5
    assert [event.at for event in week] == sorted(event.at for event in week)
    assert len({event.fields["id"] for event in week}) == len(week)


def test_what_is_sent_is_what_smtpeter_sends() -> None:
    """The exporter reads each call, in the later generation's variables; its reason and provider are the table's."""
    providers = Providers({})
    for event in islice(Traffic(1_000, seed=4, repeats=0).requests(MONDAY), 2_000):
        read = report(event.fields)
        assert (reason_of(read).reason, providers.provider_of(read.recipient)) == event.answer[:2]
        assert event.fields["type"] == "failure"
        assert event.fields["action"] in {"failure", "failed"}
        assert event.fields["time"] == str(int(event.at))
        assert datetime.fromisoformat(event.fields["timestamp"]).replace(tzinfo=UTC).timestamp() == int(event.at)
        assert read.tags


def test_some_come_twice() -> None:
    """One in fifty is sent again within a minute, unchanged and marked."""
    calls = day(Traffic(10_000, seed=5))
    firsts = {event.fields["id"]: event for event in calls if not event.repeated}
    repeats = [event for event in calls if event.repeated]
    assert 0.015 < len(repeats) / len(firsts) < 0.025
    for event in repeats:
        first = firsts[event.fields["id"]]
        assert event.fields == first.fields
        assert 0 < event.at - first.at <= 60


@pytest.mark.parametrize(("reason", "times"), [(None, 10), ("recipient_unknown", 10), ("mailbox_full", 10)])
def test_a_spike_is_so_many_times_the_usual(reason: str | None, times: float) -> None:
    """While it lasts there are ten times as many of its reason, or of all; before and after as many as ever."""
    begin, end = MONDAY + 10 * HOUR, MONDAY + 12 * HOUR
    spike = Spike(reason, times, begin, end)
    with_it = day(Traffic(10_000, seed=6, spike=spike, repeats=0))
    without = day(Traffic(10_000, seed=6, repeats=0))

    def count(events: list[SimulatedRequest], *, inside: bool) -> int:
        return sum((begin <= event.at < end) is inside and reason in {None, event.answer.reason} for event in events)

    assert count(with_it, inside=False) == count(without, inside=False)
    assert count(with_it, inside=True) / count(without, inside=True) == pytest.approx(times, rel=0.1)


def test_a_spike_of_a_rare_reason_is_as_large_as_all_usual_traffic() -> None:
    """Ten times a rarity would hardly be seen, so it is as much as all failures on average; most at one provider."""
    begin = MONDAY + 10 * HOUR
    spike = Spike("blocked", 10, begin, begin + HOUR)
    events = day(Traffic(10_000, seed=7, spike=spike, repeats=0), hours=11)
    blocked = [event for event in events if event.at >= begin and event.answer.reason == "blocked"]
    assert len(blocked) == pytest.approx(10_000 / 24, rel=0.15)
    microsoft = sum(event.answer.provider == "microsoft" for event in blocked)
    assert 0.85 < microsoft / len(blocked) < 0.95
