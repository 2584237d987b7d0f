"""The layout of the tests is the one in CONTRIBUTING.md, so that modules and their tests are easy to find."""

import ast
from pathlib import Path, PurePath
from typing import Final

import pytest

from tests.support.texts import HINT, Snapshot, Texts
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


def imported(node: ast.AST) -> list[str]:
    """Return the full names that an import statement imports. A relative import begins with a dot."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        return [f"{module}.{alias.name}" for alias in node.names]
    return []


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_no_test_imports_another(test: PurePath) -> None:
    """Test files import only helpers in tests.support, so that they can be read and moved on their own."""
    names = [name for node in ast.walk(ast.parse((ROOT / test).read_text("utf-8"))) for name in imported(node)]
    assert [name for name in names if name.startswith((".", "tests.")) and not name.startswith("tests.support.")] == []


def test_helpers_are_in_support() -> None:
    """The other directories of the tests have no modules besides tests; conftest.py is the only one in tests/."""
    names = [PurePath(name) for name in files("tests") if name.endswith(".py")]
    others = [name for name in names if name not in TESTS and name.name != "__init__.py" and name.parts[1] != "support"]
    assert others == [PurePath("tests/conftest.py")]


def test_each_text_is_of_a_test() -> None:
    """Each entry of tests/texts.yaml belongs to a test function with the fixture ``texts``, in a file that exists."""
    snapshot = Snapshot(update=False).texts
    assert set(snapshot) <= set(map(str, TESTS)), HINT
    for file, texts in snapshot.items():
        functions = {
            node.name
            for node in ast.parse((ROOT / file).read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef) and "texts" in {argument.arg for argument in node.args.args}
        }
        assert {name.partition("[")[0] for name in texts} <= functions, f"{file}: {HINT}"


def test_an_update_keeps_the_texts_of_tests_that_did_not_run() -> None:
    """Only tests and files that are gone lose their texts."""
    snapshot = Snapshot(update=True)
    here, other = "tests/project/test_layout.py", "tests/project/test_forge.py"
    snapshot.texts = {
        here: {"test_new": ["old"], "test_skipped": ["skipped"], "test_removed": ["x"]},
        other: {"test_not_collected": ["kept"]},
        "tests/project/test_removed.py": {"test_x": ["x"]},
    }
    snapshot.add(here, "test_new", ["new"])
    assert snapshot.merged({here: {"test_new", "test_skipped"}}) == {
        here: {"test_new": ["new"], "test_skipped": ["skipped"]},
        other: {"test_not_collected": ["kept"]},
    }
    assert snapshot.merged({here: set(), other: set()}) == {here: {"test_new": ["new"]}}


def test_a_text_must_be_the_one_in_the_file(tmp_path: Path) -> None:
    """Another text, one more, one less or none at all fails."""
    snapshot = Snapshot(update=False)
    snapshot.texts = {"file": {"test": ["ROOT/a FOLDER/b", "second"]}}
    texts = Texts(snapshot, "file", "test", tmp_path)
    with pytest.raises(AssertionError):
        texts.check_number()
    texts.check(f"{ROOT}/a {tmp_path}/b")
    with pytest.raises(AssertionError):
        texts.check_number()
    with pytest.raises(AssertionError):
        texts.check("another")
    texts = Texts(snapshot, "file", "test", ROOT / "out")
    texts.check(f"{ROOT}/a {ROOT}/out/b")
    texts.check("second")
    texts.check_number()
    with pytest.raises(AssertionError):
        texts.check("third")
