"""The resource of a loop: one event, from raw body to ticket."""

from concurrent.futures import CancelledError, Executor, Future
from io import BytesIO
from time import perf_counter
from typing import Final

import falcon

from exporter.classification.classifier import Classifier, Event
from exporter.classification.loops import SMALL_BODY, Loop
from exporter.ledger.committer import Ticket
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal
from exporter.signature.keys import LookupPending
from exporter.signature.verifier import Request, Verifier
from exporter.webhook.answering import FAILED, PENDING, TICKET, may_wait
from exporter.webhook.parsing import parse

MAX_PARSING: Final = 200
"""Maximum number of bodies of a loop that wait to be parsed, also those of clients that disconnected."""
_BEGAN: Final = "exporter.began"
_EVENT: Final = "exporter.event"
"""The Future of the event, while a thread parses its body."""


class Endpoint:
    """The resource to which SMTPeter posts the events of a loop.

    Requests are accepted unsigned if ``verifier`` is None. ``parsers`` are threads for the bodies of loops with MIME,
    which take milliseconds; other bodies are parsed at once.
    """

    def __init__(
        self, loop: Loop, verifier: Verifier | None, classifier: Classifier, telemetry: Telemetry, parsers: Executor
    ) -> None:
        self.loop: Final = loop
        self._verifier = verifier
        self._classifier = classifier
        self._telemetry = telemetry
        self._parsers = parsers if loop.max_body > SMALL_BODY else None
        self._parsing: set[Future[Event]] = set()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Verify, parse and classify the event, and leave its ticket in the environment. Raises Refusal."""
        resp.status = falcon.HTTP_503  # it becomes 200 only when the ticket is settled
        if error := req.env.get(FAILED):
            raise Refusal(503, "unavailable", str(error))
        began = req.env.setdefault(_BEGAN, perf_counter())
        if parsing := req.env.get(_EVENT):
            req.env[TICKET] = Ticket(_result(parsing), began)
            return
        body = read_body(req, self.loop.max_body)
        if self._verifier:
            request = Request(req.method, req.env["REQUEST_URI"], req.get_header, body, perf_counter() - began)
            try:
                self._verifier.verify(request, self.loop.path, may_wait=may_wait(req.env))
            except LookupPending as pending:
                req.env[PENDING], req.env["wsgi.input"] = pending.lookup, BytesIO(body)
                return
            self._telemetry.signed()
        self._telemetry.requested(self.loop)
        content_type, coding = req.content_type or "", req.get_header("Content-Encoding") or ""
        if self._parsers:
            if len(self._parsing) >= MAX_PARSING:
                raise Refusal(503, "busy", f"{MAX_PARSING} bodies wait to be parsed")
            parsing = self._parsers.submit(self._event_of, content_type, body, coding)
            self._parsing.add(parsing)
            parsing.add_done_callback(self._parsing.discard)
            req.env[_EVENT] = req.env[PENDING] = parsing
        else:
            req.env[TICKET] = Ticket(self._event_of(content_type, body, coding), began)

    def on_options(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        """Reject OPTIONS, which falcon would answer: only POST is supported. Raises HTTPMethodNotAllowed."""
        raise falcon.HTTPMethodNotAllowed(["POST"])

    def _event_of(self, content_type: str, body: bytes, coding: str) -> Event:
        return self._classifier.event_of(parse(content_type, body, coding, self.loop), self.loop)


def _result(parsing: Future[Event]) -> Event:
    """Return the event, or raise what its parsing raised; Refusal (503) if that takes too long."""
    try:
        return parsing.result(0)
    except (TimeoutError, CancelledError):
        parsing.cancel()
        raise Refusal(503, "busy", "the body was not parsed in time, because others are parsed") from None


def read_body(req: falcon.Request, most: int) -> bytes:
    """Return the raw body. Raises Refusal (413) if it is larger than ``most`` bytes, without reading the rest."""
    body: bytes = req.bounded_stream.read(most + 1)
    if len(body) > most:
        raise Refusal(413, "too_large", f"body larger than {most} bytes")
    return body
