"""The meanings of enhanced status codes, as value mappings for a column of a table."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from exporter.classification.status_codes import REGISTRY, SUBJECTS, VENDOR, meaning

_MANY: Final = 5
_WORDS: Final = ("none", "invalid", "other")


def mappings() -> list[dict[str, Any]]:
    """Return mappings from each possible value of the label ``extended`` to its meaning. The first match wins."""
    exact = {code: {"text": meaning(code)} for code in (*_vendor(), *_WORDS)}
    patterns = [*_ranges(), *_registry(), *_folded()]
    return [{"type": "value", "options": exact}] + [
        {"type": "regex", "options": {"pattern": f"/^{pattern}$/", "result": {"text": text}}}
        for pattern, text in patterns
    ]


def _vendor() -> list[str]:
    """Return the vendors' codes, without those that ``_ranges`` covers."""
    ranged = {code for codes in _alike().values() for code in codes}
    return [code for code in VENDOR if code not in ranged]


def _alike() -> dict[str, list[str]]:
    codes = defaultdict(list)
    for code, text in VENDOR.items():
        codes[text].append(code)
    return {text: found for text, found in codes.items() if len(found) >= _MANY}


def _ranges() -> Iterator[tuple[str, str]]:
    for text, codes in _alike().items():
        yield "|".join(map(re.escape, codes)).join(("(?:", ")")), text


def _registry() -> Iterator[tuple[str, str]]:
    """Yield patterns for the registered codes. The registry defines them for every class."""
    for rest, text in REGISTRY.items():
        yield rf"[245]\.{re.escape(rest)}", text


def _folded() -> Iterator[tuple[str, str]]:
    """Yield patterns for unregistered codes, of which only the subject or the class is kept."""
    for subject, text in SUBJECTS.items():
        yield rf"[245]\.{subject}\.x", text
    for first in "245":
        yield rf"{first}\.x\.x", meaning(f"{first}.x.x")
