"""The counters that events increment, and the record of one event."""

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
    "failures_by_reason_provider": (
        "Number of failed deliveries, by reason and by the recipient's mailbox provider.",
        ("reason", "provider"),
    ),
    "failures_after_delivery_by_provider": (
        "Number of failures of messages that were delivered first (state bounce), by mailbox provider.",
        ("provider",),
    ),
    "failures_after_delivery_by_tag": (
        "Number of failures of messages that were delivered first (state bounce), by tag listed in tags.count.",
        ("tag",),
    ),
    "deliveries": ("Number of deliveries that SMTPeter reported, each counted once.", ()),
    "deliveries_by_provider": ("Number of deliveries, by the recipient's mailbox provider.", ("provider",)),
    "deliveries_by_tag": (
        "Number of deliveries, by tag listed in tags.count; a delivery with two of these counts in both.",
        ("tag",),
    ),
    "bounces": ("Number of messages that came back, by kind. Those of kind dsn are usually failures, too.", ("kind",)),
    "bounces_by_reason": (
        "Number of messages that came back, by reason: failure notices (kind dsn), and all of kind other.",
        ("reason",),
    ),
    "complaints": (
        "Number of complaints of recipients who call a message spam, by the mailbox provider that reports them.",
        ("provider",),
    ),
}
"""Name of each family (exposed as ``smtpeter_NAME_total``), its help text, and the names of its labels."""


class Record(NamedTuple):
    """One event as the ledger stores it: its 16-byte identity, and the counters that it increments by one each.

    ``loop`` is the number of its loop. ``message`` is a 16-byte hash of message id and recipient, for a comparison with
    SMTPeter's log files; None for deliveries, whose identity is the same two variables.
    """

    identity: bytes
    series: tuple[Series, ...]
    loop: int = 0
    message: bytes | None = None
