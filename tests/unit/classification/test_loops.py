"""The table of loops is fixed: ledgers store its numbers, and users' settings and URLs its names."""

from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LOOPS, WEBHOOKS
from exporter.classification.series import FAMILIES


def test_the_loops() -> None:
    """Names, types, paths, numbers, required variables and limits."""
    assert [
        (loop.name, loop.type, loop.path, loop.number, loop.required, loop.max_body) for loop in LOOPS.values()
    ] == [
        ("failures", "failure", "/failures", 0, ("id", "recipient"), 65_536),
        ("deliveries", "delivery", "/deliveries", 1, ("id", "recipient"), 65_536),
        ("bounces", "bounce", "/bounces", 2, ("id", "recipient", "mime"), 1_048_576),
        ("abuses", "abuse", "/abuses", 3, ("id", "mime"), 1_048_576),
    ]
    assert list(LOOPS) == [loop.name for loop in (FAILURES, DELIVERIES, BOUNCES, ABUSES)]


def test_each_family_belongs_to_one_loop() -> None:
    """The families of all loops, in order, are those that exist."""
    assert [family for loop in LOOPS.values() for family in loop.families] == list(FAMILIES)


def test_the_webhooks_of_smtpeter() -> None:
    """Each type of event has the name of its webhook."""
    assert WEBHOOKS == {
        "failure": "failures",
        "delivery": "deliveries",
        "bounce": "bounces",
        "abuse": "abuses",
        "click": "clicks",
        "create": "created profiles",
        "delete": "deleted profiles",
        "open": "opens",
        "unsubscribe": "unsubscribes",
        "update": "updated profiles",
    }
