"""What the listener accepts as a request, of the parser alone; test_waitress_channel.py tests it on connections."""

from typing import Any, Final

import pytest
from waitress.adjustments import Adjustments

from exporter.classification.loops import LARGE_BODY, SMALL_BODY
from exporter.webhook.answering import RETRY_AFTER
from exporter.webhook.waitress_parser import LargeBodies, Parser

SMALL: Final = Adjustments(max_request_body_size=2 * SMALL_BODY, inbuf_overflow=16 * SMALL_BODY)
LARGE: Final = Adjustments(max_request_body_size=8 * SMALL_BODY, inbuf_overflow=16 * SMALL_BODY)


def parsed(path: str, *headers: str, body: bytes = b"", crowded: bool = False) -> Any:
    """Return the parser after a request to a server where only ``/bounces`` accepts large bodies."""
    kind = type("Made", (Parser,), {"large_bodies": LargeBodies(frozenset({"/bounces"}), LARGE, lambda: crowded)})
    parser = kind(SMALL)
    data = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body
    while data and not parser.completed:
        data = data[parser.received(data) :]
    return parser


def length(number: int) -> str:
    """Return the header Content-Length."""
    return f"Content-Length: {number}"


@pytest.mark.parametrize(
    ("path", "header", "large"),
    [
        ("/bounces", length(SMALL_BODY), False),
        ("/bounces", length(SMALL_BODY + 1), True),
        ("/bounces?a=b", length(SMALL_BODY + 1), True),
        ("/bounces", "Transfer-Encoding: chunked", True),
        ("/failures", length(SMALL_BODY + 1), False),
        ("/failures", "Transfer-Encoding: chunked", False),
        ("/bounces/", length(SMALL_BODY + 1), False),
    ],
)
def test_which_requests_are_large(path: str, header: str, large: bool) -> None:
    """Those whose body may be larger than 64 KiB, at a path that accepts that."""
    made = parsed(path, header)
    assert (made.large, made.completed, made.error) == (large, False, None)


@pytest.mark.parametrize(("path", "most"), [("/failures", 2 * SMALL_BODY), ("/bounces", 8 * SMALL_BODY)])
def test_each_path_has_its_limit(path: str, most: int) -> None:
    """A body that is announced or sent beyond it is rejected, and no more is read."""
    assert parsed(path, length(most - 1)).error is None
    assert parsed(path, length(most)).error.code == 413
    chunk = b"%x\r\n" % (2 * most) + b"x" * most
    assert parsed(path, "Transfer-Encoding: chunked", body=chunk).error.code == 413


def test_what_is_too_large_everywhere_is_rejected_at_once() -> None:
    """It takes no place of a large body."""
    made = parsed("/bounces", length(LARGE_BODY + 1))
    assert (made.large, made.completed, made.error.code) == (False, True, 413)


def test_one_large_body_too_many() -> None:
    """It is answered 503 with Retry-After, before any of it is read; small ones are not."""
    made = parsed("/bounces", length(SMALL_BODY + 1), crowded=True)
    assert (made.completed, made.error.code) == (True, 503)
    status, headers, _ = made.error.to_response()
    assert (status, dict(headers)["Retry-After"]) == ("503 Service Unavailable", str(RETRY_AFTER))
    assert parsed("/bounces", length(SMALL_BODY), crowded=True).error is None
    assert parsed("/failures", length(SMALL_BODY + 1), crowded=True).error is None


def test_a_malformed_request_stays_malformed() -> None:
    """Whatever else is wrong with it."""
    made = parsed("/bounces", length(9), "Transfer-Encoding: chunked", crowded=True)
    assert made.error.code == 400
