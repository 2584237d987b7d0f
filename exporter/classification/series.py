"""The series that failures raise: the families and their labels, and the record of one failure."""

from typing import Final, NamedTuple

from exporter.classification.labels import Labels

Series = tuple[str, ...]
"""Which sum: the name of a family of series, then the values of its labels in order."""

FAMILIES: Final = {
    "failures": ("Failed deliveries that SMTPeter reported, each counted once.", Labels._fields),
    "failures_by_reason": ("The same failures by reason: what went wrong, in a word.", ("reason",)),
    "failures_by_provider": (
        "The same failures by mailbox provider of the recipient, and class of the SMTP reply code.",
        ("provider", "code_class"),
    ),
    "failures_by_tag": (
        "The same failures by tag of the mail, of those that tags.count names; with two of them, in both.",
        ("tag",),
    ),
}
"""The families of series: name (``smtpeter_NAME_total`` when exposed), help, names of labels."""


class Record(NamedTuple):
    """One failure as the ledger takes it: a 16-byte hash that is its identity, and the series that it raises."""

    identity: bytes
    series: tuple[Series, ...]
