"""What a user would write in an afternoon, by Flask and by FastAPI: counts in memory, forgets everything at its end.

The framework is imported by the one that uses it, so that none pays for another one's memory. ``fastify/server.js`` is
the third of these.
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
    """For gunicorn's threads."""
    from flask import Flask, request  # noqa: PLC0415 -- one contestant a process

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
    """For uvicorn: the form declared as FastAPI's manual does it, in a coroutine, for a thread would cost more."""
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
