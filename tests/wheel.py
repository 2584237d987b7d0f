"""The package as users get it: built, and installed with what it needs beside it. That is what ``make test`` tests.

``python -m tests.wheel ARGUMENT…`` runs pytest with the arguments, on the exporter as installed from the wheel.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent


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
        env=os.environ | (env or {}),
    )
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment in the folder that has the wheel, and all that this one has but the exporter; its Python."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    # fmt: off
    subprocess.run([
        sys.executable, "-m", "pip", "--python", python, "install",
        "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel,
    ], check=True)
    # fmt: on
    [packages] = folder.glob("lib/python*/site-packages")
    # A path in a .pth comes after the environment's own, and .pth files in it, such as that of a tree, are not read.
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def main() -> None:
    """Run pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(build(ROOT, folder / "dist").wheel, folder / "installed")
        # In a folder where no exporter lies, and with the tree at the end of sys.path: for tests, not for the exporter.
        command: list[str | Path] = [python, "-m", "pytest", "--import-mode=append", "-c", ROOT / "pyproject.toml"]
        done = subprocess.run([*command, ROOT / "tests", *sys.argv[1:]], check=False, cwd=folder)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
