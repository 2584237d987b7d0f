"""``smtpeter-exporter assets``: write the dashboards, rules and deployment files of the package to a directory."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

import click

from exporter.errors import ExporterError

PACKAGE: Final = Path(__file__).parent.parent
DIRECTORIES: Final = ("deploy", "grafana")
"""Directories whose files are assets, except programs; pyproject.toml puts the same files into the wheel."""
FILES: Final = ("docs/openapi.yaml",)
WITH_PROGRAMS: Final = PurePath("deploy/prometheus")
"""Directory whose programs are assets, too: ``make_rules.py`` needs only the exporter, and users run it."""
USER_FILES: Final = ("deploy/docker/.env", "deploy/docker/*.override.y*ml", "deploy/docker/verification/*.txt")
"""Files that users put next to the assets in a clone; they may contain secrets, so they are never assets.

The same list is in .gitignore (which the packages are built by) and .dockerignore.
"""


@click.command("assets")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Overwrite files whose content differs.")
def assets_command(directory: Path, *, force: bool) -> None:
    """Write dashboards, rules and deployment files to DIR, and print the path of each written file.

    Files that already have the right content are skipped. If a file has other content, nothing is written and the
    exit code is 1, unless --force is given. Other files in DIR are not touched.
    """
    written = write(directory, force=force)
    for file in written:
        click.echo(file)
    click.echo(f"files written: {len(written)}, unchanged: {len(assets()) - len(written)}", err=True)


def assets() -> dict[PurePath, Path]:
    """Return the source file of each asset by its path in the target directory, sorted by this path."""
    installed = PACKAGE / "bundled"  # only a wheel has it; a clone or an editable installation does not
    root = installed if installed.exists() else PACKAGE.parent
    return {file.relative_to(root): file for file in sorted(_found(root))}


def _found(root: Path) -> Iterator[Path]:
    yield from (root / name for name in FILES)
    for directory in DIRECTORIES:
        for file in (root / directory).rglob("*"):
            path = file.relative_to(root)
            included = file.suffix != ".py" or path.parent == WITH_PROGRAMS
            of_user = any(path.match(pattern) for pattern in USER_FILES)
            if included and not of_user and file.is_file() and "__pycache__" not in path.parts:
                yield file


def write(directory: Path, *, force: bool) -> list[Path]:
    """Write the files that are missing and, with ``force``, those that differ; returns the written files.

    Raises ExporterError or OSError.
    """
    sources = {directory / path: source for path, source in assets().items()}
    changed = [target for target, source in sources.items() if os.path.lexists(target) and not _same(target, source)]
    if changed and not force:
        names = ", ".join(str(target.relative_to(directory)) for target in changed)
        raise ExporterError(
            f"{directory}: nothing written, because these files differ: {names}; --force overwrites them"
        )
    if blocking := [str(target) for target in changed if target.is_dir() and not target.is_symlink()]:
        raise ExporterError(
            f"{directory}: nothing written, because these are directories: {', '.join(blocking)}; move them away"
        )
    written = [target for target in sources if target in changed or not target.exists()]
    for target in written:  # before the first file, so that an error here does not leave half of the files written
        target.parent.mkdir(parents=True, exist_ok=True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:  # a signal now would leave half of the files, and a temporary directory
        for target in written:
            _write_atomically(sources[target], target)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return written


def _write_atomically(source: Path, target: Path) -> None:
    """Copy the file completely or not at all. A symbolic link at ``target`` is replaced, not followed."""
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as new:
            shutil.copy(source, new)
            (Path(new) / source.name).replace(target)
    except OSError as error:
        raise ExporterError(f"{target}: not written: {error.strerror}") from error


def _same(target: Path, source: Path) -> bool:
    return target.is_file() and target.read_bytes() == source.read_bytes()
