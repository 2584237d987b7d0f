"""The slots of phrases: each is used, and its entries are written as the matcher needs them."""

from exporter.classification.reason_phrase_slots import SLOTS
from exporter.classification.reason_phrases import HINTS

ENTRIES = [entry for entries in SLOTS.values() for entry in entries]


def test_each_slot_is_used() -> None:
    """Each slot is in a phrase."""
    assert set(SLOTS) <= {word for _, *rows in HINTS for row in rows for word in row.split()}


def test_entries_are_written_as_the_matcher_sees_texts() -> None:
    """Entries are case-folded and without punctuation."""
    words = [word.removesuffix("*") for entry in ENTRIES for word in entry.split()]
    assert [word for word in words if word != word.casefold() or not word.isalnum()] == []


def test_a_star_ends_an_entry() -> None:
    """The matcher finds a star nowhere else."""
    assert [entry for entry in ENTRIES if "*" in entry[:-1]] == []


def test_no_entry_is_listed_twice() -> None:
    """Each entry occurs once in its slot."""
    assert {slot: entries for slot, entries in SLOTS.items() if len(entries) != len(set(entries))} == {}
