"""The answer of a server is found in the text of a failure notice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.returned.answers import MAX_DESCRIPTION, Answer, answer_in, code_in, extended_in, has_words


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hello\n\n<a@b>: 550 5.1.1 no\n such user\n\nBye", ("550", "5.1.1", "<a@b>: 550 5.1.1 no\n such user")),
        ("Hello\n \nno (#5.2.2)\n \nBye", ("", "5.2.2", "no (#5.2.2)")),
        ("Hello\n\nhost said: 421 busy", ("421", "", "host said: 421 busy")),
        ("The mailbox is full.\n\nBye", ("", "", "The mailbox is full.\n\nBye")),
        ("", ("", "", "")),
    ],
)
def test_answers(text: str, answer: Answer) -> None:
    """The words are the paragraph that has the codes, or else all."""
    assert answer_in(text) == answer


def test_the_first_of_two_answers() -> None:
    """A second answer in the same paragraph is about another recipient, unless it is on the same line."""
    first, second = "<a@b>: 550 5.1.1 no\n such user (5.1.1)", "<c@d>: 552 5.2.2 full"
    assert answer_in(f"{first}\n{second}") == ("550", "5.1.1", first)
    assert answer_in("550 5.0.0 no (5.1.1)") == ("550", "5.1.1", "550 5.0.0 no (5.1.1)")


def test_lines_above_an_answer() -> None:
    """Of a transcript, only a few lines above the answer are its words."""
    lines = "In: EHLO\nOut: STARTTLS\nmaildir over quota\nIn: RCPT TO\nOut: DATA\n550 5.0.0 no"
    description = "maildir over quota\nIn: RCPT TO\nOut: DATA\n550 5.0.0 no"
    assert answer_in(lines) == ("550", "5.0.0", description)


def test_the_first_code_counts() -> None:
    """Both codes together count before others, and an SMTP code before a later enhanced code."""
    assert answer_in("552 full\n\n550 5.1.1 no") == ("550", "5.1.1", "550 5.1.1 no")
    assert answer_in("552 full\n\n(#5.1.1)") == ("552", "", "552 full")


@pytest.mark.parametrize(
    "line",
    [
        "--- Below this line is a copy of the message.",
        "------ This is a copy of the message, including all the headers. ------",
        "--- The header of the original message is following. ---",
        "   ----- Original message follows -----",
        "------- Returned Message --------",
        "Message headers follow.",
        "Original message headers:",
        "    Below is a copy of the original message:",
        "Received: from x",
        "Return-Path: <a@b>",
        "Reporting-MTA: dns; x",
    ],
)
def test_the_returned_message_has_no_answer(line: str) -> None:
    """The text below the line that begins the returned message is ignored."""
    assert answer_in(f"It was returned.\n\n{line}\n\n550 5.1.1 no") == ("", "", "It was returned.")


def test_a_heading_is_not_the_returned_message() -> None:
    """A line at the top is the heading of the notice."""
    assert answer_in("*** Undelivered mail ***\n\n550 5.1.1 no") == ("550", "5.1.1", "550 5.1.1 no")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("550 5.1.1 no", "550"),
        ("550-5.1.1 no", "550"),
        ("554: 5.7.9 no", "554"),
        ("550 #5.1.0 no", "550"),
        ("552 full", "552"),
        ("said: 450", "450"),
        ("<<< 421-busy", "421"),
        ("error 250 5.1.1", ""),
        ("550 450", ""),
        ("I sent 500 messages", ""),
        ("198.51.100.5", ""),
    ],
)
def test_codes(text: str, code: str) -> None:
    """An SMTP reply code is before an enhanced code, or where an answer begins."""
    assert code_in(text) == code


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (["5.1.1"], "5.1.1"),
        (["5.0.0 5.1.1 5.1.2"], "5.1.1"),
        (["5.0.0", "4.2.2"], "4.2.2"),
        (["5.0.350", "5.0.0"], "5.0.350"),
        (["2.0.0 4.16.55.1 15.1.1 5.1.1.1 5.9.1 198.5.1.1"], ""),
        ([], ""),
    ],
)
def test_extended_codes(texts: list[str], code: str) -> None:
    """The first enhanced code of a failure that says something counts."""
    assert extended_in(*texts) == code


@pytest.mark.parametrize(
    ("text", "words"), [("550 5.1.1 No such user", True), ("550 5.1.1", False), ("x400; 12", False)]
)
def test_words(text: str, *, words: bool) -> None:
    """Codes are no words."""
    assert has_words(text) is words


@given(st.text(alphabet="5.1 -#:\nab", max_size=100) | st.text())
def test_any_text(text: str) -> None:
    """Any text has an answer, whose words are in it."""
    answer = answer_in(text)
    assert len(answer.description) <= min(len(text), MAX_DESCRIPTION)
    assert answer.code in text
    assert answer.extended in text
