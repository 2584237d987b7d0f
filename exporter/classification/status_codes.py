"""The known enhanced status codes and their meanings in plain words.

Source of ``REGISTRY``: IANA, "Simple Mail Transfer Protocol (SMTP) Enhanced Status Codes Registry", table
"Enumerated Status Codes" (https://www.iana.org/assignments/smtp-enhanced-status-codes/), up to X.7.30. RFC 5248 defines
the registry, which covers RFC 3463, 3886, 4468, 4954, 6531, 6710, 7293, 7372, 7505, 8617 and 8689. A registered code is
valid in any class (2, 4 or 5), so the keys are only subject and detail.

Source of ``VENDOR_MEANINGS``: the pages named above each block. The wording of both tables is this project's own.
"""

from collections.abc import Mapping
from typing import Final

SUBJECTS: Final[Mapping[str, str]] = {
    "0": "Unspecified",
    "1": "Address, detail unknown",
    "2": "Recipient's mailbox, detail unknown",
    "3": "Receiving system, detail unknown",
    "4": "Network or routing, detail unknown",
    "5": "SMTP conversation, detail unknown",
    "6": "Message's content or format, detail unknown",
    "7": "Security or policy, detail unknown",
}
"""Meanings of the second field of a code (RFC 3463 section 3)."""

REGISTRY: Final[Mapping[str, str]] = {
    "0.0": "No detail given",  # also the code of servers that know no better one, so it is frequent
    # Addressing
    "1.0": "Problem with an address, no detail given",
    "1.1": "No such mailbox at that domain",
    "1.2": "Recipient's domain does not exist or accepts no mail",
    "1.3": "Recipient's address is malformed",
    "1.4": "Recipient's address matches more than one mailbox",
    "1.5": "Recipient's address is valid",  # only useful as 2.1.5, a success
    "1.6": "Mailbox has moved, no forwarding address",
    "1.7": "Sender's address is malformed",
    "1.8": "Sender's domain does not exist or accepts no mail",
    "1.9": "Relayed to a system that sends no reports",  # RFC 3886
    "1.10": "Recipient's domain accepts no mail (null MX)",  # RFC 7505
    # Mailbox
    "2.0": "Problem with the mailbox, no detail given",
    "2.1": "Mailbox is disabled",
    "2.2": "Mailbox is full",
    "2.3": "Message is larger than this mailbox allows",
    "2.4": "Mailing list could not be expanded",
    # Mail system
    "3.0": "Problem with the receiving system, no detail given",
    "3.1": "Receiving system is out of storage",
    "3.2": "Receiving system accepts no mail right now",
    "3.3": "Receiving system lacks a feature the message needs",
    "3.4": "Message is larger than the receiving system allows",
    "3.5": "Receiving system is misconfigured",
    "3.6": "Accepted with another priority than requested",  # RFC 6710; a success
    # Network and routing
    "4.0": "Network or routing problem, no detail given",
    "4.1": "Receiving host does not answer",
    "4.2": "Connection was lost",
    "4.3": "DNS or another directory failed",
    "4.4": "No route to the recipient's domain",
    "4.5": "Mail system is congested, try later",
    "4.6": "Mail loop: too many hops",
    "4.7": "Gave up: not delivered in time",
    # SMTP dialogue
    "5.0": "SMTP problem, no detail given",
    "5.1": "Command unknown or out of order",
    "5.2": "Command could not be parsed",
    "5.3": "Too many recipients in one message",
    "5.4": "Command has wrong arguments",
    "5.5": "Protocol versions do not match",
    "5.6": "Authentication line is too long",  # RFC 4954
    # Content
    "6.0": "Problem with the content, no detail given",
    "6.1": "Content type not supported",
    "6.2": "Content needs conversion, which is not allowed",
    "6.3": "Content needs conversion, which is not supported",
    "6.4": "Content was converted with loss",  # 2.6.4 is a success
    "6.5": "Conversion of the content failed",
    "6.6": "Content could not be fetched from another server",  # RFC 4468, BURL
    "6.7": "Non-ASCII characters in an address are not allowed",  # RFC 6531
    "6.8": "Reply needs UTF-8, which our side does not allow",  # RFC 6531
    "6.9": "UTF-8 headers cannot be delivered to the recipient",  # RFC 6531
    "6.10": "Reply needs UTF-8 (withdrawn code, see 6.8)",  # deprecated: registered twice by mistake
    # Security and policy
    "7.0": "Security or policy, no detail given",
    "7.1": "Rejected by policy",  # a catch-all for relaying, spam and block lists: the text says more
    "7.2": "Not allowed to post to that mailing list",
    "7.3": "Secure formats cannot be converted",
    "7.4": "Security feature not supported",
    "7.5": "Cryptography failed: key missing or wrong",
    "7.6": "Cryptographic algorithm not supported",
    "7.7": "Message was altered in transit",
    "7.8": "Login rejected: wrong credentials",  # RFC 4954; in RFC 4468 the code of what is now 7.14
    "7.9": "Login method is too weak",  # RFC 4954
    "7.10": "Login method requires encryption",  # RFC 5248
    "7.11": "Login method is only allowed over TLS",  # RFC 4954, which deprecates it
    "7.12": "User must change to a new login method",  # RFC 4954
    "7.13": "User's account is disabled",  # RFC 5248
    "7.14": "Trust relationship between servers is required",  # RFC 5248
    "7.15": "Priority is too low to be accepted now",  # RFC 6710
    "7.16": "Message is too large for its priority",  # RFC 6710
    "7.17": "Mailbox has a new owner",  # RFC 7293
    "7.18": "Domain has a new owner",  # RFC 7293
    "7.19": "Change of owner cannot be checked",  # RFC 7293
    "7.20": "No valid DKIM signature",  # RFC 7372, up to 7.26
    "7.21": "DKIM is valid, but no signature is acceptable",
    "7.22": "DKIM is valid, but not for the From domain",
    "7.23": "SPF failed",
    "7.24": "SPF could not be evaluated",
    "7.25": "Reverse DNS of our IP address is missing or wrong",
    "7.26": "Several authentication checks failed",
    "7.27": "Sender's domain accepts no mail (null MX)",  # RFC 7505
    "7.28": "Too much mail at once",
    "7.29": "ARC check failed",  # RFC 8617
    "7.30": "Next server cannot guarantee TLS (REQUIRETLS)",  # RFC 8689
}

