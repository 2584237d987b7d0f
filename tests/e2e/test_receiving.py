"""The public listener of a running exporter: for each request the status and the one counter that it increments."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

import pytest

from tests.support.raw_http import (
    CHUNKED,
    JSON,
    LIMIT,
    MULTIPART,
    as_json,
    change,
    chunked,
    form,
    http,
    multipart,
    new_failure,
    padded,
    parts,
    refused,
)
from tests.support.running import (
    COUNTED,
    COUNTED_AGAIN,
    FORM,
    Exporter,
    changes,
    connect,
    exchange,
    exporter,
    until,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield one exporter for all requests; none of them may be logged above debug level, and no address at all."""
    with exporter(tmp_path_factory.mktemp("receiving"), "--log.level", "debug") as shared:
        yield shared
        assert shared.stop() == 0
    levels = [line["level"] for line in shared.log() if line.get("level") != "debug"]
    assert levels == ["warning", "info", "info", "info"]  # signatures are off, ready, stopping, stopped
    assert [line for line in shared.lines if not line.startswith("ts=") or "Traceback" in line] == []
    assert [line for line in shared.lines if "jane.doe" in line] == []


ACCEPTED: Final = {
    "form": http(body=form()),
    "form with charset": http(body=form(), content_type=f"{FORM.upper()}; charset=UTF-8"),
    "JSON": http(body=as_json(), content_type=JSON),
    "JSON with numbers": http(body=as_json(code=550, time=1_700_000_000), content_type=JSON),
    "JSON with tags": http(body=as_json(tags=["a", "b"], type="failure", action="failed"), content_type=JSON),
    "JSON with half of a surrogate pair in an unknown variable": http(body=as_json(x="\ud800"), content_type=JSON),
    "JSON with NaN in an unknown variable": http(body=as_json(x=float("nan")), content_type=JSON),
    "multipart": http(body=multipart(*parts(new_failure())), content_type=MULTIPART),
    "no description": http(body=form(description="")),
    "Chinese, a newline and an address in the description": http(body=form(description="5.1.1 <a@b.cn>\n用户不存在")),
    "tags repeated": http(body=form() + b"&tags=a&tags=b&tags%5B%5D=c&tags%5B%5D=d"),
    "exactly 64 KiB": http(body=padded(LIMIT)),
    "in chunks": http(body=chunked(form()), headers=CHUNKED),
    "64 KiB in chunks": http(body=chunked(padded(LIMIT)), headers=CHUNKED),
    "a query": http(path="/failures?from=%41%2f", body=form()),
    "an absolute target": http(path="http://localhost/failures", body=form()),
    "10 KB of headers": http(body=form(), headers=(f"X-Long: {'x' * 10_000}",)),
    "HTTP/1.0": http(body=form()).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a proxy's headers": http(body=form(), headers=("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1")),
    "10,000 fields": http(body=form() + b"&x=" * 10_000),
    "10,000 fields in JSON": http(body=as_json()[:-1] + b',"x":0' * 10_000 + b"}", content_type=JSON),
    "1,000 parts": http(body=multipart(*parts(new_failure()), *[("x", b"")] * 1_000), content_type=MULTIPART),
    "a foreign variable twice": http(body=form() + b"&x=1&x=2"),
    "a number of 10,000 digits": http(body=as_json()[:-1] + b',"x":%b}' % (b"9" * 10_000), content_type=JSON),
    "a header for compression on a plain body": http(body=form(), headers=("Content-Encoding: gzip",)),
}


