"""The resource that counts failures: the order of its steps, and what each outcome is recorded as."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final
from urllib.parse import urlencode

import falcon
import pytest
from falcon.testing import TestClient, create_req

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.providers import Providers
from exporter.errors import LedgerError
from exporter.ledger.committer import Commit, Ticket
from exporter.logs import LineFormatter
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal
from exporter.signature.keys import LookupPending
from exporter.signature.verifier import Request
from exporter.webhook.app import public_app
from exporter.webhook.endpoint import Failures, read_body
from exporter.webhook.parsing import MAX_BODY
from tests.support.running import FORM, Samples, changes, failure


class Recorder:
    """A committer that keeps the tickets, and settles them at once, or fails."""

    def __init__(self, committed: Callable[[Commit], None]) -> None:
        self._committed = committed
        self.tickets: list[Ticket] = []
        self.error: LedgerError | None = None

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Keep and settle the tickets."""
        if self.error:
            for ticket in tickets:
                ticket.settle(self.error)
            return
        known = {ticket.failure.record.identity for ticket in self.tickets}
        self.tickets += tickets
        new = [ticket.failure.record.identity not in known for ticket in tickets]
        self._committed(Commit(0.001, tickets, new, in_time=tickets))
        for ticket, outcome in zip(tickets, new, strict=True):
            ticket.settle(outcome)

    def expire(self) -> None:
        """Do nothing: no ticket waits."""


