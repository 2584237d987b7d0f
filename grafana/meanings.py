"""What enhanced status codes mean, as value mappings of a table's column."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from exporter.classification.status_codes import REGISTRY, SUBJECTS, VENDOR_MEANINGS, meaning

_MANY: Final = 5
_WORDS: Final = ("none", "invalid", "other")


def mappings() -> list[dict[str, Any]]:
    """Put the meaning in place of each value that the label ``extended`` can have. The first that fits counts."""
    exact = {code: {"text": meaning(code)} for code in (*_vendor(), *_WORDS)}
    patterns = [*_ranges(), *_registry(), *_folded()]
    return [{"type": "value", "options": exact}] + [
        {"type": "regex", "options": {"pattern": f"/^{pattern}$/", "result": {"text": text}}}
        for pattern, text in patterns
    ]


def _vendor() -> list[str]:
    """Vendors' codes, but for those of which many mean one thing."""
    ranged = {code for codes in _alike().values() for code in codes}
    return [code for code in VENDOR_MEANINGS if code not in ranged]


def _alike() -> dict[str, list[str]]:
    codes = defaultdict(list)
    for code, text in VENDOR_MEANINGS.items():
        codes[text].append(code)
    return {text: found for text, found in codes.items() if len(found) >= _MANY}


def _ranges() -> Iterator[tuple[str, str]]:
    for text, codes in _alike().items():
        yield "|".join(map(re.escape, codes)).join(("(?:", ")")), text


def _registry() -> Iterator[tuple[str, str]]:
    """The registry leaves the class open."""
    for rest, text in REGISTRY.items():
        yield rf"[245]\.{re.escape(rest)}", text


def _folded() -> Iterator[tuple[str, str]]:
    """Codes of which only the form is known: their subject is told, or at least their class."""
    for subject, text in SUBJECTS.items():
        yield rf"[245]\.{subject}\.x", text
    for first in "245":
        yield rf"{first}\.x\.x", meaning(f"{first}.x.x")
