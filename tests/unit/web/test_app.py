"""The private application: authentication, and one-word answers to everything that is not served."""

import logging
from collections.abc import Callable
from typing import Final

import falcon
import pytest
from falcon.testing import TestClient

from exporter.ledger.clock import Clock
from exporter.ledger.committer import Committer
from exporter.metrics.telemetry import Telemetry
from exporter.web import passwords as passwords_module
from exporter.web.app import private_app
from exporter.web.facts import Facts
from exporter.web.passwords import Passwords
from tests.support.fakes import FakeLedger
from tests.support.status_page import facts
from tests.support.web_config import basic, hashed

USERS: Final = {"alice": hashed("sesame").encode()}


def client_of(passwords: Passwords | None = None, found: Callable[[], Facts] = facts) -> TestClient:
    """Return a client of the application."""
    ledger = FakeLedger()
    clock = Clock(ledger.clock, ledger.clock_state())
    committer = Committer(ledger, clock=clock, committed=lambda _commit: None, hold=0)
    return TestClient(private_app(Telemetry(), committer, passwords or Passwords({}), found))


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_serves(path: str) -> None:
    """Without authentication, each route is answered; HEAD has the length of the body, but no body."""
    got, head = (client_of().simulate_request(method, path) for method in ("GET", "HEAD"))
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert int(head.headers["Content-Length"]) == pytest.approx(len(got.content), abs=200)  # values change meanwhile
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/nowhere", "/-"])
@pytest.mark.parametrize("header", [None, "Basic eA=="], ids=["none", "wrong"])
def test_requires_authentication(method: str, path: str, header: str | None) -> None:
    """Whatever the method and path, a request without the right credentials is answered 401 and a challenge."""
    headers = {"Authorization": header} if header else {}
    answer = client_of(Passwords(USERS)).simulate_request(method, path, headers=headers)
    assert (answer.status_code, answer.text) == (401, "" if method == "HEAD" else "unauthorized\n")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="smtpeter-exporter"'


def test_accepts_the_credentials() -> None:
    """The right password of a user is enough."""
    client = client_of(Passwords(USERS))
    assert client.simulate_get("/metrics", headers={"Authorization": basic("alice:sesame")}).status_code == 200


def test_too_many_checks_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 503, and asks the client to try again; health needs no check."""
    monkeypatch.setattr(passwords_module, "MAX_WAITING", 0)
    client = client_of(Passwords(USERS))
    answer = client.simulate_get("/metrics", headers={"Authorization": basic("alice:sesame")})
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "busy\n", "1")
    assert client.simulate_get("/-/healthy", headers={"Authorization": basic("alice:sesame")}).status_code == 200


@pytest.mark.parametrize(("path", "text"), [("/-/healthy", "healthy\n"), ("/-/ready", "ready\n")])
def test_health_needs_no_authentication(path: str, text: str) -> None:
    """The health endpoints are open, so that an orchestrator needs no password."""
    answer = client_of(Passwords(USERS)).simulate_get(path)
    assert (answer.status_code, answer.text) == (200, text)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/secret"), ("HEAD", "/x"), ("POST", "/failures"), ("GET", "/-/")]
)
def test_other_paths_do_not_exist(method: str, path: str) -> None:
    """A path that is not served is answered with one word of plain text."""
    answer = client_of().simulate_request(method, path)
    assert (answer.status_code, answer.text) == (404, "" if method == "HEAD" else "not_found\n")
    assert answer.headers["Content-Type"] == falcon.MEDIA_TEXT


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_other_methods_are_not_supported(method: str, path: str) -> None:
    """A method that is not supported is answered 405 with the methods that are, and one word of plain text."""
    answer = client_of().simulate_request(method, path)
    assert (answer.status_code, answer.text, answer.headers["Allow"]) == (405, "method\n", "GET, HEAD, OPTIONS")
    assert answer.headers["Content-Type"] == falcon.MEDIA_TEXT


def test_an_internal_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A bug is answered 500 with one word; its traceback is in the log."""

    def broken() -> Facts:
        raise ZeroDivisionError

    answer = client_of(found=broken).simulate_get("/")
    assert (answer.status_code, answer.text) == (500, "internal\n")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError
