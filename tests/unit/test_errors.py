"""The exceptions of the package, and the exit codes that users see."""

import pytest

from exporter.errors import ExporterError, LedgerBusy, LedgerError, ListenError, LogFileError, SettingError
from exporter.refusals import Refusal


@pytest.mark.parametrize(
    ("kind", "code"), [(ExporterError, 1), (SettingError, 2), (LedgerError, 3), (LedgerBusy, 3), (ListenError, 4)]
)
def test_each_kind_of_error_has_its_exit_code(kind: type[ExporterError], code: int) -> None:
    """Scripts and systemd units rely on these exit codes."""
    assert kind("text").exit_code == code


def test_all_errors_can_be_caught_together() -> None:
    """ExporterError is the base of all others, and a busy ledger is an error of the ledger."""
    kinds = (SettingError, LedgerError, LedgerBusy, ListenError, LogFileError, Refusal)
    assert [kind for kind in kinds if not issubclass(kind, ExporterError)] == []
    assert issubclass(LedgerBusy, LedgerError)


def test_an_error_of_a_log_file_has_a_position() -> None:
    """The text begins with it; the exit code is that of other errors."""
    error = LogFileError("line 3", "why")
    assert (str(error), error.where, error.why, error.exit_code) == ("line 3: why", "line 3", "why", 1)
