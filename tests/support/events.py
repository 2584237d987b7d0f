"""Events of all loops, as the variables that SMTPeter sends."""

from typing import Final

from exporter.classification.loops import LOOPS
from tests.support.running import failure

ALL_LOOPS: Final = ("--webhook.loops", ",".join(LOOPS))
"""The flags of an exporter that serves all loops."""
DSN: Final = """\
From: MAILER-DAEMON@mx.example.org
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

The mail system could not deliver your message.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; jane.doe{number}@example.org
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b--
"""
COMPLAINT: Final = """\
From: fbl@example.org
Subject: FW: May
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Example/1.0
Version: 1
Original-Rcpt-To: <jane.doe{number}@ziggo.nl>

--b--
"""


def event(loop: str, number: int, **fields: str) -> dict[str, str]:
    """Return the variables of an event of a loop. Each number gives a different event."""
    recipient = f"jane.doe{number}@example.org"
    events = {
        "failures": failure(number),
        "deliveries": {"id": f"m{number}", "recipient": recipient, "type": "delivery", "code": "250"},
        "bounces": {
            "id": f"m{number}",
            "recipient": recipient,
            "type": "bounce",
            "envelope": f"bounce+{number}@mail.example.com",
            "mime": DSN.replace("{number}", str(number)),
        },
        "abuses": {
            "id": f"m{number}",
            "type": "abuse",
            "emailfrom": "fbl@example.org",
            "mime": COMPLAINT.replace("{number}", str(number)),
        },
    }
    return events[loop] | fields


SERIES: Final = {
    "failures": "smtpeter_failures_total",
    "deliveries": "smtpeter_deliveries_total",
    "bounces": "smtpeter_bounces_total",
    "abuses": "smtpeter_complaints_total",
}
"""The main counter of each loop. Its sum is the number of events."""


def totals(samples: dict[str, float]) -> dict[str, float]:
    """Return the number of counted events by loop."""
    return {
        loop: sum(value for name, value in samples.items() if name.partition("{")[0] == series)
        for loop, series in SERIES.items()
    }
