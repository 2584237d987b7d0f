"""Everything that this package raises on purpose.

ExporterError
├── SettingError       a setting is wrong                                    exit code 2
├── LedgerError        the ledger can't be used, now or at all               exit code 3
│   └── LedgerBusy     another process has the ledger
├── ListenError        an address can't be listened on                       exit code 4
└── Refusal            a request is not counted; see refusals.py
"""


class ExporterError(Exception):
    """Base of all errors of this package; its text is one line that a user can act on."""

    exit_code: int = 1


class SettingError(ExporterError):
    """A setting has a value that can't be used; the text names setting, value and what was expected."""

    exit_code = 2


class LedgerError(ExporterError):
    """The ledger is damaged, unwritable, newer than this version, or out of reach at the moment."""

    exit_code = 3


class LedgerBusy(LedgerError):
    """Another process holds the ledger."""


class ListenError(ExporterError):
    """A listen address can't be bound."""

    exit_code = 4
