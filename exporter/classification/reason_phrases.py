"""Phrases in the text of answers, and the reasons that they hint at. Data only.

``phrase_matcher`` finds them. Syntax: ``|`` separates phrases, ``…`` matches a few words ("mailbox … full"), ``*``
matches any ending of a word, and a word in capitals matches each entry of its slot. The text is case-folded, without
addresses, punctuation and apostrophes ("doesnt", "recipient address rejected access denied").

The first row with a phrase in the text decides, so specific rows come before general ones. For example, an answer that
says "blocked" and names DMARC is about DMARC. Comments name the source of unusual phrases.
"""

from collections.abc import Mapping
from typing import Final

SLOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "WHO": ("user", "recipient", "mailbox", "address", "account"),
    "BOX": ("user", "recipient", "mailbox", "account", "inbox"),
    "UNKNOWN": ("unknown", "not known", "not found", "not exist", "doesnt exist", "no longer", "invalid"),
    "OFF": ("disabled", "suspended", "inactive", "locked", "blocked", "deactivated", "closed", "frozen", "not active"),
    "EXCEEDS": ("exceed", "exceeds", "exceeded", "exceeding"),
    "MANY": ("too many", "maximum number of", "limit on the number of"),
    "SENT": ("connection*", "concurrent", "simultaneous", "session*", "message*", "mail*", "email*", "recipients"),
    "MESSAGE": ("message", "mail", "email", "content"),
    "IP": (
        *("your ip", "sending ip", "sender ip", "client ip", "ip address"),
        *("ip adres", "ip adresse", "adresse ip", "indirizzo ip"),
    ),
    "REFUSED": (
        *("block*", "reject*", "refuse*", "denied", "not allowed", "not permitted", "listed", "banned"),
        *("gesperrt", "geblokkeerd", "bloqué*", "bloque", "refusé*", "bloccato"),
    ),
}

