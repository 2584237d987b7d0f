"""The metrics about the exporter itself, all with the prefix ``smtpeter_exporter_``."""

import platform
import sqlite3
import time
from collections import Counter as Count
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from exporter import __version__
from exporter.classification.fields import REPAIRS
from exporter.classification.loops import FAILURES, Loop
from exporter.classification.reason import DECIDERS
from exporter.ledger.committer import Commit
from exporter.metrics.activity import Activity, Misdirected
from exporter.refusals import REFUSAL_REASONS, reasons_of
from exporter.signature.keys import LOOKUP_RESULTS

_SIGNED: Final = reasons_of("signed")


class Telemetry:
    """The metrics about the exporter, registered in ``registry``. Thread-safe.

    Each method records one event in the metrics, and in ``activity`` if the status page shows it.
    """

    def __init__(self, loops: Iterable[Loop] = (FAILURES,)) -> None:
        """Expose series of these loops."""
        self.activity = Activity()
        # Otherwise every counter and histogram has a second series with the time of its creation.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no hints
        self.registry = registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        Info("smtpeter_exporter_build", "Versions of the exporter, Python and SQLite.", registry=registry).info(
            {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
        )
        self._accepted = Counter(
            "smtpeter_exporter_accepted",
            "Number of requests that were answered 200, by loop: counted, or already counted.",
            ["loop"],
            registry=registry,
        )
        requested = Gauge(
            "smtpeter_exporter_last_request_timestamp_seconds",
            "Time of the last request that SMTPeter signed for that loop, in seconds since the epoch; 0 if none "
            "arrived since the start.",
            ["loop"],
            registry=registry,
        )
        self._signature_refused = Counter(
            "smtpeter_exporter_signature_refused",
            "Number of rejected requests that were signed the way SMTPeter signs, by the loop whose URL was called.",
            ["loop"],
            registry=registry,
        )
        for loop in loops:
            self._accepted.labels(loop.name)
            requested.labels(loop.name).set_function(partial(self._last_request, loop.name))
            self._signature_refused.labels(loop.name)
        self._duplicates = Counter(
            "smtpeter_exporter_duplicates",
            "Number of reports of events that were already counted, so not counted again.",
            registry=registry,
        )
        self._refused = Counter(
            "smtpeter_exporter_refused",
            "Number of rejected requests on the public listener, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSAL_REASONS:
            self._refused.labels(reason)
        self._overflowed = Counter(
            "smtpeter_exporter_label_overflow",
            "Number of failures counted under other, other, other because there were too many label sets.",
            registry=registry,
        )
        self._repaired = Counter(
            "smtpeter_exporter_repaired",
            "Number of events counted although a detail of the report was invalid, by what was wrong.",
            ["what"],
            registry=registry,
        )
        for what in REPAIRS:
            self._repaired.labels(what)
        self._decisions = Counter(
            "smtpeter_exporter_reason_decisions",
            "Number of failures counted, by the step that decided on their reason.",
            ["decided_by"],
            registry=registry,
        )
        for step in DECIDERS:
            self._decisions.labels(step)
        self._request_seconds = Histogram(
            "smtpeter_exporter_request_duration_seconds",
            "Time to process a request that was answered 200, in seconds.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10),
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "smtpeter_exporter_commit_duration_seconds",
            "Time to commit a batch of events to the ledger, in seconds.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2),
            registry=registry,
        )
        self._batch_size = Histogram(
            "smtpeter_exporter_commit_batch_size",
            "Number of events in one commit to the ledger.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
            registry=registry,
        )
        self._signature_required = Gauge(
            "smtpeter_exporter_signature_required",
            "Whether requests must be signed: 1, or 0 if anyone who can reach the URL can submit fake failures.",
            registry=registry,
        )
        self._key_lookups = Counter(
            "smtpeter_exporter_key_lookups",
            "Number of DNS lookups of SMTPeter's public keys, by result; failed means that DNS did not answer.",
            ["result"],
            registry=registry,
        )
        for result in LOOKUP_RESULTS:
            self._key_lookups.labels(result)
        self._keys = Gauge(
            "smtpeter_exporter_keys",
            "Number of cached keys; stale ones have expired but are still used because DNS does not answer.",
            ["state"],
            registry=registry,
        )
        self._key_age = Gauge(
            "smtpeter_exporter_key_age_seconds",
            "Age of the oldest cached key, in seconds; 0 if there is none.",
            registry=registry,
        )
        for state in ("fresh", "stale"):
            self._keys.labels(state)

    def watch_keys(self, ages: Callable[[], list[tuple[float, bool]]]) -> None:
        """Expose the cached keys. ``ages`` returns the age in seconds of each, and whether it is stale."""
        self._keys.labels("fresh").set_function(lambda: sum(not stale for _, stale in ages()))
        self._keys.labels("stale").set_function(lambda: sum(stale for _, stale in ages()))
        self._key_age.set_function(lambda: max((age for age, _ in ages()), default=0))

    def looked_up(self, result: str) -> None:
        """Count a lookup of a key by its result, one of LOOKUP_RESULTS."""
        self._key_lookups.labels(result).inc()

    def refused(self, reason: str, called: str = "", misdirected: Misdirected | None = None) -> None:
        """Count a rejected request by its reason, one of REFUSAL_REASONS. ``called`` is the last part of its path."""
        self._refused.labels(reason).inc()
        if reason in _SIGNED:  # so the path is that of a loop
            self._signature_refused.labels(called).inc()
        self.activity.refused(reason, misdirected)

    def signed(self) -> None:
        """Record a request with a valid signature."""
        self.activity.saw("signed")

    def requested(self, loop: Loop) -> None:
        """Record a request for a loop, with a valid signature if one is required."""
        self.activity.requested(loop.name)

    def _last_request(self, loop: str) -> float:
        return self.activity.requests().get(loop, 0.0)

    def committed(self, commit: Commit) -> None:
        """Observe a commit, its requests if they are answered 200, and the details of its new failures."""
        self._commit_seconds.observe(commit.seconds)
        self._batch_size.observe(len(commit.tickets))
        counted = [ticket.event for ticket, new in zip(commit.tickets, commit.new, strict=True) if new]
        self._duplicates.inc(len(commit.tickets) - len(counted))
        for loop in {event.loop.name for event in counted}:
            self.activity.counted(loop)
        decisions = [event.decision for event in counted if event.loop is FAILURES and event.decision]
        for step, number in Count(decision.decided_by for decision in decisions).items():
            self._decisions.labels(step).inc(number)
        for what, number in Count(what for event in counted for what in event.report.repaired).items():
            self._repaired.labels(what).inc(number)
        self._overflowed.inc(sum(event.overflowed for event in counted))
        now = time.perf_counter()
        for ticket in commit.in_time:
            self._request_seconds.observe(now - ticket.began)
        for name, number in Count(ticket.event.loop.name for ticket in commit.in_time).items():
            self._accepted.labels(name).inc(number)

    def signature_mode(self, mode: str) -> None:
        """Expose the signature mode, ``required`` or ``off``."""
        self._signature_required.set(mode == "required")
