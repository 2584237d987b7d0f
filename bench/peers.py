"""The exporter's application without a ledger, on each server, to compare with.

``python -m bench.peers body|memory|memory-own-listener PORT`` serves one of them until it is killed. None of
them stores anything.
"""

import logging
import sys
import threading
from types import SimpleNamespace
from typing import Any

import falcon
import waitress
from prometheus_client import CollectorRegistry, Counter, generate_latest

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.loops import SMALL_BODY
from exporter.classification.providers import Providers
from exporter.classification.series import FAMILIES
from exporter.serve import MAX_CONNECTIONS
from exporter.webhook.answering import Answering
from exporter.webhook.endpoint import read_body
from exporter.webhook.parsing import parse
from exporter.webhook.waitress_listener import Listener


class Body:
    """An application that only reads the body and answers 200."""

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Read the body as the exporter does."""
        read_body(req, SMALL_BODY)


class Memory:
    """The exporter's parsing and classification, with counters in the memory of prometheus-client."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._classifier = Classifier(LabelSets(), Providers({}), ())
        self._families = {
            family: Counter(f"smtpeter_{family}", about, names, registry=self._registry)
            for family, (about, names) in FAMILIES.items()
        }

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Count the failure as the exporter does."""
        report = parse(req.content_type or "", read_body(req, SMALL_BODY))
        for family, *values in self._classifier.event_of(report).record.series:
            self._families[family].labels(*values).inc()

    def on_get_metrics(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Expose the counters."""
        resp.data = generate_latest(self._registry)


def main() -> None:
    """Serve one of the applications."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # logging the length of the queue would slow it down
    kind, port = sys.argv[1], int(sys.argv[2])
    app = falcon.App()
    if kind == "body":
        app.add_route("/failures", Body())
    else:
        memory = Memory()
        app.add_route("/failures", memory)
        app.add_route("/metrics", memory, suffix="metrics")
    if kind in {"body", "memory"}:
        waitress.serve(app, host="127.0.0.1", port=port, connection_limit=MAX_CONNECTIONS.public)
        return
    without_ledger: Any = SimpleNamespace(expire=lambda: None)  # no request waits for a commit
    Listener(
        Answering(app, without_ledger),
        "127.0.0.1",
        port,
        connections=MAX_CONNECTIONS.public,
        refused=lambda _status: None,
        failed=lambda: None,
    ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
