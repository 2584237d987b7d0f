"""Texts that people read, kept in one file, ``tests/texts.yaml``: a change of wording shows there and nowhere else.

A test that takes the fixture ``texts`` hands it each text; all other tests assert states, settings and links. After a
change of wording, ``make texts`` writes the file anew: read the difference as a user would.
"""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.tree import ROOT

FILE: Final = ROOT / "tests/texts.yaml"


class Snapshot:
    """All texts by test file and test; with ``update``, what tests hand over is what is right."""

    def __init__(self, *, update: bool) -> None:
        self.update = update
        self.texts: dict[str, dict[str, list[str]]] = yaml.safe_load(FILE.read_text()) if FILE.exists() else {}
        self._seen: dict[str, dict[str, list[str]]] = {}

    def seen(self, file: str, test: str, texts: list[str]) -> None:
        """Take the texts of a test that passed."""
        self._seen.setdefault(file, {})[test] = texts

    def write(self) -> None:
        """Write the file, with what was seen in place of what it had of the same test files."""
        if self.update and self._seen:
            FILE.write_text(yaml.dump(self.texts | self._seen, Dumper=_Dumper, width=110, allow_unicode=True))


class Texts:
    """The texts of one test, compared in the order in which it hands them over."""

    def __init__(self, snapshot: Snapshot, file: str, test: str, folder: Path | None) -> None:
        self._snapshot = snapshot
        self._known = snapshot.texts.get(file, {}).get(test, [])
        self._folder = folder
        self.shown: list[str] = []

    def check(self, text: object) -> None:
        """Fail unless the text is the one in the file; paths of the tree and of the test's folder are left out."""
        shown = str(text).replace(str(ROOT), "ROOT")
        if self._folder:
            shown = shown.replace(str(self._folder), "FOLDER")
        shown = re.sub(r" at 0x[0-9a-f]+", "", shown)
        place = len(self.shown)
        self.shown.append(shown)
        if not self._snapshot.update:
            known = self._known[place] if place < len(self._known) else None
            assert shown == known, 'not as in tests/texts.yaml; "make texts" writes it anew'


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
