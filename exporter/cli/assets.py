"""``smtpeter-exporter assets``: dashboards, rules and deployment files, which come with the package, into a folder."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

import click

from exporter.errors import ExporterError

HERE: Final = Path(__file__).parent.parent
FOLDERS: Final = ("deploy", "grafana")
"""Taken whole, programs excepted; pyproject.toml says the same of the wheel."""
FILES: Final = ("docs/openapi.yaml",)
WITH_PROGRAMS: Final = PurePath("deploy/prometheus")
"""Where programs are taken, too: ``make_rules.py`` needs no more than the exporter does, and users their thresholds."""
USER_FILES: Final = ("deploy/docker/.env", "deploy/docker/*.override.y*ml", "deploy/docker/verification/*.txt")
"""What users put beside the assets in a clone, secrets among it: no part of what is written, built or put in an image.

.gitignore, by which the packages are built, and .dockerignore say the same.
"""


@click.command("assets")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Write over files that have other content.")
def assets_command(folder: Path, *, force: bool) -> None:
    """Write dashboards, rules and deployment files to DIR, and say which.

    What is there with the same content stays. If a file is there with other content nothing is written, and the exit
    code is 1, unless --force is given. All else in DIR is left alone.
    """
    written = write(folder, force=force)
    for file in written:
        click.echo(file)
    click.echo(f"{len(written)} files written, {len(assets()) - len(written)} were there", err=True)


def assets() -> dict[PurePath, Path]:
    """Where the content of each asset is, by its path in the folder that it is written to; sorted."""
    installed = HERE / "bundled"  # a wheel has it; in a tree, and so where that is installed editable, it is missing
    root = installed if installed.exists() else HERE.parent
    return {file.relative_to(root): file for file in sorted(_found(root))}


def _found(root: Path) -> Iterator[Path]:
    yield from (root / name for name in FILES)
    for folder in FOLDERS:
        for file in (root / folder).rglob("*"):
            path = file.relative_to(root)
            taken = file.suffix != ".py" or path.parent == WITH_PROGRAMS
            yours = any(path.match(pattern) for pattern in USER_FILES)
            if taken and not yours and file.is_file() and "__pycache__" not in path.parts:
                yield file


def write(folder: Path, *, force: bool) -> list[Path]:
    """Write what is missing, and with ``force`` what differs; the files written. Raises ExporterError, OSError."""
    wanted = {folder / path: source for path, source in assets().items()}
    changed = [target for target, source in wanted.items() if os.path.lexists(target) and not _same(target, source)]
    if changed and not force:
        names = ", ".join(str(target.relative_to(folder)) for target in changed)
        raise ExporterError(f"{folder}: nothing written, for these files differ: {names}; --force writes over them")
    if folders := [str(target) for target in changed if target.is_dir() and not target.is_symlink()]:
        raise ExporterError(f"{folder}: nothing written, a folder is in the way: {', '.join(folders)}; move it away")
    written = [target for target in wanted if target in changed or not target.exists()]
    for target in written:  # all of them first: one that can't be made leaves no half of the files behind
        target.parent.mkdir(parents=True, exist_ok=True)
    for target in written:
        _put(wanted[target], target)
    return written


def _put(source: Path, target: Path) -> None:
    """Copy the file, whole or not at all; it takes the place of a link, and is not written to where that leads."""
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as new:
            shutil.copy(source, new)
            (Path(new) / source.name).replace(target)
    except OSError as error:
        raise ExporterError(f"{target}: not written: {error.strerror}") from error


def _same(target: Path, source: Path) -> bool:
    return target.is_file() and target.read_bytes() == source.read_bytes()
