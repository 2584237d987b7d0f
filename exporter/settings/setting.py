"""One setting of ``serve``: a row of the table in ``table.py``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

ENVIRONMENT_PREFIX: Final = "SMTPETER_EXPORTER_"


@dataclass(frozen=True)
class Setting:
    """A row of the table. ``parse`` raises ValueError if the text is not what is ``expected``."""

    name: str
    metavar: str
    """Placeholder of the value in the output of ``--help``."""
    default: str
    expected: str
    help: str
    parse: Callable[[str], Any]
    repeatable: bool = False
    """Whether the flag may be repeated; the text then contains the values, with the separator between them."""
    separator: str = ","
    redact: Callable[[str], str] = str
    """Removes secrets from the text, for messages."""

    @property
    def description(self) -> str:
        """The help, what is expected, and whether the flag may be repeated, as sentences."""
        expected = f" Expected: {self.expected}." if self.expected != self.metavar else ""
        return f"{self.help}{expected}{' May be repeated.' if self.repeatable else ''}"

    @property
    def section(self) -> str:
        """Name of the group of settings to which it belongs."""
        prefix = self.name.partition(".")[0]
        return "classification" if prefix in {"providers", "reasons", "tags"} else prefix

    @property
    def field(self) -> str:
        """Name of the field in Settings."""
        return re.sub(r"[.-]", "_", self.name)

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.field.upper()
