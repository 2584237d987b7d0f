"""The tables that simulated traffic is drawn from: mailboxes, and the answers of their servers. Data only.

The answers are those of the real providers, some of them shortened. The sender has the IP address 192.0.2.25 (RFC 5737)
and the domain example.com. Domains of companies are under .example (RFC 2606), mistyped ones under top-level domains
that do not exist.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from exporter.classification.labels import OTHER


class Mailboxes(NamedTuple):
    """The mailboxes of one provider: its share of the recipients in percent, and its domains."""

    provider: str
    share: int
    domains: tuple[str, ...]


# Recipients of a sender in the Netherlands. A domain that is listed twice is drawn twice as often.
MAILBOXES: Final[Mapping[str, Mailboxes]] = {
    "gmail": Mailboxes("gmail", 34, ("gmail.com",)),
    "microsoft": Mailboxes(
        "microsoft", 30, tuple("hotmail.com hotmail.com hotmail.nl outlook.com live.nl live.nl msn.com".split())
    ),
    "ziggo": Mailboxes("ziggo", 9, tuple("ziggo.nl ziggo.nl home.nl upcmail.nl casema.nl".split())),
    "kpn": Mailboxes("kpn", 8, tuple("kpnmail.nl planet.nl hetnet.nl xs4all.nl".split())),
    "yahoo": Mailboxes("yahoo", 3, tuple("yahoo.com yahoo.nl aol.com".split())),
    "apple": Mailboxes("apple", 4, tuple("icloud.com icloud.com me.com".split())),
    "company": Mailboxes(
        OTHER,
        12,
        tuple("jansenbouw.example devries.example bakkerijbos.example kantoorzuid.example dekade.example".split()),
    ),
    "mistyped": Mailboxes(OTHER, 0, tuple("gmail.con gmail.con gmail.cmo hotmail.con hotmail.nk ziggo.nll".split())),
}

_ALL: Final = "all"
"""Key of answers about any mailbox: they come from the sending platform or the network."""

# Per mille of all failures, key of MAILBOXES, state, SMTP code, enhanced code, text.
_Row: TypeAlias = tuple[int, str, str, str, str, str]

_ROWS: Final[Mapping[str, tuple[_Row, ...]]] = {
    "recipient_unknown": (
        (
            *(130, "gmail", "rcptto", "550", "5.1.1"),
            "5.1.1 The email account that you tried to reach does not exist. {queue} - gsmtp",
        ),
        (
            *(110, "microsoft", "rcptto", "550", "5.5.0"),
            "5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        ),
        (45, "ziggo", "rcptto", "550", "5.1.1", "5.1.1 <{recipient}>: Recipient address rejected: User unknown"),
        (40, "kpn", "rcptto", "550", "5.1.1", "5.1.1 unknown or illegal alias: {recipient}"),
        (
            *(12, "yahoo", "message", "554", ""),
            "delivery error: dd This user doesn't have a {domain} account ({recipient}) [0]",
        ),
        (18, "apple", "rcptto", "550", "5.1.1", "5.1.1 <{recipient}>: user does not exist"),
        (
            *(60, "company", "rcptto", "550", "5.1.1"),
            "5.1.1 <{recipient}>: Recipient address rejected: User unknown in virtual mailbox table",
        ),
        # Exchange Online, in the SMTP conversation and in a bounce
        (25, "company", "rcptto", "550", "5.4.1", "5.4.1 Recipient address rejected: Access denied. [{queue}]"),
        (
            *(10, "company", "bounce", "550", "5.1.10"),
            "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {recipient} not found by SMTP address lookup",
        ),
    ),
    "mailbox_full": (
        (45, "gmail", "rcptto", "452", "4.2.2", "4.2.2 The recipient's inbox is out of storage space. {queue} - gsmtp"),
        (20, "microsoft", "bounce", "554", "5.2.2", "5.2.2 mailbox full; STOREDRV.Deliver; QuotaExceededException"),
        (18, "ziggo", "rcptto", "552", "5.2.2", "5.2.2 <{recipient}>: Quota exceeded (mailbox for user is full)"),
        (16, "kpn", "rcptto", "552", "", "RCPT TO:<{recipient}> Mailbox disk quota exceeded"),
        (3, "yahoo", "message", "552", "", "1 Requested mail action aborted, exceeded storage allocation"),
        (6, "apple", "rcptto", "552", "5.2.2", "5.2.2 <{recipient}>: user is over quota"),
        (12, "company", "bounce", "", "5.2.2", "<{recipient}>: Quota exceeded (mailbox for user is full)"),
    ),
    "mailbox_unavailable": (
        (
            *(15, "gmail", "rcptto", "550", "5.2.1"),
            "5.2.1 The email account that you tried to reach is disabled. {queue} - gsmtp",
        ),
        (10, "microsoft", "bounce", "550", "5.2.1", "5.2.1 Mailbox cannot be accessed; STOREDRV.Deliver"),
        (6, "ziggo", "rcptto", "550", "5.2.1", "5.2.1 <{recipient}>: this mailbox is disabled"),
        (9, "company", "rcptto", "450", "", "<{recipient}>: Mailbox temporarily locked"),
    ),
    "domain_invalid": (
        (32, "mistyped", "dns", "", "", "Domain not found: {domain}"),
        (9, "company", "dns", "556", "5.1.10", "Domain {domain} does not accept mail (nullMX)"),
        (9, "company", "bounce", "", "5.1.2", "Host unknown (Name server: {domain}: host not found)"),
    ),
    "connection": (
        (30, "company", "connect", "", "", "connect to mx.{domain}: Connection timed out"),
        (8, "company", "connect", "", "", "connect to mx.{domain}: Connection refused"),
        (7, _ALL, "message", "421", "4.4.2", "4.4.2 Connection dropped due to inactivity"),
    ),
    "expired": (
        (28, "company", "process", "", "", "Maximum delivery time reached"),
        (7, _ALL, "process", "", "", "Maximum number of attempts reached"),
        (5, "company", "bounce", "", "4.4.7", "<{recipient}>: delivery time expired"),
    ),
    "policy": (
        (26, "company", "rcptto", "554", "5.7.1", "5.7.1 <{recipient}>: Relay access denied"),
        (
            *(10, "yahoo", "message", "554", "5.7.9"),
            "5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
        ),
        (
            *(5, "company", "bounce", "550", "5.7.133"),
            "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
        ),
    ),
    "content": (
        (
            *(20, "gmail", "message", "550", "5.7.1"),
            "5.7.1 [192.0.2.25] Gmail has detected that this message is likely unsolicited mail. {queue} - gsmtp",
        ),
        (19, "company", "message", "554", "5.7.1", "5.7.1 Spam message rejected: score of 8.2, {queue}"),
        (2, "company", "bounce", "550", "5.7.1", "5.7.1 Message rejected as spam by Content Filtering."),
        (4, "microsoft", "bounce", "554", "5.6.0", "5.6.0 STOREDRV.Submit; invalid message content"),
    ),
    "blocked": (
        (
            *(0, "gmail", "message", "550", "5.7.1"),  # only while Gmail blocks the sender
            "5.7.1 [192.0.2.25] Message blocked: very low reputation of the sending IP address. {queue} - gsmtp",
        ),
        (
            *(18, "microsoft", "mailfrom", "550", "5.7.1"),
            "5.7.1 Unfortunately, messages from [192.0.2.25] weren't sent: part of their network is on our block list.",
        ),
        (3, "microsoft", "mailfrom", "550", "5.7.606", "5.7.606 Access denied, banned sending IP [192.0.2.25]"),
        (
            *(3, "yahoo", "mailfrom", "421", "4.7.0"),
            "4.7.0 [TSS04] Messages from 192.0.2.25 temporarily deferred due to unexpected volume or user complaints",
        ),
        (
            *(3, "ziggo", "intro", "554", ""),
            "Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
        ),
        (
            *(6, "company", "rcptto", "554", "5.7.1"),
            "5.7.1 Service unavailable; Client host [192.0.2.25] blocked using zen.spamhaus.org",
        ),
    ),
    "authentication": (
        (
            *(14, "gmail", "message", "550", "5.7.26"),
            "5.7.26 Unauthenticated email from example.com is not accepted due to its DMARC policy. {queue} - gsmtp",
        ),
        (
            *(4, "microsoft", "message", "550", "5.7.515"),
            "5.7.515 Access denied, sending domain EXAMPLE.COM does not meet the required authentication level.",
        ),
        (2, "company", "message", "550", "5.7.1", "5.7.1 Email rejected per DMARC policy for example.com"),
    ),
    "rate_limited": (
        (
            *(15, "gmail", "message", "421", "4.7.28"),
            "4.7.28 Gmail has detected an unusual rate of mail originating from your IP address. {queue} - gsmtp",
        ),
        (
            *(6, "microsoft", "mailfrom", "451", "4.7.500"),
            "4.7.500 Server busy. Please try again later from [192.0.2.25]. (S77719)",
        ),
        (5, "kpn", "mailfrom", "421", "4.7.0", "4.7.0 Too many connections from 192.0.2.25, slow down"),
        (4, "company", "rcptto", "452", "4.5.3", "4.5.3 Error: too many recipients"),
    ),
    "remote_system": (
        (15, "company", "message", "451", "4.3.0", "4.3.0 Error: queue file write error"),
        (5, "microsoft", "message", "451", "4.3.2", "4.3.2 Temporary server error. Please try again later. PRX2"),
        (5, "ziggo", "rcptto", "451", "4.3.0", "4.3.0 <{recipient}>: Temporary lookup failure"),
    ),
    "suppressed": ((30, _ALL, "suppression", "", "", "Recipient is on the suppression list"),),
    "sender_rejected": (
        (2, "company", "mailfrom", "553", "5.1.8", "5.1.8 <news@example.com>: Domain of sender address does not exist"),
        (4, "company", "bounce", "", "", "You are not a member of this mailing list"),
    ),
    "routing": ((6, "company", "bounce", "554", "5.4.6", "5.4.6 Too many hops"),),
    "security": ((4, "company", "starttls", "454", "4.7.0", "4.7.0 TLS not available due to local problem"),),
    "protocol": ((3, "company", "rcptto", "503", "5.5.1", "5.5.1 Bad sequence of commands"),),
    "message_too_large": (
        (
            *(2, "gmail", "mailfrom", "552", "5.3.4"),
            "5.3.4 Your message exceeded Google's message size limits. {queue} - gsmtp",
        ),
        (4, "company", "mailfrom", "552", "5.3.4", "5.3.4 Message size exceeds fixed limit"),
    ),
    "platform": ((2, _ALL, "personalize", "", "", "Error in template"),),
    "unclassified": (
        (2, "company", "bounce", "", "5.0.0", ""),
        (2, "company", "bounce", "550", "", "Rejected"),
    ),
}

JUDGES: Final[Mapping[str, str]] = {
    "blocked": "microsoft",
    "authentication": "gmail",
    "policy": "yahoo",
    "rate_limited": "gmail",
    "content": "gmail",
}
"""For each reason that depends on the sender's reputation, the provider that causes most of a spike of it."""


