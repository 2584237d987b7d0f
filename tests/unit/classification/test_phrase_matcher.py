"""Phrases are found in the text of an answer, whatever its case and punctuation, and not in addresses."""

import pytest

from exporter.classification.phrase_matcher import LONGEST_GAP, LONGEST_TEXT, hint_of


def test_addresses_are_ignored() -> None:
    """Words in an address are not words of the server."""
    assert hint_of("<mailbox-full@quota-exceeded.example.com>: no") is None
    assert hint_of("virus@spf.example.com") is None
    assert hint_of("virus@example.com\nspf@example.com\tdkim@example.com 漢字") is None
    assert hint_of("RCPT TO:<virus@example.com>:dmarc") == "authentication"
    assert hint_of("mailbox full\r\n<a@example.com>\r\n<b@example.com>") == "mailbox_full"


@pytest.mark.parametrize(
    "text",
    [
        "Mailbox full",
        "MAILBOX FULL",
        "mailbox <a@example.com> is full",
        "(mailbox)\r\n[full]!",
        "inbox:full",
        "ﬀ mailbox full",
    ],
)
def test_case_and_punctuation_do_not_matter(text: str) -> None:
    """A phrase is found whatever its case, and with punctuation, line breaks and addresses between its words."""
    assert hint_of(text) == "mailbox_full"


@pytest.mark.parametrize("text", ["mailbox fullness", "amailbox full", "full mailbox", "ful l"])
def test_a_phrase_needs_whole_words_in_order(text: str) -> None:
    """No phrase is found in parts of words or in another order."""
    assert hint_of(text) is None


def test_both_apostrophes_are_ignored() -> None:
    """Straight and typographic apostrophes make no difference."""
    assert hint_of("user doesn't exist") == hint_of("user doesn\u2019t exist") == "recipient_unknown"


def test_only_the_beginning_of_a_text_is_read() -> None:
    """A phrase after the first 2,000 characters is not found."""
    assert hint_of("- " * 990 + "user unknown") == "recipient_unknown"
    assert hint_of("- " * (LONGEST_TEXT // 2) + "user unknown") is None


def test_the_first_row_decides() -> None:
    """If a text has phrases of several rows, the row that comes first in the table decides, whatever their order."""
    assert hint_of("blocked by spamhaus: user unknown") == hint_of("user unknown: blocked by spamhaus") == "blocked"
    assert hint_of("user unknown") == "recipient_unknown"


def test_a_gap_is_bounded() -> None:
    """A gap in a phrase matches a few words, but not another sentence."""
    assert hint_of(f"mailbox {'x' * (LONGEST_GAP - 1)} full") == "mailbox_full"
    assert hint_of(f"mailbox {'x' * LONGEST_GAP} full") is None


def test_japanese_phrases_need_no_spaces() -> None:
    """A Japanese phrase is found within other Japanese text."""
    assert hint_of("メールボックスが容量を超えています") == "mailbox_full"


def test_a_text_without_a_phrase_has_no_hint() -> None:
    """Nothing is guessed from an empty or unknown text."""
    assert [hint_of(text) for text in ("", "ok", "\ud800", "\0" * 3_000)] == [None] * 4
