"""Find the phrases of ``reason_phrases`` in the text of an answer. Pure, in linear time, on text of bounded length.

An index from words to the phrases that contain them reduces the candidates from about a thousand to about ten.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Final, TypeAlias

from exporter.classification.reason_phrases import HINTS, SLOTS

LONGEST_TEXT: Final = 2_000
"""Number of characters of a description that are searched."""
LONGEST_GAP: Final = 60
"""Maximum number of characters that ``…`` in a phrase matches: a name and a few words, not another sentence."""
MOST_PLACES: Final = 8
"""Maximum number of places from which a phrase with ``…`` is tried. It bounds the cost of "user user user ..."."""

_MARKS: Final = b'!"#$%&()*+,-./:;<=>?[\\]^_`{|}~'
_BLANKS: Final = bytes.maketrans(_MARKS, b" " * len(_MARKS))
# Words that are in nearly every answer, so they make bad keys of the index.
_COMMON: Final = frozenset(
    "a address been blocked by com command delivery denied error for found from host in is mail message no not of on "
    "rejected server the to".split(),
)
_JAPANESE: Final = "\u3040"  # the first of the kana, which come before the kanji


# Rank, first part, rest, reason. The lowest rank found decides. The rest is the part after the gap, empty without one.
# A plain tuple, because unpacking one is faster than reading attributes.
_Phrase: TypeAlias = tuple[int, str, str, str]


def hint_of(description: str) -> str | None:
    """Return the reason that the text of an answer hints at, None if no phrase is found. Never raises."""
    words = _words(description)
    text = f" {' '.join(words)} "
    best, hint = len(_PHRASES), None
    for word in _WORDS.intersection(words):
        for rank, first, rest, reason in _INDEX[word]:
            if rank >= best:
                break
            if first in text and (not rest or (rest in text and _with_gap(first, rest, text))):
                best, hint = rank, reason
                break
    if not text.isascii():
        for rank, first, _, reason in _UNSPACED:
            if rank < best and first in text:
                best, hint = rank, reason
    return hint


def _words(description: str) -> list[str]:
    """Return the words at the beginning of a description, case-folded, without addresses and punctuation."""
    text = description[:LONGEST_TEXT].casefold()
    if "@" in text:
        text = _without_addresses(text)
    if not text.isascii():
        text = text.replace("\u2019", "")  # the typographic apostrophe
    # Translating bytes takes a tenth of the time. A lone surrogate becomes a question mark.
    return text.encode(errors="replace").translate(_BLANKS, b"'").decode().split()


def _without_addresses(text: str) -> str:
    """Return the text without the words that contain an address: an owner's name says nothing about the reason.

    The part of a word after a colon is kept, as in "<someone@example.com>:blocked".
    """
    if not text.isascii():  # Japanese has no spaces around an address, so only ASCII words are removed
        return " ".join([word for word in text.split() if "@" not in word or not word.isascii()])
    kept = []
    before, at, after = text.replace("\n", " ").replace("\r", " ").replace("\t", " ").partition("@")
    while at:
        kept.append(before.rpartition(" ")[0])
        word, _, after = after.partition(" ")
        kept.append(word.partition(":")[2])
        before, at, after = after.partition("@")
    return " ".join([*kept, before])


def _with_gap(first: str, rest: str, text: str) -> bool:
    """Return whether the rest follows within LONGEST_GAP after one of the first MOST_PLACES of the first part."""
    start = -1
    for _ in range(MOST_PLACES):
        start = text.find(first, start + 1)
        if start < 0:
            return False
        end = start + len(first) - 1  # the space after the first part may be the one before the rest
        if text.find(rest, end, end + LONGEST_GAP + len(rest)) >= 0:
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
    if not part or part[0] >= _JAPANESE:  # Japanese has no spaces between words
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
