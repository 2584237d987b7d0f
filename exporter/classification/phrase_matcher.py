"""Look for the phrases of ``reason_phrases`` in the words of an answer. Pure, and linear in a bounded text.

No phrase is looked for unless one of its words is there: a dictionary from words to the phrases that need them leaves
some ten out of a thousand.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Final, TypeAlias

from exporter.classification.reason_phrases import HINTS, SLOTS

LONGEST_TEXT: Final = 2_000
"""How many characters of a description are read; servers repeat themselves after that."""
LONGEST_GAP: Final = 60
"""How many characters may stand for the ``…`` of a phrase: a name and a few words, not another sentence."""
MOST_PLACES: Final = 8
"""From how many places of its first part such a phrase is tried: "user user user …" is to cost no more than prose."""

_MARKS: Final = b'!"#$%&()*+,-./:;<=>?[\\]^_`{|}~'
_BLANKS: Final = bytes.maketrans(_MARKS, b" " * len(_MARKS))
# Words of nearly every answer, or of none of the reasons more than another: not worth looking from.
_COMMON: Final = frozenset(
    "a address been blocked by com command delivery denied error for found from host in is mail message no not of on "
    "rejected server the to".split(),
)
_JAPANESE: Final = "\u3040"  # the first letter of its kana, which come before its kanji


# Rank, first part, rest, reason. The least rank in a text decides; the rest is what follows the gap, empty without one.
# A plain tuple, because it is taken apart for every phrase that is looked for.
_Phrase: TypeAlias = tuple[int, str, str, str]


def hint_of(description: str) -> str | None:
    """The reason that a server's words hint at, ``None`` when no phrase is in them. Never raises."""
    words = _words(description)
    text = f" {' '.join(words)} "
    best, answer = len(_PHRASES), None
    for word in _WORDS.intersection(words):
        for rank, first, rest, reason in _INDEX[word]:
            if rank >= best:
                break
            if first in text and (not rest or (rest in text and _with_gap(first, rest, text))):
                best, answer = rank, reason
                break
    if not text.isascii():
        for rank, first, _, reason in _UNSPACED:
            if rank < best and first in text:
                best, answer = rank, reason
    return answer


def _words(description: str) -> list[str]:
    """The beginning of a description as words, without case, addresses and punctuation."""
    text = description[:LONGEST_TEXT].casefold()
    if "@" in text:
        text = _without_addresses(text)
    if not text.isascii():
        text = text.replace("\u2019", "")  # the other apostrophe
    # As bytes, because to translate those takes a tenth of the time. A lone surrogate becomes a question mark.
    return text.encode(errors="replace").translate(_BLANKS, b"'").decode().split()


def _without_addresses(text: str) -> str:
    """The text without words that hold an address: whatever its owner is called, it says nothing of the reason.

    What follows it after a colon is kept, as in "<someone@example.com>:blocked".
    """
    if not text.isascii():  # Japanese has no blanks around an address: only words of ASCII are taken out
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
    """Whether the rest follows within reach, after one of the first few places where the first part stands."""
    start = -1
    for _ in range(MOST_PLACES):
        start = text.find(first, start + 1)
        if start < 0:
            return False
        end = start + len(first) - 1  # the blank behind the first part is that before the rest
        if text.find(rest, end, end + LONGEST_GAP + len(rest)) >= 0:
            return True
    return False


def _phrases() -> Iterator[_Phrase]:
    """All phrases, slots filled in, in the order of the table."""
    rank = 0
    for reason, *rows in HINTS:
        for pattern in " | ".join(rows).split(" | "):
            for words in product(*(SLOTS.get(word, (word,)) for word in pattern.split())):
                first, _, rest = " ".join(words).partition(" … ")
                yield rank, _bounded(first), _bounded(rest), reason
                rank += 1


def _bounded(part: str) -> str:
    """Part of a phrase as it stands in a text, with blanks where a word must begin or end."""
    if not part or part[0] >= _JAPANESE:  # Japanese has no blanks between words
        return part
    return f" {part[:-1]}" if part[-1] == "*" else f" {part} "


def _whole_words(phrase: _Phrase) -> list[str]:
    """The words of a phrase that a text has to have, whatever their place."""
    parts = phrase[1:3]
    # A star after a last word that is left open takes it out; after a blank it is a word of its own, and taken out.
    return [word for part in parts for word in f"{part}*".split() if word[-1] != "*"]


def _index(phrases: list[_Phrase]) -> dict[str, tuple[_Phrase, ...]]:
    """The phrases by the rarest of their words, as far as the phrases themselves tell."""
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
