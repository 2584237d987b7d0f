"""Each query of each panel has an answer from a real Prometheus with a history and an exporter."""

import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

import pytest

from deploy.demo.past import RULES, before
from deploy.demo.past import load as load_past
from exporter.simulator.traffic import Spike, Traffic
from tests.support.grafana import NAMES, Query, filled, load, queries
from tests.support.running import TIMEOUT, Exporter, Prometheus, exporter, server, skipping, until

WEEK: Final = 7 * 24 * 3_600
NEW: Final = "5.7.606"
"""A status that does not occur in the history of a week ago."""

PRESENT: Final = {"__interval": "30s", "__rate_interval": "5m", "__range": "5m", "reason": ".+", "job": "present"}
"""The values of variables for queries about the running exporter."""
PAST: Final = PRESENT | {"__interval": "5m", "__rate_interval": "6m", "__range": "30m", "job": "past"}

# The queries that have no answer here, by panel and letter, and why.
UNANSWERED: Final = {
    ("Alerts firing", "B"): "has an answer only while no alert fires; here one does",
    ("Exporters", "B"): "counts exporters that are down; here none is",
    ("Failure ratio", "B"): "needs deliveries for a day; here they are counted for two hours",
}


class World(NamedTuple):
    """A Prometheus with a history of the job ``past``, and an exporter that it scrapes as the job ``present``."""

    prometheus: Prometheus
    exporter: Exporter
    end: int
    """The end of the history, in seconds since the epoch."""

    def answers(self, query: Query) -> bool:
        """Return whether the answer has a number. Queries about usual values, ratios and a week ago use the history."""
        past = any(part in query.expression for part in ("offset 1w", "_expected", ":ratio_increase"))
        values = PAST if past or "ALERTS" in query.expression else PRESENT
        found = self.prometheus.query(filled(query.expression, values), self.end - 60 if past else None)
        return any(not math.isnan(value) for _, value in found)

    def post(self, first: int) -> None:
        """Post 200 failures, some of them twice, and a request that is rejected."""
        with self.exporter.client() as client:
            for event in islice(Traffic(100_000, repeats=0.1).requests(0), first, first + 200):
                assert client.post(event.fields).status == 200
            assert client.post({}, "/elsewhere").status == 404


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make two hours of history a week ago and two until now that end with a spike; then post failures."""
    directory, program = tmp_path_factory.mktemp("world"), server("prometheus")
    now = int(time.time()) // 60 * 60
    spike = Spike("blocked", 100, now - 1_200, now)
    for end in (now - WEEK, now):
        begin = end - 2 * 3_600
        traffic = before(end, Traffic(2_000, seed=1, spike=spike).requests(begin))
        events = (event for event in traffic if event.at >= spike.begin or event.answer.extended != NEW)
        with skipping():
            load_past(directory / "data", {"past": events}, begin, end, deliveries=lambda _: 1)
    prometheus = Prometheus(program, directory, rules=[RULES / "rules.yaml", RULES / "alerts.yaml"])
    try:
        with exporter(tmp_path_factory.mktemp("exporter")) as running:
            prometheus.add("present", running.private)
            world = World(prometheus, running, now)
            world.post(0)
            until(lambda: prometheus.value('sum(job:smtpeter_failures_by_reason_total:max{job="present"})'))
            world.post(200)
            yield world
    finally:
        prometheus.stop()


QUERIES: Final = [query for name in NAMES for query in queries(load(name))]


def test_each_query_is_answered(world: World) -> None:
    """Each query has numbers in its answer as soon as there are enough scrapes."""
    left = [query for query in QUERIES if (query.panel, query.ref) not in UNANSWERED]
    assert left
    deadline = time.monotonic() + TIMEOUT
    while left and time.monotonic() < deadline:
        left = [query for query in left if not world.answers(query)]
    assert left == []


@pytest.mark.parametrize("key", UNANSWERED, ids="-".join)
def test_each_exclusion_is_needed(key: tuple[str, str], world: World) -> None:
    """The excluded query exists and has no answer."""
    (query,) = [query for query in QUERIES if (query.panel, query.ref) == key]
    assert not world.answers(query)
