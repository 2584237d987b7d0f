"""A real Prometheus answers each query of each panel, of an exporter that it scrapes, and of a past."""

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
from tests.support.running import Exporter, Prometheus, exporter, server, skipping, until

WEEK: Final = 7 * 24 * 3_600
NEW: Final = "5.7.606"
"""A status that did not occur in the week before."""

PRESENT: Final = {"__interval": "30s", "__rate_interval": "5m", "__range": "5m", "reason": ".+", "job": "present"}
"""What a dashboard would ask of the last minutes, of an exporter that runs for seconds."""
PAST: Final = PRESENT | {"__interval": "5m", "__rate_interval": "6m", "__range": "30m", "job": "past"}

# Which query of which panel has no answer here, and why.
UNANSWERED: Final = {
    ("Alerts firing", "B"): "says “none” while no alert fires; here one does",
    ("Exporters", "B"): "counts exporters that don't answer; here all do",
}


class World(NamedTuple):
    """A Prometheus with a past of the job ``past``, and an exporter that it scrapes as the job ``present``."""

    prometheus: Prometheus
    exporter: Exporter
    end: int
    """When the past ends."""

    def answers(self, query: Query) -> bool:
        """Whether the answer has a number. Of what is usual and of a week ago, the past knows."""
        past = "offset 1w" in query.expression or "_expected" in query.expression
        values = PAST if past or "ALERTS" in query.expression else PRESENT
        found = self.prometheus.query(filled(query.expression, values), self.end - 60 if past else None)
        return any(not math.isnan(value) for _, value in found)

    def post(self, first: int) -> None:
        """Post 200 failures, some of which come twice, and make a call that is refused."""
        with self.exporter.client() as client:
            for event in islice(Traffic(100_000, repeats=0.1).events(0), first, first + 200):
                assert client.post(event.fields).status == 200
            assert client.post({}, "/elsewhere").status == 404


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two hours of a past that end with a spike, and two of a week before; then failures while Prometheus scrapes."""
    folder, program = tmp_path_factory.mktemp("world"), server("prometheus")
    now = int(time.time()) // 60 * 60
    spike = Spike("blocked", 100, now - 1_200, now)
    for end in (now - WEEK, now):
        begin = end - 2 * 3_600
        traffic = before(end, Traffic(2_000, seed=1, spike=spike).events(begin))
        events = (one for one in traffic if one.at >= spike.begin or one.answer.extended != NEW)
        with skipping():
            load_past(folder / "data", {"past": events}, begin, end)
    prometheus = Prometheus(program, folder, rules=[RULES / "rules.yaml", RULES / "alerts.yaml"])
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


QUERIES: Final = [one for name in NAMES for one in queries(load(name))]


@pytest.mark.parametrize(
    "query",
    [one for one in QUERIES if (one.panel, one.ref) not in UNANSWERED],
    ids=lambda query: f"{query.panel}-{query.ref}",
)
def test_each_query_is_answered(query: Query, world: World) -> None:
    """The query is answered with numbers, as soon as there are scrapes enough."""
    until(lambda: world.answers(query))


@pytest.mark.parametrize("key", UNANSWERED, ids="-".join)
def test_what_is_left_out_has_no_answer(key: tuple[str, str], world: World) -> None:
    """The query that is left out exists, and gives nothing."""
    (query,) = [one for one in QUERIES if (one.panel, one.ref) == key]
    assert not world.answers(query)
