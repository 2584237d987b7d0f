"""Tell which enhanced status codes are known, and what each means in plain words.

Source of ``REGISTRY``: IANA, "Simple Mail Transfer Protocol (SMTP) Enhanced Status Codes Registry", table
"Enumerated Status Codes" (https://www.iana.org/assignments/smtp-enhanced-status-codes/), up to X.7.30. It was set up
by RFC 5248 and takes in RFC 3463, 3886, 4468, 4954, 6531, 6710, 7293, 7372, 7505, 8617 and 8689. The registry leaves
the class (2, 4 or 5) open, so its rows are keyed by subject and detail alone.

Source of ``VENDOR``: the pages named above each block. The wording is this project's own in both tables.
"""

from collections.abc import Mapping
from typing import Final

# RFC 3463 section 3: the second field.
SUBJECTS: Final[Mapping[str, str]] = {
    "0": "No subject given",
    "1": "Something about an address",
    "2": "Something about the recipient's mailbox",
    "3": "Something about the receiving mail system",
    "4": "Something about the network or routing",
    "5": "Something about the SMTP dialogue",
    "6": "Something about the message's content or format",
    "7": "Something about security or policy",
}

REGISTRY: Final[Mapping[str, str]] = {
    "0.0": "No detail given",  # also what a server says that knows no better: expect it often
    # Addressing
    "1.0": "Problem with an address, no detail given",
    "1.1": "No such mailbox at that domain",
    "1.2": "Recipient's domain does not exist or takes no mail",
    "1.3": "Recipient's address is malformed",
    "1.4": "Recipient's address matches more than one mailbox",
    "1.5": "Recipient's address is valid",  # the only row that is good news: 2.1.5
    "1.6": "Mailbox has moved, no forwarding address",
    "1.7": "Sender's address is malformed",
    "1.8": "Sender's domain does not exist or takes no mail",
    "1.9": "Passed on to a system that reports nothing back",  # RFC 3886
    "1.10": "Recipient's domain says it takes no mail (null MX)",  # RFC 7505
    # Mailbox
    "2.0": "Problem with the mailbox, no detail given",
    "2.1": "Mailbox is disabled",
    "2.2": "Mailbox is full",
    "2.3": "Message is larger than this mailbox allows",
    "2.4": "Mailing list could not be expanded",
    # Mail system
    "3.0": "Problem with the receiving system, no detail given",
    "3.1": "Receiving system is out of storage",
    "3.2": "Receiving system takes no mail right now",
    "3.3": "Receiving system lacks a feature the message needs",
    "3.4": "Message is larger than the receiving system allows",
    "3.5": "Receiving system is misconfigured",
    "3.6": "Accepted, but with another priority than asked for",  # RFC 6710; a success
    # Network and routing
    "4.0": "Network or routing problem, no detail given",
    "4.1": "Receiving host does not answer",
    "4.2": "Connection broke off",
    "4.3": "DNS or another directory failed",
    "4.4": "No route to the recipient's domain",
    "4.5": "Congested, try later",
    "4.6": "Mail loop: too many hops",
    "4.7": "Gave up: not delivered in time",
    # SMTP dialogue
    "5.0": "SMTP problem, no detail given",
    "5.1": "Command unknown or out of order",
    "5.2": "Command could not be parsed",
    "5.3": "Too many recipients in one go",
    "5.4": "Command has wrong arguments",
    "5.5": "Protocol versions do not match",
    "5.6": "Authentication line is too long",  # RFC 4954
    # Content
    "6.0": "Problem with the content, no detail given",
    "6.1": "Content type not supported",
    "6.2": "Content needs conversion, which is forbidden",
    "6.3": "Content needs conversion, which is not supported",
    "6.4": "Content was converted with loss",  # may come with a delivery: 2.6.4
    "6.5": "Conversion of the content failed",
    "6.6": "Content could not be fetched from another server",  # RFC 4468, BURL
    "6.7": "Address has non-ASCII characters, not allowed there",  # RFC 6531
    "6.8": "Reply would need UTF-8, which we did not allow",  # RFC 6531
    "6.9": "UTF-8 headers cannot be passed on",  # RFC 6531
    "6.10": "Reply would need UTF-8 (withdrawn code, see 6.8)",  # registered twice by mistake, deprecated
    # Security and policy
    "7.0": "Security or policy, no detail given",
    "7.1": "Refused by policy",  # the catch-all for relay, spam and block lists: read the reply's text
    "7.2": "Not allowed to post to that mailing list",
    "7.3": "Secure formats cannot be converted",
    "7.4": "Security feature not supported",
    "7.5": "Cryptography failed: key missing or wrong",
    "7.6": "Cryptographic algorithm not supported",
    "7.7": "Message was altered on its way",
    "7.8": "Login refused: wrong credentials",  # RFC 4954; RFC 4468 once used it for what is now 7.14
    "7.9": "Login method is too weak",  # RFC 4954
    "7.10": "Encryption needed for this login method",  # RFC 5248
    "7.11": "Login method only allowed over TLS",  # RFC 4954, kept there for history
    "7.12": "User must move to a new login method",  # RFC 4954
    "7.13": "User's account is disabled",  # RFC 5248
    "7.14": "Servers need to trust each other first",  # RFC 5248
    "7.15": "Priority too low to be taken now",  # RFC 6710
    "7.16": "Message too large for its priority",  # RFC 6710
    "7.17": "Mailbox has another owner now",  # RFC 7293
    "7.18": "Domain has another owner now",  # RFC 7293
    "7.19": "Cannot tell whether the owner changed",  # RFC 7293
    "7.20": "No DKIM signature passed",  # RFC 7372, up to 7.26
    "7.21": "DKIM passed, but no signature is acceptable",
    "7.22": "DKIM passed, but not for the From domain",
    "7.23": "SPF failed",
    "7.24": "SPF could not be evaluated",
    "7.25": "Reverse DNS of our IP address is missing or wrong",
    "7.26": "Several authentication checks failed",
    "7.27": "Sender's domain says it takes no mail (null MX)",  # RFC 7505
    "7.28": "Too much mail at once",
    "7.29": "ARC check failed",  # RFC 8617
    "7.30": "Next server cannot guarantee TLS (REQUIRETLS)",  # RFC 8689
}

