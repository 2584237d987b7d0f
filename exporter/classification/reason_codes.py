"""Tables from codes and states to reasons. Data only; ``reason`` defines the order in which they are used.

Enhanced codes are keyed by subject and detail ("1.1"), because the first digit rarely changes the reason, or by the
whole code ("5.4.1") where it does. ``status_codes`` has their meanings and the sources.
"""

from collections.abc import Mapping
from typing import Final

# States in which the message has not left the sending platform, or that can only mean one thing. Codes that come with
# them are ignored.
SETTLED: Final[Mapping[str, str]] = {
    **dict.fromkeys("amqp storage responsive personalize rewrite bind".split(), "platform"),
    "suppression": "suppressed",
    # Servers also answer STARTTLS and AUTH with unspecific codes such as 4.7.0 and 5.7.1.
    **dict.fromkeys(
        "starttls authplain authlogin authusername authpassword authcram authresponse".split(),
        "security",
    ),
}

# States that decide if no code does.
STATES: Final[Mapping[str, str]] = {
    "dns": "domain_invalid",
    **dict.fromkeys("connect intro handshake ehlo helo".split(), "connection"),
    "process": "expired",  # MailerQ gave up; only if the report has no code
}

# Whole enhanced codes that a vendor uses in its own meaning, or that are not registered.
VENDOR_REASONS: Final[Mapping[str, str]] = {
    # Google. The registered meanings of 7.27, 7.29 and 7.30 differ.
    **dict.fromkeys("4.7.23 4.7.27 5.7.27 4.7.30 5.7.30".split(), "authentication"),
    **dict.fromkeys("4.7.29 5.7.29".split(), "authentication"),  # Gmail requires TLS, as it requires SPF and DKIM
    **dict.fromkeys("4.7.31 4.7.32 5.7.32 4.7.40 5.7.40".split(), "authentication"),
    # Microsoft
    "5.1.20": "sender_rejected",
    "5.1.90": "rate_limited",
    "5.1.351": "recipient_unknown",
    "5.2.121": "rate_limited",
    "5.2.122": "rate_limited",
    "5.3.190": "remote_system",
    "5.4.14": "routing",
    "5.4.300": "expired",
    "4.4.312": "routing",  # DNS did not answer; 5.4.310 means that the domain does not exist
    "5.4.312": "routing",
    **dict.fromkeys("4.4.315 4.4.316 4.4.317 4.4.318 5.4.316 5.4.317 5.4.318".split(), "connection"),
    "5.6.11": "content",
    "5.7.12": "policy",  # accepts mail from its own company only; the registered meaning is about login
    **dict.fromkeys("5.7.57 5.7.139".split(), "security"),
    **dict.fromkeys("5.7.64 5.7.124 5.7.133 5.7.134 5.7.135 5.7.136 5.7.193 5.7.367".split(), "policy"),
    **{f"{class_}.7.{detail}": "security" for class_ in "45" for detail in range(320, 326)},  # DANE and MTA-STS
    **dict.fromkeys("5.7.502 5.7.503 5.7.512 5.7.750".split(), "sender_rejected"),
    **dict.fromkeys("5.7.501 5.7.507 5.7.511 5.7.513 5.7.705 5.7.708".split(), "blocked"),
    **{f"5.7.{detail}": "blocked" for detail in range(606, 650)},
    **dict.fromkeys("5.7.504 5.7.505".split(), "recipient_unknown"),  # "Recipient address rejected: Access denied"
    "5.7.506": "protocol",  # HELO with the receiver's own name
    "5.7.508": "rate_limited",
    "5.7.509": "authentication",
    "5.7.510": "policy",
    "5.7.515": "authentication",
    "5.7.520": "policy",
    "5.7.703": "policy",
    **{f"4.7.{detail}": "rate_limited" for detail in (*range(500, 700), *range(850, 900))},
    # In the range above, but the text is "rate limited due to IP reputation": slowing down does not help.
    "4.7.650": "blocked",
    "4.7.651": "blocked",
}

# States of answers from a server that was reached, and that has accepted the sender.
REACHED: Final = ("rcptto", "data", "message")