class SampleReply(NamedTuple):
    """An answer of a server: its reason and provider, its share of all such answers (0 to 1), and its variables.

    ``text`` may contain ``{recipient}``, ``{domain}`` (of the recipient) and ``{queue}`` (a queue id of the server).
    """

    reason: str
    provider: str
    share: float
    state: str
    code: str
    extended: str
    text: str
    domains: tuple[str, ...]


def _answers() -> Iterator[SampleReply]:
    for reason, rows in _ROWS.items():
        for per_mille, name, state, code, extended, text in rows:
            mailboxes = MAILBOXES.values() if name == _ALL else [MAILBOXES[name]._replace(share=100)]
            for each in mailboxes:
                if each.share:
                    share = per_mille / 1_000 * each.share / 100
                    yield SampleReply(reason, each.provider, share, state, code, extended, text, each.domains)


SAMPLE_REPLIES: Final = tuple(_answers())
"""All answers to messages that fail. An answer about any mailbox is listed once for each provider. The shares add up
to 1."""

# Key of MAILBOXES: enhanced code and text of the answer that accepts a message.
_ACCEPTING: Final[Mapping[str, tuple[str, str]]] = {
    "gmail": ("2.0.0", "2.0.0 OK {queue} - gsmtp"),
    "microsoft": (
        "2.6.0",
        "2.6.0 <{queue}@example.com> [Hostname=DB5EUR01.prod.protection.example] Queued for delivery",
    ),
    "ziggo": ("", "OK id={queue}"),
    "kpn": ("2.0.0", "2.0.0 {queue} Message accepted for delivery"),
    "yahoo": ("", "ok dirdel"),
    "apple": ("2.5.0", "2.5.0 Ok"),
    "company": ("2.0.0", "2.0.0 Ok: queued as {queue}"),
}

ACCEPTING_REPLIES: Final = {
    mailboxes.provider: SampleReply(
        "", mailboxes.provider, mailboxes.share / 100, "", "250", *_ACCEPTING[name], mailboxes.domains
    )
    for name, mailboxes in MAILBOXES.items()
    if name in _ACCEPTING
}
"""For each provider, the answer that accepts a message. It has no reason and no
state; its share is that of all deliveries. The shares add up to 1."""
