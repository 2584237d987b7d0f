"""The exceptions of the package, and the exit codes that users see."""

import pytest

from exporter.errors import (
    ExporterError,
    Findings,
    LedgerBusy,
    LedgerError,
    ListenError,
    LogFileError,
    SettingError,
)
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


def fail(error: Exception) -> None:
    """Raise the error."""
    raise error


def test_findings_become_one_error() -> None:
    """All errors of the blocks are raised together, a line each, with the exit code of the first."""
    findings = Findings()
    findings.raise_errors()
    with findings.collecting("a", "b"):
        fail(LedgerError("first"))
    with findings.collecting("c"):
        findings.notes.append("a note")
    with findings.collecting():
        fail(SettingError("second"))
    assert (findings.invalid, findings.notes) == ({"a", "b"}, ["a note"])
    with pytest.raises(LedgerError) as caught:
        findings.raise_errors()
    assert (str(caught.value), caught.value.exit_code) == ("first\nsecond", 3)


def test_a_bug_is_no_finding() -> None:
    """Only errors of this package are collected."""
    findings = Findings()
    with pytest.raises(KeyError), findings.collecting():
        fail(KeyError())
    assert findings == Findings()
