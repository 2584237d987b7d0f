"""A snapshot of the texts that people read, in ``tests/texts.yaml``: the only place where tests quote sentences.

A test with the fixture ``texts`` checks its texts against the file. All other tests assert states, settings and links.
After you change a text, run ``make texts`` to update the file, and read the diff as a user would.
"""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.tree import ROOT

FILE: Final = ROOT / "tests/texts.yaml"


class Snapshot:
    """All texts by test file and test. With ``update``, the texts of the tests replace those in the file."""

    def __init__(self, *, update: bool) -> None:
        self.update = update
        self.texts: dict[str, dict[str, list[str]]] = yaml.safe_load(FILE.read_text()) if FILE.exists() else {}
        self._new: dict[str, dict[str, list[str]]] = {}

    def add(self, file: str, test: str, texts: list[str]) -> None:
        """Add the texts of a test that passed."""
        self._new.setdefault(file, {})[test] = texts

    def write(self) -> None:
        """Write the file. For each test file that ran, the new texts replace the old ones."""
        if self.update and self._new:
            FILE.write_text(yaml.dump(self.texts | self._new, Dumper=_Dumper, width=110, allow_unicode=True))


class Texts:
    """The texts of one test, in the order in which the test checks them."""

    def __init__(self, snapshot: Snapshot, file: str, test: str, directory: Path | None) -> None:
        self._snapshot = snapshot
        self._known = snapshot.texts.get(file, {}).get(test, [])
        self._directory = directory
        self.shown: list[str] = []

    def check(self, text: object) -> None:
        """Fail unless the text is the one in the file. ROOT and FOLDER replace the paths of the tree and tmp_path."""
        shown = str(text).replace(str(ROOT), "ROOT")
        if self._directory:
            shown = shown.replace(str(self._directory), "FOLDER")
        shown = re.sub(r" at 0x[0-9a-f]+", "", shown)
        place = len(self.shown)
        self.shown.append(shown)
        if not self._snapshot.update:
            known = self._known[place] if place < len(self._known) else None
            assert shown == known, 'differs from tests/texts.yaml; if the new text is right, run "make texts"'


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
