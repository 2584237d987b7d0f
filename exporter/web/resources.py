"""The resources of the private listener: metrics, health endpoints and the status page.

The first line of each class is also shown in docs/reference.md.
"""

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
    """``/metrics``: all metrics, as text or OpenMetrics and with gzip, as the scraper asks."""

    def __init__(self, registry: CollectorRegistry, activity: Activity) -> None:
        self._registry = registry
        self._activity = activity

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with all families of the registry."""
        try:
            encode, resp.content_type = choose_encoder(req.get_header("Accept") or "")
        except (TypeError, ValueError):  # the client library fails on a malformed version in Accept
            encode, resp.content_type = choose_encoder("")
        resp.data = encode(self._registry)
        resp.append_header("Vary", "Accept, Accept-Encoding")
        if gzip_accepted(req.get_header("Accept-Encoding") or ""):
            resp.data = gzip.compress(resp.data, compresslevel=1)
            resp.set_header("Content-Encoding", "gzip")
        # Prometheus and compatible scrapers (Alloy, vmagent, OpenTelemetry's receiver) send their timeout.
        self._activity.saw("scrape" if req.get_header("X-Prometheus-Scrape-Timeout-Seconds") else "read")


class Healthy:
    """``/-/healthy``: 200 while the process runs. If it fails, restart the process."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "healthy\n"


class Ready:
    """``/-/ready``: 200 while failures can be recorded, otherwise 503 with the cause."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, or 503 with the cause."""
        resp.content_type = falcon.MEDIA_TEXT
        problem = self._committer.problem
        if problem is None:
            resp.text = "ready\n"
        else:
            resp.status = falcon.HTTP_503
            resp.data = _bytes(f"not ready: {problem}\n")


class Page:
    """``/``: the status page, for a browser."""

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
    """Encode as UTF-8. Bytes of a file name that are not UTF-8 are shown as escapes."""
    return text.encode(errors="backslashreplace")
