"""The commands that pages show do what the pages say: they are typed, in a fresh folder, by one who reads along.

A block of ``sh`` is commands that must end well. A block of ``console`` is commands, each after ``$``, with what they
print below: that is compared, but for what ``…`` stands for.
"""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.documentation import PAGES, Block, blocks, commands
from tests.support.reader import fits, programs_missing, reader

NOT_TYPED: Final = {
    r"\bsudo |\b(useradd|apt-get|dpkg)\b": "changes the machine, as root",
    r"\b(systemctl|journalctl|systemd-\w+)\b": "needs systemd",
    r"\b(docker|podman|kubectl|helm)\b": "needs a container engine or a cluster",
    r"\b(git clone|pip install|dig)\b|cd smtpeter-exporter": "needs the network",
    r"(https?|postgresql)://[^ ']*example\.com": "calls a machine of the reader's",
    r"/(etc|opt|var)/": "is about files of the reader's",
    r"\b(JOB|INSTANCE)\b": "has something to be filled in",
    r"SHA256SUMS|smtpeter_exporter-": "is about the files of a release",
    r"^make (?!run\b|demo\b)": "is what the project is developed with: continuous integration runs it",
    r"alertname=SMTPeterTrial": "needs a running Alertmanager: tests/docs/test_runbooks.py has one",
}
"""Blocks of commands that are not typed here, and why. A block is all typed, or not at all."""

FOLLOWED: Final = "docs/tutorial.md"
"""The page that is typed from beginning to end."""

LOG: Final = (
    (1_204, "550", "5.1.1", "5.1.1 <jane@example.com>: Recipient address rejected: User unknown"),
    (311, "452", "4.2.2", "452 4.2.2 The email account that you tried to reach is over quota"),
    (163, "554", "5.7.1", "554 5.7.1 Service unavailable; client host [192.0.2.1] blocked"),
)
"""What is in the log file of SMTPeter's that pages explain: how often, code, status, text."""


def why_not(block: Block) -> str | None:
    """Why a block is not typed."""
    typed = commands(block)
    if block.page != FOLLOWED and all(command in IN_THE_TUTORIAL for command in typed):
        return "is typed in the tutorial"
    return next((why for pattern, why in NOT_TYPED.items() if any(re.search(pattern, one) for one in typed)), None)


BLOCKS: Final = {page: blocks(page, "sh", "console") for page in PAGES}
IN_THE_TUTORIAL: Final = frozenset(command for block in BLOCKS[FOLLOWED] for command in commands(block))
TYPED: Final = {
    page: typed for page, found in BLOCKS.items() if (typed := [block for block in found if why_not(block) is None])
}


def test_each_exception_has_its_block() -> None:
    """Nothing is excepted that no page shows."""
    all_commands = "\n".join(command for found in BLOCKS.values() for block in found for command in commands(block))
    assert [pattern for pattern in NOT_TYPED if not re.search(pattern, all_commands, re.MULTILINE)] == []


def test_of_the_tutorial_only_the_download_is_not_typed() -> None:
    """Whoever follows the tutorial types what is tested here."""
    left = [command for block in BLOCKS[FOLLOWED] if why_not(block) for command in commands(block)]
    assert [command.partition(" ")[0] for command in left] == ["git", "cd"]


def test_pages_that_can_be_typed_are() -> None:
    """These pages have commands that are typed."""
    assert {
        "docs/nl/snel-beginnen.md",
        "docs/tutorial.md",
        "docs/how-to/alertmanager.md",
        "docs/how-to/smtpeter.md",
        "docs/reasons/README.md",
        "docs/runbooks/README.md",
    } <= TYPED.keys()


@pytest.mark.parametrize("page", TYPED)
def test_commands_do_what_the_page_says(page: str, tmp_path: Path) -> None:
    """All blocks of a page, in its order: commands end well, and print what the page shows."""
    if missing := programs_missing():
        pytest.skip(f"needs {', '.join(missing)}, not on PATH")
    lines = (
        json.dumps({"state": "rcptto", "code": code, "extended": extended, "description": text})
        for times, code, extended, text in LOG
        for _ in range(times)
    )
    (tmp_path / "failures.2026-11-23.log").write_text("\n".join(lines))
    with reader(tmp_path) as reading:
        if page != FOLLOWED and any(":10126" in block.text for block in TYPED[page]):
            reading.type("make run")  # pages take for granted that an exporter runs
        for block in TYPED[page]:
            reading.follow(block)


@pytest.mark.parametrize(
    ("shown", "printed", "fitting"),
    [
        ("a\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("a … c\n", "a b c\n", True),
        ("a …\n", "a b\nc\n", False),
        ("a\n…\n", "a\nb\nc\n", True),
        ("a\n…\nd\n", "a\nb\nc\n", False),
    ],
)
def test_what_is_shown_is_compared(shown: str, printed: str, *, fitting: bool) -> None:
    """Shown and printed must be the same, but for what … stands for."""
    assert fits(shown, printed) is fitting
