"""The resource of a loop: the order of its steps, and what each outcome is recorded as."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Final
from urllib.parse import urlencode

import falcon
import pytest
from falcon import testing
from falcon.testing import TestClient, create_req

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LARGE_BODY, LOOPS, SMALL_BODY, Loop
from exporter.classification.providers import Providers
from exporter.errors import LedgerError
from exporter.ledger.committer import Commit, Ticket
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal
from exporter.signature.keys import LookupPending
from exporter.signature.verifier import Request
from exporter.webhook.answering import COUNTED, WAIT_TIMEOUT
from exporter.webhook.app import public_app
from exporter.webhook.endpoint import MAX_PARSING, Endpoint, read_body
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
        known = {ticket.event.record.identity for ticket in self.tickets}
        self.tickets += tickets
        new = [ticket.event.record.identity not in known for ticket in tickets]
        self._committed(Commit(0.001, tickets, new, in_time=tickets))
        for ticket, outcome in zip(tickets, new, strict=True):
            ticket.settle(outcome)

    def expire(self) -> None:
        """Do nothing: no ticket waits."""


class Signatures:
    """A verifier that keeps the requests, or raises. The first ``lookups`` requests must wait for the key."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.error: Refusal | None = None
        self.lookups: list[Future[None]] = []

    def verify(self, request: Request, path: str, *, may_wait: bool) -> None:
        """Keep the request and the path."""
        self.requests.append(request)
        self.paths.append(path)
        self.times.append(time.perf_counter())
        if self.lookups:
            assert may_wait
            raise LookupPending(self.lookups.pop(0))
        if self.error:
            raise self.error


class Parsers(Executor):
    """Threads that parse a body only when the test says so, and then in its own thread."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.at_once = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the future of a call, which is carried out now if ``at_once`` is set."""
        future = Future[Any]()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except Exception as error:  # noqa: BLE001 -- the future raises it
                    future.set_exception(error)

        if self.at_once:
            run()
        else:
            self.waiting.append(run)
        return future


class Served:
    """The application with the resources of all loops, and its parts."""

    def __init__(self, *, signed: bool = False) -> None:
        self.signatures, self.telemetry, self.parsers = Signatures(), Telemetry(LOOPS.values()), Parsers()
        verifier: Any = self.signatures if signed else None
        classifier = Classifier(LabelSets(), Providers({}), ())
        endpoints = [Endpoint(loop, verifier, classifier, self.telemetry, self.parsers) for loop in LOOPS.values()]
        self.recorder = Recorder(self.telemetry.committed)
        committer: Any = self.recorder
        self.app = public_app(endpoints, committer, self.telemetry, prefix="", files=None)
        self._client = TestClient(self.app)

    def post(self, body: bytes, query: str = "", path: str = "/failures") -> tuple[int, str]:
        """Post a form; return status and text of the answer."""
        extras = {"REQUEST_URI": f"{path}?{query}" if query else path}
        answer = self._client.simulate_post(path, body=body, content_type=FORM, query_string=query, extras=extras)
        return answer.status_code, answer.text

    def samples(self) -> Samples:
        """Return the metrics, without durations."""
        found = {}
        for family in self.telemetry.registry.collect():
            for sample in family.samples:
                if sample.name.endswith(("_bucket", "_seconds_sum", "_timestamp_seconds")):
                    continue
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


def body_of(number: int, **fields: str) -> bytes:
    """Return a failure as a form."""
    return urlencode(failure(number, **fields)).encode()


def environ_of(path: str, method: str, content_type: str, body: bytes) -> dict[str, Any]:
    """Return the WSGI environment of a request."""
    headers = {"Content-Type": content_type}
    environ: dict[str, Any] = testing.create_environ(path, method=method, headers=headers, body=body)
    return environ | {"REQUEST_URI": path}


COMMITTED: Final = dict.fromkeys(
    (
        "smtpeter_exporter_request_duration_seconds_count",
        "smtpeter_exporter_commit_duration_seconds_count",
        "smtpeter_exporter_commit_batch_size_count",
    ),
    1.0,
)
"""What each commit of one event increments."""
ACCEPTED: Final = {'smtpeter_exporter_accepted_total{loop="failures"}': 1.0}
"""What each accepted failure increments."""


