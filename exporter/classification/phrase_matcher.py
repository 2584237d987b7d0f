"""Find the phrases of ``reason_phrases`` in the text of an answer. Pure, in linear time, on text of bounded length.

An index from words to the phrases that contain them reduces the candidates from about 1,500 to about ten.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Final, TypeAlias

from exporter.classification.reason_phrase_slots import SLOTS
from exporter.classification.reason_phrases import HINTS

LONGEST_TEXT: Final = 2_000
"""Number of characters of a description that are searched."""
LONGEST_GAP: Final = 60
"""Maximum number of characters that ``…`` in a phrase matches: a name and a few words of the same clause."""
MOST_PLACES: Final = 8
"""Maximum number of places from which a phrase with ``…`` is tried. It bounds the cost of "user user user ..."."""

# The end of a clause becomes a word of its own, so no phrase crosses it. Punctuation ends a clause only before a blank,
# not in "mx.example.com" or "1,000". A colon doesn't end one: what follows explains what comes before.
_END: Final = ";"
_BLANK: Final = b'"#$%&()*+-/:<=>[\\]^_`{|}~\t\n\v\f\r'
_BLANKS: Final = bytes.maketrans(_BLANK + b"!;?", b" " * len(_BLANK) + b",,,")
_INNER: Final = bytes.maketrans(b".,", b"  ")
# The punctuation of Chinese and Japanese
_WIDE: Final = str.maketrans(
    dict.fromkeys("\uff0c\u3001\u3002\uff1b\uff01\uff1f", ", ") | dict.fromkeys("\uff1a\uff08\uff09", " ")
)
# Words that are in nearly every answer, so they make bad keys of the index.
_COMMON: Final = frozenset(
    "a address been blocked by com command delivery denied error for found from host in is mail message no not of on "
    "rejected server the to".split(),
)
# The scripts of Chinese and Japanese, which have no spaces between words
_UNSPACED_SCRIPT: Final = re.compile("[\u3040-\u9fff]")


# Rank, first part, rest, reason. The lowest rank found decides. The rest is the part after the gap, empty without one.
# A plain tuple, because unpacking one is faster than reading attributes.
_Phrase: TypeAlias = tuple[int, str, str, str]


def hint_of(description: str, only: str = "") -> str | None:
    """Return the reason that the text of an answer hints at, None if no phrase is found. Never raises.

    If ``only`` is given, phrases of other reasons are skipped.
    """
    words = _words(description)
    text = f" {' '.join(words)} "
    best, hint = len(_PHRASES), None
    for word in _WORDS.intersection(words):
        for rank, first, rest, reason in _INDEX[word]:
            if rank >= best:
                break
            if only and reason != only:
                continue
            if first in text and (not rest or (rest in text and _with_gap(first, rest, text))):
                best, hint = rank, reason
                break
    if not text.isascii() and _UNSPACED_SCRIPT.search(text):
        for rank, first, _, reason in _UNSPACED:
            if rank < best and first in text and only in {"", reason}:
                best, hint = rank, reason
    return hint


def _words(description: str) -> list[str]:
    """Return the words and ends of clauses at the beginning of a description, case-folded and without addresses."""
    text = description[:LONGEST_TEXT].casefold()
    if "@" in text:
        text = _without_addresses(text)
    if not text.isascii():
        text = text.replace("\u2019", "'")  # the typographic apostrophe
        if _UNSPACED_SCRIPT.search(text):
            text = text.translate(_WIDE)
    # Translating bytes takes a tenth of the time. A lone surrogate becomes a question mark.
    marked = f"{text} ".encode(errors="replace").translate(_BLANKS)
    marked = marked.replace(b". ", b" ; ").replace(b", ", b" ; ").replace(b"'s ", b" ")
    return marked.translate(_INNER, b"'").decode().split()


def _without_addresses(text: str) -> str:
    """Return the text without the words that contain an address: an owner's name says nothing about the reason.

    The part of a word after a colon is kept, as in "<someone@example.com>:blocked".
    """
    if not text.isascii():  # Chinese and Japanese have no spaces around an address, so only ASCII words are removed
        return " ".join([word for word in text.split() if "@" not in word or not word.isascii()])
    kept = []
    before, at, after = text.replace("\n", " ").replace("\r", " ").replace("\t", " ").partition("@")
    while at:
        kept.append(before.rpartition(" ")[0])
        word, _, after = after.partition(" ")
        if word[-1:] == ",":  # "your mailbox, someone@example.com, is full" is one clause
            kept[-1] = kept[-1].removesuffix(",")
        kept.append(word.partition(":")[2])
        before, at, after = after.partition("@")
    return " ".join([*kept, before])


def _with_gap(first: str, rest: str, text: str) -> bool:
    """Return whether the rest follows the first part in the same clause, within LONGEST_GAP.

    Only the first MOST_PLACES places of the first part are tried.
    """
    start = -1
    for _ in range(MOST_PLACES):
        start = text.find(first, start + 1)
        if start < 0:
            return False
        end = start + len(first) - 1  # the space after the first part may be the one before the rest
        found = text.find(rest, end, end + LONGEST_GAP + len(rest))
        if found >= 0 and text.find(_END, end, found) < 0:
            return True
    return False


def _phrases() -> Iterator[_Phrase]:
    """Yield all phrases in the order of the table, once for each combination of their slots' words."""
    rank = 0
    for reason, *rows in HINTS:
        for pattern in " | ".join(rows).split(" | "):
            for words in product(*(SLOTS.get(word, (word,)) for word in pattern.split())):
                first, _, rest = " ".join(words).partition(" … ")
                yield rank, _bounded(first), _bounded(rest), reason
                rank += 1


def _bounded(part: str) -> str:
    """Return a part of a phrase with spaces where a word must begin or end."""
    if not part or _UNSPACED_SCRIPT.match(part):
        return part
    return f" {part[:-1]}" if part[-1] == "*" else f" {part} "


def _whole_words(phrase: _Phrase) -> list[str]:
    """Return the complete words of a phrase, which a matching text must contain."""
    parts = phrase[1:3]
    # Appending a star marks an unfinished last word. After a space the star is a word of its own. Neither is returned.
    return [word for part in parts for word in f"{part}*".split() if word[-1] != "*"]


def _index(phrases: list[_Phrase]) -> dict[str, tuple[_Phrase, ...]]:
    """Return the phrases by the rarest of their words, as counted in the phrases themselves."""
    count = Counter(word for phrase in phrases for word in _whole_words(phrase))
    index: dict[str, list[_Phrase]] = {}
    for phrase in phrases:
        rarest = min(_whole_words(phrase), key=lambda word: (word in _COMMON, count[word], word))
        index.setdefault(rarest, []).append(phrase)
    return {word: tuple(rows) for word, rows in index.items()}


_PHRASES: Final = tuple(_phrases())
_INDEX: Final = _index([phrase for phrase in _PHRASES if phrase[1][0] == " "])
_WORDS: Final = frozenset(_INDEX)
_UNSPACED: Final = tuple(phrase for phrase in _PHRASES if phrase[1][0] != " ")
