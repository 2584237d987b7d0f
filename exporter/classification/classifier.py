"""Turn a report into the record that the ledger stores: the failure's identity and the counters it increments.

Pure, except for the set of label sets in use. A record holds no personal data.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from exporter.classification.labels import OTHER, OVERFLOW, Labels, LabelSets, fold_state, labels_of
from exporter.classification.own_reasons import OwnReasons
from exporter.classification.providers import Providers
from exporter.classification.reason import Decision, reason_of
from exporter.classification.report import Report
from exporter.classification.series import Record, Series

_HASH_PURPOSE: Final = b"smtpeter failure"


class Failure(NamedTuple):
    """A classified report: the record for the ledger, and details for logs and telemetry.

    ``labels`` are those of the report, even if it ``overflowed`` (was recorded as :data:`OVERFLOW`).
    """

    record: Record
    labels: Labels
    decision: Decision
    provider: str
    overflowed: bool


class Classifier:
    """Classifies reports. ``tags`` are those that are counted; all others become ``other``."""

    def __init__(
        self, label_sets: LabelSets, providers: Providers, tags: Iterable[str], own_reasons: OwnReasons | None = None
    ) -> None:
        self._label_sets = label_sets
        self._providers = providers
        self._tags = frozenset(tags)
        self._own_reasons = own_reasons or OwnReasons()

    def failure_of(self, report: Report) -> Failure:
        """Classify a report. Never raises."""
        labels = labels_of(report.state, report.code, report.extended)
        admitted = self._label_sets.admit(labels)
        decision = self._own_reasons.decision_of(report.description) or reason_of(report)
        provider = self._providers.provider_of(report.recipient)
        tags = tuple(sorted(self._tags.intersection(report.tags))) if report.tags else ()
        series = _series_of(admitted, decision.reason, provider, labels.code_class, tags)
        overflowed = admitted is OVERFLOW and labels != OVERFLOW
        return Failure(Record(identity_of(report), series), labels, decision, provider, overflowed)


@lru_cache(maxsize=4096)
def _series_of(
    labels: Labels, reason: str, provider: str, code_class: str, tags: tuple[str, ...]
) -> tuple[Series, ...]:
    return (
        ("failures", *labels),
        ("failures_by_reason", reason),
        ("failures_by_provider", provider, code_class),
        *(("failures_by_tag", tag) for tag in tags or (OTHER,)),
    )


def identity_of(report: Report) -> bytes:
    """Return a 16-byte hash that identifies the failure. Never change it: ledgers store these hashes.

    Two reports describe the same failure if message, recipient (ignoring case), state and codes are the same. Dates,
    nonces and signatures are excluded because they differ from request to request, ``time`` because SMTPeter's log
    files lack it. Values contain no NUL and no lone surrogate, so the joined text is unambiguous and can be encoded.
    """
    key = "\0".join((report.id, report.recipient.lower(), fold_state(report.state), report.code, report.extended))
    return blake2b(key.encode(), digest_size=16, person=_HASH_PURPOSE).digest()
