"""Workflows and issue forms are well-formed, and name only what exists."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from exporter.cli.group import cli
from tests.support.tree import ROOT, files

CI: Final = ROOT / ".github/workflows/ci.yml"
FORMS: Final = [ROOT / name for name in files(".github/ISSUE_TEMPLATE") if name.endswith(".yml")]


def read(file: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(file.read_text())


def jobs() -> dict[str, dict[str, Any]]:
    """Return the jobs of the workflow, by name."""
    found: dict[str, dict[str, Any]] = read(CI)["jobs"]
    return found


def steps(kind: str) -> list[str]:
    """Return the values of a key of steps (``run`` or ``uses``), of all jobs."""
    return [step[kind] for job in jobs().values() for step in job["steps"] if kind in step]


def test_the_workflow_runs_make() -> None:
    """Each command of the workflow is an existing make target, except for the check of the release's version."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"lint", "lint-bench", "coverage", "dist"} <= targets
    assert steps("run") == [
        *("make lint", "make lint-bench", "make coverage", "make dist"),
        'test -f "dist/smtpeter_exporter-${GITHUB_REF_NAME#v}.tar.gz"',
    ]


def test_workflow_may_do_little() -> None:
    """No job gets a right that it does not name, only the attestation may write, and nothing asks for a secret."""
    assert "secrets." not in CI.read_text()
    assert read(CI)["permissions"] == {}
    rights = {name: job["permissions"] for name, job in jobs().items()}
    assert rights.pop("attest") == {"id-token": "write", "attestations": "write"}
    assert rights == {name: {"contents": "read"} for name in ("lint", "test", "dist")}


def test_actions_are_pinned() -> None:
    """Each action is pinned to a commit, and a comment names its version, for people and for Renovate."""
    used = re.findall(r"uses: (.*)", CI.read_text())
    assert len(used) == len(steps("uses")) > 0
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_each_python_that_is_claimed_is_tested() -> None:
    """The workflow runs the tests on each version of Python in the package's classifiers."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    promised = re.findall(r":: Python :: (3\.\d+)", "\n".join(classifiers))
    assert set(promised) <= set(jobs()["test"]["strategy"]["matrix"]["python"])


@pytest.mark.parametrize("form", FORMS, ids=lambda file: file.stem)
def test_forms_are_well_formed(form: Path) -> None:
    """A form has a name, a description and fields, and each field has a unique id and a label."""
    content = read(form)
    assert set(content) == {"name", "description", "labels", "body"}
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"textarea", "input", "dropdown"}
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids) > 0
    assert [field for field in fields if not field["attributes"]["label"]] == []


@pytest.mark.parametrize("form", FORMS, ids=lambda file: file.stem)
def test_forms_name_what_exists_and_ask_for_no_addresses(form: Path) -> None:
    """Commands and metrics in a form exist, and the form asks to leave out addresses."""
    text = form.read_text()
    assert set(re.findall(r"`smtpeter-exporter ([a-z-]+)", text)) <= set(cli.commands) | {"--version"}
    reference = (ROOT / "docs/reference.md").read_text()
    for names in re.findall(r"\^smtpeter_exporter_\(([a-z_|]+)\)", text):
        for name in names.split("|"):
            assert f"`smtpeter_exporter_{name}" in reference
    assert re.search(r"\*\*(no e-mail )?addresses, host names", text)


def test_the_bug_form_requires_configuration_refusals_and_versions() -> None:
    """Most bugs can't be reproduced without these three, so the form requires them."""
    body = read(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")["body"]
    required = {field["id"] for field in body if field.get("validations", {}).get("required")}
    assert {"config", "refusals", "versions"} <= required