VENDOR: Final[Mapping[str, str]] = {
    # Google: "Gmail SMTP errors and codes" (https://support.google.com/a/answer/3726730), and for 4.7.23 and 4.7.31 its
    # "Email sender guidelines FAQ". 5.7.31 is on neither page and left out.
    "4.7.31": "Sender's domain has no DMARC policy",
    "4.7.32": "From domain matches neither SPF nor DKIM",
    "5.7.32": "From domain matches neither SPF nor DKIM",
    "4.7.40": "Sender's domain has no usable DMARC record",  # the newer page's number for 4.7.31
    "5.7.40": "Sender's domain has no usable DMARC record",
    # Google again: codes the registry gives to something else. Both senses are shown, the likelier first.
    "4.7.23": "Reverse DNS wrong (Gmail); elsewhere SPF failed",
    "4.7.27": "SPF failed (Gmail); elsewhere sender has null MX",
    "5.7.27": "SPF failed (Gmail); elsewhere sender has null MX",
    "4.7.29": "Sent without TLS (Gmail); elsewhere ARC failed",
    "5.7.29": "Sent without TLS (Gmail); elsewhere ARC failed",
    "4.7.30": "DKIM failed (Gmail); elsewhere REQUIRETLS",
    "5.7.30": "DKIM failed (Gmail); elsewhere REQUIRETLS",
    # Microsoft 365 and Outlook.com: "Email non-delivery reports and SMTP errors in Exchange Online"
    # (https://learn.microsoft.com/exchange/troubleshoot/email-delivery/ndr/non-delivery-reports-in-exchange-online)
    # and the pages it links to. What only its own customers see when they send is here too: a recipient who forwards
    # lets it come back as a bounce.
    "5.0.350": "Refused by the recipient's side, no detail given",
    "5.1.20": "Several From addresses without a Sender",
    "5.1.90": "Daily recipient limit reached",
    "5.2.121": "Too many messages an hour from us to this recipient",
    "5.2.122": "Recipient gets too many messages an hour",
    "5.3.190": "Journal mail, but archiving is off there",
    "5.4.14": "Mail loop at Microsoft: too many hops",
    "5.4.300": "Gave up: next server never took the message",
    "5.6.11": "Bare line feeds in the message",
    "5.7.57": "Device or application did not log in",
    "5.7.64": "Connector does not match the sending server",
    "5.7.124": "Not on the group's list of allowed senders",
    "5.7.133": "Group takes no mail from outside",
    "5.7.134": "Mailbox takes no mail from outside",
    "5.7.135": "Public folder takes no mail from outside",
    "5.7.136": "Mail user takes no mail from outside",
    "5.7.193": "Microsoft 365 group takes no mail from outside",
    "5.7.367": "Forwarded on, next server refused to relay",
    "5.7.501": "Sending account banned: spam seen",
    "5.7.502": "Sender banned",
    "5.7.503": "Sender banned",  # Microsoft's own words for 502 and 503 are the same
    "5.7.504": "Recipient's address refused",
    "5.7.505": "Recipient banned",
    "5.7.506": "HELO with the receiver's own name",
    "5.7.507": "Our IP address is blocked by the recipient's company",
    "5.7.508": "Our IPv6 range sent too much too fast",
    "5.7.509": "DMARC failed and its policy says reject",
    "5.7.510": "Recipient takes no mail over IPv6",
    "5.7.511": "Our IP address is banned, ask for delisting",
    "5.7.512": "No valid From address in the message",
    "5.7.513": "Our IP address is on the recipient's block list",
    "5.7.515": "Bulk sender without SPF, DKIM and DMARC",  # Outlook.com's consumer domains, since May 2025
    "5.7.520": "Recipient forwards outside, which is forbidden there",
    "5.7.703": "Recipient blocked by the sender's own company",
    "5.7.705": "Sending company sent too much spam",
    "5.7.708": "Mail from this low-reputation IP address refused",
    "5.7.750": "Sending domain is not registered with Microsoft",
    # One banned-IP answer under 44 numbers; Microsoft writes it as a range.
    **{f"5.7.{detail}": "Our IP address is banned, use the delist portal" for detail in range(606, 650)},
    # Throttling. Microsoft reserves 4.7.500-4.7.699 and 4.7.850-4.7.899 as ranges of one meaning. As label values these
    # 250 would eat the limit on label sets, so only those met by name are listed; the others fold to 4.7.x.
    "4.7.500": "Server busy: throttled, slow down",
    "4.7.550": "Suspicious traffic from our IP address, try later",
    "4.7.650": "Throttled: reputation of our IP address",  # 650-652: in the range, known from Outlook.com's answers
    "4.7.651": "Throttled: reputation of our IP address",
    "4.7.652": "Throttled: too many connections",
    # Microsoft passing the message on, by DNS, TCP or TLS. 4.x.x while it still tries, 5.x.x in the bounce. Also "Mail
    # flow intelligence" (https://learn.microsoft.com/exchange/mail-flow-best-practices/mail-flow-intelligence).
    "4.4.8": "Next MX host is not in the domain's MTA-STS policy",  # 4.8 is not in the registry
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
    "5.1.351": "Next server knows no such recipient",  # on no page of Microsoft's, but in its bounces
    # Microsoft again: codes the registry gives to something else. Both senses are shown, the likelier first.
    "5.1.10": "No such recipient (Microsoft); elsewhere null MX",
    "5.4.1": "No such recipient (Microsoft); elsewhere no answer",  # 4.4.1 keeps the registry's sense
    "5.7.12": "Internal only (Microsoft); elsewhere login must change",
    "5.7.13": "Internal folder (Microsoft); elsewhere user disabled",
}

