"""What the exporter is measured against: the same application without a ledger, on each server.

``python -m bench.peers body|memory|memory-tuned|memory-granian PORT`` serves one until killed. All forget everything.
"""

import logging
import sys
import threading
from typing import Final

import falcon
import waitress
from prometheus_client import CollectorRegistry, Counter, generate_latest

from exporter.labels import labels_of
from exporter.report import parse
from exporter.serve import GRANIAN_THREADS, PUBLIC_CONNECTIONS, PUBLIC_THREADS
from exporter.webhook import read_body

LABELS: Final = ("state", "code_class", "extended")


class Body:
    """Read the body, answer 200."""

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer as the exporter does."""
        read_body(req)


class Memory:
    """The exporter's own parsing and labels, counted in memory by prometheus-client."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._failures = Counter("smtpeter_failures", "Failed deliveries.", LABELS, registry=self._registry)

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer as the exporter does."""
        report = parse(req.content_type or "", read_body(req))
        self._failures.labels(*labels_of(report.state, report.code, report.extended)).inc()

    def on_get_metrics(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Show what was counted."""
        resp.data = generate_latest(self._registry)


def main() -> None:
    """Serve one of the applications."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # to tell how long the queue is would cost it some
    kind, port = sys.argv[1], int(sys.argv[2])
    app = falcon.App()
    if kind == "body":
        app.add_route("/failures", Body())
    else:
        memory = Memory()
        app.add_route("/failures", memory)
        app.add_route("/metrics", memory, suffix="metrics")
    if kind in {"body", "memory"}:
        waitress.serve(app, host="127.0.0.1", port=port, threads=PUBLIC_THREADS, connection_limit=PUBLIC_CONNECTIONS)
        return
    if kind == "memory-granian":
        from exporter.granian_server import GranianListener as Listener  # noqa: PLC0415 -- costs the others memory
    else:
        from exporter.server import Listener  # type: ignore[assignment]  # noqa: PLC0415
    Listener(
        app,
        "127.0.0.1",
        port,
        threads=GRANIAN_THREADS if kind == "memory-granian" else PUBLIC_THREADS,
        connections=PUBLIC_CONNECTIONS,
        refused=lambda _status: None,
        failed=lambda: None,
    ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
