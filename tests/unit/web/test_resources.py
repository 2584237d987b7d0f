"""The resources of the private listener: formats of the metrics, readiness, and the headers of the status page."""

import gzip
from types import SimpleNamespace
from typing import Final

import falcon
import pytest
from falcon.testing import Result, TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from exporter.ledger.committer import Commit
from exporter.metrics.telemetry import Telemetry
from exporter.web.lines import STATE_HEADER
from exporter.web.page import POLICY, page
from exporter.web.resources import Healthy, Metrics, Page, Ready
from exporter.web.text import text
from tests.support.records import failure
from tests.support.status_page import facts
from tests.support.tickets import Pending

DUPLICATES: Final = "smtpeter_exporter_duplicates_total"


@pytest.fixture
def telemetry() -> Telemetry:
    """Return metrics with a value to look for."""
    telemetry = Telemetry()
    tickets = [Pending(failure(number), began=0.0) for number in range(2)]
    telemetry.committed(Commit(0.1, tickets, [False, False], in_time=tickets))
    return telemetry


def scrape(telemetry: Telemetry, method: str = "GET", **headers: str) -> Result:
    """Return the answer to a request for the metrics."""
    app = falcon.App()
    app.add_route("/metrics", Metrics(telemetry.registry, telemetry.activity))
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return TestClient(app).simulate_request(method, "/metrics", headers=named)


TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_3: Final = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROTOBUF: Final = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
FORMATS: Final = {
    "none": ("", TEXT),
    "anything": ("*/*", TEXT),
    "browser": ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
    "any application": ("application/*", TEXT),
    "JSON": ("application/json", TEXT),
    "text": ("text/plain;version=0.0.4", TEXT),
    "text 1.0.0": ("text/plain;version=1.0.0", TEXT),
    "text that escapes values": ("text/plain;version=1.0.0;escaping=values", TEXT),
    "vmagent": ("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT),
    "OpenMetrics": ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
    "no version": ("application/openmetrics-text", OPENMETRICS),
    "quoted version": ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
    "capitals": ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
    "version 0.0.1": ("application/openmetrics-text; version=0.0.1", TEXT),
    "version 2.0.0": ("application/openmetrics-text; version=2.0.0", OPENMETRICS),
    "version 2.0.0 first": (
        "application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0;q=0.9",
        OPENMETRICS,
    ),
    "version that is none": ("application/openmetrics-text; version=one", TEXT),
    **{
        f"escaping={scheme}": (f"application/openmetrics-text; version=1.0.0; escaping={scheme}", OPENMETRICS)
        for scheme in ("values", "dots", "underscores", "allow-utf-8", "x")
    },
    "Prometheus 2.42": (
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ),
        OPENMETRICS,
    ),
    "Prometheus 2.54": (
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ),
        OPENMETRICS,
    ),
    "Prometheus 3": (PROMETHEUS_3, OPENMETRICS),
    "Prometheus 3 with protobuf": (PROTOBUF + PROMETHEUS_3, OPENMETRICS),
    "text preferred": ("text/plain;q=0.9,application/openmetrics-text;version=1.0.0;q=0.3", TEXT),
    "text preferred and last": ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;q=0.9", TEXT),
    "equal weights": ("text/plain,application/openmetrics-text;version=1.0.0", OPENMETRICS),
    "OpenMetrics not acceptable": ("application/openmetrics-text;q=0,*/*", TEXT),
    "OpenMetrics 1.0.0 not acceptable, anything else is": ("application/openmetrics-text;version=1.0.0;q=0,*/*", TEXT),
    "OpenMetrics 2.0.0 not acceptable, anything else is": ("application/openmetrics-text;version=2.0.0;q=0,*/*", TEXT),
    "OpenMetrics 1.0.0 not acceptable": ("application/openmetrics-text;version=1.0.0;q=0.000", TEXT),
    "malformed": (";;,q", TEXT),
    "malformed weight": ("application/openmetrics-text;version=1.0.0;q=much", TEXT),
    "weight over 1": ("application/openmetrics-text;version=1.0.0;q=7", TEXT),
    "infinite weight": ("application/openmetrics-text;version=1.0.0;q=nan", TEXT),
    "no subtype": ("application/openmetrics-text,x", TEXT),
    "open quote": ('application/openmetrics-text;version="1.0.0', TEXT),
    "too long": ("application/openmetrics-text;version=1.0.0," + "x/y," * 15_000 + "*/*", TEXT),
}


