"""The files of the project as the tests see them: those that git tracks or would track, and no others."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


_MADE_HERE: Final = {".venv", ".servers", "build", "dist", "__pycache__"}


@cache
def _all() -> tuple[str, ...]:
    if not (ROOT / ".git").exists():  # an unpacked sdist
        paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        return tuple(sorted(path.as_posix() for path in paths if not _MADE_HERE.intersection(path.parts)))
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0")
    return tuple(sorted({name for name in names if name and (ROOT / name).exists()}))


def files(*places: str) -> list[str]:
    """Return the paths, relative to ROOT, of all files or of those at or below one of ``places``."""
    below = tuple(f"{place}/" for place in places)
    return [name for name in _all() if not places or name in places or name.startswith(below)]


def copy(place: str, target: Path) -> None:
    """Copy a file to the path ``target``, or the files of a directory below it."""
    for name in files(place):
        path = target / Path(name).relative_to(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path)
