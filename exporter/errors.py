"""Everything that this package raises on purpose.

ExporterError
├── SettingError       a setting is wrong                                    exit code 2
├── LedgerError        the ledger can't be used, now or at all               exit code 3
│   └── LedgerBusy     another process has the ledger
├── ListenError        an address can't be listened on                       exit code 4
└── Refusal            a request is not counted: status, reason for the counter, detail for the log
"""

from typing import Final


class ExporterError(Exception):
    """Base of all errors of this package; its text is one line that a user can act on."""

    exit_code: int = 1


class SettingError(ExporterError):
    """A setting has a value that can't be used; the text names setting, value and what was expected."""

    exit_code = 2


class LedgerError(ExporterError):
    """The ledger is damaged, unwritable, newer than this version, or out of reach at the moment."""

    exit_code = 3


class LedgerBusy(LedgerError):
    """Another process holds the ledger."""


class ListenError(ExporterError):
    """A listen address can't be bound."""

    exit_code = 4


REFUSAL_REASONS: Final = {
    "not_found": "a path that does not exist",
    "method": "a method other than POST on the callback",
    "unsigned": "a call without one of the headers Host, Date, Digest, X-Copernica-ID and Signature",
    "signature_malformed": "a signature that is not written as draft-cavage-http-signatures says, or is too long",
    "algorithm": "a signature of another kind than rsa-sha256",
    "uncovered": "a signature that does not cover request target, host, date, account and digest",
    "date": "a signed call that is older than signature.max-age, or as far ahead, or has no readable date",
    "account": "a signed call for an account that signature.account does not name",
    "key_domain": "a signature with a key that does not lie under signature.key-domain",
    "digest": "a body that is not the one that was signed",
    "key_unknown": "a signature with a key that DNS does not have",
    "key_revoked": "a signature with a key that was withdrawn",
    "key_unusable": "a signature with a key that is not RSA, too short, or can't be read",
    "key_unavailable": "a signature whose key DNS does not tell at the moment: answered 503",
    "url": "a signature that does not fit, by a call with other host or path than webhook.public-url",
    "signature": "a signature that does not fit",
    "content_type": "a content type other than form, JSON or multipart",
    "too_large": "a body over 64 KiB, or a header over 16 KiB",
    "slow": "a request that did not come to an end within 30 seconds, or was the oldest of too many",
    "pipelined": "more than 8 requests sent ahead on one connection: closed without an answer",
    "malformed": "a request or body that can't be read as what it says it is",
    "encoding": "a body that is not UTF-8, or holds NUL or lone surrogates",
    "too_many_fields": "a body of more than 100 variables",
    "duplicate_field": "a body that has a variable twice",
    "wrong_type": "a variable that is neither text nor number",
    "missing_field": "a report without id or recipient",
    "other_loop": "a report of another feedback loop than failures, as its variable type says",
    "value_too_long": "an id, recipient, state or code longer than any real one",
    "unavailable": "a readable report that could not be made safe at the moment: answered 503",
    "internal": "a fault of this program: answered 503",
}
"""The closed values of the label ``reason`` of ``smtpeter_exporter_refused_total``, with what each stands for."""


class Refusal(ExporterError):
    """A request that is not counted.

    ``status`` is the HTTP status of the answer, ``reason`` one of :data:`REFUSAL_REASONS`; the text is for the
    operator's log, not for the stranger who sent the request.
    """

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
