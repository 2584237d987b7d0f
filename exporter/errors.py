"""The exceptions that this package raises on purpose.

ExporterError
├── SettingError       a setting is invalid                                  exit code 2
├── LedgerError        the ledger cannot be used, now or at all              exit code 3
│   ├── LedgerBusy     another process uses the ledger
│   └── LedgerFull     the disk is full
├── ListenError        an address cannot be listened on                      exit code 4
├── NoStatusPage       an exporter does not answer with its status page      exit code 5
└── Refusal            a request is not counted; see refusals.py
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class ExporterError(Exception):
    """Base of all exceptions of this package; its text is one line that a user can act on, or a line for each error."""

    exit_code: int = 1


class SettingError(ExporterError):
    """A setting is invalid; the text names the setting, its value and what was expected."""

    exit_code = 2


class LedgerError(ExporterError):
    """The ledger is damaged, not writable, newer than this version, or currently unreachable."""

    exit_code = 3


class LedgerBusy(LedgerError):
    """Another process uses the ledger."""


class LedgerFull(LedgerError):
    """The disk is full, or a quota of it."""


class ListenError(ExporterError):
    """An address cannot be listened on."""

    exit_code = 4


class NoStatusPage(ExporterError):
    """The status page of an exporter cannot be read."""

    exit_code = 5


class LogFileError(ExporterError):
    """The rest of a log file of SMTPeter cannot be read: ``where`` is the position, and ``why`` the reason."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


@dataclass
class Findings:
    """What is found in a check that does not end at the first error.

    ``invalid`` has the names of the settings without a usable value; what depends on them cannot be checked. ``notes``
    are lines about things that are no errors.
    """

    errors: list[ExporterError] = field(default_factory=list)
    invalid: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def collecting(self, *settings: str) -> Iterator[None]:
        """Collect an error of the block, which makes these settings invalid."""
        try:
            yield
        except ExporterError as error:
            self.errors.append(error)
            self.invalid.update(settings)

    def raise_errors(self) -> None:
        """Raise one exception with all errors, if there are any. It is of the type of the first."""
        if self.errors:
            raise type(self.errors[0])("\n".join(map(str, self.errors)))
