"""The resources of the private listener: metrics, health endpoints and the status page.

The first line of each class is also shown in docs/reference.md.
"""

import gzip
from collections.abc import Callable
from typing import Final

import falcon
from falcon import mediatypes
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from exporter.ledger.committer import Committer
from exporter.metrics.activity import Activity
from exporter.web.checks import verdict
from exporter.web.facts import Facts
from exporter.web.lines import STATE_HEADER
from exporter.web.page import POLICY, page
from exporter.web.text import text

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = "application/openmetrics-text"
_ACCEPTABLE: Final = (f"{_OPENMETRICS}; version=1.0.0", "text/plain")
"""Media types on offer, best first."""
_LONGEST_ACCEPT: Final = 1_024  # Prometheus sends about 400 characters; the time to parse is not linear


class Metrics:
    """``/metrics``: all metrics, as text or OpenMetrics and with gzip, as the scraper asks."""

    def __init__(self, registry: CollectorRegistry, activity: Activity) -> None:
        self._registry = registry
        self._activity = activity

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with all families of the registry."""
        self.on_head(req, resp)
        # Prometheus and compatible scrapers (Alloy, vmagent, OpenTelemetry's receiver) send their timeout.
        self._activity.saw("scrape" if req.get_header("X-Prometheus-Scrape-Timeout-Seconds") else "read")

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer as for GET; falcon omits the body. It is not a scrape, because nobody receives the metrics."""
        # The parameter escaping is ignored: no name needs it.
        if _prefers_openmetrics(req.get_header("Accept", default="")):
            resp.data = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # of the library
            resp.content_type = openmetrics.CONTENT_TYPE_LATEST
        else:
            resp.data = generate_latest(self._registry)
            resp.content_type = _TEXT
        resp.append_header("Vary", "Accept, Accept-Encoding")
        if _prefers_gzip(req.get_header("Accept-Encoding", default="")):
            resp.data = gzip.compress(resp.data, compresslevel=1)
            resp.set_header("Content-Encoding", "gzip")


def _prefers_openmetrics(accept: str) -> bool:
    """Return whether the header Accept names OpenMetrics and prefers it (RFC 9110 section 12.5.1)."""
    accept = accept.lower().replace("version=2.0.0", "version=1.0.0")  # 2.0.0 adds nothing that the metrics use
    if _OPENMETRICS not in accept or len(accept) > _LONGEST_ACCEPT:
        return False
    try:
        return mediatypes.best_match(_ACCEPTABLE, accept).startswith(_OPENMETRICS)
    except ValueError:
        return False


def _prefers_gzip(accept_encoding: str) -> bool:
    """Return whether the header Accept-Encoding prefers gzip to the plain text (RFC 9110 section 12.5.3)."""
    if len(accept_encoding) > _LONGEST_ACCEPT:
        return False
    # A coding and its weight are written like a media range without a type.
    ranges = ",".join(f"coding/{coding.strip()}" for coding in accept_encoding.lower().split(","))
    try:
        return mediatypes.best_match(("coding/gzip", "coding/identity"), ranges) == "coding/gzip"
    except ValueError:
        return False


class Healthy:
    """``/-/healthy``: 200 while the process runs. If it fails, restart the process."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "healthy\n"

    on_head = on_get


class Ready:
    """``/-/ready``: 200 while failures can be recorded, possibly with a warning, otherwise 503 with the cause."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, with a warning if a crash can lose failures, or 503 with the cause."""
        resp.content_type = falcon.MEDIA_TEXT
        if problem := self._committer.problem:
            resp.status = falcon.HTTP_503
            resp.data = _bytes(f"not ready: {problem}\n")
        else:
            warning = self._committer.warning
            resp.text = f"ready\nwarning: {warning}\n" if warning else "ready\n"

    on_head = on_get


class Page:
    """``/``: the status page, as HTML or, if a client prefers it, as plain text."""

    def __init__(self, facts: Callable[[], Facts]) -> None:
        self._facts = facts

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with HTML that loads nothing and runs nothing, or with text. A header has the overall state."""
        facts = self._facts()
        if _prefers_text(req.get_header("Accept", default="")):
            resp.content_type = falcon.MEDIA_TEXT
            resp.data = _bytes(text(facts))
        else:
            resp.content_type = falcon.MEDIA_HTML
            resp.data = _bytes(page(facts))
        state, _ = verdict(facts)
        resp.set_headers(
            {
                STATE_HEADER: state,
                "Cache-Control": "no-store",
                "Content-Security-Policy": POLICY,
                "Referrer-Policy": "no-referrer",
                "Vary": "Accept",
                "X-Content-Type-Options": "nosniff",
            }
        )

    on_head = on_get


def _prefers_text(accept: str) -> bool:
    """Return whether the header Accept prefers plain text to HTML (RFC 9110 section 12.5.1)."""
    if len(accept) > _LONGEST_ACCEPT:
        return False
    try:
        return mediatypes.best_match(("text/html", "text/plain"), accept.lower()) == "text/plain"
    except ValueError:
        return False


def _bytes(text: str) -> bytes:
    """Encode as UTF-8. Bytes of a file name that are not UTF-8 are shown as escapes."""
    return text.encode(errors="backslashreplace")
