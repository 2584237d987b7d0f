"""The resources of the private listener: formats of the metrics, readiness, and the headers of the status page."""

import gzip
from types import SimpleNamespace
from typing import Final

import falcon
import pytest
from falcon.testing import Result, TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from exporter.metrics.telemetry import Telemetry
from exporter.web.page import POLICY, page
from exporter.web.resources import Healthy, Metrics, Page, Ready
from tests.support.status_page import facts

DUPLICATES: Final = "smtpeter_exporter_duplicates_total"


@pytest.fixture
def telemetry() -> Telemetry:
    """Return metrics with a value to look for."""
    telemetry = Telemetry()
    telemetry.committed(0.1, [True, False, False])
    return telemetry


def scrape(telemetry: Telemetry, **headers: str) -> Result:
    """Return the answer to a request for the metrics."""
    app = falcon.App()
    app.add_route("/metrics", Metrics(telemetry.registry, telemetry.activity))
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return TestClient(app).simulate_get("/metrics", headers=named)


OPEN: Final = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest.mark.parametrize(
    ("headers", "media_type"),
    [
        ({}, "text/plain"),
        ({"Accept": "text/html"}, "text/plain"),
        ({"Accept": "application/openmetrics-text; version=one"}, "text/plain"),
        (OPEN, "application/openmetrics-text"),
    ],
    ids=["none", "browser", "malformed version", "OpenMetrics"],
)
def test_format_follows_the_accept_header(telemetry: Telemetry, headers: dict[str, str], media_type: str) -> None:
    """The metrics are OpenMetrics if the scraper asks for it, and otherwise the text format."""
    answer = scrape(telemetry, **headers)
    assert answer.headers["Content-Type"].partition(";")[0] == media_type
    parse = open_metrics if headers is OPEN else text_format
    samples = [sample for family in parse(answer.text) for sample in family.samples]
    assert [sample.value for sample in samples if sample.name == DUPLICATES] == [2.0]


def test_gzip_is_used_if_accepted(telemetry: Telemetry) -> None:
    """The answer is compressed for a scraper that accepts gzip, and the header ``Vary`` says so to caches."""
    plain, packed = scrape(telemetry), scrape(telemetry, Accept_Encoding="gzip")
    assert (plain.headers.get("Content-Encoding"), packed.headers["Content-Encoding"]) == (None, "gzip")
    assert f"\n{DUPLICATES} 2.0\n" in gzip.decompress(packed.content).decode()
    for answer in (plain, packed):
        assert answer.headers["Vary"] == "Accept, Accept-Encoding"


def test_scrapes_are_told_from_other_readers(telemetry: Telemetry) -> None:
    """Only a request with Prometheus's timeout header counts as a scrape."""
    scrape(telemetry)
    assert telemetry.activity.last().keys() == {"read"}
    scrape(telemetry, X_Prometheus_Scrape_Timeout_Seconds="10")
    assert telemetry.activity.last().keys() == {"read", "scrape"}


def test_healthy() -> None:
    """Liveness is 200 while the process answers."""
    app = falcon.App()
    app.add_route("/-/healthy", Healthy())
    answer = TestClient(app).simulate_get("/-/healthy")
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (200, "healthy\n", falcon.MEDIA_TEXT)


def test_ready_shows_the_problem() -> None:
    """Readiness is 503 with the cause while the ledger is not writable, whatever bytes the cause contains."""
    committer = SimpleNamespace(problem=None)
    app = falcon.App()
    app.add_route("/-/ready", Ready(committer))  # type: ignore[arg-type]  # nothing else is used
    client = TestClient(app)
    answers = []
    for committer.problem in (None, "ledger /odd-\udcff: gone", None):
        answer = client.simulate_get("/-/ready")
        answers.append((answer.status_code, answer.text))
    assert answers == [(200, "ready\n"), (503, "not ready: ledger /odd-\\udcff: gone\n"), (200, "ready\n")]


def test_page_has_its_headers() -> None:
    """The status page is never stored, loads nothing, and leaks no referrer."""
    app = falcon.App()
    app.add_route("/", Page(lambda: facts(machine="odd-\udcff", shared=True)))
    answer = TestClient(app).simulate_get("/")
    names = ("Content-Type", "Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "Cache-Control")
    assert {name: answer.headers.get(name) for name in names} == {
        "Content-Type": falcon.MEDIA_HTML,
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    assert answer.text == page(facts(machine="odd-\\udcff", shared=True))
