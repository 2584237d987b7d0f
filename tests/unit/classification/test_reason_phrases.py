"""The table of phrases: each can decide, and is written as the matcher needs it."""

import re

from exporter.classification.phrase_matcher import hint_of
from exporter.classification.reason import REASONS
from exporter.classification.reason_phrase_slots import SLOTS
from exporter.classification.reason_phrases import HINTS


def test_rows_have_known_reasons() -> None:
    """Each reason in the table is in the vocabulary."""
    assert {reason for reason, *_ in HINTS} <= set(REASONS)


def test_each_phrase_can_decide() -> None:
    """A text that is only the phrase has its reason: no phrase is hidden by a row above it."""
    hidden = {}
    for reason, *rows in HINTS:
        for phrase in " | ".join(rows).split(" | "):
            words = [SLOTS.get(word, (word,))[-1] for word in phrase.split()]
            text = " ".join(words).replace(" …", "").replace("*", "")
            if hint_of(text) != reason:
                hidden[phrase] = hint_of(text)
    assert hidden == {}


def test_phrases_are_written_as_the_matcher_sees_texts() -> None:
    """Phrases are case-folded and without punctuation. Only slots are in capitals."""
    words = [word for _, *rows in HINTS for row in rows for word in row.split() if word not in {"|", "…", ";"}]

    assert [word for word in words if word not in SLOTS and word != word.casefold()] == []
    assert [word for word in words if not word.removesuffix("*").isalnum() and word not in SLOTS] == []


def test_a_word_with_any_ending_is_the_last_of_its_part() -> None:
    """A star is at the end of a phrase or before a gap: the matcher finds it nowhere else."""
    parts = [part for _, *rows in HINTS for row in rows for part in re.split(r" \| | … ", row)]

    starred = {slot for slot, entries in SLOTS.items() if any("*" in entry for entry in entries)}
    assert [part for part in parts if any("*" in word or word in starred for word in part.split()[:-1])] == []
