"""The WSGI application of the private listener: routes, authentication and error handlers."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import falcon

from exporter.ledger.committer import Committer
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import answer, reason_for
from exporter.web.facts import Facts
from exporter.web.listener import DISCONNECTED
from exporter.web.passwords import Busy, Passwords
from exporter.web.resources import Healthy, Metrics, Page, Ready

log = logging.getLogger(__name__)


class _Authentication:
    """Middleware that requires a password for every path except the health endpoints, which orchestrators poll."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        if req.path.startswith("/-/"):
            return
        try:
            admitted = self._passwords.admits(
                req.auth, client=req.remote_addr, disconnected=req.env.get(DISCONNECTED, lambda: False)
            )
        except Busy as error:
            raise falcon.HTTPServiceUnavailable(retry_after=1) from error
        if not admitted:
            raise falcon.HTTPUnauthorized(challenges=['Basic realm="smtpeter-exporter"'])


def private_app(
    telemetry: Telemetry, committer: Committer, passwords: Passwords, facts: Callable[[], Facts]
) -> falcon.App[Any, Any]:
    """Return the application for Prometheus and the operator.

    ``facts`` returns what the status page shows.
    """
    app = falcon.App(media_type=falcon.MEDIA_TEXT, middleware=[_Authentication(passwords)])
    app.add_route("/metrics", Metrics(telemetry.registry, telemetry.activity))
    app.add_route("/-/healthy", Healthy())
    app.add_route("/-/ready", Ready(committer))
    app.add_route("/", Page(facts))

    def internal_error(_req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
        log.error("internal error; please report it", exc_info=error)
        answer(resp, 500, "internal")

    def http_error(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object) -> None:
        if isinstance(error, falcon.HTTPBadRequest) and req.method not in falcon.HTTP_METHODS:
            # Falcon answers 400 to methods that it does not know.
            error = falcon.HTTPMethodNotAllowed(["GET", "HEAD", "OPTIONS"])
        words = {HTTPStatus.UNAUTHORIZED: "unauthorized", HTTPStatus.SERVICE_UNAVAILABLE: "busy"}
        word = words.get(HTTPStatus(error.status_code)) or reason_for(error.status_code)
        answer(resp, error.status_code, word)
        resp.set_headers(error.headers or {})

    app.add_error_handler(Exception, internal_error)
    app.add_error_handler(falcon.HTTPError, http_error)
    return app
