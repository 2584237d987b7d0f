"""What the listener accepts as a request: waitress's parser, stricter, and with a limit for large bodies."""

import time
from collections.abc import Callable
from typing import NamedTuple

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.utilities import Error

from exporter.classification.loops import LARGE_BODY, SMALL_BODY
from exporter.webhook.answering import RETRY_AFTER


class _Headers(dict[str, str]):
    """The headers of a request, by waitress's names. Waitress would accept odd codings, and join repeated headers."""

    def __setitem__(self, name: str, value: str) -> None:
        if name == "TRANSFER_ENCODING" and value.lower() != "chunked":
            raise ParsingError("header Transfer-Encoding is not chunked")
        if name == "CONTENT_TYPE" and name in self:
            raise ParsingError("header Content-Type is repeated")
        super().__setitem__(name, value)


class LargeBodies(NamedTuple):
    """Where bodies may be larger than SMALL_BODY.

    ``paths`` are those of the loops, ``adjustments`` waitress's limits for them. ``crowded`` returns whether too many
    such bodies are in memory.
    """

    paths: frozenset[str]
    adjustments: Adjustments
    crowded: Callable[[], bool]


class _Busy(Error):
    code = 503
    reason = "Service Unavailable"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status, headers, body = super().to_response(ident)
        return status, [*headers, ("Retry-After", str(RETRY_AFTER))], body


class Parser(HTTPRequestParser):
    """Waitress's parser, with 400 for input on which it fails: a length of 5,000 digits, the target ``http://[``.

    It also rejects what another parser may read differently, so that a proxy in front cannot be made to see other
    requests than the exporter does. RFC 9112 section 6.1: a transfer coding other than chunked (answered 400, not 501,
    because it is the client's mistake), one in HTTP/1.0, or one together with a length.
    """

    large_bodies = LargeBodies(frozenset(), Adjustments(), bool)  # nowhere
    large = False  # whether the body may be larger than SMALL_BODY
    since = 0.0  # when the head of a large request arrived, by time.monotonic
    busy = False
    path = ""  # waitress fails without it if there was no request line and the client disconnects during the answer

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head of a request. Raises ParsingError, for which waitress answers 400."""
        self.headers = headers = _Headers()
        try:
            super().parse_header(header_plus)
        except (ValueError, TransferEncodingNotImplemented) as error:
            raise ParsingError("Header is invalid") from error
        if self.chunked and "CONTENT_LENGTH" in headers:
            raise ParsingError("headers Transfer-Encoding and Content-Length cannot be combined")
        if "TRANSFER_ENCODING" in headers:  # waitress removes it unless it ignores it
            raise ParsingError(f"header Transfer-Encoding in HTTP/{self.version}")
        # What is announced to be larger than any limit is rejected as elsewhere, before it arrives.
        large = self.chunked or SMALL_BODY < self.content_length <= LARGE_BODY
        if large and self.path in self.large_bodies.paths:
            self.large, self.adj, self.since = True, self.large_bodies.adjustments, time.monotonic()
            self.busy = self.large_bodies.crowded()

    def received(self, data: bytes) -> int:
        """Take a part of the data of a request, and return how many bytes it took."""
        consumed: int = super().received(data)
        if self.busy and not self.error:
            self.error = _Busy("")  # type: ignore[assignment]  # any Error; waitress's hints name only one
            self.completed = True
        return consumed
