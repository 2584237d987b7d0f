"""Phrases in the text of answers, and the reasons that they hint at. Data only.

``phrase_matcher`` finds them. Other languages than English are in ``reason_phrases_translated``. Syntax: ``|``
separates phrases, ``…`` matches a few words ("mailbox … full"), ``*`` matches any ending of a word, and a word in
capitals matches each entry of its slot (``reason_phrase_slots``). The text is case-folded, without addresses,
punctuation, apostrophes and the possessive "'s" ("doesnt", "recipient address rejected access denied"). A phrase and
its gap lie within one clause; ``;`` matches the end of one ("not found ; try again").

The first row with a phrase in the text decides, so specific rows come before general ones. For example, an answer that
says "blocked" and names DMARC is about DMARC. Comments name the source of unusual phrases.
"""

from typing import Final

from exporter.classification.reason_phrases_translated import TRANSLATED

HINTS: Final[tuple[tuple[str, ...], ...]] = (
    ("suppressed", "suppression list | suppressed sending | previously bounced | address is suppressed"),
    # About the format of a header, although the words are those of a rejected sender.
    ("content", "valid address in from | having no from | addresses in from | valid messageid | 5322 compliant"),
    (
        "sender_rejected",
        "not a member of | permission to post | allowed to post | allowed to send mail to this",
        "not accept mail from you | sending for this account | sending from this account | domain may not exist or dns",
        "only members | members only | sender address rejected | sender address … invalid | fake sender | null sender",
        "domain of sender | callback setup failed | badmailfrom | mx for sender | required for sender",
        "sender address has null | sender domain … exist | sender domain … not found | postmaster verification",
        "sender verify | sender verification | verify sender | sender domain … verified | sender domain … resolve*",
        "sender … no mx | sender … has no a | sender blacklisted | sender is blacklisted | sender has been blacklisted",
        "a valid from | sender domain … blacklisted | sender address … blacklisted | from address … blacklisted",
        "from domain is invalid | email address … blacklisted | from an address … blacklisted",
        "mail from domain … not exist | return path … not exist | valid sender address | invalid sender",
        "bad sender domain | bad sender address | mail from invalid | mail from is invalid | sender identity",
        "sender signature | address is not verified | address not verified | sendasdeniedexception",
        # The recipient's own choice
        "rejected by recipients | blocked by recipients | blocked by recipient",
        "rejected by this user | blocked by this user | blocked you | rejected by the user | blocked by the user",
        "refused to receive | not wish to receive | verify mailfrom | blocked sender*",
        # Google Groups rejects posts in some sixty languages, all with this address.
        "groups google com support",
        # Microsoft's Sender ID (RFC 4407): no header field names a sender.
        "purported responsible address",
        *TRANSLATED["sender_rejected"],
    ),
    # A filter that failed has found nothing.
    ("remote_system", "scanner unavailable | scanner … unavailable | filter unavailable | filter … unavailable"),
    # Certainly about the message; vaguer phrases follow below.
    (
        "content",
        "duplicate header | content REFUSED | contents are not | content … not accept* | multiple from | virus",
        "malware | infected | phishing … detected | content filter* | content policy | message filtered",
        "BANNED content | BANNED attachment* | BANNED file* | content restriction* | due to content | id … banned",
        "bad header | attachment … REFUSED | attachments … REFUSED | executable | illegal attachment",
        "MESSAGE … as spam | spam MESSAGE | spam detected | spam score | spam pattern* | likely unsolicited",
        # Lists of links in messages, not of senders
        "uribl | surbl | blacklisted url | url in this MESSAGE | url … listed | suspicious link* | malicious link*",
        # Mimecast and NetEase
        "mcspamsignature | dt spm | mail data refused | rejected as uce",
    ),
    (
        "protocol",
        "helo command rejected | invalid helo | bad helo | bogus helo | forged helo | helo name | helo … resolve",
        "ehlo greeting",
    ),
    ("security", "unauthenticated senders"),
    (
        "authentication",
        "dmarc | dkim | spf | sender policy framework | sender id | fail* … authentication check* | unauthenticated",
        "authentication checks | authentication information | authentication results | ptr | reverse dns | rdns",
        "openspf | must resolve | fcrdns | reverse hostname | reverse lookup | no reverse | inverse dns | spoofed",
        "spoofing | mail from … mismatch*",
        # Postfix: the client's address has no name in DNS.
        "cannot find your | name lookup failed | match your ip | unverifiable … ip* | unverifyable … ip*",
        *TRANSLATED["authentication"],
    ),
    # Not listed in a directory, and cPanel's guess; "listed in" and "blacklisted" below are about block lists.
    ("recipient_unknown", "not listed in | not in recipient list | account or domain may not exist"),
    # Above "open relay", of which the sender is accused.
    (
        "policy",
        "relaying | relay access | relay not | relay denied | relay BANNED | relay OFF | denies relay | not relay",
        "no relay | to relay | as relay | as a relay | open relay not | open relay is not | greylist | greylisted",
        "greylisting | graylist | graylisted | graylisting | grey list* | gray list* | blocked by administrator",
        "blocked by the administrator | blocked by admin | blocked by policy",
        # NetEase does not forward mail.
        "rp frl",
    ),
    (
        "blocked",
        "reputation | spamhaus | spamcop | sorbs | barracudacentral | dnsbl | dnsbls | rbl | rbls | cbl | cloudmark",
        "invaluement | ivmsip | hostkarma | blocked using | blocked see | blocked ; see | block list | blocklist",
        "black list | blacklist | denylist | deny list | blacklisted | block listed | blocklisted | blocklisting",
        "black listed | been banned | IP … REFUSED | rejected … IP | denied … IP | open relay | poor sender",
        "blocked … IP | invalid ip | ip is REFUSED | in prison | cidr range | abuseat | uceprotect | backscatterer",
        "sender score | senderscore | dictionary attack | directory harvest* | your server … REFUSED",
        "your host … REFUSED | not welcome | banned sending | banned sender | block for | too many spam* | dynamic ip",
        "dynamic host* | dynamic address* | bad ip | ip score | sbl | xbl | pbl | listed at | listed in | listed by",
        "listed on | your mail server … REFUSED | no access from | access forbidden | access to this mail system",
        "access to submit messages | not allowed to connect | connection rejected | connection denied",
        "connection from … REFUSED | connections will not be accepted | connections not accepted | geoip",
        "geographic location | geographical location | your country | your region | your location | spam ip",
        "identified as spammer | from spammers | ip not in whitelist | send email directly | list of spam*",
        "spam complaints | spam source | sending spam",
        # Postfix rejects the client, whatever the recipient.
        "client host | client … blocked",
        # Barracuda, Yahoo, Cox, Apple and T-Online, in this order
        "one or more recipients blocked | user complaints | permanently deferred | cdrbl | esmtp not accepting",
        "ask your postmaster",
        # NetEase: the address behaves badly, or is on its list.
        "hl rep | hl ihu | hl ipb | hl mep | wm bli",
        *TRANSLATED["blocked"],
    ),
    # A filter or a person; the lists are above.
    ("content", "by spam filter* | by … spam filter* | antispam filter* | by … content filter*"),
    ("blocked", "blocked by | server is blocked | server has been blocked"),
    # "too many hops" is above "too many … messages".
    (
        "routing",
        "too many hops | hop count | mail loop | mailloop | forwarding loop | routing loop | loops back",
        "loop detected | looping | too many received | number of received",
    ),
    ("mailbox_full", "BOX has too many messages"),
    (
        "rate_limited",
        "rate limit* | ratelimit | ratelimited | rate control* | at a rate | too many errors from | too many from",
        "count quota | frequency limit* | throttle | throttled | throttling | MANY … SENT | too much mail",
        "too much email | too fast | too quickly | too frequent* | connection limit* | sending limit* | daily limit*",
        "hourly limit* | unusual rate | unusual amount | unusual sending | sending rate | rate exceeded",
        "EXCEEDS … rate | per hour | per minute | per day | concurrency limit* | this hour | per connection",
        "per session | recipient limit* | recipients limit* | message limit* | messages limit* | queue quota",
        "sending quota | sender quota | daily quota | hourly quota | unusual … volume | unexpected volume | excessive",
        "slow down",
        # Gmail in 4.2.1 and 5.2.1: one recipient receives too much.
        "receivingrate | receivingrateperm",
        # NetEase: too many connections, messages or recipients
        "hl icc | hl ifc | mi dmc | mi sfq | mi stc | rp drc | rp qrc | rp rcl | rp trc",
        *TRANSLATED["rate_limited"],
    ),
    (
        "mailbox_full",
        "BOX … full | box full | BOX … out of space | over … quota | overquota | quota … EXCEEDS | EXCEEDS … quota",
        "quota … full | disk quota | out of storage | storage allocation | storage limit | not enough storage",
        "not enough disk | BOX … EXCEEDS | EXCEEDS … mailbox | mailbox … limit* | mailbox size",
        "storage full | quotaexceededexception | quota violation | allowed storage | folder is full | overquotatemp",
        "overquotaperm",
        *TRANSLATED["mailbox_full"],
    ),
    (
        "message_too_large",
        "MESSAGE … too large | MESSAGE … too big | message size | email size | message length EXCEEDS | length limit",
        "size limit | maximum … size | mailsize | attachment … too large | attachment … too long | EXCEEDS … size",
        "message … larger | message too long | message is too long",
        *TRANSLATED["message_too_large"],
    ),
    # mail.ru adds this to "invalid mailbox".
    ("mailbox_unavailable", "unavailable account is disabled"),
    # More specific than the same words about a recipient
    (
        "domain_invalid",
        "null mx | nullmx | recipient domain … not exist | recipient domain … not found | rejected domain not found",
        "code nxdomain | no smtp service",  # Google's, in an answer that also says "dns error"; Exim's for a null MX
    ),
    (
        "recipient_unknown",
        "WHO UNKNOWN | WHO is unknown | WHO is not known | WHO … unknown in | unknown BOX | unknown or | unknown to",
        "addressee unknown | not been recogni* | login not found | not a valid email | unknown local | no such WHO",
        "address reserved | bad email | no such email | no such person | no such local | no user | no mailbox",
        "no account | no valid recipient* | WHO … not found | WHO … not exist | WHO … doesnt exist | WHO … no longer",
        "could not be found | inbox … no longer | no longer in use | no longer valid | no longer exists",
        "no longer on server | couldnt be found | have an account | have a mailbox | doesnt have a … account",
        "invalid WHO | recipient … invalid | user … invalid | address invalid | address is invalid",
        "recipients are invalid | not a valid WHO | BOX … deleted | not a known | bad destination mailbox",
        "not our customer | recipient … unrecogni* | unrecognized recipient | address not recogni* | not a registered",
        "recipient not recogni* | mailbox name not | illegal user | illegal alias | unrouteable address",
        "unroutable address | undeliverable address | recipient table | mailbox table | alias table | has moved",
        "has left the | unverified address | validate recipient | recipient verif* | verify recipient",
        "recipient cannot be verified | not on file | no one with that | by that name",
        # Gmail's help page; Exchange's resolver; Exchange Online and Postfix if the recipient is not in their directory
        "nosuchuser | validrcptto | recipnotfound | recipientnotfound | recipient address rejected access denied",
        "recipient addresses rejected access denied",
        *TRANSLATED["recipient_unknown"],
    ),
    (
        "mailbox_unavailable",
        "BOX … OFF | disabled BOX | deactivated BOX | inactive BOX | suspended BOX | not activated",
        "administratively disabled | disableduser | accountdisabledexception | BOX temporarily | BOX is temporarily",
        "BOX currently | BOX is currently | recipient unavailable | account … unavailable | user unavailable",
        "mailbox … busy | BOX … inactivity | recipient … not accepting | not accepting mail | not accepting messages",
        "isnt accepting | account … expired | on hold",
        # RFC 5321's text for 450. Its text for 550 is without "mail" and follows below.
        "requested mail action not taken mailbox",
        *TRANSLATED["mailbox_unavailable"],
    ),
    # RFC 5321's text for 550. Most servers that use it mean an unknown user.
    ("recipient_unknown", "mailbox unavailable | mailbox is unavailable | mailbox not available"),
    (
        "sender_rejected",
        "sender rejected | sender denied | sender refused | sender not | sender is not | sender … REFUSED | send as",
        "mail from this address | mail from this sender | allowed to send | permitted to send",
        "unrouteable sender | unroutable sender | sender domain must | from header | absender … REFUSED",
    ),
    (
        "routing",
        # DNS did not answer: Postfix adds "try again", Google quotes its resolver.
        "host not found ; try again | host not found try again | dns error … lookup of | dns timeout",
        "dns server fail* | temporary dns | name resolution | host name lookup failure | host lookup",
        "nameserver query",
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
        *TRANSLATED["domain_invalid"],
    ),
    (
        "policy",
        "mail relay | policy violation | administrator policy | policy reason* | policy restriction*",
        "allowed rcpthosts | security polic* | local policy | by policy | against policy | bounced by administrator",
        "legitimate bounces | rejected by destination | from outside | external senders | authenticated users",
        "authenticated senders | delivery … not allowed | delivery … not permitted | not a gateway | not hosted here",
        "local user only | domain is not allowed | envelope blocked | action not taken mail … is rejected",
        "administrative prohibition | administratively prohibited | administratively denied | prohibited by",
    ),
    (
        "content",
        # Orange's number for content; its other numbers are about the sending address.
        "ofr 506",
        # Below "spf": Gmail adds "to protect our users from spam" to answers about SPF.
        "unsolicited | spam | junk mail | junkmail | bulk mail | message content | message header* | rfc 5322",
        "rfc5322 | line length | malformed mime | decode mime | rfc 2822 | phishing | date header | invalid header",
        "missing from field | subject header* | subject is | missing message id | lines too long | line too long",
        "malicious",
        *TRANSLATED["content"],
    ),
    (
        "security",
        "starttls | tls | certificate | encryption | authentication required | authentication is required",
        "authentication fail* | fail authentication | failed authentication | failed to authenticate",
        "authentication unsuccessful | must authenticate | must login | must log in | not authenticated | zertifikat",
        "requires authentication | smtp authentication",
    ),
    (
        "expired",
        "queue too long | for too long | for a long time | could not be delivered for | could not deliver for",
        "unable to deliver this message after | multiple retries | retry limit | undeliverable for | expired after",
        "retry timeout | retry time | delivery time expired | delivery expired | message expired | message … too old",
        "maximum retries | max retries | time limit specified | has been delayed | will be retried | retries exceeded",
        "find a gateway | envelope expired",
    ),
    (
        "connection",
        "timed out | timeout | time out | connection refused | connection reset | connection dropped | connection lost",
        "lost connection | connection closed | connection failed | connection error | closed connection",
        "closed the connection | broken pipe | connection died | server … unreachable | no route to host",
        "network … unreachable | host … unreachable | not reachable | unable to connect | could not connect",
        "couldnt connect | cannot connect | failed to connect | requests to connect | no answer | not responding",
        "did not respond | socket error",
    ),
    # Limits of anything else: those of mailboxes, sizes and retries are above.
    (
        "rate_limited",
        "temporarily deferred | limit EXCEEDS | EXCEEDS … limit* | limit … reached | reached … limit*",
    ),
    # Postfix: rejected instead of greeted, and without a text that matched above
    ("blocked", "refused to talk to me"),
    (
        "protocol",
        "syntax error | malformed address | sequence of commands | bad sequence | out of sequence | command not",
        "command unrecognized | unrecognized command | unknown command | bare line feed* | bare lf | need rcpt",
        "need mail | too many errors | synchronization error | protocol error | smtputf8",
    ),
    (
        "remote_system",
        "temporary fail* | temporary lookup | temporary local | temporary problem | temporary error",
        "temporary … failure | temporarily unavailable | local error | local problem",
        "internal error | internal server error | system error | server error | configuration | misconfigured",
        "server busy | system busy | too busy | too much load | database error | cant create | overloaded",
        "system load | insufficient system | insufficient disk | insufficient resources | insufficient permission*",
        "disk full | no space left | ldap | service unavailable | service not available | service refused",
        "transaction failed | mailer error | exit status | command died | command failed | pipe to | out of memory",
        "permission denied | procmail | duplicated message id | write error | error writing | cannot append",
        "currently unavailable",
        *TRANSLATED["remote_system"],
    ),
    # Quotas of mailboxes; those of senders are above.
    ("mailbox_full", "quota"),
    ("blocked", "your ip | your network"),
    # The last resorts: something does not exist or is forbidden, and no phrase above says what.
    (
        "recipient_unknown",
        "not exist | doesnt exist | inexistant | inconnu | unbekannt | onbekend | sconosciuto | 不存在",
    ),
    ("recipient_unknown", "не существует | не найден"),
    ("policy", "policy | access denied | prohibited | forbidden | not authorized | unauthorized"),
)
