"""The reasons for rejecting a request: their kinds, the status codes that lead to them, and their texts."""

import re
from http import HTTPStatus

import falcon
import pytest

from exporter.errors import ExporterError
from exporter.refusals import REFUSAL_REASONS, Refusal, answer, reason_for, reasons_of
from tests.support.texts import Texts


@pytest.mark.parametrize("reason", REFUSAL_REASONS)
def test_texts(reason: str, texts: Texts) -> None:
    """Each reason has a phrase for what was rejected, and sentences for what to do."""
    _, what, todo = REFUSAL_REASONS[reason]
    assert re.fullmatch(r"[a-z].*[^.]", what)
    assert re.fullmatch(r"[A-Z].*\.", todo)
    texts.check(what)
    texts.check(todo)


def test_reasons_are_label_values() -> None:
    """Each reason is a word that can stand in a query and in the body of an answer."""
    assert [reason for reason in REFUSAL_REASONS if not re.fullmatch(r"[a-z]+(_[a-z]+)*", reason)] == []


def test_reasons_by_kind() -> None:
    """Kinds select their reasons, several kinds all of theirs."""
    assert reasons_of("outage") == {"unavailable", "internal"}
    assert reasons_of("dns", "unsigned") == {"key_unavailable", "unsigned"}
    kinds = {about.kind for about in REFUSAL_REASONS.values()}
    assert reasons_of(*kinds) == REFUSAL_REASONS.keys()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (HTTPStatus.BAD_REQUEST, "malformed"),
        (HTTPStatus.NOT_FOUND, "not_found"),
        (HTTPStatus.METHOD_NOT_ALLOWED, "method"),
        (HTTPStatus.REQUEST_TIMEOUT, "slow"),
        (HTTPStatus.LENGTH_REQUIRED, "malformed"),
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"),
        (HTTPStatus.TOO_MANY_REQUESTS, "pipelined"),
        (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large"),
        (HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
        (HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "malformed"),
    ],
)
def test_reason_for_a_status(status: int, reason: str) -> None:
    """Each status that falcon or the server chooses has a reason; other statuses are malformed HTTP."""
    assert reason_for(status) == reason
    assert reason in REFUSAL_REASONS


def test_a_refusal_carries_status_and_reason() -> None:
    """A refusal is one of the package's errors, and its text is the detail for the log."""
    refusal = Refusal(403, "date", "the date is old")
    assert isinstance(refusal, ExporterError)
    assert (refusal.status, refusal.reason, str(refusal)) == (403, "date", "the date is old")


def test_an_answer_is_one_word() -> None:
    """The answer has the status, plain text and the word, and nothing else."""
    response = falcon.Response()
    answer(response, 415, "content_type")
    assert (response.status_code, response.content_type, response.text) == (
        415,
        "text/plain; charset=utf-8",
        "content_type\n",
    )
