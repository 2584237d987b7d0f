"""Exporters that a user could write in an afternoon, with Flask and with FastAPI. They count in memory only.

Each imports its own framework, so that its memory does not include the other one. ``fastify/server.js`` is the third.
"""

from typing import TYPE_CHECKING, Annotated, Final

from prometheus_client import CollectorRegistry, Counter, generate_latest

if TYPE_CHECKING:
    from fastapi import FastAPI
    from flask import Flask

REGISTRY: Final = CollectorRegistry()
FAILURES: Final = Counter(
    "smtpeter_failures", "Failed deliveries.", ["state", "code_class", "extended"], registry=REGISTRY
)


def count(state: str, code: str, extended: str) -> None:
    """Count a failure."""
    FAILURES.labels(state, f"{code[:1]}xx" if code else "none", extended).inc()


def flask_app() -> "Flask":
    """Return the application for gunicorn with threads."""
    from flask import Flask, request  # noqa: PLC0415 -- only one contestant in a process

    app = Flask("by hand")

    @app.post("/failures")
    def receive() -> str:
        form = request.form
        count(form.get("state", "none"), form.get("code", ""), form.get("extended", ""))
        return ""

    @app.get("/metrics")
    def metrics() -> bytes:
        return generate_latest(REGISTRY)

    return app


def fastapi_app() -> "FastAPI":
    """Return the application for uvicorn.

    The form is declared as in FastAPI's manual. The handlers are coroutines because threads would be slower.
    """
    from fastapi import FastAPI, Form, Response  # noqa: PLC0415 -- as above

    app = FastAPI()

    @app.post("/failures")
    async def receive(
        state: Annotated[str, Form()] = "none", code: Annotated[str, Form()] = "", extended: Annotated[str, Form()] = ""
    ) -> Response:
        count(state, code, extended)
        return Response()

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type="text/plain")

    return app
