"""Builds are reproducible and complete, and the installed wheel works without the project's tree."""

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from exporter import __version__
from exporter.cli.assets import USER_FILES, assets
from exporter.settings.table import SETTINGS
from tests.support.running import environment, exporter, server
from tests.support.tree import ROOT, files
from tests.support.wheel import Built, build, install

NAME = f"smtpeter_exporter-{__version__}"
Run = Callable[..., tuple[int, str, str]]
"""Runs a program of the wheel's environment and returns its exit code, standard output and standard error."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build sdist and wheel of this tree."""
    return build(ROOT, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def programs(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a new environment; return the directory of its programs."""
    return install(built.wheel, tmp_path_factory.mktemp("installed")).parent


@pytest.fixture
def run(programs: Path, tmp_path: Path) -> Run:
    """Run programs in an empty directory."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(program: str, *words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [programs / program, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=empty,
            env=environment(measured=False),
        )
        return done.returncode, done.stdout, done.stderr

    return run


def hashes(files: Built) -> dict[str, str]:
    """Return the SHA-256 of each file, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def unpack(sdist: Path, directory: Path) -> None:
    """Unpack an sdist. Python's own tarfile has no safe way to do so before 3.11.4."""
    subprocess.run([server("tar"), "-xzf", sdist, "-C", directory], check=True)


def test_builds_are_reproducible(built: Built, tmp_path: Path) -> None:
    """A build from the sdist, in another directory, umask, time zone and locale, gives the same bytes."""
    unpack(built.sdist, tmp_path)
    (tmp_path / NAME / "PKG-INFO").unlink()  # the only file that the build adds
    again = build(tmp_path / NAME, tmp_path / "again", umask=0o077, env={"TZ": "Asia/Tokyo", "LC_ALL": "C"})
    assert hashes(again) == hashes(built)
    assert {file.name for file in built} == {f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl"}


def test_files_of_users_are_not_packaged(built: Built, tmp_path: Path) -> None:
    """A password, an override or a verification file in a clone gets into no build and no output of ``assets``."""
    unpack(built.sdist, tmp_path)
    tree = tmp_path / NAME
    (tree / "PKG-INFO").unlink()
    for name in (".env", "compose.override.yaml", "docker-compose.override.yml", "verification/smtpeter-4f1c2d.txt"):
        (tree / "deploy/docker" / name).write_text("secret")
    assert hashes(build(tree, tmp_path / "again")) == hashes(built)
    subprocess.run([sys.executable, "-m", "exporter", "assets", tmp_path / "assets"], check=True, cwd=tree)
    written = {file.relative_to(tmp_path / "assets") for file in (tmp_path / "assets").rglob("*") if file.is_file()}
    assert written == {Path(path) for path in assets()}
    assert set(USER_FILES) <= set((ROOT / ".dockerignore").read_text().splitlines())


def test_uncommitted_files_are_not_released(tmp_path: Path) -> None:
    """``make dist`` fails before it builds anything if there is an uncommitted file."""
    subprocess.run([server("git"), "init", "--quiet", tmp_path], check=True)
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = [server("make"), "dist", "--assume-old=.venv/dist", "PYTHON=false"]
    env = {name: text for name, text in environment().items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert "git status" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_the_sdist_has_the_files_in_git(built: Built) -> None:
    """The sdist has all files of the project and no others."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    with tarfile.open(built.sdist) as archive:
        packed = {member.name.removeprefix(f"{NAME}/") for member in archive if member.isfile()}
    assert packed == {*files(), "PKG-INFO"}


def test_the_wheel_has_package_and_assets(built: Built) -> None:
    """The wheel has the modules, ``py.typed``, the files that ``assets`` writes, and no others."""
    modules = set(files("exporter"))
    with zipfile.ZipFile(built.wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == modules | {f"exporter/bundled/{path}" for path in assets()}


def test_the_metadata_are_right(built: Built) -> None:
    """Version, license and description of the wheel are those of the tree, and no dependency is pinned."""
    metadata = PathDistribution(zipfile.Path(built.wheel, f"{NAME}.dist-info/")).metadata.json
    names = ("name", "version", "license_expression", "requires_python", "description_content_type")
    assert [metadata[name] for name in names] == ["smtpeter-exporter", __version__, "MIT", ">=3.11", "text/markdown"]
    assert str(metadata["description"]).strip() == (ROOT / "README.md").read_text().strip()
    needed = [line for line in metadata["requires_dist"] if "extra ==" not in line]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [re.split("[<>=]", line)[0] for line in needed] == [re.split("[<>=]", line)[0] for line in wanted]
    assert [line for line in needed if "==" in line] == []


def test_the_version_is_in_one_place() -> None:
    """The version is only in exporter/__init__.py, and in CHANGELOG.md once it is released."""
    version = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])".encode())
    naming = {
        name
        for name in files()
        if not name.startswith(("requirements/", "tests/")) and version.search((ROOT / name).read_bytes())
    }
    released = re.search(rf"^## \[{re.escape(__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    expected = {"exporter/__init__.py", *(["CHANGELOG.md"] if released else [])}
    assert naming == expected


def test_the_changelog_is_well_formed() -> None:
    """The changelog starts with [Unreleased]; then come dated versions, newest first, with known headings."""
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *released = re.findall(r"^## (.+)", text, re.MULTILINE)
    assert first == "[Unreleased]"
    assert [heading for heading in released if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)] == []
    versions = [tuple(map(int, re.findall(r"\d+", heading)[:3])) for heading in released]
    assert versions == sorted(versions, reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)", text, re.MULTILINE)) <= kinds


def test_the_installed_package_runs(run: Run, programs: Path) -> None:
    """In the wheel's environment, all commands use the installed package, in the version that was built."""
    code = "import exporter, importlib.metadata as m; print(exporter.__file__, m.version('smtpeter-exporter'))"
    home = programs.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    assert run("python", "-c", code) == (0, f"{home / 'exporter/__init__.py'} {__version__}\n", "")
    assert run("smtpeter-exporter", "--version") == (0, f"smtpeter-exporter, version {__version__}\n", "")
    assert run("python", "-m", "exporter", "--version") == (0, f"smtpeter-exporter, version {__version__}\n", "")


def test_the_wheel_writes_the_assets(run: Run, tmp_path: Path) -> None:
    """``assets`` of the wheel writes the same files as in the tree."""
    directory = tmp_path / "assets"
    assert run("smtpeter-exporter", "assets", str(directory))[0] == 0
    written = {file.relative_to(directory): file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    assert written == {Path(path): (ROOT / path).read_bytes() for path in assets()}


def test_the_wheel_reads_its_configuration(run: Run) -> None:
    """``check-config`` of the wheel shows every setting."""
    flags = "--signature.mode off --webhook.listen-address 127.0.0.1:0 --web.listen-address 127.0.0.1:0".split()
    code, out, err = run("smtpeter-exporter", "check-config", *flags)
    lines = out.splitlines()
    assert (code, err, lines[-1]) == (0, "", "configuration is valid")
    assert [line.split(" = ")[0] for line in lines[: len(SETTINGS)]] == [setting.name for setting in SETTINGS]


def test_the_wheel_counts(run: Run, programs: Path, tmp_path: Path) -> None:
    """``serve`` of the wheel counts what ``send`` of the wheel posts."""
    program = [str(programs / "smtpeter-exporter")]
    with exporter(tmp_path, measured=False, program=program) as running:
        assert run("smtpeter-exporter", "send", f"http://{running.public}/failures") == (0, "200 OK: counted\n", "")
        assert running.failures() == {"rcptto/5xx/5.1.1": 1.0}


def test_the_suite_can_run_on_the_wheel() -> None:
    """``python -m tests.support.wheel`` tests the exporter that is installed from the wheel, not the tree's."""
    others = [f"--ignore={ROOT / 'tests' / name}" for name in ("deploy", "docs", "e2e", "ledger", "unit")]
    one_test = ["-k", "test_test_files_are_in_directories"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.wheel", "-p", "no:cacheprovider", *others, *one_test],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env=environment(measured=False),
    )
    [tested] = [line for line in done.stdout.splitlines() if line.startswith("exporter: ")]
    assert tested.endswith(
        f"/installed/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/exporter/__init__.py"
    )
