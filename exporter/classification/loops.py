"""SMTPeter's feedback loops, which its dashboard calls webhooks: a loop is data, and all loops use the same code.

Source: the vendor's documentation (https://www.smtpeter.com/en/documentation/webhooks), a page for each loop.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

SMALL_BODY: Final = 65_536
LARGE_BODY: Final = 1_048_576


class Loop(NamedTuple):
    """A loop.

    ``name`` is what the settings and the label ``loop`` call it, and the last part of its path. ``type`` is the value
    of the variable ``type``. ``number`` stands for it in ledgers, so it never changes. The variables ``required``
    identify an event, for failures together with the server's answer. ``max_body`` is in bytes. ``families`` are the
    keys in :data:`exporter.classification.series.FAMILIES` that its events increment.
    """

    name: str
    type: str
    number: int
    required: tuple[str, ...]
    max_body: int
    families: tuple[str, ...]

    @property
    def path(self) -> str:
        """The path of its URL, below that of the public URL."""
        return f"/{self.name}"


FAILURES: Final = Loop(
    "failures",
    "failure",
    0,
    ("id", "recipient"),
    SMALL_BODY,
    (
        "failures",
        "failures_by_reason",
        "failures_by_provider",
        "failures_by_tag",
        "failures_by_reason_provider",
        "failures_after_delivery_by_provider",
        "failures_after_delivery_by_tag",
    ),
)
DELIVERIES: Final = Loop(
    "deliveries",
    "delivery",
    1,
    ("id", "recipient"),
    SMALL_BODY,
    ("deliveries", "deliveries_by_provider", "deliveries_by_tag"),
)
BOUNCES: Final = Loop("bounces", "bounce", 2, ("id", "recipient", "mime"), LARGE_BODY, ("bounces", "bounces_by_reason"))
ABUSES: Final = Loop("abuses", "abuse", 3, ("id", "mime"), LARGE_BODY, ("complaints",))
LOOPS: Final[Mapping[str, Loop]] = {loop.name: loop for loop in (FAILURES, DELIVERIES, BOUNCES, ABUSES)}
"""The loops that can be served, by name."""

WEBHOOKS: Final[Mapping[str, str]] = {
    **{loop.type: loop.name for loop in LOOPS.values()},
    "click": "clicks",
    "create": "created profiles",
    "delete": "deleted profiles",
    "open": "opens",
    "unsubscribe": "unsubscribes",
    "update": "updated profiles",
}
"""The ``type`` of the events of each webhook of SMTPeter and Copernica, and what people call the webhook."""
