"""The WSGI application of the public listener: routes, and what happens to errors."""

import logging
from http import HTTPStatus
from typing import Any, Final

import falcon

from exporter.metrics.activity import Activity
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal, answer, reason_for
from exporter.signature.verifier import plain_host
from exporter.webhook.endpoint import Failures
from exporter.webhook.verification_files import VerificationFiles

log = logging.getLogger(__name__)

RETRY_AFTER: Final = 5
"""Seconds after which a 503 may be tried again."""


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
        answer(resp, error.status, error.reason)
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