# SMTP code, enhanced code and state together, for codes whose meaning depends on the command. "" is any SMTP code.
OVERRIDES: Final[Mapping[tuple[str, str, str], str]] = {
    # Exchange Online answers 5.4.1 if the recipient is not in its directory.
    **{("550", "5.4.1", state): "recipient_unknown" for state in ("rcptto", "data", "message", "bounce")},
    # Temporary and about the sender: Yahoo, Gmail and Apple use it to ask for a lower rate.
    **{(code, "4.7.0", state): "rate_limited" for code in ("421", "450") for state in ("mailfrom", "rcptto")},
    # Yahoo and AOL use 5.7.9 for messages. In its registered meaning (a weak login) the SMTP code is 534.
    **{("554", "5.7.9", state): "policy" for state in ("rcptto", "data", "message", "bounce")},
    # An answer to RCPT TO or to the message comes from a server that was reached: the problem lies behind it.
    **{("", f"{class_}.4.{detail}", state): "remote_system" for class_ in "45" for detail in "12" for state in REACHED},
    # In the answer to MAIL FROM, the address is the sender's.
    **{("", f"5.1.{detail}", "mailfrom"): "sender_rejected" for detail in range(4)},
    **{("", f"4.1.{detail}", "mailfrom"): "sender_rejected" for detail in range(4)},
    **{(code, "5.7.1", "mailfrom"): "sender_rejected" for code in ("550", "553")},
    # Before any address, only the client can be what is rejected.
    **{(code, "5.7.1", state): "blocked" for code in ("521", "550", "554") for state in ("connect", "intro")},
}

# All registered codes. Unlisted details of a subject have the reason of its X.0.
EXTENDED: Final[Mapping[str, str]] = {
    "0.0": "unclassified",  # also 5.0.350, in which Exchange Online wraps answers that it does not understand
    **dict.fromkeys("1.0 1.1 1.3 1.4 1.6".split(), "recipient_unknown"),
    "1.2": "domain_invalid",
    "1.5": "unclassified",  # "address is valid" does not explain a failure
    "1.7": "sender_rejected",
    "1.8": "sender_rejected",
    "1.9": "remote_system",
    "1.10": "domain_invalid",  # null MX; Exchange Online uses it for unknown recipients, which its text reveals
    **dict.fromkeys("2.0 2.1 2.4".split(), "mailbox_unavailable"),
    "2.2": "mailbox_full",
    "2.3": "message_too_large",
    **dict.fromkeys("3.0 3.1 3.2 3.3 3.5 3.6".split(), "remote_system"),
    "3.4": "message_too_large",
    **dict.fromkeys("4.0 4.3 4.4 4.6 4.8".split(), "routing"),  # 4.8 (Microsoft): MX not in the MTA-STS policy
    "4.1": "connection",
    "4.2": "connection",
    "4.5": "remote_system",
    "4.7": "expired",
    **dict.fromkeys("5.0 5.1 5.2 5.4 5.5 5.6".split(), "protocol"),
    "5.3": "rate_limited",  # too many recipients in one message
    **{f"6.{detail}": "content" for detail in range(11)},
    **dict.fromkeys("7.0 7.1 7.2 7.14 7.15 7.19".split(), "policy"),
    **{f"7.{detail}": "security" for detail in range(3, 13)},
    "7.13": "mailbox_unavailable",
    "7.16": "message_too_large",
    "7.17": "recipient_unknown",
    "7.18": "domain_invalid",
    # 7.27 and 7.29 onwards have Gmail's meaning, because most of these answers come from Gmail.
    **{f"7.{detail}": "authentication" for detail in (*range(20, 28), *range(29, 33), 40)},
    "7.28": "rate_limited",
}

# Reasons that are about the sender or its server, with words that hardly occur in any other answer.
_OF_SENDERS: Final = frozenset({"rate_limited", "blocked"})

