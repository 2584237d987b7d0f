"""The package as users get it: built, and installed with what it needs beside it. That is what ``make test`` tests.

``python -m tests.support.wheel ARGUMENT…`` runs pytest with the arguments, on the exporter as installed from the wheel,
which ``--cov`` measures.
"""

import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.running import environment
from tests.support.tree import ROOT


class Built(NamedTuple):
    """What a build gave."""

    sdist: Path
    wheel: Path


def build(source: Path, folder: Path, *, umask: int = -1, env: Mapping[str, str] | None = None) -> Built:
    """Build sdist and wheel of the tree ``source`` into a new folder, with the hatchling that is installed here."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=source,
        check=True,
        umask=umask,
        env=environment(measured=False) | dict(env or {}),
    )
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def install(wheel: Path, folder: Path, *last: Path) -> Path:
    """Make an environment in the folder that has the wheel, then all that this one has, then ``last``; its Python."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    # fmt: off
    subprocess.run([
        sys.executable, "-m", "pip", "--python", python, "install",
        "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel,
    ], check=True)
    # fmt: on
    [packages] = folder.glob("lib/python*/site-packages")
    # What a .pth names comes after the environment's own packages. The .pth files that lie there are not read: that of
    # an exporter in a tree must not be, that by which coverage measures subprocesses is taken along.
    here = [Path(path) for path in sys.path if path.endswith("-packages")]
    (packages / "a0_beside.pth").write_text("".join(f"{path}\n" for path in (*here, *last)))
    for measuring in (file for path in here for file in path.glob("*coverage*.pth")):
        shutil.copy(measuring, packages)
    return python


def main() -> None:
    """Run pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The tree comes last, for tests and what they import, and pytest runs in a folder where no exporter lies.
        python = install(build(ROOT, folder / "dist").wheel, folder / "installed", ROOT)
        # By its place: where the current folder is the tree, as for some benchmarks, its name is that of the tree's.
        [package] = folder.glob("installed/lib/python*/site-packages/exporter")
        measuring = [f"--cov={package}", f"--cov-config={ROOT / 'pyproject.toml'}"]
        arguments = [part for word in sys.argv[1:] for part in (measuring if word == "--cov" else [word])]
        command = [python, "-m", "pytest", "--import-mode=append", "-c", ROOT / "pyproject.toml", ROOT / "tests"]
        done = subprocess.run([*map(str, command), *arguments], check=False, cwd=folder)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
