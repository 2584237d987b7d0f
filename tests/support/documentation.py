"""The parts of the documentation's pages: code blocks, inline code, links and headings."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.tree import ROOT, files

PAGES: Final = {
    name: (ROOT / name).read_text()
    for name in files()
    if name.endswith(".md") and ("/" not in name or name.startswith(("docs/", "deploy/", "grafana/")))
}
"""The text of each page, by its path in the project."""


class Block(NamedTuple):
    """A code block, and the second-level heading above it. An indented block has no language."""

    page: str
    line: int
    heading: str
    language: str
    text: str

    def __str__(self) -> str:
        """Return the page and line."""
        return f"{self.page}:{self.line}"


@cache
def _tokens(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(PAGES[page])


def _inline(page: str) -> Iterator[Token]:
    return (child for token in _tokens(page) for child in token.children or ())


def blocks(page: str, *languages: str, below: str | None = None) -> list[Block]:
    """Return the code blocks of a page: all, or those in some languages, or those ``below`` a second-level heading."""
    found, heading = [], ""
    for token, after in pairwise([*_tokens(page), Token("end", "", 0)]):
        if token.type == "heading_open" and token.tag == "h2":
            heading = after.content
        elif token.type in {"fence", "code_block"}:
            found.append(Block(page, (token.map or [0])[0] + 1, heading, token.info, token.content))
    return [
        block for block in found if (not languages or block.language in languages) and below in {None, block.heading}
    ]


def quoted(page: str) -> list[str]:
    """Return the inline code of a page."""
    return [" ".join(token.content.split()) for token in _inline(page) if token.type == "code_inline"]


def links(page: str) -> list[str]:
    """Return the targets of links and pictures."""
    found = (token.attrGet("href") or token.attrGet("src") for token in _inline(page))
    return [str(link) for link in found if link]


@cache
def anchors(page: str) -> frozenset[str]:
    """Return the anchors that git servers make of the page's headings."""
    tokens = _tokens(page)
    titles = (after.children or () for token, after in pairwise(tokens) if token.type == "heading_open")
    texts = ("".join(child.content for child in title) for title in titles)
    return frozenset(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts)


def commands(block: Block) -> list[str]:
    """Return the commands in a block of ``sh`` or ``console``, with continued lines and here-documents joined."""
    lines = block.text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ").removeprefix("> ") for line in lines if line.startswith(("$ ", "> "))]
    joined: list[str] = []
    end = ""
    for line in lines:
        if end or (joined and joined[-1].endswith("\\")):
            joined[-1] += f"\n{line}"
            end = "" if line == end else end
        elif line and not line.startswith("#"):
            joined.append(line)
            document = re.search(r"<<'?(\w+)'?", line)
            end = document[1] if document else ""
    return joined
