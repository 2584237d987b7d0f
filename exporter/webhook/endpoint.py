"""The resource at ``/failures``: one failure, from raw body to ticket, and what is recorded about it."""

import logging
from io import BytesIO
from time import perf_counter
from typing import Any, Final

import falcon

from exporter.classification.classifier import Classifier, Failure
from exporter.classification.report import Report
from exporter.ledger.committer import Commit, Ticket
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal
from exporter.signature.keys import LookupPending
from exporter.signature.verifier import Request, Verifier
from exporter.webhook.answering import FAILED, PENDING, TICKET, may_wait
from exporter.webhook.parsing import MAX_BODY, parse

log = logging.getLogger(__name__)

_BEGAN: Final = "exporter.began"


class Failures:
    """The resource to which SMTPeter posts failures."""

    def __init__(self, verifier: Verifier | None, classifier: Classifier, telemetry: Telemetry) -> None:
        """Accept unsigned requests if ``verifier`` is None."""
        self._verifier = verifier
        self._classifier = classifier
        self._telemetry = telemetry

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Verify, parse and classify the failure, and leave its ticket in the environment. Raises Refusal."""
        resp.status = falcon.HTTP_503  # it becomes 200 only when the ticket is settled
        if error := req.env.get(FAILED):
            raise Refusal(503, "unavailable", str(error))
        began = req.env.setdefault(_BEGAN, perf_counter())
        body = read_body(req)
        if self._verifier:
            request = Request(req.method, req.env["REQUEST_URI"], req.get_header, body, perf_counter() - began)
            try:
                self._verifier.verify(request, may_wait=may_wait(req.env))
            except LookupPending as pending:
                req.env[PENDING], req.env["wsgi.input"] = pending.lookup, BytesIO(body)
                return
            self._telemetry.signed()
        report = parse(req.content_type or "", body, req.get_header("Content-Encoding") or "")
        req.env[TICKET] = Ticket(self._classifier.failure_of(report), report, began)

    def committed(self, commit: Commit) -> None:
        """Record a commit in the metrics, and its failures in the log. Called in the committing thread."""
        self._telemetry.committed(commit)
        if log.isEnabledFor(logging.DEBUG):
            for ticket, new in zip(commit.tickets, commit.new, strict=True):
                log.debug("counted" if new else "duplicate", extra=_about(ticket.report, ticket.failure))

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