@pytest.mark.parametrize("raw", ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(running: Exporter, raw: bytes) -> None:
    """A failure in each form that SMTPeter may send is answered 200 and counted once."""
    assert change(running, raw) == (200, COUNTED)


REPAIRED: Final = {
    "Latin-1 in a form": (http(body=form(description="") + b"Bo%EEte"), "encoding"),
    "Latin-1 in JSON": (http(body=as_json(description="~").replace(b"~", b"\xee"), content_type=JSON), "encoding"),
    "surrogate in JSON": (http(body=as_json(description="\udc80"), content_type=JSON), "encoding"),
    "NUL in the id": (http(body=as_json(id="1\0"), content_type=JSON), "encoding"),
    "id that is not UTF-8": (http(body=b"id=\xff&recipient=a@b.c&state="), "encoding"),
    "NUL in multipart": (
        http(body=multipart(*parts(new_failure(description="\0"))), content_type=MULTIPART),
        "encoding",
    ),
    "code as an object": (http(body=as_json(code={"a": 1}), content_type=JSON), "wrong_type"),
    "code as a truth value": (http(body=as_json(code=True), content_type=JSON), "wrong_type"),
    "NaN as the code": (http(body=as_json(code=float("nan")), content_type=JSON), "wrong_type"),
    "state of 65 characters": (http(body=form(state="x" * 65)), "value_too_long"),
    "code of 65 characters": (http(body=form(code="5" * 65)), "value_too_long"),
    "extended of 60,000 characters": (http(body=form(extended="5" * 60_000)), "value_too_long"),
    "two states": (http(body=form() + b"&state=dns"), "duplicate_field"),
    "the same id twice in JSON": (
        http(body=b'{"id":"twice","id":"twice","recipient":"a@b.c","state":""}', content_type=JSON),
        "duplicate_field",
    ),
    "a byte order mark": (http(body=b"\xef\xbb\xbf" + as_json(), content_type=JSON), "malformed"),
    "an unknown type": (http(body=form(type="mislukt")), "unknown_type"),
}


@pytest.mark.parametrize(("raw", "what"), REPAIRED.values(), ids=REPAIRED)
def test_counts_a_failure_with_an_odd_detail(running: Exporter, raw: bytes, what: str) -> None:
    """A detail that does not identify the event never rejects it; a new failure counts once as repaired."""
    status, raised = change(running, raw)
    assert (status, raised.pop(f'smtpeter_exporter_repaired_total{{what="{what}"}}')) == (200, 1.0)
    assert raised["smtpeter_exporter_commit_batch_size_count"] == 1.0
    assert not [name for name in raised if "refused" in name or "repaired" in name or "duplicates" in name]
    again = change(running, raw)
    assert again == (200, COUNTED_AGAIN)


REFUSED: Final = {
    # the route
    "HEAD": (http("HEAD"), 405, "method"),
    "GET": (http("GET"), 405, "method"),
    "PUT": (http("PUT", body=form()), 405, "method"),
    "DELETE": (http("DELETE"), 405, "method"),
    "OPTIONS": (http("OPTIONS"), 405, "method"),
    "BREW": (http("BREW", body=form()), 405, "method"),
    "root": (http("GET", "/"), 404, "not_found"),
    "root by POST": (http(path="/", body=form()), 404, "not_found"),
    "metrics": (http("GET", "/metrics"), 404, "not_found"),
    "health": (http("GET", "/-/healthy"), 404, "not_found"),
    "readiness": (http("GET", "/-/ready"), 404, "not_found"),
    "slash at the end": (http(path="/failures/", body=form()), 404, "not_found"),
    "deeper path": (http(path="/failures/1", body=form()), 404, "not_found"),
    "capitals": (http(path="/FAILURES", body=form()), 404, "not_found"),
    "dots": (http("GET", "/../../etc/passwd"), 404, "not_found"),
    "path that is not UTF-8": (http("GET", "/%ff%00"), 404, "not_found"),
    "unknown verification file": (http("GET", "/smtpeter-abcde.txt"), 404, "not_found"),
    # the content type
    "plain text": (http(body=form(), content_type="text/plain"), 415, "content_type"),
    "no content type": (http(body=form(), content_type=None), 415, "content_type"),
    "content type of junk": (http(body=form(), content_type=";;=\xff"), 415, "content_type"),
    # the size
    "64 KiB and a byte": (http(body=padded(LIMIT + 1)), 413, "too_large"),
    "64 KiB and a byte in chunks": (
        http(body=chunked(padded(LIMIT + 1)), headers=CHUNKED),
        413,
        "too_large",
    ),
    "announces 10 GB": (http(headers=("Content-Length: 10000000000",)), 413, "too_large"),
    "announces 10 GB and begins": (http(body=form(), headers=("Content-Length: 10000000000",)), 413, "too_large"),
    "chunks without end": (
        http(body=chunked(b"x" * 4 * LIMIT, end=b""), headers=CHUNKED),
        413,
        "too_large",
    ),
    "one chunk of 10 GB": (
        http(body=b"%x\r\n" % 10**10 + b"x" * 4 * LIMIT, headers=CHUNKED),
        413,
        "too_large",
    ),
    "header of 20 KB": (http(body=form(), headers=(f"X-Long: {'x' * 20_000}",)), 431, "too_large"),
    "path of 20 KB": (http(path=f"/{'x' * 20_000}", body=form()), 431, "too_large"),
    # the protocol
    "garbage": (b"garbage\r\n\r\n", 400, "malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"),
    "method in small letters": (http("post", body=form()), 400, "malformed"),
    "length below zero": (http(body=form(), headers=("Content-Length: -1",)), 400, "malformed"),
    "two lengths": (http(body=form(), headers=("Content-Length: 5", "Content-Length: 6")), 400, "malformed"),
    "length of 5,000 digits": (http(body=form(), headers=(f"Content-Length: {'9' * 5_000}",)), 400, "malformed"),
    "target of junk": (http(path="http://[", body=form()), 400, "malformed"),
    "chunk size of junk": (http(body=b"zz\r\n\r\n", headers=CHUNKED), 400, "malformed"),
    "space before the colon": (http(body=form(), headers=("X-Odd : 1",)), 400, "malformed"),
    # the body as a whole
    "no body": (http(), 400, "missing_field"),
    "empty JSON": (http(content_type=JSON), 400, "malformed"),
    "half of the JSON": (http(body=as_json()[:-5], content_type=JSON), 400, "malformed"),
    "JSON array": (http(body=b"[" + as_json() + b"]", content_type=JSON), 400, "malformed"),
    "JSON number": (http(body=b"1", content_type=JSON), 400, "malformed"),
    "NaN": (http(body=b"NaN", content_type=JSON), 400, "malformed"),
    "60,000 brackets": (http(body=b"[" * 60_000, content_type=JSON), 400, "malformed"),
    "60,000 brackets in a variable": (http(body=b'{"id":' + b"[" * 60_000, content_type=JSON), 400, "malformed"),
    "100,000 brackets": (http(body=b"[" * 100_000, content_type=JSON), 413, "too_large"),
    "id of 10,000 digits": (
        http(body=b'{"id":%b,"recipient":"a@b.c"}' % (b"9" * 10_000), content_type=JSON),
        400,
        "value_too_long",
    ),
    "multipart without boundary": (
        http(body=multipart(*parts(new_failure())), content_type="multipart/form-data"),
        400,
        "malformed",
    ),
    "multipart of another boundary": (
        http(body=multipart(*parts(new_failure())), content_type="multipart/form-data; boundary=c"),
        400,
        "malformed",
    ),
    "multipart without end": (
        http(body=multipart(*parts(new_failure()))[:-8], content_type=MULTIPART),
        400,
        "malformed",
    ),
    "multiparts in multiparts": (
        http(
            body=b"--b\r\n"
            + b"".join(
                b"Content-Type: multipart/mixed; boundary=%x\r\n\r\n--%x\r\n" % (depth, depth) for depth in range(1_000)
            ),
            content_type=MULTIPART,
        ),
        400,
        "malformed",
    ),
    "multipart of parts without name": (
        http(body=b"--b\r\n\r\n\r\n" * 6_000 + b"--b--", content_type=MULTIPART),
        400,
        "missing_field",
    ),
    "multipart with a comment in a comment in …": (
        http(body=b"--b\r\nContent-Disposition: %b\r\n\r\n--b--" % (b"(" * 50_000), content_type=MULTIPART),
        400,
        "missing_field",
    ),
    "content type with a comment in a comment in …": (
        http(content_type=f"multipart/form-data; {'(' * 10_000}"),
        400,
        "malformed",
    ),
    "JSON in UTF-16": (http(body=as_json().decode().encode("utf-16"), content_type=JSON), 400, "malformed"),
    "compressed form": (http(body=gzip.compress(form())), 415, "content_encoding"),
    "compressed JSON": (
        http(body=gzip.compress(as_json()), content_type=JSON, headers=("Content-Encoding: gzip",)),
        415,
        "content_encoding",
    ),
    # the variables
    "two ids": (http(body=form() + b"&id=2"), 400, "duplicate_field"),
    "two ids in JSON": (
        http(body=b'{"id":"1","id":"2","recipient":"a@b.c"}', content_type=JSON),
        400,
        "duplicate_field",
    ),
    "two recipients in multipart": (
        http(body=multipart(*parts(new_failure()), ("recipient", b"a@b.c")), content_type=MULTIPART),
        400,
        "duplicate_field",
    ),
    "id as a list": (http(body=as_json(id=["1"]), content_type=JSON), 400, "wrong_type"),
    "recipient as an object": (http(body=as_json(recipient={"a": 1}), content_type=JSON), 400, "wrong_type"),
    "a click": (http(body=form(type="click")), 400, "other_loop"),
    "an open": (http(body=b"id=1&recipient=a@b.c&type=Open&ip=192.0.2.1"), 400, "other_loop"),
    "an id and a recipient only": (http(body=b"id=1&recipient=a@b.c"), 400, "other_loop"),
    "no id": (http(body=b"recipient=a@b.c"), 400, "missing_field"),
    "empty id": (http(body=form(id="")), 400, "missing_field"),
    "id of blanks": (http(body=form(id=" \t ")), 400, "missing_field"),
    "null as id": (http(body=as_json(id=None), content_type=JSON), 400, "missing_field"),
    "no recipient": (http(body=b"id=1"), 400, "missing_field"),
    "empty recipient": (http(body=form(recipient="")), 400, "missing_field"),
    "id of 257 characters": (http(body=form(id="x" * 257)), 400, "value_too_long"),
    "recipient of 513 characters": (http(body=form(recipient="x" * 513)), 400, "value_too_long"),
}


@pytest.mark.parametrize(("raw", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_rejects(running: Exporter, raw: bytes, status: int, reason: str) -> None:
    """An invalid request is answered 4xx and counted by its reason, and changes no other counter."""
    assert change(running, raw) == (status, refused(reason))


@pytest.mark.parametrize(
    ("raw", "why", "status"),
    [
        (b"nonsense\r\n\r\n", "Start line is invalid", "400"),
        (b"POST / HTTP/1.1\r\nUser Jane unknown\nJane\r\n\r\n", "Bare CR or LF found in header line", "400"),
        (http("GET", "/why"), "GET /why", "404"),
    ],
    ids=["server", "server, quoting the request", "application"],
)
def test_the_log_says_why(running: Exporter, raw: bytes, why: str, status: str) -> None:
    """Each refusal, by the server or by the application, is a debug line with the client and the cause."""
    exchange(running.public, raw)
    line = until(lambda: next((line for line in running.log() if line.get("why") == why), None))
    fields = [line[name] for name in ("level", "msg", "status", "from")]
    assert fields == ["debug", "refused", status, "127.0.0.1"]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "BREW"])
def test_405_lists_the_allowed_method(running: Exporter, method: str) -> None:
    """An answer 405 says that POST is allowed (RFC 9110 section 15.5.6)."""
    answer = exchange(running.public, http(method))
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "raw",
    [http(body=b"id=1&recipient="), http("GET", "/secret"), http(body=b"{]", content_type=JSON), b"secret\r\n\r\n"],
    ids=["variable missing", "path", "JSON", "garbage"],
)
def test_answers_reveal_little(running: Exporter, raw: bytes) -> None:
    """An answer to a rejected request is short plain text, names no software, and repeats nothing of the request."""
    answer = exchange(running.public, raw)
    assert answer.headers["Content-Type"].partition(";")[0] == "text/plain"
    assert "Server" not in answer.headers
    assert re.search("secret|waitress|falcon|python|recipient", answer.text, re.IGNORECASE) is None
    assert len(answer.body) < 200


