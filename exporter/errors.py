"""The exceptions that this package raises on purpose.

ExporterError
├── SettingError       a setting is invalid                                  exit code 2
├── LedgerError        the ledger cannot be used, now or at all              exit code 3
│   └── LedgerBusy     another process uses the ledger
├── ListenError        an address cannot be listened on                      exit code 4
└── Refusal            a request is not counted; see refusals.py
"""


class ExporterError(Exception):
    """Base of all exceptions of this package; its text is one line that a user can act on."""

    exit_code: int = 1


class SettingError(ExporterError):
    """A setting is invalid; the text names the setting, its value and what was expected."""

    exit_code = 2


class LedgerError(ExporterError):
    """The ledger is damaged, not writable, newer than this version, or currently unreachable."""

    exit_code = 3


class LedgerBusy(LedgerError):
    """Another process uses the ledger."""


class ListenError(ExporterError):
    """An address cannot be listened on."""

    exit_code = 4


class LogFileError(ExporterError):
    """The rest of a log file of SMTPeter cannot be read: ``where`` is the position, and ``why`` the reason."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why