class Signatures:
    """A verifier that keeps the requests, or raises. The first ``lookups`` requests must wait for the key."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.error: Refusal | None = None
        self.lookups: list[Future[None]] = []

    def verify(self, request: Request, *, may_wait: bool) -> None:
        """Keep the request."""
        self.requests.append(request)
        self.times.append(time.perf_counter())
        if self.lookups:
            assert may_wait
            raise LookupPending(self.lookups.pop(0))
        if self.error:
            raise self.error


class Served:
    """The application with the resource, and its parts."""

    def __init__(self, *, signed: bool = False) -> None:
        self.signatures, self.telemetry = Signatures(), Telemetry()
        verifier: Any = self.signatures if signed else None
        failures = Failures(verifier, Classifier(LabelSets(), Providers({}), ()), self.telemetry)
        self.recorder = Recorder(failures.committed)
        committer: Any = self.recorder
        self._client = TestClient(public_app(failures, committer, self.telemetry, prefix="", files=None))

    def post(self, body: bytes, query: str = "") -> tuple[int, str]:
        """Post a form; return status and text of the answer."""
        extras = {"REQUEST_URI": f"/failures?{query}" if query else "/failures"}
        answer = self._client.simulate_post(
            "/failures", body=body, content_type=FORM, query_string=query, extras=extras
        )
        return answer.status_code, answer.text

    def samples(self) -> Samples:
        """Return the metrics, without durations."""
        found = {}
        for family in self.telemetry.registry.collect():
            for sample in family.samples:
                if sample.name.endswith(("_bucket", "_seconds_sum")):
                    continue
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


def body_of(number: int, **fields: str) -> bytes:
    """Return a failure as a form."""
    return urlencode(failure(number, **fields)).encode()


COMMITTED: Final = dict.fromkeys(
    (
        "smtpeter_exporter_request_duration_seconds_count",
        "smtpeter_exporter_commit_duration_seconds_count",
        "smtpeter_exporter_commit_batch_size_count",
    ),
    1.0,
)
"""What each commit of one failure increments."""


def raised(served: Served, body: bytes) -> tuple[tuple[int, str], Samples]:
    """Post a body; return the answer and the counters that it incremented."""
    before = served.samples()
    return served.post(body), changes(before, served.samples())


def test_a_new_failure_is_recorded_and_counted() -> None:
    """A new failure is answered 200 with "counted", and counted by the step that found its reason."""
    served = Served()
    decided = 'smtpeter_exporter_reason_decisions_total{decided_by="extended"}'
    assert raised(served, body_of(1)) == ((200, "counted\n"), {decided: 1.0, **COMMITTED})
    (ticket,) = served.recorder.tickets
    assert ("failures", "rcptto", "5xx", "5.1.1") in ticket.failure.record.series


def test_a_duplicate_is_answered_but_not_counted() -> None:
    """A repeated failure is answered 200 with "duplicate", and counts as a duplicate only."""
    served = Served()
    served.post(body_of(1))
    assert raised(served, body_of(1)) == (
        (200, "duplicate\n"),
        {"smtpeter_exporter_duplicates_total": 1.0, **COMMITTED},
    )


def test_a_repaired_report_is_counted_once_for_each_mistake() -> None:
    """Each kind of mistake counts once in a report, and only if the failure is new."""
    served = Served()
    body = body_of(1, code="550", extended="\0", description="\0") + b"&code=551&state=%FF&tags=%FF"
    before = served.samples()
    assert [served.post(body) for _ in range(2)] == [(200, "counted\n"), (200, "duplicate\n")]
    repaired = {name: value for name, value in changes(before, served.samples()).items() if "repaired" in name}
    assert repaired == {
        'smtpeter_exporter_repaired_total{what="encoding"}': 1.0,
        'smtpeter_exporter_repaired_total{what="duplicate_field"}': 1.0,
    }


def test_a_signature_is_verified_before_the_body_is_parsed() -> None:
    """The verifier sees method, target with query, headers and raw body; its refusal comes before any other."""
    served = Served(signed=True)
    served.signatures.error = Refusal(403, "signature", "no match")
    assert served.post(b"no report", "x=%41") == (403, "signature\n")
    (request,) = served.signatures.requests
    assert (request.method, request.target, request.body) == ("POST", "/failures?x=%41", b"no report")
    assert request.header("Content-Type") == FORM
    assert served.recorder.tickets == []
    assert "signed" not in served.telemetry.activity.last()


def test_a_verified_request_is_recorded_as_signed() -> None:
    """A request with a valid signature is recorded as such, even if its body is rejected."""
    served = Served(signed=True)
    assert served.post(b"id=1") == (400, "missing_field\n")
    assert "signed" in served.telemetry.activity.last()


def test_a_ledger_that_fails_is_unavailable() -> None:
    """A failure that cannot be recorded is answered 503 and not counted."""
    served = Served()
    served.recorder.error = LedgerError("disk full")
    assert raised(served, body_of(1)) == (
        (503, "unavailable\n"),
        {'smtpeter_exporter_refused_total{reason="unavailable"}': 1.0},
    )


def test_a_ledger_that_fails_is_no_reason_to_verify_again() -> None:
    """A signed request that cannot be recorded is verified once, and nothing but its rejection is counted."""
    served = Served(signed=True)
    served.recorder.error = LedgerError("disk full")
    assert raised(served, body_of(1)) == (
        (503, "unavailable\n"),
        {'smtpeter_exporter_refused_total{reason="unavailable"}': 1.0},
    )
    assert len(served.signatures.requests) == 1


def test_a_request_whose_key_is_looked_up_is_verified_again() -> None:
    """After the lookup, the verifier sees the same request with the same body, and the failure is counted once."""
    served = Served(signed=True)
    done: Future[None] = Future()
    done.set_result(None)
    served.signatures.lookups = [done, done]
    decided = 'smtpeter_exporter_reason_decisions_total{decided_by="extended"}'
    assert raised(served, body_of(1)) == ((200, "counted\n"), {decided: 1.0, **COMMITTED})
    assert [request.body for request in served.signatures.requests] == [body_of(1)] * 3
    (ticket,) = served.recorder.tickets
    assert ticket.began <= served.signatures.times[0]  # the duration includes the lookups
    waited = [request.waited for request in served.signatures.requests]
    assert waited == sorted({0.0, *waited})[1:]  # positive, and longer each time


def test_a_request_is_rejected_if_its_lookup_leads_to_no_key() -> None:
    """The rejection is counted once, although the application was called twice."""
    served = Served(signed=True)
    done: Future[None] = Future()
    done.set_result(None)
    served.signatures.lookups, served.signatures.error = [done], Refusal(403, "key_unknown", "no key")
    assert raised(served, body_of(1)) == (
        (403, "key_unknown\n"),
        {'smtpeter_exporter_refused_total{reason="key_unknown"}': 1.0},
    )


def test_a_ticket_alone_is_no_200() -> None:
    """Whatever a server does with the ticket: unless it is settled, the answer is not 200."""
    failures = Failures(None, Classifier(LabelSets(), Providers({}), ()), Telemetry())
    app = falcon.App()
    app.add_route("/failures", failures)
    assert TestClient(app).simulate_post("/failures", body=body_of(1), content_type=FORM).status_code == 503


def test_debug_log_shows_the_failure(caplog: pytest.LogCaptureFixture) -> None:
    """At debug level each failure is a line with what was decided about it, and whether it is a duplicate."""
    caplog.set_level(logging.DEBUG)
    served = Served()
    for _ in range(2):
        served.post(body_of(1, description="5.1.1 jane at example.com", tags="a;b"))
    assert [record.getMessage() for record in caplog.records] == ["counted", "duplicate"]
    standard = vars(logging.makeLogRecord({})).keys() | {"message"}
    fields = [{key: value for key, value in vars(record).items() if key not in standard} for record in caplog.records]
    expected = {
        "id": "m1",
        "code": "550",
        "tags": ("a", "b"),
        "description_length": 25,
        "repaired": [],
        "labels": "rcptto/5xx/5.1.1",
        "reason": "recipient_unknown",
        "decided_by": "extended",
        "provider": "other",
    }
    assert fields == [expected] * 2


@pytest.mark.parametrize(
    "spelling",
    [
        *("jane@e.com", "jane @ e.com", "(jane)@e.com", "jane=40e.com", "jane&#64;e.com", "jane%2540e.com"),
        *(r"jane\u0040e.com", "jane(at)e.com", "jane [at] e.com", "jane at e.com", "jane, at e.com", "Jane Doe"),
    ],
)
def test_debug_log_has_no_personal_data(caplog: pytest.LogCaptureFixture, spelling: str) -> None:
    """Neither recipient nor an answer is in the line, because no mask can know every spelling of an address."""
    caplog.set_level(logging.DEBUG)
    served = Served()
    text = f"5.1.1 {spelling}: unknown"
    served.post(body_of(1, recipient="jane@e.com", state=text, code=f"550 {text}", extended=text, description=text))
    (record,) = caplog.records
    assert "jane" not in LineFormatter(as_json=False).format(record).lower()


@pytest.mark.parametrize("size", [0, MAX_BODY])
def test_read_body(size: int) -> None:
    """A body up to the limit is read whole."""
    assert read_body(create_req(method="POST", body=b"x" * size)) == b"x" * size


def test_read_body_stops_at_the_limit() -> None:
    """A larger body is rejected with 413, and no more than one byte past the limit is read."""
    request = create_req(method="POST", body=b"x" * (MAX_BODY + 100))
    with pytest.raises(Refusal) as caught:
        read_body(request)
    assert (caught.value.status, caught.value.reason) == (413, "too_large")
    assert len(request.bounded_stream.read()) == 99


def test_options_is_rejected() -> None:
    """OPTIONS, which falcon would answer, is a wrong method."""
    with pytest.raises(falcon.HTTPMethodNotAllowed):
        Failures.on_options(None, create_req(method="OPTIONS"), falcon.Response())  # type: ignore[arg-type]  # unused
