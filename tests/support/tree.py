"""The project's tree as the tests see it."""

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def files(pattern: str = "*") -> list[Path]:
    """Return the files that match the pattern, sorted and relative to ROOT, without those that git ignores."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern]
    names = subprocess.run(listed, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0")
    return sorted(Path(name) for name in set(names) if name and (ROOT / name).exists())
