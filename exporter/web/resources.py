"""The resources of the private listener: metrics, health, and a page for whoever opens it in a browser."""

import gzip
from collections.abc import Callable

import falcon
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from exporter.ledger.committer import Committer
from exporter.metrics.activity import Activity
from exporter.web.checks import Facts
from exporter.web.page import POLICY, page


class Metrics:
    """``/metrics``, as text or OpenMetrics and with gzip, whichever the scraper asks for."""

    def __init__(self, registry: CollectorRegistry, activity: Activity) -> None:
        self._registry = registry
        self._activity = activity

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Expose all families of the registry."""
        try:
            encode, resp.content_type = choose_encoder(req.get_header("Accept") or "")
        except (TypeError, ValueError):  # it trips over a version that is no version
            encode, resp.content_type = choose_encoder("")
        resp.data = encode(self._registry)
        resp.append_header("Vary", "Accept, Accept-Encoding")
        if gzip_accepted(req.get_header("Accept-Encoding") or ""):
            resp.data = gzip.compress(resp.data, compresslevel=1)
            resp.set_header("Content-Encoding", "gzip")
        # Prometheus, and what scrapes as it does (Alloy, vmagent, OpenTelemetry's receiver), says how long it waits.
        self._activity.saw("scrape" if req.get_header("X-Prometheus-Scrape-Timeout-Seconds") else "read")


class Healthy:
    """``/-/healthy``: the process is up; restart it when this fails."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "healthy\n"


class Ready:
    """``/-/ready``: failures can be recorded; send no requests here while this fails."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, or 503 with the reason."""
        resp.content_type = falcon.MEDIA_TEXT
        problem = self._committer.problem
        if problem is None:
            resp.text = "ready\n"
        else:
            resp.status = falcon.HTTP_503
            resp.data = _bytes(f"not ready: {problem}\n")


class Page:
    """``/``: whether it works, for whoever opens it in a browser."""

    def __init__(self, facts: Callable[[], Facts]) -> None:
        self._facts = facts

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with HTML that loads nothing and runs nothing."""
        resp.content_type = falcon.MEDIA_HTML
        resp.data = _bytes(page(self._facts()))
        resp.set_headers(
            {
                "Cache-Control": "no-store",
                "Content-Security-Policy": POLICY,
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            }
        )


def _bytes(text: str) -> bytes:
    """In UTF-8, which has nothing for the odd bytes that the name of a file may have."""
    return text.encode(errors="backslashreplace")
