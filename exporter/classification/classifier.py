"""A report to what is recorded of it: the identity of the failure, and the series that it raises.

Pure but for the label sets in use. After this module nothing personal is left.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from exporter.classification.labels import OTHER, OVERFLOW, Labels, LabelSets, fold_state, labels_of
from exporter.classification.providers import Providers
from exporter.classification.reason import Decision, reason_of
from exporter.classification.report import Report
from exporter.classification.series import Record, Series

_PURPOSE: Final = b"smtpeter failure"


class Failure(NamedTuple):
    """What a report means: its record for the ledger, and what is told of it besides."""

    record: Record
    labels: Labels
    decision: Decision
    provider: str
    overflowed: bool


class Classifier:
    """Makes failures of reports, with the label sets in use, the table of providers, and the tags that are counted."""

    def __init__(self, label_sets: LabelSets, providers: Providers, tags: Iterable[str]) -> None:
        self._label_sets = label_sets
        self._providers = providers
        self._tags = frozenset(tags)

    def failure_of(self, report: Report) -> Failure:
        """What the report means; never raises."""
        labels = labels_of(report.state, report.code, report.extended)
        admitted = self._label_sets.admit(labels)
        decision = reason_of(report)
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
    """Sixteen bytes that are the same for two reports of the same failure, and practically never else.

    A failure is one message, one recipient (without case) and one answer. ``Date``, nonce and signature differ from
    call to call and the log files lack ``time``, so these are left out. No value holds NUL, so the
    joined text is unambiguous.
    """
    what = "\0".join((report.id, report.recipient.lower(), fold_state(report.state), report.code, report.extended))
    return blake2b(what.encode(), digest_size=16, person=_PURPOSE).digest()
