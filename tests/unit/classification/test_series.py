"""The families of counters and their labels are fixed: users' queries depend on them."""

from exporter.classification.labels import Labels
from exporter.classification.series import FAMILIES, Record


def test_the_families_and_their_labels_are_fixed() -> None:
    """Each family of a loop counts the same events by different labels, or a part of them."""
    assert {name: labels for name, (_, labels) in FAMILIES.items()} == {
        "failures": ("state", "code_class", "extended"),
        "failures_by_reason": ("reason",),
        "failures_by_provider": ("provider", "code_class"),
        "failures_by_tag": ("tag",),
        "failures_by_reason_provider": ("reason", "provider"),
        "failures_after_delivery_by_provider": ("provider",),
        "failures_after_delivery_by_tag": ("tag",),
        "deliveries": (),
        "deliveries_by_provider": ("provider",),
        "deliveries_by_tag": ("tag",),
        "bounces": ("kind",),
        "bounces_by_reason": ("reason",),
        "complaints": ("provider",),
    }


def test_the_labels_of_the_main_counter_are_those_of_labels() -> None:
    """The values of :class:`Labels` are in the order of the names."""
    assert FAMILIES["failures"][1] == Labels._fields


def test_a_record_can_be_a_key() -> None:
    """A record is immutable and hashable, so that batches can be deduplicated."""
    record = Record(b"1" * 16, (("failures_by_tag", "other"),))
    assert {record, Record(b"1" * 16, (("failures_by_tag", "other"),))} == {record}