@pytest.mark.parametrize("path", ["/failures", "/smtpeter/failures"])
def test_the_answer_says_whether_the_failure_was_new(prefixed: Exporter, path: str) -> None:
    """At each path, the body of the answer 200 is one word, and its length is known."""
    raw = http(path=path, body=form())
    answers = [exchange(prefixed.public, raw) for _ in range(2)]
    assert [(answer.status, answer.text) for answer in answers] == [(200, "counted\n"), (200, "duplicate\n")]
    assert [(answer.headers["Content-Type"], answer.headers["Content-Length"]) for answer in answers] == [
        ("text/plain; charset=utf-8", "8"),
        ("text/plain; charset=utf-8", "10"),
    ]


def test_a_duplicate_is_not_counted(running: Exporter) -> None:
    """The same failure in another content type and spelling is answered 200 and counted only as a duplicate."""
    fields = new_failure()
    change(running, http(body=urlencode(fields).encode()))
    again = fields | {"recipient": fields["recipient"].upper(), "state": "RCPT TO", "description": "", "time": "1"}
    status, raised = change(running, http(body=json.dumps(again).encode(), content_type=JSON))
    assert (status, raised) == (200, COUNTED_AGAIN)


def test_a_failure_of_the_first_generation_is_counted(running: Exporter) -> None:
    """An id and a recipient are enough; empty values are counted as none."""
    status, raised = change(running, http(body=b"id=first&recipient=a@b.c&state=&code=&extended=&description="))
    counted = {key: value for key, value in raised.items() if key.startswith("smtpeter_failures")}
    assert (status, counted) == (
        200,
        {
            'smtpeter_failures_total{code_class="none",extended="none",state="none"}': 1.0,
            'smtpeter_failures_by_reason_total{reason="unclassified"}': 1.0,
            'smtpeter_failures_by_provider_total{code_class="none",provider="other"}': 1.0,
            'smtpeter_failures_by_reason_provider_total{provider="other",reason="unclassified"}': 1.0,
            'smtpeter_failures_by_tag_total{tag="other"}': 1.0,
        },
    )


