"""Why a request is not counted: the fixed list of reasons, and the answer that the client gets."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from exporter.errors import ExporterError

if TYPE_CHECKING:  # the settings import this module, and a completion in a shell must not wait for falcon
    import falcon

Kind = Literal["noise", "unsigned", "foreign", "signed", "dns", "report", "outage"]
"""What a rejected request says about its sender and about us:

- ``noise``: not a report, such as a scanner's request or one that was never completed;
- ``unsigned``: no signature;
- ``foreign``: a signature that SMTPeter would not make;
- ``signed``: signed the way SMTPeter signs, so the cause is probably one of our settings, a proxy, or a clock;
- ``dns``: signed the way SMTPeter signs, but DNS does not answer;
- ``report``: a content type or content that is not a report of an event;
- ``outage``: a valid report that cannot be recorded now.
"""


class RefusalReason(NamedTuple):
    """One reason: its kind, what was rejected (a phrase), and what to do (sentences).

    Both texts are Markdown with code spans only. They appear on the status page and in docs/reference.md.
    """

    kind: Kind
    what: str
    todo: str


_FOREIGN_SIGNATURE: Final = (
    "Nothing, if other requests are accepted. If none are, SMTPeter may have changed how it signs: report it to this "
    "project."
)
_KEY_IN_DNS: Final = (
    "Look the key up here and from another network; `log.level` debug shows its name. If the answers differ, set "
    "`signature.nameserver`."
)
_BAD_REPORT: Final = (
    "Nothing, if it is a scanner or your own test. Otherwise report it to this project; `log.level` debug shows the "
    "details."
)

REFUSAL_REASONS: Final = {
    "not_found": RefusalReason(
        "noise",
        "a path that does not exist",
        "Nothing, if it is a scanner. If SMTPeter's requests get this answer, compare the URL in its dashboard with "
        "`webhook.public-url`.",
    ),
    "method": RefusalReason(
        "noise",
        "a method that the path does not support; the webhooks' paths support only POST",
        "Nothing. Someone opened the URL in a browser, or it is a scanner; SMTPeter uses POST.",
    ),
    "unsigned": RefusalReason(
        "unsigned",
        "a request without one of the headers Host, Date, Digest, X-Copernica-ID and Signature",
        "Nothing, if it is a scanner or your own test. If no request is accepted, make the reverse proxy pass on all "
        "headers.",
    ),
    "signature_malformed": RefusalReason(
        "foreign",
        "a Signature header that does not follow draft-cavage-http-signatures, or a header that is too long",
        _FOREIGN_SIGNATURE,
    ),
    "algorithm": RefusalReason("foreign", "a signature algorithm other than rsa-sha256", _FOREIGN_SIGNATURE),
    "uncovered": RefusalReason(
        "signed",
        "a signature that does not cover the request target, Host, Date, X-Copernica-ID and Digest",
        _FOREIGN_SIGNATURE,
    ),
    "date": RefusalReason(
        "signed",
        "a signed request whose Date differs from now by more than `signature.max-age`, or cannot be read",
        "Set this machine's clock. Raise `signature.max-age` only if requests really arrive late.",
    ),
    "account": RefusalReason(
        "signed",
        "a signed request for an account that is not in `signature.account`",
        "Find out which account it is; `log.level` debug shows it. If it is yours, add it to `signature.account`.",
    ),
    "key_domain": RefusalReason("foreign", "a signature with a key outside `signature.key-domain`", _FOREIGN_SIGNATURE),
    "digest": RefusalReason(
        "signed",
        "a body that differs from the one that was signed",
        "Find out what changes the body between SMTPeter and the exporter, such as a firewall, and turn that off.",
    ),
    "key_unknown": RefusalReason("signed", "a signature with a key that does not exist in DNS", _KEY_IN_DNS),
    "key_revoked": RefusalReason("signed", "a signature with a revoked key", _KEY_IN_DNS),
    "key_unusable": RefusalReason(
        "signed",
        "a signature with a key that is not RSA, is too short, or cannot be read",
        "Ask SMTPeter's support about the key; `log.level` debug shows its name.",
    ),
    "key_unavailable": RefusalReason(
        "dns",
        "a signature with a key that cannot be looked up because DNS does not answer; answered 503",
        "Fix DNS on this machine, or set `signature.nameserver` to a server that answers.",
    ),
    "url": RefusalReason(
        "signed",
        "a signature that does not match, on a request whose host or path is not that of `webhook.public-url`",
        "Compare `webhook.public-url` with the URL in SMTPeter's dashboard, character by character.",
    ),
    "signature": RefusalReason(
        "signed",
        "a signature that does not match the request",
        "Compare `webhook.public-url` with the URL in SMTPeter's dashboard, character by character. The reverse proxy "
        "must not change the query string or a signed header such as Date.",
    ),
    "content_type": RefusalReason("report", "a content type other than form, JSON or multipart", _BAD_REPORT),
    "too_large": RefusalReason(
        "noise",
        "a body over 64 KiB (bounces and abuses: 1 MiB), or headers over 16 KiB in total",
        "Nothing, if it is not SMTPeter's. No report of a failure is that large, and hardly any returned message.",
    ),
    "slow": RefusalReason(
        "noise",
        "a request that was not complete within 30 seconds, or was the slowest when there were too many",
        "Nothing, if other requests are accepted. If none are, check the reverse proxy and the network.",
    ),
    "pipelined": RefusalReason(
        "noise",
        "a connection with more than 8 requests waiting for an answer; closed without an answer",
        "Nothing. SMTPeter does not do this.",
    ),
    "busy": RefusalReason(
        "noise",
        "a body over 64 KiB while 64 others arrive or are parsed, or a message not parsed in time; answered 503",
        "Nothing, if it is rare. Failures and deliveries are not affected. If it lasts, let the reverse proxy buffer "
        "requests.",
    ),
    "malformed": RefusalReason("report", "a request or a body that cannot be parsed", _BAD_REPORT),
    "content_encoding": RefusalReason(
        "report",
        "a compressed body",
        "Nothing, if it is your own test. Otherwise report it to this project: SMTPeter may have begun to compress.",
    ),
    "duplicate_field": RefusalReason("report", "a report with two different ids, recipients or messages", _BAD_REPORT),
    "wrong_type": RefusalReason(
        "report", "an id, a recipient or a message that is neither text nor a number", _BAD_REPORT
    ),
    "missing_field": RefusalReason(
        "report", "a report without a variable that identifies its event, such as id or recipient", _BAD_REPORT
    ),
    "other_loop": RefusalReason(
        "report",
        "an event of another type of webhook than its URL is for",
        "Nothing, if you pressed check now at SMTPeter. Otherwise, in SMTPeter's dashboard, let each URL be called "
        "only by the webhook of its name. If each is, report it to this project.",
    ),
    "value_too_long": RefusalReason("report", "an id or a recipient that is longer than any real one", _BAD_REPORT),
    "unavailable": RefusalReason(
        "outage",
        "a valid report that could not be written to the ledger; answered 503",
        "Fix the ledger; `/-/ready` shows what is wrong.",
    ),
    "internal": RefusalReason(
        "outage",
        "a request that hit a bug in the exporter; answered 503",
        "Report the bug to this project, with the error from the log.",
    ),
}
"""The values of the label ``reason`` of ``smtpeter_exporter_refused_total``."""


def reasons_of(*kinds: Kind) -> frozenset[str]:
    """Return the reasons of these kinds."""
    return frozenset(reason for reason, about in REFUSAL_REASONS.items() if about.kind in kinds)


class Refusal(ExporterError):
    """A request that is not counted.

    ``status`` is the HTTP status of the answer, ``reason`` one of :data:`REFUSAL_REASONS`. ``loop`` is the type of the
    event if it is known and belongs to another webhook. The error's text is for the operator's log; the client does not
    get it.
    """

    def __init__(self, status: int, reason: str, detail: str, *, loop: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.loop = loop


_BY_STATUS: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.REQUEST_TIMEOUT: "slow",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "pipelined",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
}


def reason_for(status: int) -> str:
    """Return the reason to count for a status that falcon or the server chose; ``malformed`` if there is no other."""
    return _BY_STATUS.get(status, "malformed")


def answer(resp: "falcon.Response", status: int, word: str) -> None:
    """Answer with the status and one word, so that the client learns nothing else."""
    resp.status = status
    resp.content_type = "text/plain; charset=utf-8"
    resp.text = f"{word}\n"
