"""The phrases in other languages: each is used for the reason under which it is listed."""

from exporter.classification.reason_phrases import HINTS
from exporter.classification.reason_phrases_translated import TRANSLATED


def test_each_phrase_is_in_a_row_of_its_reason() -> None:
    """All rows of a reason are in the table of phrases, under that reason."""
    unused = {reason: set(rows) for reason, rows in TRANSLATED.items()}
    for reason, *rows in HINTS:
        unused.get(reason, set()).difference_update(rows)

    assert {reason for reason, rows in unused.items() if rows} == set()


def test_no_phrase_is_listed_twice() -> None:
    """A phrase belongs to one reason: a second one would never decide."""
    phrases = [phrase for rows in TRANSLATED.values() for row in rows for phrase in row.split(" | ")]

    assert sorted(phrases) == sorted(set(phrases))