HINTS: Final[tuple[tuple[str, ...], ...]] = (
    ("suppressed", "suppression list | suppressed sending | address is suppressed"),
    (
        "sender_rejected",
        "not a member of | permission to post | allowed to post | allowed to send mail to this",
        "not accept mail from you",
        "only members | sender address rejected",
        "domain of sender | sender domain … exist | sender domain … not found | sender verify failed",
        "sender verification | sender … blacklisted | from … blacklisted | from domain is invalid | a valid from",
        "valid sender address | invalid sender",
        # Google Groups rejects posts in some sixty languages, all with this address.
        "groups google com support",
        # Microsoft's Sender ID (RFC 4407): no header field names a sender.
        "purported responsible address",
        "absenderadresse | absender … abgelehnt | adresse dexpediteur | adresse dexpéditeur | afzender … geweigerd",
        "mittente … rifiutato",
    ),
    # Certainly about the message; vaguer phrases follow below.
    (
        "content",
        "duplicate header | content REFUSED | contents are not | content … not accept* | multiple from | virus",
        "malware | infected | phishing … detected | content filter*",
        "attachment … REFUSED | attachments … REFUSED | executable | illegal attachment",
        "MESSAGE … as spam | spam MESSAGE | spam detected | spam score | likely unsolicited",
        # Lists of links in messages, not of senders
        "uribl | surbl | blacklisted url",
        # Mimecast
        "mcspamsignature",
    ),
    (
        "authentication",
        "dmarc | dkim | spf | sender policy framework | fail* … authentication check* | unauthenticated",
        "authentication checks | authentication information | authentication results | ptr | reverse dns | rdns",
        "fcrdns | reverse hostname | reverse lookup | no reverse | inverse dns",
        # Postfix: the client's address has no name in DNS.
        "cannot find your | name lookup failed | match your ip | unverifiable … ip* | unverifyable … ip* | 逆引き",
    ),
    # Not listed in a directory; "listed in" below is about block lists.
    ("recipient_unknown", "not listed in"),
    (
        "blocked",
        "reputation | spamhaus | spamcop | sorbs | barracudacentral | dnsbl | rbl | cbl | blocked using | blocked by",
        "blocked see | block list | blocklist | black list | blacklist | blacklisted | denylist | deny list",
        "been banned | IP … REFUSED | rejected … IP | blocked … IP | denied … IP | open relay | poor sender",
        "invalid ip | your network",
        "your server … REFUSED | your host … REFUSED | not welcome | banned sending | banned sender | block for",
        "too many spam* | dynamic ip | dynamic host* | dynamic address* | bad ip | ip score | sbl | xbl | pbl",
        "listed at | listed in | listed by | listed on | your mail server … REFUSED | no access from",
        "access forbidden",
        "connection rejected",
        # Postfix rejects the client, whatever the recipient.
        "client host | client … blocked",
        # Barracuda, Yahoo, Cox, Apple and T-Online, in this order
        "one or more recipients blocked | user complaints | permanently deferred | cdrbl | esmtp not accepting",
        "ask your postmaster",
        "schwarze liste | sperrliste | liste noire | zwarte lijst | lista nera | ブラックリスト",
    ),
    (
        "rate_limited",
        "rate limit* | ratelimited | rate control*",
        "frequency limit* | throttled | throttling | MANY … SENT | too much mail | too fast | too quickly",
        "too frequent* | connection limit* | sending limit* | daily limit* | hourly limit* | unusual rate",
        "sending rate | rate exceeded | per hour | per minute | per day | concurrency limit* | sending quota",
        "sender quota | daily quota | hourly quota | unusual … volume | excessive | slow down",
        # Gmail in 4.2.1 and 5.2.1: one recipient receives too much.
        "receiving mail at a rate | receiving mail too quickly",
        "trop de connexion* | trop de message* | zu viele | te veel verbinding* | te veel bericht*",
        "troppe connession* | troppi messaggi",
    ),
    (
        "mailbox_full",
        "BOX … full | BOX … out of space | over … quota | overquota | quota … EXCEEDS | EXCEEDS … quota",
        "quota … full | disk quota | out of storage | storage allocation | storage limit | not enough storage",
        "not enough disk | BOX … EXCEEDS | EXCEEDS … mailbox | mailbox … size limit | mailbox size",
        "pleine | piena | überfüllt | quota … dépass* | quota … depass* | quota … überschritten",
        "quota … overschreden | quota … superata | espace … insuffisant | postfach … voll | mailbox … voll",
        "speicherplatz | mailbox vol | is vol | postvak … vol | spazio … esaurito | 容量 | いっぱい | 一杯",
    ),
    (
        "message_too_large",
        "MESSAGE … too large | MESSAGE … too big | message size | message length EXCEEDS | size limit",
        "maximum … size | EXCEEDS … size | message … larger",
        "trop volumineux | trop gros | zu gross | te groot | troppo grande",
    ),
    # More specific than the same words about a recipient
    ("domain_invalid", "null mx | nullmx | recipient domain … not exist | recipient domain … not found"),
    (
        "recipient_unknown",
        "WHO UNKNOWN | WHO is unknown | WHO is not known | WHO … unknown in | unknown BOX | unknown or | unknown to",
        "addressee unknown | not been recogni* | login not found | not a valid email | unknown local | no such WHO",
        "no such email | no such person | no such local | no user | no mailbox | no account | no valid recipient*",
        "WHO … not found | WHO … not exist | WHO … doesnt exist | WHO … no longer | could not be found",
        "couldnt be found | have an account | doesnt have a … account | invalid WHO | recipient … invalid",
        "user … invalid | not a valid WHO | not a known | bad destination mailbox | not our customer",
        "unrouteable address | unroutable address | undeliverable address | recipient table | mailbox table",
        "alias table | has moved | has left the",
        # Gmail's help page; Exchange's resolver; Exchange Online and Postfix if the recipient is not in their directory
        "nosuchuser | recipnotfound | recipientnotfound | recipient address rejected access denied",
        "utilisateur inconnu | destinataire inconnu | adresse inconnue | adresse invalide | nexiste pas",
        "empfänger … unbekannt | benutzer … unbekannt | unbekannter | existiert nicht | nicht gefunden",
        "gebruiker … onbekend | ontvanger … onbekend | onbekende gebruiker | onbekende ontvanger | bestaat niet",
        "utente … sconosciuto | utente … inesistente | destinatario … sconosciuto | casella … inesistente",
        "non esiste | 存在しま | 存在しない | 見つかりません | 宛先不明",
    ),
    (
        "mailbox_unavailable",
        "BOX … OFF | disabled BOX | inactive BOX | suspended BOX",
        "mailbox temporarily | mailbox … busy | inactivity | recipient … not accepting | not accepting mail",
        "not accepting messages | account … expired | on hold",
        # RFC 5321's text for 450. Its text for 550 is without "mail" and follows below.
        "requested mail action not taken",
        "compte … bloqu* | compte … désactiv* | compte … desactiv* | compte … suspendu | postfach … gesperrt",
        "konto … gesperrt | konto … deaktiviert | account … geblokkeerd | account … opgeheven",
        "casella … disabilitata | casella … sospesa | 利用停止 | 休止",
    ),
    # RFC 5321's text for 550. Most servers that use it mean an unknown user.
    ("recipient_unknown", "mailbox unavailable | mailbox is unavailable | mailbox not available"),
    (
        "sender_rejected",
        "sender rejected | sender denied | sender refused | sender not | sender is not | sender … REFUSED | send as",
        "unrouteable sender | unroutable sender | sender domain must | from header | absender … REFUSED",
    ),
    (
        "routing",
        "too many hops | hop count | mail loop | forwarding loop | routing loop | loops back | loop detected",
        "too many received",
        # DNS did not answer: Postfix adds "try again", Google quotes its resolver.
        "host not found try again | dns error … lookup of | dns timeout | dns server fail* | temporary dns",
        "name resolution | host name lookup failure | host lookup | nameserver query",
    ),
    (
        "domain_invalid",
        "no mx | host not found | host unknown | unknown host | unknown domain | domain UNKNOWN | domain … not found",
        "domain … not exist | domain … doesnt exist | no such domain | no such host | nxdomain | invalid domain",
        "illegal host | illegal domain | unrouteable mail domain | unrouteable domain | name service error",
        "name or service not known | bad destination system | find any host | dns lookup fail*",
        "lookups failed permanently | non existent host* | host domain does not accept mail",
        "domain … not accept mail | domain … expired | valid mail exchanger* | unknown mail domain",
        "domain … cant be found",
        "domaine inconnu | domaine … inexistant | domain unbekannt | domein onbekend | dominio inesistente",
    ),
    (
        "policy",
        "relay access | relaying | relay not | not relay | to relay | mail relay | greylisted | greylisting",
        "graylisted | policy violation | administrator policy | policy reason* | policy restriction*",
        "allowed rcpthosts | security polic* | local policy | by policy | against policy",
    ),
    (
        "content",
        # Orange's number for content; its other numbers are about the sending address.
        "ofr 506",
        # Below "spf": Gmail adds "to protect our users from spam" to answers about SPF.
        "unsolicited | spam | junk mail | bulk mail | message content | message header* | rfc 5322 | rfc5322",
        "rfc 2822 | 迷惑メール",
    ),
    (
        "security",
        "starttls | tls | certificate | encryption | authentication required | authentication is required",
        "authentication fail* | must authenticate | not authenticated | zertifikat",
    ),
    (
        "expired",
        "queue too long | for too long | for a long time | could not be delivered for",
        "unable to deliver this message after | multiple retries | retry limit | undeliverable for | expired after",
        "retry timeout | retry time | delivery time expired | delivery expired | message expired | message … too old",
        "has been delayed | will be retried | retries exceeded | find a gateway",
    ),
    (
        "connection",
        "timed out | timeout | time out | connection refused | connection reset | connection dropped",
        "connection lost | lost connection | connection closed | connection failed | connection error",
        "closed connection | broken pipe | connection died | server … unreachable | no route to host",
        "network … unreachable | host … unreachable | not reachable | unable to connect | could not connect",
        "couldnt connect | cannot connect | failed to connect | requests to connect | no answer | not responding",
        "did not respond | socket error",
    ),
    # Postfix: rejected instead of greeted, and without a text that matched above
    ("blocked", "refused to talk to me"),
    (
        "protocol",
        "syntax error | malformed address | sequence of commands | bad sequence | out of sequence | command not",
        "command unrecognized | unrecognized command | unknown command | bare line feed* | bare lf | need rcpt",
        "invalid helo | bad helo | need mail | helo command rejected",
    ),
    (
        "remote_system",
        "temporary fail* | temporary lookup | temporary local | temporary problem | temporary error",
        "temporarily unavailable | temporarily deferred | local error | local problem | internal error",
        "internal server error | system error | server error | configuration | misconfigured | server busy",
        "system busy | too busy | too much load | database error | cant create | overloaded | system load",
        "insufficient system | insufficient disk | insufficient resources | insufficient permission* | disk full",
        "no space left | ldap | service unavailable | service not available | service refused | transaction failed",
        "mailer error | exit status | command died | command failed | pipe to | out of memory | permission denied",
        "procmail | duplicated message id",
    ),
    # Quotas of mailboxes; those of senders are above.
    ("mailbox_full", "quota"),
    ("blocked", "your ip"),
    # The last resort: something does not exist, and no phrase above says what.
    ("recipient_unknown", "not exist | doesnt exist | inexistant | inconnu | unbekannt | onbekend | sconosciuto"),
)