def test_half_a_request_is_ignored(running: Exporter) -> None:
    """A request whose client disconnects within the body is neither counted nor rejected."""
    before = running.samples()
    with connect(running.public) as sock:
        sock.sendall(http(body=form())[:-10])
    with running.client() as client:  # served after the other connection, which the same thread reads
        assert client.post(new_failure()).status == 200
    assert changes(before, running.samples()) == COUNTED


@pytest.mark.parametrize(
    "head",
    [http(headers=("Content-Length: 10000000000",)), http(body=b"%x\r\n" % 10**10, headers=CHUNKED)],
    ids=["length", "chunk"],
)
def test_an_endless_body_uses_no_memory(running: Exporter, head: bytes) -> None:
    """A body of 10 GB is not read; the connection is closed, and memory does not grow."""
    memory = "process_resident_memory_bytes"
    before = running.samples()[memory]
    with connect(running.public) as sock, pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.sendall(head + b"x" * 60_000_000)
    assert running.samples()[memory] - before < 20_000_000


def test_a_connection_survives_a_refusal(running: Exporter) -> None:
    """After a rejected report, the connection accepts the next one."""
    with running.client() as client:
        answers = [client.post(fields).status for fields in ({"id": "1"}, new_failure())]
    assert answers == [400, 200]


