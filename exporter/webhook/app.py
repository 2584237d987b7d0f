"""The WSGI application of the public listener: routes and error handlers."""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import falcon

from exporter.ledger.committer import Committer
from exporter.metrics.activity import Activity, Misdirected
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import Refusal, answer, reason_for
from exporter.signature.verifier import normalize_host
from exporter.webhook.answering import RETRY_AFTER, Answering
from exporter.webhook.endpoint import Endpoint
from exporter.webhook.verification_files import FileName, VerificationFiles

log = logging.getLogger(__name__)


class _RequestRecorder:
    """Middleware that records each request, and whether it has the host and path of the public URL."""

    def __init__(self, activity: Activity, host: str, prefix: str) -> None:
        self._activity = activity
        self._host = normalize_host(host)
        self._below = f"{prefix}/"

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        self._activity.saw("request")
        if (
            self._host
            and normalize_host(req.get_header("Host") or "") == self._host
            and req.path.startswith(self._below)
        ):
            self._activity.saw("public_url")


def public_app(  # noqa: PLR0913 -- the last three by name
    endpoints: Iterable[Endpoint],
    committer: Committer,
    telemetry: Telemetry,
    *,
    host: str = "",
    prefix: str,
    files: VerificationFiles | None,
) -> Answering:
    """Return the application for SMTPeter: POST on the path of each loop, and the verification files.

    It serves all at the root and below ``prefix``. ``host`` and ``prefix`` are those of the public URL, empty if there
    is none.
    """
    recorder = _RequestRecorder(telemetry.activity, host, prefix)
    app: falcon.App[Any, Any] = falcon.App(media_type=falcon.MEDIA_TEXT, middleware=[recorder])
    app.router_options.converters["file"] = FileName
    for base in {"", prefix}:
        for endpoint in endpoints:
            app.add_route(f"{base}{endpoint.loop.path}", endpoint)
        if files:
            app.add_route(f"{base}/{{name:file}}", files)

    def refuse(req: falcon.Request, resp: falcon.Response, error: Refusal, _params: object) -> None:
        called = req.path.rpartition("/")[2]
        telemetry.refused(error.reason, called, Misdirected(error.loop, called) if error.loop else None)
        log.debug(
            "refused",
            extra={"status": error.status, "reason": error.reason, "from": req.remote_addr, "why": str(error)},
        )
        answer(resp, error.status, error.reason)
        if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            resp.set_header("Retry-After", str(RETRY_AFTER))

    def refuse_http(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: object) -> None:
        if isinstance(error, falcon.HTTPBadRequest) and req.method not in falcon.HTTP_METHODS:
            error = falcon.HTTPMethodNotAllowed(["POST"])  # falcon answers 400 to unregistered methods
        reason = reason_for(error.status_code)
        refuse(req, resp, Refusal(error.status_code, reason, f"{req.method} {req.path}"), params)
        allowed = dict(error.headers or {}).get("Allow", "")  # falcon lists OPTIONS, which is rejected here
        if allowed:
            resp.set_header("Allow", ", ".join(method for method in allowed.split(", ") if method != "OPTIONS"))

    def refuse_internal_error(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
        log.error("internal error; please report it", exc_info=error)
        refuse(req, resp, Refusal(503, "internal", f"{type(error).__name__}: {error}"), params)

    # Falcon chooses the handler of the most specific class.
    app.add_error_handler(Exception, refuse_internal_error)
    app.add_error_handler(falcon.HTTPError, refuse_http)
    app.add_error_handler(Refusal, refuse)
    return Answering(app, committer)
