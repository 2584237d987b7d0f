"""What the exporter is measured against: the same application without a ledger, on each server.

``python -m bench.peers body|memory|memory-tuned|memory-granian PORT`` serves one until killed. All forget everything.
"""

import logging
import sys
import threading

import falcon
import waitress
from prometheus_client import CollectorRegistry, Counter, generate_latest

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.providers import Providers
from exporter.classification.series import FAMILIES
from exporter.serve import PUBLIC_CONNECTIONS, PUBLIC_THREADS
from exporter.webhook.endpoint import read_body
from exporter.webhook.parsing import parse


class Body:
    """Read the body, answer 200."""

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer as the exporter does."""
        read_body(req)


class Memory:
    """The exporter's own parsing, labels, reasons, providers and tags, counted in memory by prometheus-client."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._classifier = Classifier(LabelSets(), Providers({}), ())
        self._families = {
            family: Counter(f"smtpeter_{family}", about, names, registry=self._registry)
            for family, (about, names) in FAMILIES.items()
        }

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer as the exporter does."""
        report = parse(req.content_type or "", read_body(req))
        for family, *values in self._classifier.failure_of(report).record.series:
            self._families[family].labels(*values).inc()

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
        from exporter.webhook.granian_listener import GranianListener as Listener  # noqa: PLC0415 -- costs the others memory
    else:
        from exporter.webhook.waitress_listener import Listener  # type: ignore[assignment]  # noqa: PLC0415 -- one or the other
    Listener(
        app,
        "127.0.0.1",
        port,
        threads=PUBLIC_THREADS,
        connections=PUBLIC_CONNECTIONS,
        refused=lambda _status: None,
        failed=lambda: None,
    ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
