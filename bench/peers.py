"""What the exporter is measured against: the same without a ledger, and what a user would write by hand.

``python peers.py body|memory|memory-tuned PORT`` serves one of the Falcon applications until killed; ``flask_app`` is
for gunicorn. All of these forget everything when they end.
"""

import sys
import threading

import falcon
import flask
import waitress
from prometheus_client import CollectorRegistry, Counter, generate_latest

from exporter.labels import labels_of
from exporter.report import parse
from exporter.serve import PUBLIC_THREADS
from exporter.server import Listener
from exporter.webhook import read_body

LABELS = ("state", "code_class", "extended")


class Body:
    """(a) Read the body, answer 200."""

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer as the exporter does."""
        read_body(req)


class Memory:
    """(b) The exporter's own parsing and labels, counted in memory by prometheus-client."""

    def __init__(self) -> None:
        self.failures = Counter("smtpeter_failures", "Failed deliveries.", LABELS, registry=CollectorRegistry())

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer as the exporter does."""
        report = parse(req.content_type or "", read_body(req))
        self.failures.labels(*labels_of(report.state, report.code, report.extended)).inc()


def flask_app() -> flask.Flask:
    """(c) What one would write in an afternoon."""
    app = flask.Flask("by hand")
    registry = CollectorRegistry()
    failures = Counter("smtpeter_failures", "Failed deliveries.", LABELS, registry=registry)

    @app.post("/failures")
    def count() -> str:
        form = flask.request.form
        code = form.get("code", "")
        failures.labels(form.get("state", "none"), f"{code[:1]}xx" if code else "none", form.get("extended", "")).inc()
        return ""

    @app.get("/metrics")
    def metrics() -> bytes:
        return generate_latest(registry)

    return app


def main() -> None:
    """Serve one of the Falcon applications."""
    kind, port = sys.argv[1], int(sys.argv[2])
    app = falcon.App()
    app.add_route("/failures", Body() if kind == "body" else Memory())
    if kind == "memory-tuned":
        Listener(
            app,
            "127.0.0.1",
            port,
            threads=PUBLIC_THREADS,
            connections=1_000,
            refused=lambda _status: None,
            failed=lambda: None,
        ).start()
        threading.Event().wait()
    else:
        waitress.serve(app, host="127.0.0.1", port=port, threads=PUBLIC_THREADS, connection_limit=1_000)


if __name__ == "__main__":
    main()
