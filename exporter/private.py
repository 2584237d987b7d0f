"""The resources of the private listener: metrics, health, and a page for whoever opens it in a browser."""

import gzip
from typing import Final

import falcon
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from exporter import __version__
from exporter.committer import Committer

_PAGE: Final = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>smtpeter-exporter</title></head>
<body>
<h1>smtpeter-exporter {__version__}</h1>
<p>Counts the e-mail deliveries that SMTPeter reports as failed, for Prometheus.</p>
<ul>
<li><a href="/metrics">/metrics</a>: what Prometheus scrapes</li>
<li><a href="/-/healthy">/-/healthy</a>: the process answers</li>
<li><a href="/-/ready">/-/ready</a>: failures can be recorded, or why not</li>
</ul>
</body>
</html>
"""


class Metrics:
    """``/metrics``, as text or OpenMetrics and with gzip, whichever the scraper asks for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

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
        trouble = self._committer.trouble
        if trouble is None:
            resp.text = "ready\n"
        else:
            resp.status = falcon.HTTP_503
            resp.text = f"not ready: {trouble}\n"


class Page:
    """``/``: version and links."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with HTML."""
        resp.content_type = falcon.MEDIA_HTML
        resp.text = _PAGE
