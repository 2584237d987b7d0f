"""Messages as servers and people return them, in files ``NAME.eml``; ``expected.toml`` has what each is.

``EXAMPLES`` has the messages by name, ``EXPECTED`` the kind and the acceptable reasons, the best one first. The names
of those in ``returned_unseen/`` begin with ``unseen/``: another author wrote them, and the code was not fitted to them.
"""

import tomllib
from pathlib import PurePath
from typing import Final

from tests.support.tree import ROOT, files

_DIRECTORIES: Final = {"": "tests/support/returned", "unseen/": "tests/support/returned_unseen"}

EXAMPLES: Final = {
    prefix + PurePath(name).stem: (ROOT / name).read_bytes()
    for prefix, directory in _DIRECTORIES.items()
    for name in files(directory)
    if name.endswith(".eml")
}
EXPECTED: Final[dict[str, tuple[str, list[str]]]] = {
    prefix + name: (each["kind"], each["accept"])
    for prefix, directory in _DIRECTORIES.items()
    for name, each in tomllib.loads((ROOT / directory / "expected.toml").read_text("utf-8")).items()
}