VENDOR_MEANINGS: Final[Mapping[str, str]] = {
    # Google: "Gmail SMTP errors and codes" (https://support.google.com/a/answer/3726730), and for 4.7.23 and 4.7.31 its
    # "Email sender guidelines FAQ". 5.7.31 is on neither page.
    "4.7.31": "Sender's domain has no DMARC policy",
    "4.7.32": "From domain matches neither SPF nor DKIM",
    "5.7.32": "From domain matches neither SPF nor DKIM",
    "4.7.40": "Sender's domain has no usable DMARC record",  # the newer code for 4.7.31
    "5.7.40": "Sender's domain has no usable DMARC record",
    # Google, for codes that are registered with another meaning. Both meanings are given, the likelier one first.
    "4.7.23": "Reverse DNS wrong (Gmail); elsewhere SPF failed",
    "4.7.27": "SPF failed (Gmail); elsewhere sender has null MX",
    "5.7.27": "SPF failed (Gmail); elsewhere sender has null MX",
    "4.7.29": "Sent without TLS (Gmail); elsewhere ARC failed",
    "5.7.29": "Sent without TLS (Gmail); elsewhere ARC failed",
    "4.7.30": "DKIM failed (Gmail); elsewhere REQUIRETLS",
    "5.7.30": "DKIM failed (Gmail); elsewhere REQUIRETLS",
    # Microsoft 365 and Outlook.com: "Email non-delivery reports and SMTP errors in Exchange Online"
    # (https://learn.microsoft.com/exchange/troubleshoot/email-delivery/ndr/non-delivery-reports-in-exchange-online)
    # and the pages it links to. Codes that it only sends to its own customers are included: if such a customer forwards
    # a message, the bounce arrives here.
    "5.0.350": "Rejected by the recipient's side, no detail given",
    "5.1.20": "Several From addresses without a Sender",
    "5.1.90": "Daily recipient limit reached",
    "5.2.121": "Too many messages per hour from us to this recipient",
    "5.2.122": "Recipient gets too many messages per hour",
    "5.3.190": "Journal mail, but archiving is not enabled there",
    "5.4.14": "Mail loop at Microsoft: too many hops",
    "5.4.300": "Gave up: next server never accepted the message",
    "5.6.11": "Bare line feeds in the message",
    "5.7.57": "Device or application did not log in",
    "5.7.64": "Connector does not match the sending server",
    "5.7.124": "Not on the group's list of allowed senders",
    "5.7.133": "Group accepts no mail from outside",
    "5.7.134": "Mailbox accepts no mail from outside",
    "5.7.135": "Public folder accepts no mail from outside",
    "5.7.136": "Mail user accepts no mail from outside",
    "5.7.193": "Microsoft 365 group accepts no mail from outside",
    "5.7.367": "Forwarded, but the next server does not relay",
    "5.7.501": "Sending account banned: spam detected",
    "5.7.502": "Sender banned",
    "5.7.503": "Sender banned",  # Microsoft documents 502 and 503 with the same words
    "5.7.504": "Recipient's address rejected",
    "5.7.505": "Recipient banned",
    "5.7.506": "HELO with the receiver's own name",
    "5.7.507": "Our IP address is blocked by the recipient's company",
    "5.7.508": "Our IPv6 range sent too much too fast",
    "5.7.509": "DMARC failed and its policy says reject",
    "5.7.510": "Recipient accepts no mail over IPv6",
    "5.7.511": "Our IP address is banned, ask for delisting",
    "5.7.512": "No valid From address in the message",
    "5.7.513": "Our IP address is on the recipient's block list",
    "5.7.515": "Bulk sender without SPF, DKIM and DMARC",  # Outlook.com's consumer domains, since May 2025
    "5.7.520": "Recipient forwards outside, which is forbidden there",
    "5.7.703": "Recipient blocked by the sender's own company",
    "5.7.705": "Sending company sent too much spam",
    "5.7.708": "Mail from this low-reputation IP address rejected",
    "5.7.750": "Sending domain is not registered with Microsoft",
    # Microsoft documents these 44 codes as one range.
    **{f"5.7.{detail}": "Our IP address is banned, use the delist portal" for detail in range(606, 650)},
    # Throttling. Microsoft documents 4.7.500-4.7.699 and 4.7.850-4.7.899 as ranges. As label values, these 250 codes
    # could use up the limit on label sets, so only those documented by name or seen in answers are listed. The others
    # become 4.7.x.
    "4.7.500": "Server busy: throttled, slow down",
    "4.7.550": "Suspicious traffic from our IP address, try later",
    "4.7.650": "Throttled: reputation of our IP address",  # 650-652: seen in Outlook.com's answers
    "4.7.651": "Throttled: reputation of our IP address",
    "4.7.652": "Throttled: too many connections",
    # Microsoft when DNS, TCP or TLS to the next server fails: 4.x.x while it retries, 5.x.x in the bounce. Also "Mail
    # flow intelligence" (https://learn.microsoft.com/exchange/mail-flow-best-practices/mail-flow-intelligence).
    "4.4.8": "Next MX host is not in the domain's MTA-STS policy",  # 4.8 is not registered
    "5.4.8": "Next MX host is not in the domain's MTA-STS policy",
    "4.4.312": "DNS query for the next server failed",
    "5.4.312": "DNS query for the next server failed",
    "4.4.315": "Connection to the next server timed out",
    "4.4.316": "Next server refused the connection",
    "5.4.316": "Next server refused the connection",
    "4.4.317": "Connection or TLS to the next server failed",
    "5.4.317": "Connection or TLS to the next server failed",
    "4.4.318": "Next server closed the connection",
    "5.4.318": "Next server closed the connection",
    "4.7.320": "Next server's certificate is not valid",
    "4.7.321": "Next server offers no TLS (DANE)",
    "5.7.321": "Next server offers no TLS (DANE)",
    "4.7.322": "Next server's certificate has expired (DANE)",
    "5.7.322": "Next server's certificate has expired (DANE)",
    "4.7.323": "Next server's certificate fails its TLSA record (DANE)",
    "5.7.323": "Next server's certificate fails its TLSA record (DANE)",
    "4.7.324": "Next domain's DNSSEC is broken",
    "5.7.324": "Next domain's DNSSEC is broken",
    "4.7.325": "Next server's certificate has another name (DANE)",
    "5.7.325": "Next server's certificate has another name (DANE)",
    "5.1.351": "Next server does not know the recipient",  # undocumented, but seen in bounces
    # Microsoft, for codes that are registered with another meaning. Both meanings are given, the likelier one first.
    "5.1.10": "No such recipient (Microsoft); elsewhere null MX",
    "5.4.1": "No such recipient (Microsoft); elsewhere no answer",  # 4.4.1 keeps its registered meaning
    "5.7.12": "Internal only (Microsoft); elsewhere login must change",
    "5.7.13": "Internal folder (Microsoft); elsewhere user disabled",
}

