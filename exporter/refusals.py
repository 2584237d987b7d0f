"""Why a request is not counted: the closed list of reasons, and the answer that a refused client gets."""

from http import HTTPStatus
from typing import Final, Literal, NamedTuple

import falcon

from exporter.errors import ExporterError

Kind = Literal["noise", "unsigned", "foreign", "signed", "dns", "report", "outage"]
"""What a refusal says about the sender and about us:

- ``noise``: not a report at all, such as a scanner's request, or one that never came to an end;
- ``unsigned``: no signature;
- ``foreign``: a signature, but not of the kind that SMTPeter makes;
- ``signed``: signed the way SMTPeter signs, so the cause is most likely a setting of ours, a proxy, or a clock;
- ``dns``: signed the way SMTPeter signs, and DNS does not answer;
- ``report``: a request whose content type or content is rejected;
- ``outage``: a readable report that can't be recorded now.
"""


class RefusalReason(NamedTuple):
    """One reason: its kind, what was refused, and what to do; both texts are Markdown with code spans only."""

    kind: Kind
    what: str
    todo: str


_STRANGE_SIGNATURE: Final = (
    "Nothing, if it is a stranger. If no call is accepted, SMTPeter has changed its way of signing: tell this project."
)
_KEY_IN_DNS: Final = (
    "Look the key up here and elsewhere (`log.level` debug names it). If answers differ, set `signature.nameserver`."
)
_STRANGE_BODY: Final = (
    "Nothing, if it is a stranger or a trial of yours. Else tell this project: `log.level` debug says what is wrong."
)

REFUSAL_REASONS: Final = {
    "not_found": RefusalReason(
        "noise",
        "a path that does not exist",
        "Nothing, if it is a scanner. If SMTPeter's calls do it, compare its URL with `webhook.public-url`.",
    ),
    "method": RefusalReason(
        "noise",
        "a method other than POST on the callback",
        "Nothing: somebody opened the URL in a browser, or it is a scanner. SMTPeter posts.",
    ),
    "unsigned": RefusalReason(
        "unsigned",
        "a call without one of the headers Host, Date, Digest, X-Copernica-ID and Signature",
        "Nothing, if it is a scanner or a trial of yours. If no call is accepted: the proxy must pass on all headers.",
    ),
    "signature_malformed": RefusalReason(
        "foreign",
        "a signature that is not written as draft-cavage-http-signatures says, or is too long",
        _STRANGE_SIGNATURE,
    ),
    "algorithm": RefusalReason("foreign", "a signature of another kind than rsa-sha256", _STRANGE_SIGNATURE),
    "uncovered": RefusalReason(
        "signed", "a signature that does not cover request target, host, date, account and digest", _STRANGE_SIGNATURE
    ),
    "date": RefusalReason(
        "signed",
        "a signed call that is older than `signature.max-age`, or as far ahead, or has no readable date",
        "Set this machine's clock. Raise `signature.max-age` only if calls are really late.",
    ),
    "account": RefusalReason(
        "signed",
        "a signed call for an account that `signature.account` does not name",
        "See which account it is at `log.level` debug. If it is yours, add it to `signature.account`.",
    ),
    "key_domain": RefusalReason(
        "foreign", "a signature with a key that does not lie under `signature.key-domain`", _STRANGE_SIGNATURE
    ),
    "digest": RefusalReason(
        "signed",
        "a body that is not the one that was signed",
        "Something on the way changes the body: take it out of the way.",
    ),
    "key_unknown": RefusalReason("signed", "a signature with a key that DNS does not have", _KEY_IN_DNS),
    "key_revoked": RefusalReason("signed", "a signature with a key that was withdrawn", _KEY_IN_DNS),
    "key_unusable": RefusalReason(
        "signed",
        "a signature with a key that is not RSA, too short, or can't be read",
        "Ask SMTPeter's support about the key; the log names it.",
    ),
    "key_unavailable": RefusalReason(
        "dns",
        "a signature whose key DNS does not tell at the moment: answered 503",
        "Mend DNS on this machine, or name a server that answers in `signature.nameserver`.",
    ),
    "url": RefusalReason(
        "signed",
        "a signature that does not fit, by a call with other host or path than `webhook.public-url`",
        "Compare `webhook.public-url` with the URL in SMTPeter's dashboard, letter by letter.",
    ),
    "signature": RefusalReason(
        "signed",
        "a signature that does not fit",
        "Compare `webhook.public-url` with the URL in SMTPeter's dashboard; the proxy must pass on calls as they came.",
    ),
    "content_type": RefusalReason("report", "a content type other than form, JSON or multipart", _STRANGE_BODY),
    "too_large": RefusalReason(
        "noise", "a body over 64 KiB, or a header over 16 KiB", "Nothing: no report is as large."
    ),
    "slow": RefusalReason(
        "noise",
        "a request that did not come to an end within 30 seconds, or was the oldest of too many",
        "Nothing, as long as calls are accepted. If none is, look at the proxy and the network.",
    ),
    "pipelined": RefusalReason(
        "noise",
        "more than 8 requests sent ahead on one connection: closed without an answer",
        "Nothing: it is no call of SMTPeter's.",
    ),
    "malformed": RefusalReason("report", "a request or body that can't be read as what it says it is", _STRANGE_BODY),
    "encoding": RefusalReason("report", "a body that is not UTF-8, or holds NUL or lone surrogates", _STRANGE_BODY),
    "too_many_fields": RefusalReason("report", "a body of more than 100 variables", _STRANGE_BODY),
    "duplicate_field": RefusalReason("report", "a body that has a variable twice", _STRANGE_BODY),
    "wrong_type": RefusalReason("report", "a variable that is neither text nor number", _STRANGE_BODY),
    "missing_field": RefusalReason("report", "a report without id or recipient", _STRANGE_BODY),
    "other_loop": RefusalReason(
        "report",
        "a report of another feedback loop than failures, as its variable type says",
        "Make the webhook in SMTPeter's dashboard one of the type failures.",
    ),
    "value_too_long": RefusalReason(
        "report", "an id, recipient, state or code longer than any real one", _STRANGE_BODY
    ),
    "unavailable": RefusalReason(
        "outage",
        "a readable report that could not be made safe at the moment: answered 503",
        "Mend the ledger: `/-/ready` says what is wrong with it.",
    ),
    "internal": RefusalReason(
        "outage",
        "a fault of this program: answered 503",
        "Report it to this project, with the line that the log has of it.",
    ),
}
"""The closed values of the label ``reason`` of ``smtpeter_exporter_refused_total``, and what to do about each."""


def reasons_of(*kinds: Kind) -> frozenset[str]:
    """Return the reasons of these kinds."""
    return frozenset(reason for reason, about in REFUSAL_REASONS.items() if about.kind in kinds)


class Refusal(ExporterError):
    """A request that is not counted.

    ``status`` is the HTTP status of the answer, ``reason`` one of :data:`REFUSAL_REASONS`; the text is for the
    operator's log, not for the stranger who sent the request.
    """

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


_BY_STATUS: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.REQUEST_TIMEOUT: "slow",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "pipelined",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
}


def reason_for(status: int) -> str:
    """The reason to count for a status that falcon or the server decided on; what is left is bad HTTP."""
    return _BY_STATUS.get(status, "malformed")


def answer(resp: falcon.Response, status: int, word: str) -> None:
    """Answer with the status and one word, the same for every client rejected for this reason."""
    resp.status = falcon.code_to_http_status(status)
    resp.content_type = falcon.MEDIA_TEXT
    resp.text = f"{word}\n"
