"""Build the package and install its wheel, as users do.

``make test`` runs ``python -m tests.support.wheel ARGUMENT…``, which runs pytest with the arguments. The tests import
the exporter that is installed from the wheel, and ``--cov`` measures its coverage.
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
    """The packages that were built."""

    sdist: Path
    wheel: Path


def build(source: Path, directory: Path, *, umask: int = -1, env: Mapping[str, str] | None = None) -> Built:
    """Build sdist and wheel of the tree ``source`` into a new directory, with the installed hatchling."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(directory)],
        cwd=source,
        check=True,
        umask=umask,
        env=environment(measured=False) | dict(env or {}),
    )
    [sdist], [wheel] = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return Built(sdist, wheel)


def install(wheel: Path, directory: Path, *last: Path) -> Path:
    """Create an environment with the wheel, then the packages of this one, then ``last``; return its Python."""
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    # fmt: off
    subprocess.run([
        sys.executable, "-m", "pip", "--python", python, "install",
        "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel,
    ], check=True)
    # fmt: on
    [packages] = directory.glob("lib/python*/site-packages")
    # The directories in a .pth file come after the environment's own packages, and .pth files in them are not read.
    # That keeps out an editable exporter. The .pth file with which coverage measures subprocesses has to be copied.
    here = [Path(path) for path in sys.path if path.endswith("-packages")]
    (packages / "a0_beside.pth").write_text("".join(f"{path}\n" for path in (*here, *last)))
    for measuring in (file for path in here for file in path.glob("*coverage*.pth")):
        shutil.copy(measuring, packages)
    return python


def main() -> None:
    """Run pytest on the wheel."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # The tree comes last, for the tests and their helpers. pytest runs in a directory that has no exporter.
        python = install(build(ROOT, directory / "dist").wheel, directory / "installed", ROOT)
        # Measure by path: in a test that runs in the tree, the name would be the tree's package.
        [package] = directory.glob("installed/lib/python*/site-packages/exporter")
        measuring = [f"--cov={package}", f"--cov-config={ROOT / 'pyproject.toml'}"]
        arguments = [part for word in sys.argv[1:] for part in (measuring if word == "--cov" else [word])]
        command = [python, "-m", "pytest", "--import-mode=append", "-c", ROOT / "pyproject.toml", ROOT / "tests"]
        done = subprocess.run([*map(str, command), *arguments], check=False, cwd=directory)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