# Meanings of the first field (RFC 3463 section 2), for codes that were folded to "5.x.x".
_CLASSES: Final[Mapping[str, str]] = {
    "2": "Success, details unknown",
    "4": "Temporary failure, details unknown",
    "5": "Permanent failure, details unknown",
}

# Labels that the exporter uses if there is no known code.
_WORDS: Final[Mapping[str, str]] = {
    "none": "The report has no enhanced status code",
    "invalid": "The report's enhanced status code is malformed",
    "other": "Counted together, past the limit on label sets",
}


def is_known(extended: str) -> bool:
    """Return whether a well-formed code such as "5.1.1" is registered or documented by a vendor."""
    return extended in VENDOR_MEANINGS or extended[2:] in REGISTRY


def meaning(extended: str) -> str:
    """Return the meaning of any value of the label ``extended``.

    A vendor's meaning takes precedence over the registered one. Folded ("5.7.x") and unknown codes have the meaning of
    their subject, or of their class if the subject is unknown too ("5.x.x"). Any other text is an invalid code.
    """
    known = _WORDS.get(extended) or VENDOR_MEANINGS.get(extended) or REGISTRY.get(extended[2:])
    if known:
        return known
    first, _, rest = extended.partition(".")
    subject, _, _ = rest.partition(".")
    if first not in _CLASSES:
        return _WORDS["invalid"]
    return SUBJECTS.get(subject, _CLASSES[first])
