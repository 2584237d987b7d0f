"""The public application: routes, one-word answers, and what is recorded of each request."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import falcon
import pytest
from falcon.testing import TestClient

from exporter.classification.loops import FAILURES
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal
from exporter.webhook.answering import RETRY_AFTER
from exporter.webhook.app import public_app
from exporter.webhook.verification_files import VerificationFiles

FILE: Final = "/smtpeter-x1.txt"
NO_COMMITTER: Final[Any] = SimpleNamespace(expire=lambda: None)


class Endpoint:
    """A resource in the place of that of a loop, which raises what it is given."""

    loop = FAILURES
    error: Exception | None = None

    def on_post(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        """Answer 200, or raise the error."""
        if self.error:
            raise self.error


class Served:
    """The application with its telemetry, and a client of it."""

    def __init__(self, *, host: str = "", prefix: str = "", files: Path | None = None) -> None:
        self.endpoint, self.telemetry = Endpoint(), Telemetry()
        served = VerificationFiles(files) if files else None
        fake: Any = self.endpoint
        app = public_app([fake], NO_COMMITTER, self.telemetry, host=host, prefix=prefix, files=served)
        self.client = TestClient(app)

    def refused(self) -> dict[str, int]:
        """Return how many requests were rejected, by reason."""
        return self.telemetry.activity.refusals()

    def seen(self) -> set[str]:
        """Return which events were recorded."""
        return {*self.telemetry.activity.last()}


@pytest.mark.parametrize("prefix", ["", "/smtpeter", "/a/b"])
def test_routes_are_below_the_prefix_and_at_the_root(tmp_path: Path, prefix: str) -> None:
    """The webhook and the verification files are served at the root and below the public URL's path."""
    (tmp_path / FILE[1:]).write_bytes(b"proof")
    served = Served(prefix=prefix, files=tmp_path)
    for base in {"", prefix}:
        assert served.client.simulate_post(f"{base}/failures").status_code == 200
        assert served.client.simulate_get(f"{base}{FILE}").content == b"proof"
    assert served.client.simulate_post(f"{prefix}/x/failures").status_code == 404
    assert served.refused() == {"not_found": 1}


def test_without_a_directory_no_file_is_served() -> None:
    """Verification files have no route unless there is a directory."""
    served = Served(prefix="/smtpeter")
    assert [served.client.simulate_get(f"{base}{FILE}").status_code for base in ("", "/smtpeter")] == [404, 404]


def test_a_refusal_is_answered_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets status and reason; the counter and the log at debug level say more."""
    caplog.set_level(logging.DEBUG)
    served = Served()
    served.endpoint.error = Refusal(403, "date", "the date is old")
    answer = served.client.simulate_post("/failures", remote_addr="192.0.2.7")
    assert (answer.status_code, answer.text, answer.headers.get("Retry-After")) == (403, "date\n", None)
    assert served.refused() == {"date": 1}
    (record,) = caplog.records
    fields: dict[str, Any] = vars(record)
    assert (record.levelname, record.getMessage()) == ("DEBUG", "refused")
    assert [fields[name] for name in ("status", "reason", "from", "why")] == [
        *(403, "date"),
        *("192.0.2.7", "the date is old"),
    ]


def test_unavailable_asks_for_a_retry() -> None:
    """An answer of 503 has Retry-After."""
    served = Served()
    served.endpoint.error = Refusal(503, "unavailable", "disk full")
    answer = served.client.simulate_post("/failures")
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "unavailable\n", str(RETRY_AFTER))


def test_a_bug_is_answered_503_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception asks for a retry; its traceback is in the log."""
    served = Served()
    served.endpoint.error = ZeroDivisionError()
    answer = served.client.simulate_post("/failures")
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "internal\n", str(RETRY_AFTER))
    assert served.refused() == {"internal": 1}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/failures", "POST"),
        ("DELETE", FILE, "GET, HEAD"),
        ("OPTIONS", FILE, "GET, HEAD"),
    ],
)
def test_other_methods_are_rejected(tmp_path: Path, method: str, path: str, allow: str) -> None:
    """A wrong method is answered 405 with the allowed ones (RFC 9110 section 15.5.6), and counted."""
    served = Served(files=tmp_path)
    answer = served.client.simulate_request(method, path)
    assert (answer.status_code, answer.text, answer.headers["Allow"]) == (405, "method\n", allow)
    assert served.refused() == {"method": 1}


@pytest.mark.parametrize(
    ("host", "path", "matches"),
    [
        ("mail.example.com", "/smtpeter/failures", True),
        ("MAIL.example.com:443", "/smtpeter/x", True),
        ("mail.example.com", "/failures", False),
        ("mail.example.com", "/smtpeterx", False),
        ("127.0.0.1", "/smtpeter/failures", False),
    ],
)
def test_records_requests_for_the_public_url(host: str, path: str, *, matches: bool) -> None:
    """Each request is recorded; those with the host and path of the public URL are recorded as such, too."""
    served = Served(host="mail.example.com", prefix="/smtpeter")
    served.client.simulate_post(path, headers={"Host": host})
    assert served.seen() == ({"request", "public_url"} if matches else {"request"})


def test_without_a_public_url_no_request_matches_it() -> None:
    """Nothing is recorded as a request for the public URL if there is none."""
    served = Served()
    served.client.simulate_post("/failures", headers={"Host": ""})
    assert served.seen() == {"request"}
