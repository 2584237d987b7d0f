"""The POST resource: one failure from raw body to answer."""

import logging
from time import perf_counter

import falcon

from exporter.classification.classifier import Classifier
from exporter.errors import LedgerError
from exporter.ledger.committer import Committer
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal
from exporter.signature.verifier import Request, Verifier
from exporter.webhook.parsing import MAX_BODY, parse

log = logging.getLogger(__name__)


class Failures:
    """The callback of SMTPeter's failures feedback loop: 200 once the failure is counted for ever."""

    def __init__(
        self, verifier: Verifier | None, classifier: Classifier, committer: Committer, telemetry: Telemetry
    ) -> None:
        """Without a ``verifier`` all calls count."""
        self._verifier = verifier
        self._committer = committer
        self._classifier = classifier
        self._telemetry = telemetry

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Verify, read, classify, record, answer. Raises Refusal."""
        began = perf_counter()
        body = read_body(req)
        if self._verifier:
            self._verifier.verify(Request(req.method, req.env["REQUEST_URI"], req.get_header, body))
            self._telemetry.signed()
        report = parse(req.content_type or "", body)
        failure = self._classifier.failure_of(report)
        try:
            new = self._committer.record(failure.record)
        except LedgerError as error:
            raise Refusal(503, "unavailable", str(error)) from error
        if new:
            self._telemetry.decided(failure.decision.decided_by)
            if failure.overflowed:
                self._telemetry.overflowed()
        if log.isEnabledFor(logging.DEBUG):
            about = failure.decision._asdict() | {"provider": failure.provider, "labels": "/".join(failure.labels)}
            log.debug("counted" if new else "counted before", extra=report._asdict() | about)
        self._telemetry.answered(perf_counter() - began)

    def on_options(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        """Refuse what falcon would answer by itself: nothing but POST is served here."""
        raise falcon.HTTPMethodNotAllowed(["POST"])


def read_body(req: falcon.Request) -> bytes:
    """The raw body, of which never more than the limit is read. Raises Refusal (413)."""
    body: bytes = req.bounded_stream.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise Refusal(413, "too_large", f"a body of more than {MAX_BODY} bytes")
    return body