def raised(served: Served, body: bytes) -> tuple[tuple[int, str], Samples]:
    """Post a body; return the answer and the counters that it incremented."""
    before = served.samples()
    return served.post(body), changes(before, served.samples())


def test_a_new_failure_is_recorded_and_counted() -> None:
    """A new failure is answered 200 with "counted", and counted by the step that found its reason."""
    served = Served()
    decided = 'smtpeter_exporter_reason_decisions_total{decided_by="extended"}'
    assert raised(served, body_of(1)) == ((200, "counted\n"), {decided: 1.0, **ACCEPTED, **COMMITTED})
    (ticket,) = served.recorder.tickets
    assert ("failures", "rcptto", "5xx", "5.1.1") in ticket.event.record.series


def test_a_duplicate_is_answered_but_not_counted() -> None:
    """A repeated failure is answered 200 with "duplicate", and counts as accepted and as a duplicate only."""
    served = Served()
    served.post(body_of(1))
    assert raised(served, body_of(1)) == (
        (200, "duplicate\n"),
        {"smtpeter_exporter_duplicates_total": 1.0, **ACCEPTED, **COMMITTED},
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
    assert raised(served, body_of(1)) == ((200, "counted\n"), {decided: 1.0, **ACCEPTED, **COMMITTED})
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
        {
            'smtpeter_exporter_refused_total{reason="key_unknown"}': 1.0,
            'smtpeter_exporter_signature_refused_total{loop="failures"}': 1.0,
        },
    )


def test_a_ticket_alone_is_no_200() -> None:
    """Whatever a server does with the ticket: unless it is settled, the answer is not 200."""
    endpoint = Endpoint(FAILURES, None, Classifier(LabelSets(), Providers({}), ()), Telemetry(), Parsers())
    app = falcon.App()
    app.add_route("/failures", endpoint)
    assert TestClient(app).simulate_post("/failures", body=body_of(1), content_type=FORM).status_code == 503


# The other loops

MIME: Final = "From: MAILER-DAEMON@mx.example.net\r\nSubject: failure notice\r\n\r\nHi.\r\n"
BODIES: Final = {
    FAILURES: body_of(1),
    DELIVERIES: urlencode({"id": "m1", "recipient": "jane@example.com", "type": "delivery"}).encode(),
    BOUNCES: urlencode({"id": "m1", "recipient": "jane@example.com", "type": "bounce", "mime": MIME}).encode(),
    ABUSES: urlencode({"id": "m1", "type": "abuse", "mime": MIME, "emailfrom": "abuse@example.com"}).encode(),
}
each_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)


@each_loop
def test_each_loop_counts_once(loop: Loop) -> None:
    """An event is counted the first time, and a duplicate the second time; the accepted requests count by loop."""
    served = Served()
    accepted = f'smtpeter_exporter_accepted_total{{loop="{loop.name}"}}'
    decided = {'smtpeter_exporter_reason_decisions_total{decided_by="extended"}': 1.0} if loop is FAILURES else {}
    before = served.samples()
    assert served.post(BODIES[loop], path=loop.path) == (200, "counted\n")
    assert changes(before, served.samples()) == {accepted: 1.0, **decided, **COMMITTED}
    before = served.samples()
    assert served.post(BODIES[loop], path=loop.path) == (200, "duplicate\n")
    assert changes(before, served.samples()) == {
        accepted: 1.0,
        "smtpeter_exporter_duplicates_total": 1.0,
        **COMMITTED,
    }
    assert {ticket.event.loop for ticket in served.recorder.tickets} == {loop}
    assert [*served.telemetry.activity.requests()] == [*served.telemetry.activity.counts()] == [loop.name]


@each_loop
def test_the_signature_is_that_of_the_loop(loop: Loop) -> None:
    """The verifier gets the path of the loop, once, and rejects before anything is parsed."""
    served = Served(signed=True)
    assert served.post(BODIES[loop], path=loop.path) == (200, "counted\n")
    served.signatures.error = Refusal(403, "signature", "no")
    assert served.post(b"\0", path=loop.path) == (403, "signature\n")
    assert served.signatures.paths == [loop.path, loop.path]
    assert [*served.telemetry.activity.requests()] == [loop.name]