# RFC 3463 section 2: the first field, all that is left of a code folded to "5.x.x".
_CLASSES: Final[Mapping[str, str]] = {
    "2": "Success, kind unknown",
    "4": "Temporary failure, kind unknown",
    "5": "Permanent failure, kind unknown",
}

# What the exporter itself puts in place of a code.
_WORDS: Final[Mapping[str, str]] = {
    "none": "The report has no enhanced status code",
    "invalid": "The report's enhanced status code is unreadable",
    "other": "Not told apart: past the limit on label sets",
}


def is_known(extended: str) -> bool:
    """Return whether the registry or a vendor documents a code.

    *extended* is a whole, well-formed code such as "5.1.1": one digit, a dot, subject and detail. The caller has
    checked that. This runs for every report, so it cuts the class off by position and parses nothing.
    """
    return extended in VENDOR or extended[2:] in REGISTRY


def meaning(extended: str) -> str:
    """Return a few plain words for any value of the ``extended`` label.

    A vendor's sense of a whole code comes before the registry's. Folded codes ("5.7.x") and unknown ones get their
    subject's words, codes without a known subject ("5.x.x") their class's. What is no code at all counts as invalid.
    """
    known = _WORDS.get(extended) or VENDOR.get(extended) or REGISTRY.get(extended[2:])
    if known:
        return known
    first, _, rest = extended.partition(".")
    subject, _, _ = rest.partition(".")
    if first not in _CLASSES:
        return _WORDS["invalid"]
    return SUBJECTS.get(subject, _CLASSES[first])
