"""A report to what is recorded of it: the identity of the failure, and the series that it raises. Pure.

After this module nothing personal is left.
"""

from hashlib import blake2b
from typing import Final

from exporter.labels import fold_state
from exporter.report import Report

_PURPOSE: Final = b"smtpeter failure"


def identity_of(report: Report) -> bytes:
    """Sixteen bytes that are the same for two reports of the same failure, and practically never else.

    A failure is one message, one recipient (without case) and one answer. ``Date``, nonce and signature differ from
    call to call and the log files lack ``time``, so these are left out. No value holds NUL, so the
    joined text is unambiguous.
    """
    what = "\0".join((report.id, report.recipient.lower(), fold_state(report.state), report.code, report.extended))
    return blake2b(what.encode(), digest_size=16, person=_PURPOSE).digest()
