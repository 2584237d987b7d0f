"""The contestants: the exporter in several configurations, alternatives to it, and upper limits."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.requests import FORMS, PUSHES, SIGNED
from exporter.classification.loops import LOOPS
from tests.support.signing import ACCOUNT


@dataclass(frozen=True)
class Contestant:
    """A command with placeholders.

    It listens on ``{port}``, and on ``{web}`` for scrapes. It may write to ``{directory}`` and to ``{database}``, which
    is its own. ``{nameserver}`` has the keys of signatures. Without requests, it works for ``{seconds}``.
    """

    name: str
    command: Sequence[str]
    requests: str | None = FORMS
    counts_at: str | None = "port"
    """The port that exposes the counters: ``port``, ``web`` or none."""
    replicas: int = 1
    needs: str | None = None
    """A program that may not be installed."""

    @property
    def in_database(self) -> bool:
        """Whether the contestant needs a PostgreSQL."""
        return "{database}" in self.command


_EXPORTER: Final = (
    *(sys.executable, "-m", "exporter", "serve", "--log.level", "error", "--metrics.birth-hold", "0s"),
    *("--webhook.listen-address", "127.0.0.1:{port}", "--web.listen-address", "127.0.0.1:{web}"),
)
_OFF: Final = ("--signature.mode", "off")
_REQUIRED: Final = (
    *("--signature.mode", "required", "--signature.account", ACCOUNT),
    *("--signature.max-age", "1h", "--signature.nameserver", "{nameserver}"),  # requests are signed before the rounds
)
_SQLITE: Final = ("--storage.url", "sqlite:///{directory}/ledger.db")
_POSTGRES: Final = ("--storage.url", "{database}")
_PEER: Final = (sys.executable, "-m", "bench.peers")
_ALONE: Final = (sys.executable, "-m", "bench.ceilings", "{seconds}")

OURS: Final = Contestant("**exporter: SQLite**", (*_EXPORTER, *_OFF, *_SQLITE), counts_at="web")
SIGNED_OURS: Final = Contestant(
    "exporter: SQLite, signed", (*_EXPORTER, *_REQUIRED, *_SQLITE), requests=SIGNED, counts_at="web"
)
POSTGRES: Final = Contestant("exporter: PostgreSQL", (*_EXPORTER, *_OFF, *_POSTGRES), counts_at="web")
REPLICAS: Final = Contestant(
    "three exporters, one PostgreSQL", (*_EXPORTER, *_OFF, *_POSTGRES), counts_at="web", replicas=3
)
ALL_LOOPS: Final = Contestant(
    "exporter: SQLite, all loops on",
    (*_EXPORTER, *_OFF, *_SQLITE, "--webhook.loops", ",".join(LOOPS)),
    counts_at="web",
)
MEMORY: Final = Contestant("the same application, in memory, on stock waitress", (*_PEER, "memory", "{port}"))
FASTAPI: Final = Contestant(
    "FastAPI on uvicorn, in memory",
    (
        *(sys.executable, "-m", "uvicorn", "--factory", "bench.handwritten:fastapi_app", "--port", "{port}"),
        *("--log-level", "warning", "--no-access-log"),
    ),
)

CONTESTANTS: Final = (
    OURS,
    SIGNED_OURS,
    ALL_LOOPS,
    POSTGRES,
    REPLICAS,
    MEMORY,
    Contestant(
        "the same application, in memory, on the exporter's listener", (*_PEER, "memory-own-listener", "{port}")
    ),
    Contestant(
        "Flask on gunicorn with threads, in memory",
        (
            *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "64", "--keep-alive", "60"),
            *("--log-level", "error", "--bind", "127.0.0.1:{port}", "bench.handwritten:flask_app()"),
        ),
    ),
    FASTAPI,
    Contestant(
        "Fastify and prom-client on Node.js, in memory", ("node", "bench/fastify/server.js", "{port}"), needs="node"
    ),
    Contestant(
        "Pushgateway, one push per failure",
        (
            *("prometheus-pushgateway", "--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
            "--persistence.file={directory}/pushed",
        ),
        requests=PUSHES,
        needs="prometheus-pushgateway",
    ),
    Contestant("ceiling: Falcon on stock waitress, reading the body only", (*_PEER, "body", "{port}"), counts_at=None),
    Contestant("ceiling: verifying RSA signatures only", (*_ALONE, "rsa"), requests=None, counts_at=None),
    Contestant(
        "ceiling: writing batches of 64 to SQLite only",
        (*_ALONE, "sqlite:///{directory}/ledger.db"),
        requests=None,
        counts_at=None,
    ),
    Contestant(
        "ceiling: writing batches of 64 to PostgreSQL only", (*_ALONE, "{database}"), requests=None, counts_at=None
    ),
)


@dataclass(frozen=True)
class Target:
    """The minimum ratio of a contestant to the ``other``, in ``rate`` or ``per_cpu`` of a sample."""

    one: Contestant
    other: Contestant
    ratio: float
    of: str = "rate"


TARGETS: Final = (
    Target(OURS, MEMORY, 1.2),
    Target(OURS, FASTAPI, 1.8),
    Target(SIGNED_OURS, FASTAPI, 0.85),
    Target(ALL_LOOPS, OURS, 0.97),
    Target(POSTGRES, OURS, 0.95),
    Target(REPLICAS, POSTGRES, 0.85, of="per_cpu"),
)
