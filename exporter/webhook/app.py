"""The two WSGI applications: routes, and what happens to errors."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import falcon

from exporter.errors import Refusal
from exporter.ledger.committer import Committer
from exporter.metrics.activity import Activity
from exporter.metrics.telemetry import Telemetry
from exporter.signature.verifier import plain_host
from exporter.web.checks import Facts
from exporter.web.resources import Healthy, Metrics, Page, Ready
from exporter.webhook.endpoint import Failures
from exporter.webhook.verification_files import VerificationFiles

log = logging.getLogger(__name__)

RETRY_AFTER: Final = 5
"""Seconds after which a 503 may be tried again."""

_REASONS: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.REQUEST_TIMEOUT: "slow",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "pipelined",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
}


def reason_for(status: int) -> str:
    """The reason to count for a status that falcon or the server decided on; what is left is bad HTTP."""
    return _REASONS.get(status, "malformed")


class _Watch:
    """Note what comes in, and what of it as the public URL has it."""

    def __init__(self, activity: Activity, host: str, prefix: str) -> None:
        self._activity = activity
        self._host = plain_host(host)
        self._below = f"{prefix}/"

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        self._activity.saw("request")
        if self._host and plain_host(req.get_header("Host") or "") == self._host and req.path.startswith(self._below):
            self._activity.saw("call")


def public_app(
    failures: Failures, telemetry: Telemetry, *, host: str = "", prefix: str, files: VerificationFiles | None
) -> falcon.App[Any, Any]:
    """The application that SMTPeter calls: POST on ``/failures`` and the verification files beside it.

    Both are there at the root, and below ``prefix`` if there is one; that and ``host`` are of the public URL.
    """
    app = falcon.App(media_type=falcon.MEDIA_TEXT, middleware=[_Watch(telemetry.activity, host, prefix)])
    for folder in {"", prefix}:
        app.add_route(f"{folder}/failures", failures)
        if files:
            app.add_route(f"{folder}/{{name}}", files)

    def refuse(req: falcon.Request, resp: falcon.Response, error: Refusal, _params: object) -> None:
        telemetry.refused(error.reason)
        log.debug(
            "refused",
            extra={"status": error.status, "reason": error.reason, "from": req.remote_addr, "why": str(error)},
        )
        _answer(resp, error.status, error.reason)
        if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            resp.set_header("Retry-After", str(RETRY_AFTER))

    def refuse_http(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: object) -> None:
        if isinstance(error, falcon.HTTPBadRequest) and req.method not in falcon.HTTP_METHODS:
            error = falcon.HTTPMethodNotAllowed(["POST"])  # falcon knows only the registered methods, and says 400
        reason = reason_for(error.status_code)
        refuse(req, resp, Refusal(error.status_code, reason, f"{req.method} {req.path}"), params)
        allowed = dict(error.headers or {}).get("Allow", "")  # falcon lists OPTIONS, which is refused here
        if allowed:
            resp.set_header("Allow", ", ".join(method for method in allowed.split(", ") if method != "OPTIONS"))

    def refuse_fault(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
        log.error("fault while answering; please report it", exc_info=error)
        refuse(req, resp, Refusal(503, "internal", repr(error)), params)

    # Falcon takes the handler of the nearest class.
    app.add_error_handler(Exception, refuse_fault)
    app.add_error_handler(falcon.HTTPError, refuse_http)
    app.add_error_handler(Refusal, refuse)
    return app


class _Guard:
    """Ask for a password before everything but health: whoever watches over the process need have none."""

    def __init__(self, admits: Callable[[str | None], bool]) -> None:
        self._admits = admits

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        if not req.path.startswith("/-/") and not self._admits(req.auth):
            raise falcon.HTTPUnauthorized(challenges=['Basic realm="smtpeter-exporter"'])


def private_app(
    telemetry: Telemetry, committer: Committer, admits: Callable[[str | None], bool], facts: Callable[[], Facts]
) -> falcon.App[Any, Any]:
    """The application that Prometheus and the operator call.

    ``admits`` judges the header Authorization; ``facts`` are what the page tells of.
    """
    app = falcon.App(media_type=falcon.MEDIA_TEXT, middleware=[_Guard(admits)])
    app.add_route("/metrics", Metrics(telemetry.registry, telemetry.activity))
    app.add_route("/-/healthy", Healthy())
    app.add_route("/-/ready", Ready(committer))
    app.add_route("/", Page(facts))

    def fault(_req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
        log.error("fault while answering; please report it", exc_info=error)
        _answer(resp, 500, "internal")

    def http_error(_req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object) -> None:
        word = "unauthorized" if error.status_code == HTTPStatus.UNAUTHORIZED else reason_for(error.status_code)
        _answer(resp, error.status_code, word)
        resp.set_headers(error.headers or {})

    app.add_error_handler(Exception, fault)
    app.add_error_handler(falcon.HTTPError, http_error)
    return app


def _answer(resp: falcon.Response, status: int, word: str) -> None:
    resp.status = falcon.code_to_http_status(status)
    resp.content_type = falcon.MEDIA_TEXT
    resp.text = f"{word}\n"
