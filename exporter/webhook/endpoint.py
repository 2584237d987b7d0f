"""The resource at ``/failures``: one failure, from raw body to answer."""

import logging
from time import perf_counter
from typing import Any

import falcon

from exporter.classification.classifier import Classifier, Failure
from exporter.classification.report import Report
from exporter.errors import LedgerError
from exporter.ledger.committer import Committer
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal, answer
from exporter.signature.verifier import Request, Verifier
from exporter.webhook.parsing import MAX_BODY, parse

log = logging.getLogger(__name__)


class Failures:
    """The resource to which SMTPeter posts failures. It answers 200 once the failure is counted permanently."""

    def __init__(
        self, verifier: Verifier | None, classifier: Classifier, committer: Committer, telemetry: Telemetry
    ) -> None:
        """Accept unsigned requests if ``verifier`` is None."""
        self._verifier = verifier
        self._committer = committer
        self._classifier = classifier
        self._telemetry = telemetry

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Verify, parse, classify and record the failure. Raises Refusal."""
        began = perf_counter()
        body = read_body(req)
        if self._verifier:
            self._verifier.verify(Request(req.method, req.env["REQUEST_URI"], req.get_header, body))
            self._telemetry.signed()
        report = parse(req.content_type or "", body, req.get_header("Content-Encoding") or "")
        failure = self._classifier.failure_of(report)
        try:
            new = self._committer.record(failure.record)
        except LedgerError as error:
            raise Refusal(503, "unavailable", str(error)) from error
        if new:
            self._telemetry.decided(failure.decision.decided_by)
            self._telemetry.repaired(report.repaired)
            if failure.overflowed:
                self._telemetry.overflowed()
        outcome = "counted" if new else "duplicate"
        if log.isEnabledFor(logging.DEBUG):
            log.debug(outcome, extra=_about(report, failure))
        answer(resp, 200, outcome)
        self._telemetry.answered(perf_counter() - began)

    def on_options(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        """Reject OPTIONS, which falcon would answer: only POST is supported. Raises HTTPMethodNotAllowed."""
        raise falcon.HTTPMethodNotAllowed(["POST"])


def _about(report: Report, failure: Failure) -> dict[str, Any]:
    """Return the fields of a log line, without recipient and description, because no mask knows all their spellings.

    State and status are shown as labels, because they could hold such a text, too.
    """
    return {
        "id": report.id,
        "code": report.code if report.code.isdigit() else "",
        "tags": report.tags,
        "description_length": len(report.description),
        "repaired": sorted(report.repaired),
        "labels": "/".join(failure.labels),
        "provider": failure.provider,
        **failure.decision._asdict(),
    }


def read_body(req: falcon.Request) -> bytes:
    """Return the raw body. Raises Refusal (413) if it is larger than MAX_BODY, without reading the rest."""
    body: bytes = req.bounded_stream.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise Refusal(413, "too_large", f"body larger than {MAX_BODY} bytes")
    return body
