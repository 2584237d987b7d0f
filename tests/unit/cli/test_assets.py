"""``assets``: what it writes, and what it leaves alone. tests/e2e/test_assets.py has what needs a process."""

from pathlib import Path
from typing import Final

import pytest

from exporter.cli.assets import USER_FILES, assets
from exporter.errors import ExporterError
from tests.support.command_line import Outcome, invoke
from tests.support.texts import Texts
from tests.support.tree import ROOT, files

RULES: Final = "deploy/prometheus/rules.yaml"
BOARD: Final = "grafana/failures.json"


def run(*words: str) -> Outcome:
    """Run ``assets``."""
    return invoke("assets", *words)


def contents(directory: Path) -> dict[str, bytes]:
    """Return path and content of each file in the directory."""
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def expected() -> dict[str, bytes]:
    """Return path and content of each asset."""
    return {str(path): (ROOT / path).read_bytes() for path in assets()}


def test_everything_that_a_user_needs_is_an_asset(expected: dict[str, bytes]) -> None:
    """All of deploy and grafana, and the OpenAPI document, except programs that need what users do not have."""
    generator = {f"deploy/prometheus/{name}.py" for name in ("make_rules", "ratios", "recording", "thresholds")}
    wanted = {name for name in files("deploy", "grafana") if not name.endswith(".py")}
    assert set(expected) == wanted | {"docs/openapi.yaml"} | generator
    assert {
        RULES,
        BOARD,
        "deploy/README.md",
        "deploy/prometheus/alerts.yaml",
        "deploy/prometheus/thresholds.toml",
        "deploy/alertmanager/alertmanager.yml",
        "grafana/exporter.json",
        "grafana/provisioning/dashboards/smtpeter.yaml",
    } < set(expected)


def test_files_of_users_are_no_assets() -> None:
    """Files that users put next to the assets in a clone, which may contain secrets, are left out."""
    assert [path for path in assets() if any(path.match(pattern) for pattern in USER_FILES)] == []


def test_a_new_directory_gets_all_assets(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """All files are written, and the path of each is printed. A second run writes nothing."""
    directory = tmp_path / "some" / "where"
    outcome = run(str(directory))
    assert (outcome.code, outcome.out.splitlines()) == (0, [str(directory / path) for path in sorted(expected)])
    assert contents(directory) == expected
    assert run(str(directory))[:2] == (0, "")
    assert contents(directory) == expected


def test_the_numbers_of_files_are_printed(tmp_path: Path, expected: dict[str, bytes], texts: Texts) -> None:
    """Standard error has the number of files that were written, and of those that were unchanged."""
    first, second = run(str(tmp_path)).err, run(str(tmp_path)).err
    assert str(len(expected)) in first
    texts.check(first.replace(str(len(expected)), "ALL"))
    texts.check(second.replace(str(len(expected)), "ALL"))


def test_missing_files_are_added_and_other_files_are_kept(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """A file that was removed is written again; files of the user are not touched."""
    run(str(tmp_path))
    (tmp_path / RULES).unlink()
    (tmp_path / "own.yaml").write_text("own")
    assert run(str(tmp_path))[:2] == (0, f"{tmp_path / RULES}\n")
    assert contents(tmp_path) == expected | {"own.yaml": b"own"}


def test_nothing_is_written_if_a_file_differs(tmp_path: Path, expected: dict[str, bytes], texts: Texts) -> None:
    """The error names the files that differ; ``--force`` overwrites them."""
    for name in (RULES, BOARD):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("changed")
    outcome = run(str(tmp_path))
    assert (outcome.code, outcome.out, type(outcome.error)) == (1, "", ExporterError)
    assert f"{RULES}, {BOARD}" in str(outcome.error)
    texts.check(outcome.error)
    assert contents(tmp_path) == {RULES: b"changed", BOARD: b"changed"}
    assert run("--force", str(tmp_path)).code == 0
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("exists", [True, False])
def test_links_are_not_followed(tmp_path: Path, expected: dict[str, bytes], *, exists: bool) -> None:
    """A symbolic link in the place of a file is a difference; ``--force`` replaces the link, not its target."""
    directory, elsewhere = tmp_path / "assets", tmp_path / "elsewhere"
    if exists:
        elsewhere.write_text("own")
    (directory / RULES).parent.mkdir(parents=True)
    (directory / RULES).symlink_to(elsewhere)
    assert run(str(directory))[:2] == (1, "")
    assert run("--force", str(directory)).code == 0
    assert contents(directory) == expected
    assert not (directory / RULES).is_symlink()
    assert contents(tmp_path).get("elsewhere") == (b"own" if exists else None)


def test_nothing_is_written_if_a_directory_has_the_name_of_a_file(tmp_path: Path, texts: Texts) -> None:
    """``--force`` does not remove directories."""
    (tmp_path / RULES / "own").mkdir(parents=True)
    outcome = run("--force", str(tmp_path))
    assert (outcome.code, outcome.out, type(outcome.error)) == (1, "", ExporterError)
    texts.check(outcome.error)
    assert contents(tmp_path) == {}


def test_the_target_must_be_a_directory(tmp_path: Path) -> None:
    """A file in its place is a wrong argument."""
    file = tmp_path / "file"
    file.touch()
    outcome = run(str(file))
    assert (outcome.code, outcome.out, f"Directory '{file}' is a file." in outcome.err) == (2, "", True)
    assert contents(tmp_path) == {"file": b""}


@pytest.mark.parametrize("name", ["deploy", "grafana"])
def test_nothing_is_written_if_a_file_has_the_name_of_a_directory(tmp_path: Path, name: str) -> None:
    """The error of the system, which names the file, ends the command."""
    (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match=str(tmp_path / name)):
        run(str(tmp_path))
    assert contents(tmp_path) == {name: b""}
