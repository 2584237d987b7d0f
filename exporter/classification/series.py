"""The counters that failures increment, and the record of one failure."""

from typing import Final, NamedTuple

from exporter.classification.labels import Labels

Series = tuple[str, ...]
"""Key of one counter: the name of its family in :data:`FAMILIES`, then the values of the labels in order."""

FAMILIES: Final = {
    "failures": ("Number of failed deliveries that SMTPeter reported, each counted once.", Labels._fields),
    "failures_by_reason": ("Number of failed deliveries, by reason.", ("reason",)),
    "failures_by_provider": (
        "Number of failed deliveries, by the recipient's mailbox provider and the class of the SMTP reply code.",
        ("provider", "code_class"),
    ),
    "failures_by_tag": (
        "Number of failed deliveries, by tag listed in tags.count; a failure with two of these counts in both.",
        ("tag",),
    ),
}
"""Name of each family (exposed as ``smtpeter_NAME_total``), its help text, and the names of its labels."""


class Record(NamedTuple):
    """One failure as the ledger stores it: its 16-byte identity, and the counters it increments by one each."""

    identity: bytes
    series: tuple[Series, ...]
