"""The layout of the tests is the one in CONTRIBUTING.md, so that modules and their tests are easy to find."""

import ast
from pathlib import PurePath
from typing import Final

import pytest

from tests.support.texts import FILE, Snapshot
from tests.support.tree import ROOT, files

DIRECTORIES: Final = {"deploy", "docs", "e2e", "ledger", "project", "unit"}
TESTS: Final = [PurePath(name) for name in files("tests") if PurePath(name).name.startswith("test_")]


def modules() -> list[PurePath]:
    """Return the exporter's modules, except for ``__init__.py``."""
    paths = [PurePath(name) for name in files("exporter")]
    return [path.relative_to("exporter") for path in paths if path.suffix == ".py" and path.name != "__init__.py"]


def test_test_files_are_in_directories() -> None:
    """No test file is directly in tests/, and the directories in tests/unit are those of the exporter."""
    assert {test.parts[1] for test in TESTS} == DIRECTORIES
    unit = [test.relative_to("tests/unit") for test in TESTS if test.parts[1] == "unit"]
    assert [test for test in unit if test.with_name(test.name.removeprefix("test_")) not in modules()] == []


def test_each_module_has_a_test_file_of_its_name() -> None:
    """It is in tests/unit if it needs no process and no server, otherwise in another directory."""
    elsewhere = {test.name for test in TESTS if test.parts[1] != "unit"}
    names = {module: f"test_{module.stem.strip('_')}.py" for module in modules()}
    unit = {module for module, name in names.items() if PurePath("tests/unit", module.parent, name) in TESTS}
    assert [str(module) for module, name in names.items() if module not in unit and name not in elsewhere] == []


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_no_test_imports_another(test: PurePath) -> None:
    """Test files import only helpers in tests.support, so that they can be read and moved on their own."""
    tree = ast.walk(ast.parse((ROOT / test).read_text()))
    named = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
    assert [name for name in named if name.startswith("tests.") and not name.startswith("tests.support.")] == []


def test_each_text_is_of_a_test() -> None:
    """Each entry of tests/texts.yaml belongs to a test file that exists, and to a test function in it."""
    for file, texts in Snapshot(update=False).texts.items():
        functions = {
            node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert {name.partition("[")[0] for name in texts} <= functions, f"{file}: run 'make texts' ({FILE.name})"