@pytest.mark.parametrize(("accept", "content_type"), FORMATS.values(), ids=FORMATS)
def test_format_follows_the_accept_header(telemetry: Telemetry, accept: str, content_type: str) -> None:
    """The metrics are OpenMetrics 1.0.0 if the scraper names and prefers it, otherwise text; names are unchanged."""
    answer = scrape(telemetry, Accept=accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    parse = open_metrics if content_type == OPENMETRICS else text_format
    samples = [sample for family in parse(answer.text) for sample in family.samples]
    assert [sample.value for sample in samples if sample.name == DUPLICATES] == [2.0]


ENCODINGS: Final = {
    "": None,
    "gzip": "gzip",
    "gzip, deflate, br": "gzip",
    "br;q=1, GZIP;q=0.5": "gzip",
    "gzip ; q=0.001": "gzip",
    "*": "gzip",
    "br, *;q=0.1": "gzip",
    "identity;q=0": None,
    "identity;q=0, *": "gzip",
    "gzip;q=0": None,
    "gzip;q=0.000, *;q=1": None,
    "*;q=1, gzip;q=0": None,
    "*;q=0": None,
    "*;q=0, gzip": "gzip",
    "identity": None,
    "identity, gzip;q=0.5": None,
    "identity;q=0.5, gzip": "gzip",
    "deflate": None,
    "xgzip": None,
    "gzip;q=much": None,
    "gzip;q=-1": None,
    ";": None,
    "gzip," + "x," * 30_000 + "x": None,
}


@pytest.mark.parametrize(("accepted", "encoding"), ENCODINGS.items(), ids=[name[:30] or "none" for name in ENCODINGS])
def test_compression_follows_the_weights(telemetry: Telemetry, accepted: str, encoding: str | None) -> None:
    """RFC 9110 section 12.5.3: gzip is used if its weight is not 0 and not below that of the plain text."""
    answer = scrape(telemetry, Accept_Encoding=accepted)
    assert (answer.status_code, answer.headers.get("Content-Encoding")) == (200, encoding)
    body = gzip.decompress(answer.content) if encoding else answer.content
    assert f"\n{DUPLICATES} 2.0\n" in body.decode()


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


@pytest.mark.parametrize("timeout", [{}, {"X_Prometheus_Scrape_Timeout_Seconds": "10"}], ids=["reader", "scraper"])
def test_head_is_no_scrape(telemetry: Telemetry, timeout: dict[str, str]) -> None:
    """HEAD has the headers of GET and no body. It is not recorded, because nobody received the metrics."""
    head = scrape(telemetry, "HEAD", Accept_Encoding="gzip", **timeout)
    assert telemetry.activity.last() == {}
    got = scrape(telemetry, Accept_Encoding="gzip", **timeout)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == pytest.approx(len(got.content), abs=50)  # values change meanwhile
    names = ("Content-Type", "Content-Encoding", "Vary")
    assert [head.headers[name] for name in names] == [got.headers[name] for name in names]


def test_healthy() -> None:
    """Liveness is 200 while the process answers."""
    app = falcon.App()
    app.add_route("/-/healthy", Healthy())
    answer = TestClient(app).simulate_get("/-/healthy")
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (200, "healthy\n", falcon.MEDIA_TEXT)


def test_ready_shows_the_problem() -> None:
    """Readiness is 503 with the cause while the ledger is not writable, whatever bytes the cause contains."""
    committer = SimpleNamespace(problem=None, warning="")
    app = falcon.App()
    app.add_route("/-/ready", Ready(committer))  # type: ignore[arg-type]  # nothing else is used
    client = TestClient(app)
    answers = []
    for committer.problem in (None, "ledger /odd-\udcff: gone", None):
        answer = client.simulate_get("/-/ready")
        answers.append((answer.status_code, answer.text))
    assert answers == [(200, "ready\n"), (503, "not ready: ledger /odd-\\udcff: gone\n"), (200, "ready\n")]


def test_ready_shows_the_warning() -> None:
    """Readiness is 200 with the warning while a crash can lose failures, unless the ledger is not writable at all."""
    committer = SimpleNamespace(problem=None, warning="fsync is off")
    app = falcon.App()
    app.add_route("/-/ready", Ready(committer))  # type: ignore[arg-type]  # nothing else is used
    client = TestClient(app)
    answers = []
    for committer.problem in (None, "gone"):
        answer = client.simulate_get("/-/ready")
        answers.append((answer.status_code, answer.text))
    assert answers == [(200, "ready\nwarning: fsync is off\n"), (503, "not ready: gone\n")]


def test_page_has_its_headers() -> None:
    """The status page is never stored, loads nothing, and leaks no referrer."""
    app = falcon.App()
    app.add_route("/", Page(lambda: facts(machine="odd-\udcff", shared=True)))
    answer = TestClient(app).simulate_get("/")
    named = {
        "Content-Type": falcon.MEDIA_HTML,
        STATE_HEADER: "not yet",
        "Vary": "Accept",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    assert {name: answer.headers.get(name) for name in named} == named
    assert answer.text == page(facts(machine="odd-\\udcff", shared=True))


PAGES: Final = {
    "": falcon.MEDIA_HTML,
    "*/*": falcon.MEDIA_HTML,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": falcon.MEDIA_HTML,
    "text/*": falcon.MEDIA_HTML,
    "application/json": falcon.MEDIA_HTML,
    "text/plain;q=0.5,text/html": falcon.MEDIA_HTML,
    "text/plain;q=0": falcon.MEDIA_HTML,
    "text/plain;q=much": falcon.MEDIA_HTML,
    "text/plain": falcon.MEDIA_TEXT,
    "Text/Plain": falcon.MEDIA_TEXT,
    "text/plain, */*;q=0.1": falcon.MEDIA_TEXT,
    "text/plain," + "x/y," * 15_000 + "x/y": falcon.MEDIA_HTML,
}


@pytest.mark.parametrize(("accept", "content_type"), PAGES.items(), ids=[name[:30] or "none" for name in PAGES])
def test_the_page_is_text_if_preferred(accept: str, content_type: str) -> None:
    """A browser, and a client that accepts anything, gets HTML. The headers are the same."""
    app = falcon.App()
    app.add_route("/", Page(lambda: facts(problem="odd-\udcff")))
    answer = TestClient(app).simulate_get("/", headers={"Accept": accept})
    expected = {falcon.MEDIA_HTML: page, falcon.MEDIA_TEXT: text}[content_type](facts(problem="odd-\\udcff"))
    assert (answer.headers["Content-Type"], answer.text) == (content_type, expected)
    assert (answer.headers[STATE_HEADER], answer.headers["Vary"]) == ("problem", "Accept")
