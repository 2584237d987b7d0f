"""The exceptions of the package, and the exit codes that users see."""

import pytest

from exporter.errors import ExporterError, LedgerBusy, LedgerError, ListenError, SettingError
from exporter.refusals import Refusal


@pytest.mark.parametrize(
    ("kind", "code"), [(ExporterError, 1), (SettingError, 2), (LedgerError, 3), (LedgerBusy, 3), (ListenError, 4)]
)
def test_each_kind_of_error_has_its_exit_code(kind: type[ExporterError], code: int) -> None:
    """Scripts and systemd units rely on these exit codes."""
    assert kind("text").exit_code == code


def test_all_errors_can_be_caught_together() -> None:
    """ExporterError is the base of all others, and a busy ledger is an error of the ledger."""
    kinds = (SettingError, LedgerError, LedgerBusy, ListenError, Refusal)
    assert [kind for kind in kinds if not issubclass(kind, ExporterError)] == []
    assert issubclass(LedgerBusy, LedgerError)
