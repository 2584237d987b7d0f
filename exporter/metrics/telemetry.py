"""The metrics about the exporter itself, all with the prefix ``smtpeter_exporter_``."""

import platform
import sqlite3
from collections.abc import Callable, Sequence

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from exporter import __version__
from exporter.classification.reason import DECIDERS
from exporter.metrics.activity import Activity
from exporter.refusals import REFUSAL_REASONS
from exporter.signature.keys import LOOKUP_RESULTS


class Telemetry:
    """All own metrics in one object, registered in ``registry``.

    Each method notes one thing that happened, and what the page shows of it in ``activity``, too; methods may be called
    from any thread.
    """

    def __init__(self) -> None:
        self.activity = Activity()
        # Without this every counter and histogram comes with a second series that tells when it was made.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no hints
        self.registry = registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        Info("smtpeter_exporter_build", "Version of the exporter, and of what it runs on.", registry=registry).info(
            {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
        )
        self._duplicates = Counter(
            "smtpeter_exporter_duplicates",
            "Failures that came again after they had been counted; answered 200 and not counted again.",
            registry=registry,
        )
        self._refused = Counter(
            "smtpeter_exporter_refused",
            "Requests on the public listener that were not counted, by the reason for it.",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSAL_REASONS:
            self._refused.labels(reason)
        self._overflowed = Counter(
            "smtpeter_exporter_label_overflow",
            "Failures counted under other, other, other because there were too many label sets.",
            registry=registry,
        )
        self._decisions = Counter(
            "smtpeter_exporter_reason_decisions",
            "Failures counted, by the step that decided on their reason; much unclassified means a poor table.",
            ["decided_by"],
            registry=registry,
        )
        for step in DECIDERS:
            self._decisions.labels(step)
        self._request_seconds = Histogram(
            "smtpeter_exporter_request_duration_seconds",
            "Time to read, label and durably record a failure that was answered 200.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10),
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "smtpeter_exporter_commit_duration_seconds",
            "Time to write a batch of failures to the ledger, the wait for the disk included.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2),
            registry=registry,
        )
        self._batch_size = Histogram(
            "smtpeter_exporter_commit_batch_size",
            "Failures that were written to the ledger in one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self._signature_required = Gauge(
            "smtpeter_exporter_signature_required",
            "1 when only signed requests are counted, 0 when anyone who finds the URL can invent failures.",
            registry=registry,
        )
        self._key_lookups = Counter(
            "smtpeter_exporter_key_lookups",
            "Look-ups in DNS of the keys that SMTPeter signs with, by result; failed means that DNS gave no answer.",
            ["result"],
            registry=registry,
        )
        for result in LOOKUP_RESULTS:
            self._key_lookups.labels(result)
        self._keys = Gauge(
            "smtpeter_exporter_keys",
            "Keys that are held; stale ones are used past their time because DNS gives no answer.",
            ["state"],
            registry=registry,
        )
        self._key_age = Gauge(
            "smtpeter_exporter_key_age_seconds",
            "Time since DNS gave the key that was looked up longest ago; 0 when none is held.",
            registry=registry,
        )
        for state in ("fresh", "stale"):
            self._keys.labels(state)

    def watch_keys(self, ages: Callable[[], list[tuple[float, bool]]]) -> None:
        """Show how old keys are: ``ages`` gives seconds and staleness of each."""
        self._keys.labels("fresh").set_function(lambda: sum(not stale for _, stale in ages()))
        self._keys.labels("stale").set_function(lambda: sum(stale for _, stale in ages()))
        self._key_age.set_function(lambda: max((age for age, _ in ages()), default=0))

    def looked_up(self, result: str) -> None:
        """One look-up of a key ended; ``result`` is one of LOOKUP_RESULTS."""
        self._key_lookups.labels(result).inc()

    def refused(self, reason: str) -> None:
        """One request was not counted; ``reason`` is one of REFUSAL_REASONS."""
        self._refused.labels(reason).inc()
        self.activity.refused(reason)

    def signed(self) -> None:
        """One call bore a signature that fits."""
        self.activity.saw("signed")

    def decided(self, step: str) -> None:
        """One failure was counted whose reason was decided on by ``step``, one of DECIDERS."""
        self._decisions.labels(step).inc()
        self.activity.saw("counted")

    def overflowed(self) -> None:
        """One failure's label set was folded because there were too many."""
        self._overflowed.inc()

    def answered(self, seconds: float) -> None:
        """One failure was answered 200 after so many seconds."""
        self._request_seconds.observe(seconds)

    def committed(self, seconds: float, outcomes: Sequence[bool]) -> None:
        """One batch was written in so many seconds; for each of its failures, whether it was new."""
        self._commit_seconds.observe(seconds)
        self._batch_size.observe(len(outcomes))
        self._duplicates.inc(len(outcomes) - sum(outcomes))

    def signature_mode(self, mode: str) -> None:
        """The signature mode in force, ``required`` or ``off``."""
        self._signature_required.set(mode == "required")
