"""Simulated traffic is realistic, the same for the same seed, and has a spike of the requested size."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Final
from urllib.parse import urlencode

import pytest

from exporter.classification.providers import Providers
from exporter.classification.reason import reason_of
from exporter.classification.report import Report
from exporter.simulator.traffic import DAY, HOUR, WEEK, SimulatedRequest, Spike, Traffic
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