def test_pipelined_requests_are_answered(running: Exporter) -> None:
    """Two requests sent at once on one connection are both counted."""
    before = running.samples()
    last = http(body=form(), headers=("Connection: close",))
    with connect(running.public) as sock:
        sock.sendall(http(body=form()) + last)
        answers = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", answers) == [b"200", b"200"]
    assert changes(before, running.samples()) == dict.fromkeys(COUNTED, 2.0)


def test_expect_100_continue_is_supported(running: Exporter) -> None:
    """A client that waits for 100 before it sends the body gets it, then 200."""
    request = http(body=form(), headers=("Expect: 100-continue", "Connection: close"))
    head, _, body = request.partition(b"\r\n\r\n")
    with connect(running.public) as sock:
        sock.sendall(head + b"\r\n\r\n")
        first = sock.recv(65_536)
        sock.sendall(body)
        rest = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert (first, rest.partition(b"\r\n")[0]) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/smtpeter/failures", 200), ("/failures", 200), ("/smtpeter", 404), ("/smtpeter/smtpeter/failures", 404)],
)
def test_the_path_of_the_public_url_is_optional(prefixed: Exporter, path: str, status: int) -> None:
    """The webhook is served with and without the path of the public URL."""
    assert prefixed.post(new_failure(), path).status == status


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter with a public URL that has a path."""
    url = "https://mail.example.com/smtpeter/"
    with exporter(tmp_path_factory.mktemp("prefixed"), "--webhook.public-url", url) as shared:
        yield shared
