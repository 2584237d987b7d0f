"""What ``assets`` writes, and what it leaves alone."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from exporter.cli.assets import assets
from tests.support.running import environment, server
from tests.support.tree import ROOT

RULES = "deploy/prometheus/rules.yaml"
BOARD = "grafana/failures.json"


def run(*words: str) -> tuple[int, list[str], list[str]]:
    """Run ``assets``: exit code, lines of standard output and of standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "assets", *words], check=False, capture_output=True, text=True
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    """Path and content of each file in the folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def expected() -> dict[str, bytes]:
    """Path and content of what is to be written."""
    return {str(path): (ROOT / path).read_bytes() for path in assets()}


def test_all_that_a_user_takes_is_among_them(expected: dict[str, bytes]) -> None:
    """Everything in deploy and grafana, and the OpenAPI document, but no programs that need what users don't have."""
    files = [file for name in ("deploy", "grafana") for file in (ROOT / name).rglob("*") if file.is_file()]
    programs = {str(file.relative_to(ROOT)) for file in files if file.suffix == ".py"}
    wanted = {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts} - programs
    generator = {f"deploy/prometheus/{name}.py" for name in ("make_rules", "recording", "thresholds")}
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


def test_a_new_folder_gets_all_of_it(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """All files are written, folders are made, and each file is told."""
    folder = tmp_path / "some" / "where"
    told = [str(folder / path) for path in sorted(expected)]
    code, out, err = run(str(folder))
    assert (code, sorted(out), err) == (0, told, [f"{len(expected)} files written, 0 were there"])
    assert contents(folder) == expected
    assert run(str(folder)) == (0, [], [f"0 files written, {len(expected)} were there"])


def test_what_is_missing_is_added_and_what_is_not_ours_stays(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """A file that was removed comes back; files of the user's own stay."""
    run(str(tmp_path))
    (tmp_path / RULES).unlink()
    (tmp_path / "own.yaml").write_text("own")
    assert run(str(tmp_path)) == (
        0,
        [str(tmp_path / RULES)],
        [f"1 files written, {len(expected) - 1} were there"],
    )
    assert contents(tmp_path) == expected | {"own.yaml": b"own"}


def test_files_that_differ_are_named_and_nothing_is_written(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """A changed file stops it before the first file; --force writes over it."""
    for name in (RULES, BOARD):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("changed")
    told = f"{tmp_path}: nothing written, for these files differ: {RULES}, {BOARD}; --force writes over them"
    assert run(str(tmp_path)) == (1, [], [f"smtpeter-exporter: {told}"])
    assert contents(tmp_path) == {RULES: b"changed", BOARD: b"changed"}
    assert run("--force", str(tmp_path))[::2] == (0, [f"{len(expected)} files written, 0 were there"])
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("there", [True, False])
def test_links_are_not_followed(tmp_path: Path, expected: dict[str, bytes], *, there: bool) -> None:
    """A link in the place of a file counts as a file that differs; --force replaces it, not what it leads to."""
    folder, elsewhere = tmp_path / "assets", tmp_path / "elsewhere"
    if there:
        elsewhere.write_text("own")
    (folder / RULES).parent.mkdir(parents=True)
    (folder / RULES).symlink_to(elsewhere)
    assert run(str(folder))[:2] == (1, [])
    assert run("--force", str(folder))[0] == 0
    assert contents(folder) == expected
    assert not (folder / RULES).is_symlink()
    assert contents(tmp_path).get("elsewhere") == (b"own" if there else None)


def test_a_folder_in_the_way_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """--force takes no folder away, nor does it begin to write."""
    (tmp_path / RULES / "own").mkdir(parents=True)
    told = f"{tmp_path}: nothing written, a folder is in the way: {tmp_path / RULES}; move it away"
    assert run("--force", str(tmp_path)) == (1, [], [f"smtpeter-exporter: {told}"])
    assert contents(tmp_path) == {}


def test_on_a_full_disk_no_file_is_half_written(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """It ends with a line that names the file; what is there is whole, and the next run writes the rest."""
    command = [server("prlimit"), "--fsize=10240", sys.executable, "-m", "exporter", "assets", str(tmp_path)]
    alone = environment(measured=False)  # what measures coverage writes, too
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=alone)
    first = next(tmp_path / path for path in assets() if len(expected[str(path)]) > 10_240)
    assert (done.returncode, done.stderr) == (1, f"smtpeter-exporter: {first}: not written: File too large\n")
    begun = contents(tmp_path)
    assert 0 < len(begun) < len(expected)
    assert begun.items() < expected.items()
    assert run(str(tmp_path))[::2] == (0, [f"{len(expected) - len(begun)} files written, {len(begun)} were there"])
    assert contents(tmp_path) == expected


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    """A file in the place of the folder is a wrong argument; one in the place of a folder within is named."""
    file = tmp_path / "file"
    file.touch()
    code, _, err = run(str(file))
    assert (code, err[-1]) == (2, f"Error: Invalid value for 'DIR': Directory '{file}' is a file.")
    (tmp_path / "deploy").touch()
    assert run(str(tmp_path)) == (1, [], [f"smtpeter-exporter: [Errno 17] File exists: '{tmp_path / 'deploy'}'"])
    (tmp_path / "deploy").rename(tmp_path / "grafana")
    assert run(str(tmp_path)) == (1, [], [f"smtpeter-exporter: [Errno 17] File exists: '{tmp_path / 'grafana'}'"])
    assert contents(tmp_path) == {"file": b"", "grafana": b""}


MADE: Final = ("alerts.yaml", "prometheusrule.yaml", "rules.yaml")


def test_rules_are_made_anew_from_what_was_written(tmp_path: Path) -> None:
    """The generator among them works on its own: with the shipped thresholds it makes the shipped rules."""
    run(str(tmp_path))
    generator = tmp_path / "deploy/prometheus/make_rules.py"
    thresholds = tmp_path / "mine.toml"
    shipped = generator.with_name("thresholds.toml").read_text()
    thresholds.write_text(shipped)
    made = tmp_path / "made"
    made.mkdir()
    command = [sys.executable, str(generator), "--thresholds", str(thresholds), "--out", str(made)]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert contents(made) == {name: generator.with_name(name).read_bytes() for name in MADE}
    thresholds.write_text(shipped.replace('docs = ""', 'docs = "https://git.example.org"'))
    subprocess.run(command, check=True, cwd=tmp_path)
    assert b"https://git.example.org/" in (made / "alerts.yaml").read_bytes()


def test_another_python_is_told_which_one_can_make_rules(tmp_path: Path) -> None:
    """One that does not know the exporter says so, in a line."""
    run(str(tmp_path))
    command = [sys.executable, "-ES", str(tmp_path / "deploy/prometheus/make_rules.py")]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    told = "run it with the Python of the exporter, such as /opt/smtpeter-exporter/bin/python"
    assert (done.returncode, done.stderr) == (1, f"make_rules.py: No module named 'exporter': {told}\n")
