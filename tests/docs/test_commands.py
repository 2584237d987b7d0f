"""The commands on the pages work: they are run in a fresh directory, and their output is compared.

Each command in a block of ``sh`` must exit with 0. In a block of ``console``, commands follow ``$``. The lines below a
command are its output, in which ``…`` stands for anything.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.documentation import PAGES, Block, blocks, commands
from tests.support.reader import matches, missing_programs, reader
from tests.support.tree import ROOT, files

NOT_RUN: Final = {
    r"\bsudo |\b(useradd|apt-get|dpkg)\b": "changes the machine as root",
    r"\b(systemctl|journalctl|systemd-\w+)\b": "needs systemd",
    r"\b(docker|podman|kubectl|helm)\b": "needs a container engine or a cluster",
    r"\b(git clone|pip install|dig)\b|cd smtpeter-exporter": "needs the network",
    r"(https?|postgresql)://[^ ']*example\.com": "connects to a host of the reader",
    r"/(etc|opt|var)/": "uses files of the reader",
    r"\b(JOB|INSTANCE)\b": "has a placeholder",
    r"SHA256SUMS|smtpeter_exporter-": "uses the files of a release",
    r"^make (?!run\b|demo\b)": "is for development; continuous integration runs it",
    r"alertname=SMTPeterTrial": "needs a running Alertmanager",
}
"""Blocks that are not run here, and why. Either all commands of a block are run, or none."""

FOLLOWED: Final = "docs/tutorial.md"
"""The page that is followed from beginning to end."""

LOG: Final = (
    (1_204, "example.com", "550", "5.1.1", "5.1.1 <jane@example.com>: Recipient address rejected: User unknown"),
    (311, "gmail.com", "452", "4.2.2", "452 4.2.2 The email account that you tried to reach is over quota"),
    (163, "example.org", "554", "5.7.1", "554 5.7.1 Service unavailable; client host [192.0.2.1] blocked"),
)
"""The lines of the sample log that pages classify: number of lines, domain, code, status, text."""


def exclusion(block: Block) -> str | None:
    """Return why a block is not run, or None if it is."""
    found = commands(block)
    if block.page != FOLLOWED and all(command in IN_THE_TUTORIAL for command in found):
        return "is run in the tutorial"
    return next(
        (why for pattern, why in NOT_RUN.items() if any(re.search(pattern, command) for command in found)), None
    )


BLOCKS: Final = {page: blocks(page, "sh", "console") for page in PAGES}
IN_THE_TUTORIAL: Final = frozenset(command for block in BLOCKS[FOLLOWED] for command in commands(block))
RUN: Final = {
    page: run for page, found in BLOCKS.items() if (run := [block for block in found if exclusion(block) is None])
}


def test_each_exclusion_is_needed() -> None:
    """Each pattern of an exclusion matches a command on some page."""
    all_commands = "\n".join(command for found in BLOCKS.values() for block in found for command in commands(block))
    assert [pattern for pattern in NOT_RUN if not re.search(pattern, all_commands, re.MULTILINE)] == []


def test_the_tutorial_is_run_except_for_the_download() -> None:
    """All commands of the tutorial are run, except those that download the project."""
    left = [command for block in BLOCKS[FOLLOWED] if exclusion(block) for command in commands(block)]
    assert [command.partition(" ")[0] for command in left] == ["git", "cd"]


def test_pages_with_commands_that_can_run_are_run() -> None:
    """These pages have commands that are run."""
    assert {
        "docs/nl/snel-beginnen.md",
        "docs/tutorial.md",
        "docs/how-to/alertmanager.md",
        "docs/how-to/smtpeter.md",
        "docs/reasons/README.md",
        "docs/runbooks/README.md",
    } <= RUN.keys()


@pytest.mark.parametrize("page", RUN)
def test_commands_do_what_the_page_says(page: str, tmp_path: Path) -> None:
    """The commands of a page, in their order, succeed, print what the page shows, and leave nothing that git sees."""
    if missing := missing_programs():
        pytest.skip(f"needs {', '.join(missing)}, not on PATH")
    lines = (
        json.dumps(
            {
                "time": "2026-11-23 10:00:00",
                "recipient": f"jane@{domain}",
                "state": "rcptto",
                "code": code,
                "status": status,
                "description": text,
            }
        )
        for times, domain, code, status, text in LOG
        for _ in range(times)
    )
    (tmp_path / "failures.2026-11-23.log").write_text("\n".join(lines))
    with reader(tmp_path) as reading:
        if page != FOLLOWED and any(":10126" in block.text for block in RUN[page]):
            reading.type("make run")  # these pages assume a running exporter
        for block in RUN[page]:
            reading.follow(block)
    assert visible_to_git(tmp_path) == []


def visible_to_git(directory: Path) -> list[str]:
    """Return the files that a page left in a clone and that git would offer to commit, such as a private key."""
    made = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path.relative_to(directory).as_posix() for path in made} - {*files()}
    left = sorted(name for name in names if not name.startswith("terminal-"))  # those are the reader's
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, cwd=ROOT, input="\n".join(left), check=False, capture_output=True, text=True)
    if done.returncode == 128:  # this is no clone
        return []
    return [name for name in left if name not in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("shown", "printed", "matching"),
    [
        ("a\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("a … c\n", "a b c\n", True),
        ("a …\n", "a b\nc\n", False),
        ("a\n…\n", "a\nb\nc\n", True),
        ("a\n…\nd\n", "a\nb\nc\n", False),
    ],
)
def test_output_is_compared(shown: str, printed: str, *, matching: bool) -> None:
    """The output must be what the page shows, except where the page has ``…``."""
    assert matches(shown, printed) is matching
