"""A snapshot of the texts that people read, in ``tests/texts.yaml``: the only place where tests quote sentences.

A test with the fixture ``texts`` checks its texts against the file. All other tests assert states, settings and links.
After you change a text, run ``make texts`` to update the file, and read the diff as a user would.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.tree import ROOT

FILE: Final = ROOT / "tests/texts.yaml"
HINT: Final = 'if the new text is right, run "make texts"'


class Snapshot:
    """All texts by test file and test. With ``update``, the texts of the tests replace those in the file."""

    def __init__(self, *, update: bool) -> None:
        self.update = update
        self.texts: dict[str, dict[str, list[str]]] = yaml.safe_load(FILE.read_text("utf-8")) if FILE.exists() else {}
        self._new: dict[str, dict[str, list[str]]] = {}

    def add(self, file: str, test: str, texts: list[str]) -> None:
        """Add the texts of a test that passed."""
        self._new.setdefault(file, {})[test] = texts

    def merged(self, collected: Mapping[str, Collection[str]]) -> dict[str, dict[str, list[str]]]:
        """Return the old texts with the new ones in them.

        ``collected`` has the tests with texts in each collected file. A test that failed or was skipped keeps its old
        texts. A test or a file that is gone loses them.
        """
        merged = {file: dict(texts) for file, texts in self._new.items()}
        for file, texts in self.texts.items():
            if (ROOT / file).exists():
                kept = {test: old for test, old in texts.items() if test in collected.get(file, texts)}
                merged[file] = kept | merged.get(file, {})
        return {file: texts for file, texts in merged.items() if texts}

    def write(self, collected: Mapping[str, Collection[str]]) -> None:
        """Write the merged texts to the file."""
        FILE.write_text(yaml.dump(self.merged(collected), Dumper=_Dumper, width=110, allow_unicode=True), "utf-8")


class Texts:
    """The texts of one test, in the order in which the test checks them."""

    def __init__(self, snapshot: Snapshot, file: str, test: str, directory: Path | None) -> None:
        self._snapshot = snapshot
        self._known = snapshot.texts.get(file, {}).get(test, [])
        self._directory = directory
        self.shown: list[str] = []

    def check(self, text: object) -> None:
        """Fail unless the text is the one in the file. ROOT and FOLDER replace the paths of the tree and tmp_path."""
        shown = str(text)
        if self._directory:  # first, because it may be in the tree
            shown = shown.replace(str(self._directory), "FOLDER")
        shown = re.sub(r" at 0x[0-9a-f]+", "", shown.replace(str(ROOT), "ROOT"))
        place = len(self.shown)
        self.shown.append(shown)
        if not self._snapshot.update:
            known = self._known[place] if place < len(self._known) else None
            assert shown == known, f"differs from tests/texts.yaml; {HINT}"

    def check_number(self) -> None:
        """Fail unless the test checked at least one text, and as many as are in the file."""
        assert self.shown, "a test with the fixture texts must check a text"
        if not self._snapshot.update:
            assert self._known[len(self.shown) :] == [], f"tests/texts.yaml has more texts; {HINT}"


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