@pytest.mark.parametrize(("sent", "called"), [(one, other) for one in BODIES for other in BODIES if one != other])
def test_an_event_at_the_url_of_another_loop(sent: Loop, called: Loop) -> None:
    """It is rejected, and the status page learns which webhook calls which URL."""
    served = Served()
    assert served.post(BODIES[sent], path=called.path) == (400, "other_loop\n")
    assert served.telemetry.activity.misdirected() == [(sent.type, called.name)]
    assert served.recorder.tickets == []


@pytest.mark.parametrize("loop", [BOUNCES, ABUSES], ids=lambda loop: loop.name)
def test_messages_are_parsed_elsewhere(loop: Loop) -> None:
    """The application returns at once, and goes on when the body is parsed, without verifying it again."""
    served = Served(signed=True)
    served.parsers.at_once = False
    given: list[Any] = []
    environ = environ_of(loop.path, "POST", FORM, BODIES[loop])
    served.app.begin(environ, given.append)
    assert (given, len(served.parsers.waiting)) == ([], 1)
    served.parsers.waiting[0]()
    assert given == [None]
    served.app.begin(environ, given.append)
    served.app.flush()
    assert given[1:] == [COUNTED]
    assert len(served.signatures.requests) == 1


def test_a_refusal_of_a_parser_is_the_answer() -> None:
    """A body that another thread can't parse is rejected as any other."""
    assert Served().post(b"id=1&recipient=r&type=bounce", path="/bounces") == (400, "missing_field\n")


def test_a_body_that_is_not_parsed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is answered 503, and its body is not parsed any more."""
    served = Served()
    served.parsers.at_once = False
    given: list[Any] = []
    environ = environ_of("/bounces", "POST", FORM, BODIES[BOUNCES])
    served.app.begin(environ, given.append)
    later = time.monotonic() + WAIT_TIMEOUT
    monkeypatch.setattr(time, "monotonic", lambda: later)
    served.app.expire()
    served.app.begin(environ, given.append)
    again, answer = given
    assert (again, answer.status, answer.body) == (None, "503 Service Unavailable", b"busy\n")
    (parse,) = served.parsers.waiting
    parse()
    assert served.recorder.tickets == []


def test_few_bodies_wait_to_be_parsed() -> None:
    """One too many is answered 503, until another is parsed."""
    served = Served()
    served.parsers.at_once = False
    given: list[Any] = []
    for _ in range(MAX_PARSING + 1):
        served.app.begin(environ_of("/bounces", "POST", FORM, BODIES[BOUNCES]), given.append)
    assert [answer.body for answer in given] == [b"busy\n"]
    served.parsers.waiting[0]()
    served.app.begin(environ_of("/bounces", "POST", FORM, BODIES[BOUNCES]), given.append)
    assert given[1:] == [None]


@each_loop
def test_each_loop_has_its_limit(loop: Loop) -> None:
    """A body of the maximum size is accepted, one of one byte more is not."""
    padding = b"&x=" + b"x" * (loop.max_body - len(BODIES[loop]) - 3)
    assert Served().post(BODIES[loop] + padding, path=loop.path) == (200, "counted\n")
    assert Served().post(BODIES[loop] + padding + b"x", path=loop.path) == (413, "too_large\n")
    assert loop.max_body in {SMALL_BODY, LARGE_BODY}


@pytest.mark.parametrize("size", [0, SMALL_BODY])
def test_read_body(size: int) -> None:
    """A body up to the limit is read whole."""
    assert read_body(create_req(method="POST", body=b"x" * size), SMALL_BODY) == b"x" * size


def test_read_body_stops_at_the_limit() -> None:
    """A larger body is rejected with 413, and no more than one byte past the limit is read."""
    request = create_req(method="POST", body=b"x" * (SMALL_BODY + 100))
    with pytest.raises(Refusal) as caught:
        read_body(request, SMALL_BODY)
    assert (caught.value.status, caught.value.reason) == (413, "too_large")
    assert len(request.bounded_stream.read()) == 99


def test_options_is_rejected() -> None:
    """OPTIONS, which falcon would answer, is a wrong method."""
    with pytest.raises(falcon.HTTPMethodNotAllowed):
        Endpoint.on_options(None, create_req(method="OPTIONS"), falcon.Response())  # type: ignore[arg-type]  # unused
