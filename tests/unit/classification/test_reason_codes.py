"""The tables of codes: each documented code has the reason that is written here by hand."""

import pytest

from exporter.classification import reason_codes
from exporter.classification.labels import STATES
from exporter.classification.reason import REASONS, UNCLASSIFIED
from exporter.classification.status_codes import REGISTRY, VENDOR_MEANINGS
from tests.support.decisions import decide

# All registered codes by reason, in any class.
REGISTERED = {
    "recipient_unknown": "1.0 1.1 1.3 1.4 1.6 7.17",
    "mailbox_unavailable": "2.0 2.1 2.4 7.13",
    "mailbox_full": "2.2",
    "message_too_large": "2.3 3.4 7.16",
    "domain_invalid": "1.2 1.10 7.18",
    "routing": "4.0 4.3 4.4 4.6",
    "connection": "4.1 4.2",
    "expired": "4.7",
    "remote_system": "3.0 3.1 3.2 3.3 3.5 3.6 4.5 1.9",
    "rate_limited": "5.3 7.28",
    "sender_rejected": "1.7 1.8",
    "authentication": "7.20 7.21 7.22 7.23 7.24 7.25 7.26 7.27 7.29 7.30",
    "policy": "7.0 7.1 7.2 7.14 7.15 7.19",
    "security": "7.3 7.4 7.5 7.6 7.7 7.8 7.9 7.10 7.11 7.12",
    "content": "6.0 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9 6.10",
    "protocol": "5.0 5.1 5.2 5.4 5.5 5.6",
    UNCLASSIFIED: "0.0 1.5",
}
# Microsoft uses 5.7.12 in another meaning; 4.7.12 has the registered one.
EXCEPTIONS = {"5.7.12": "policy"}

# All codes documented by vendors, by reason.
VENDORS = {
    "authentication": """
        4.7.23 4.7.27 5.7.27 4.7.29 5.7.29 4.7.30 5.7.30 4.7.31 4.7.32 5.7.32 4.7.40 5.7.40 5.7.509 5.7.515
    """,
    "blocked": "4.7.650 4.7.651 5.7.501 5.7.507 5.7.511 5.7.513 5.7.705 5.7.708 "
    + " ".join(f"5.7.{detail}" for detail in range(606, 650)),
    "connection": "4.4.315 4.4.316 4.4.317 4.4.318 5.4.316 5.4.317 5.4.318 5.4.1",
    "content": "5.6.11",
    "domain_invalid": "5.1.10",
    "expired": "5.4.300",
    "mailbox_unavailable": "5.7.13",
    "policy": """
        5.7.12 5.7.64 5.7.124 5.7.133 5.7.134 5.7.135 5.7.136 5.7.193 5.7.367 5.7.510 5.7.520 5.7.703
    """,
    "protocol": "5.7.506",
    "rate_limited": "5.1.90 5.2.121 5.2.122 4.7.500 4.7.550 4.7.652 5.7.508",
    "recipient_unknown": "5.1.351 5.7.504 5.7.505",
    "remote_system": "5.3.190",
    "routing": "5.4.14 4.4.8 5.4.8 4.4.312 5.4.312",
    "security": "5.7.57 4.7.320 4.7.321 5.7.321 4.7.322 5.7.322 4.7.323 5.7.323 4.7.324 5.7.324 4.7.325 5.7.325",
    "sender_rejected": "5.1.20 5.7.502 5.7.503 5.7.512 5.7.750",
    UNCLASSIFIED: "5.0.350",
}


def test_tables_use_known_reasons() -> None:
    """Each reason in a table is in the vocabulary."""
    used = {
        *reason_codes.SETTLED.values(),
        *reason_codes.STATES.values(),
        *reason_codes.VENDOR_REASONS.values(),
        *reason_codes.OVERRIDES.values(),
        *reason_codes.EXTENDED.values(),
        *reason_codes.CODE_AND_STATE.values(),
        *reason_codes.CODES.values(),
        *(reason for reasons in reason_codes.MISUSED.values() for reason in reasons),
    }
    assert used <= set(REASONS)


def test_tables_use_known_states() -> None:
    """Each state in a table is one that SMTPeter can send."""
    states = {*reason_codes.SETTLED, *reason_codes.STATES}
    states |= {state for _, _, state in reason_codes.OVERRIDES} | {state for _, state in reason_codes.CODE_AND_STATE}
    assert states <= STATES


@pytest.mark.parametrize("class_", ["4", "5"])
def test_each_registered_code_has_its_reason(class_: str) -> None:
    """Each registered code, temporary or permanent, has the reason that is written above."""
    wanted = {f"{class_}.{row}": reason for reason, rows in REGISTERED.items() for row in rows.split()}
    wanted |= {extended: reason for extended, reason in EXCEPTIONS.items() if extended in wanted}

    assert set(wanted) == {f"{class_}.{row}" for row in REGISTRY}
    assert {extended: decide(extended=extended).reason for extended in wanted} == wanted
    assert set(reason_codes.EXTENDED) - set(REGISTRY) == {"4.8", "7.31", "7.32", "7.40"}  # Microsoft's and Gmail's


def test_each_vendor_code_has_its_reason() -> None:
    """Each code documented by a vendor has the reason that is written above."""
    wanted = {extended: reason for reason, row in VENDORS.items() for extended in row.split()}

    assert set(wanted) == set(VENDOR_MEANINGS)
    assert {extended: decide(extended=extended).reason for extended in wanted} == wanted


@pytest.mark.parametrize("code", ["550", "554"])
def test_the_smtp_code_does_not_change_registered_codes(code: str) -> None:
    """A registered code without a vendor's meaning has the same reason with any SMTP code."""
    wanted = {row: decide(state="bounce", extended=f"4.{row}").reason for row in REGISTRY if row not in {"0.0", "1.5"}}

    assert {row: decide("bounce", code, f"4.{row}").reason for row in wanted} == wanted
