"""The pages of the documentation, for tests that do what they say."""

import re
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent.parent / "docs"


def section(page: str, heading: str) -> str:
    """What stands in a page of docs/ below a heading of the second level."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE
    )
    assert found, heading
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
