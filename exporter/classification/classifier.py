"""Turn a report into the record that the ledger stores: the event's identity and the counters it increments.

Pure, except for the set of label sets in use. A record holds no personal data.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from exporter.classification.fields import fold_recipient
from exporter.classification.labels import OTHER, OVERFLOW, Labels, LabelSets, fold_state, labels_of
from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, Loop
from exporter.classification.own_reasons import OwnReasons
from exporter.classification.providers import Providers
from exporter.classification.reason import Decision, reason_of
from exporter.classification.report import Report
from exporter.classification.series import Record, Series
from exporter.returned.returned import complaint_recipient, returned_of

AFTER_DELIVERY: Final = "bounce"
"""The state of a failure of a message that was delivered first; its receiver returned a DSN later."""


_BRACKETED: Final = re.compile("<([^<>]+)>")
_MAX_LABELS: Final = 10


class Event(NamedTuple):
    """A classified report: the record for the ledger, and details for logs and telemetry.

    ``report`` has no MIME any more. ``labels`` are those of a failure, even if it ``overflowed`` (was recorded as
    :data:`OVERFLOW`). ``decision`` is None if the event has no reason, ``kind`` empty if it is not a returned message.
    ``tags`` are those that are counted.
    """

    loop: Loop
    record: Record
    report: Report
    provider: str = ""
    tags: tuple[str, ...] = ()
    labels: Labels | None = None
    decision: Decision | None = None
    kind: str = ""
    overflowed: bool = False


class Classifier:
    """Classifies reports. ``tags`` are those that are counted; all others become ``other``.

    One thread classifies failures; any thread may classify the events of other loops.
    """

    def __init__(
        self, label_sets: LabelSets, providers: Providers, tags: Iterable[str], own_reasons: OwnReasons | None = None
    ) -> None:
        self._label_sets = label_sets
        self._providers = providers
        self._tags = frozenset(tags)
        self._own_reasons = own_reasons or OwnReasons()
        self._by_loop = {DELIVERIES.name: self._delivery, BOUNCES.name: self._bounce, ABUSES.name: self._complaint}

    def event_of(self, report: Report, loop: Loop = FAILURES) -> Event:
        """Classify a report of a loop. Never raises."""
        return self._failure(report) if loop is FAILURES else self._by_loop[loop.name](report)

    def _failure(self, report: Report) -> Event:
        labels = labels_of(report.state, report.code, report.extended)
        admitted = self._label_sets.admit(labels)
        decision = self._decision_of(report)
        provider, tags = self._providers.provider_of(report.recipient), self._counted(report)
        series = _series_of_failure(admitted, decision.reason, provider, labels, tags)
        record = Record(identity_of(report), series, FAILURES.number, message_of(report))
        overflowed = admitted is OVERFLOW and labels != OVERFLOW
        return Event(FAILURES, record, report, provider, tags, labels, decision, overflowed=overflowed)

    def _delivery(self, report: Report) -> Event:
        provider, tags = self._providers.provider_of(report.recipient), self._counted(report)
        record = Record(message_of(report), _series_of_delivery(provider, tags), DELIVERIES.number)
        return Event(DELIVERIES, record, report, provider, tags)

    def _bounce(self, report: Report) -> Event:
        returned = returned_of(report.mime)
        series: tuple[Series, ...] = (("bounces", returned.kind),)
        decision = None
        if returned.failed:
            answer = (AFTER_DELIVERY, returned.code, returned.extended, returned.description)
            decision = self._decision_of(Report("", "", *answer))
            series += (("bounces_by_reason", decision.reason),)
        identity = _hash(b"smtpeter bounce", report.id, report.recipient.lower(), _digest(report.mime))
        record = Record(identity, series, BOUNCES.number, message_of(report))
        provider = self._providers.provider_of(report.recipient)
        slim = report._replace(mime=b"")
        return Event(BOUNCES, record, slim, provider, self._counted(report), decision=decision, kind=returned.kind)

    def _complaint(self, report: Report) -> Event:
        provider = self._provider_of_host(complaint_recipient(report.mime) or report.emailfrom)
        identity = _hash(b"smtpeter abuse", report.id, _digest(report.mime))
        record = Record(identity, (("complaints", provider),), ABUSES.number)
        return Event(ABUSES, record, report._replace(mime=b""), provider)

    def _decision_of(self, report: Report) -> Decision:
        return self._own_reasons.decision_of(report.description) or reason_of(report)

    def _counted(self, report: Report) -> tuple[str, ...]:
        return tuple(sorted(self._tags.intersection(report.tags))) if report.tags else ()

    def _provider_of_host(self, text: str) -> str:
        """Return the provider of the nearest domain at or above that of an address or a host, if any has one."""
        address = _BRACKETED.search(text)
        labels = fold_recipient(address[1] if address else text).rpartition("@")[2].split(".")[-_MAX_LABELS:]
        names = (self._providers.provider_of("@" + ".".join(labels[start:])) for start in range(len(labels) - 1))
        return next((name for name in names if name != OTHER), OTHER)


@lru_cache(maxsize=4096)
def _series_of_failure(
    admitted: Labels, reason: str, provider: str, labels: Labels, tags: tuple[str, ...]
) -> tuple[Series, ...]:
    tags = tags or (OTHER,)
    series: tuple[Series, ...] = (
        ("failures", *admitted),
        ("failures_by_reason", reason),
        ("failures_by_provider", provider, labels.code_class),
        ("failures_by_reason_provider", reason, provider),
        *(("failures_by_tag", tag) for tag in tags),
    )
    if labels.state != AFTER_DELIVERY:
        return series
    return (
        *series,
        ("failures_after_delivery_by_provider", provider),
        *(("failures_after_delivery_by_tag", tag) for tag in tags),
    )


@lru_cache(maxsize=4096)
def _series_of_delivery(provider: str, tags: tuple[str, ...]) -> tuple[Series, ...]:
    return (
        ("deliveries",),
        ("deliveries_by_provider", provider),
        *(("deliveries_by_tag", tag) for tag in tags or (OTHER,)),
    )


def identity_of(report: Report) -> bytes:
    """Return a 16-byte hash that identifies the failure. Never change it: ledgers store these hashes.

    Two reports describe the same failure if message, recipient (ignoring case), state and codes are the same. Dates,
    nonces and signatures are excluded because they differ from request to request, ``time`` because SMTPeter's log
    files lack it. Values contain no NUL and no lone surrogate, so the joined text is unambiguous and can be encoded.
    """
    recipient = report.recipient.lower()
    return _hash(b"smtpeter failure", report.id, recipient, fold_state(report.state), report.code, report.extended)


def message_of(report: Report) -> bytes:
    """Return a 16-byte hash of message and recipient, which identify a delivery. Never change it, as above."""
    return _hash(b"smtpeter message", report.id, report.recipient.lower())


def _hash(purpose: bytes, *texts: str) -> bytes:
    return blake2b("\0".join(texts).encode(), digest_size=16, person=purpose).digest()


def _digest(mime: bytes) -> str:
    """Return a hash of a message, which is the same whether its lines end in CRLF or in LF."""
    return blake2b(mime.replace(b"\r\n", b"\n").strip(), digest_size=16).hexdigest()
