"""Phrases are found in the text of an answer, whatever its case and punctuation, and not in addresses."""

import pytest

from exporter.classification.phrase_matcher import LONGEST_GAP, LONGEST_TEXT, hint_of


def test_addresses_are_ignored() -> None:
    """Words in an address are not words of the server."""
    assert hint_of("<mailbox-full@quota-exceeded.example.com>: no") is None
    assert hint_of("virus@spf.example.com") is None
    assert hint_of("virus@example.com\nspf@example.com\tdkim@example.com 漢字") is None
    assert hint_of("Sorry, the mailbox, <a@example.com>, is full") == "mailbox_full"
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


def test_a_possessive_belongs_to_no_word() -> None:
    """The possessive "'s" is ignored, with either apostrophe."""
    assert hint_of("Spamhaus's list") == hint_of("Spamhaus\u2019s list") == "blocked"
    assert hint_of("the user's mailbox is full") == hint_of("the user mailbox is full") == "mailbox_full"


@pytest.mark.parametrize("end", [", ", "; ", ". ", "! ", "? ", '." ', ".) ", ",\n", "\u3002\u8acb "])
def test_no_phrase_crosses_the_end_of_a_clause(end: str) -> None:
    """A phrase and its gap lie in one clause."""
    assert hint_of(f"to fight spam{end}mail to you is throttled") == "rate_limited"  # not "spam mail"
    assert hint_of(f"this is a mailbox{end}the world is full") is None
    assert hint_of(f"mailbox is big{end}the mailbox of this user is full") == "mailbox_full"


@pytest.mark.parametrize("text", ["mailbox a.example.com full", "mailbox 1,000 full", "mailbox: full", "mailbox\nfull"])
def test_only_punctuation_before_a_blank_ends_a_clause(text: str) -> None:
    """Names of hosts, numbers, colons and line breaks don't end a clause."""
    assert hint_of(text) == "mailbox_full"


def test_a_phrase_can_name_the_end_of_a_clause() -> None:
    """Postfix's "Host not found, try again" is one phrase."""
    assert hint_of("Host not found, try again") == "routing"
    assert hint_of("Host not found, sorry") == "domain_invalid"


def test_only_the_beginning_of_a_text_is_read() -> None:
    """A phrase after the first 2,000 characters is not found."""
    assert hint_of("- " * 990 + "user unknown") == "recipient_unknown"
    assert hint_of("- " * (LONGEST_TEXT // 2) + "user unknown") is None


def test_the_first_row_decides() -> None:
    """If a text has phrases of several rows, the row that comes first in the table decides, whatever their order."""
    assert hint_of("blocked by spamhaus: user unknown") == hint_of("user unknown: blocked by spamhaus") == "blocked"
    assert hint_of("user unknown") == "recipient_unknown"


def test_a_gap_is_bounded() -> None:
    """A gap in a phrase matches a few words, but not a long clause."""
    assert hint_of(f"mailbox {'x' * (LONGEST_GAP - 1)} full") == "mailbox_full"
    assert hint_of(f"mailbox {'x' * LONGEST_GAP} full") is None


def test_chinese_and_japanese_phrases_need_no_spaces() -> None:
    """A Chinese or Japanese phrase is found within other text of its language."""
    assert hint_of("メールボックスが容量を超えています") == "mailbox_full"
    assert hint_of("554 对方邮箱空间已满\uff0c无法投递") == "mailbox_full"


def test_a_text_without_a_phrase_has_no_hint() -> None:
    """Nothing is guessed from an empty or unknown text."""
    assert [hint_of(text) for text in ("", "ok", "\ud800", "\0" * 3_000)] == [None] * 4


def test_phrases_of_one_reason_only() -> None:
    """Phrases of other reasons are skipped, also those without spaces between words."""
    text = "No such user. Further attempts may get you blacklisted. 垃圾邮件 用户不存在"
    reasons = ("", "recipient_unknown", "blocked", "content", "expired")
    assert [hint_of(text, only) for only in reasons] == ["blocked", "recipient_unknown", "blocked", "content", None]
    assert hint_of("垃圾邮件 用户不存在", "recipient_unknown") == "recipient_unknown"