# Specific enhanced codes that servers often misuse, and the reasons with which the text may replace theirs.
MISUSED: Final[Mapping[str, frozenset[str]]] = {
    "1.1": _OF_SENDERS | {"mailbox_full", "mailbox_unavailable"},  # some servers use it for anything at RCPT TO
    **dict.fromkeys("1.2 1.3 1.4 1.6".split(), _OF_SENDERS),
    "1.10": frozenset({"recipient_unknown"}),  # Exchange Online
    # Sendmail in Japan; Gmail; qmail; servers that answer 5.2.1 to a sender that they dislike
    "2.1": _OF_SENDERS | {"recipient_unknown", "mailbox_full", "policy", "content", "remote_system"},
    "4.1": frozenset({"recipient_unknown", "policy", "routing", "domain_invalid"}),
    "4.2": _OF_SENDERS | {"policy"},
    "4.3": frozenset({"domain_invalid"}),  # the text "no such host" means that DNS did answer
    "4.4": frozenset({"domain_invalid"}),  # Postfix uses it for a domain that does not exist
    "4.6": _OF_SENDERS,  # Zoho uses it for a limit
    "7.7": _OF_SENDERS | {"authentication", "content", "remote_system", "policy"},  # Zoho
    # 4.7.3 for a limit of the recipient's organization, 5.7.5 for DKIM
    **{
        f"7.{detail}": _OF_SENDERS | {"authentication", "content", "remote_system"}
        for detail in (*range(3, 7), *range(8, 13))
    },
}

# Reasons that the text can't mean, by the detail of a code in OVERRIDES.
UNLIKELY: Final[Mapping[str, frozenset[str]]] = {
    "4.1": frozenset({"connection"}),
    "7.1": frozenset({"policy"}),  # "Access denied" before RCPT TO is about the sender
}

# SMTP code and state, for reports without an enhanced code. Source of the meanings: RFC 5321 section 4.2.3.
CODE_AND_STATE: Final[Mapping[tuple[str, str], str]] = {
    **{(code, "rcptto"): "recipient_unknown" for code in ("550", "551", "553")},
    ("450", "rcptto"): "mailbox_unavailable",
    ("452", "rcptto"): "mailbox_full",
    ("552", "rcptto"): "mailbox_full",
    **{("552", state): "message_too_large" for state in ("mailfrom", "data", "message")},
    **{(code, "mailfrom"): "sender_rejected" for code in ("550", "551", "553")},
    # No mailbox has been named yet.
    **{("450", state): "remote_system" for state in ("connect", "intro", "ehlo", "helo", "mailfrom")},
    # Rejected instead of greeted.
    **{(code, state): "blocked" for code in ("550", "553", "554") for state in ("connect", "intro")},
    **{(code, state): "policy" for code in ("550", "554") for state in ("ehlo", "helo", "data", "message")},
    **{("554", state): "policy" for state in ("mailfrom", "rcptto")},
}

# SMTP code in any other state.
CODES: Final[Mapping[str, str]] = {
    "421": "connection",
    "450": "mailbox_unavailable",
    "451": "remote_system",
    "452": "remote_system",  # "insufficient system storage"
    **dict.fromkeys("500 501 502 503 504".split(), "protocol"),
    "521": "domain_invalid",  # RFC 7504: the host does not accept mail
    **dict.fromkeys("530 534 535 538".split(), "security"),  # RFC 4954
    "551": "recipient_unknown",
    "552": "mailbox_full",  # in bounces; the states above cover a message that is too large
    "556": "domain_invalid",  # RFC 7504
    # In no RFC, but in many vendors' lists of codes
    **dict.fromkeys("420 441 442".split(), "connection"),
    "422": "mailbox_full",
    **dict.fromkeys("431 432".split(), "remote_system"),
    **dict.fromkeys("446 449".split(), "routing"),
    "447": "expired",
    **dict.fromkeys("510 511 513 540".split(), "recipient_unknown"),
    "512": "domain_invalid",
    "523": "message_too_large",
    "541": "policy",
    **dict.fromkeys("455 555".split(), "protocol"),  # RFC 5321: parameters that are not recognized
    "571": "policy",  # in no RFC; some servers use it for 5.7.1
}
