"""Each failure has one reason of a closed vocabulary; the steps decide in a fixed order."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification import reason_codes
from exporter.classification.labels import STATES
from exporter.classification.reason import DECIDERS, REASONS, UNCLASSIFIED
from exporter.classification.reason_phrases import HINTS
from tests.support.decisions import decide
from tests.support.texts import Texts


def answers(name: str) -> list[dict[str, str]]:
    """Return the answers in a file of this directory, each with its reason."""
    return [json.loads(line) for line in (Path(__file__).parent / name).read_text("utf-8").splitlines()]


# Answers of large providers and common servers, written for this test.
ANSWERS = answers("answers.jsonl")
# Answers whose codes or first words suggest another reason: a misused code, two clauses, another language.
HARD_ANSWERS = answers("hard_answers.jsonl")


def test_each_reason_is_used() -> None:
    """There are 20 reasons and 7 steps, and each reason is in a table."""
    used = {
        *reason_codes.SETTLED.values(),
        *reason_codes.STATES.values(),
        *reason_codes.VENDOR_REASONS.values(),
        *reason_codes.OVERRIDES.values(),
        *reason_codes.EXTENDED.values(),
        *reason_codes.CODE_AND_STATE.values(),
        *reason_codes.CODES.values(),
        *(reason for reason, *_ in HINTS),
    }
    assert used == set(REASONS)
    assert (len(REASONS), len(DECIDERS)) == (20, 8)


def test_the_vocabulary_is_described(texts: Texts) -> None:
    """Each reason and each step has its sentence."""
    for word, meaning in (*REASONS.items(), *DECIDERS.items()):
        texts.check(f"{word}: {meaning}")


# Codes that servers use in different meanings, each with such an answer.


def test_exchange_online_answers_541_for_an_unknown_recipient() -> None:
    """550 5.4.1 is an unknown recipient where an answer is about recipients; in a bounce, 5.4.1 is a connection."""
    answer = "Recipient address rejected: Access denied. [AM0EUR02FT004.eop-EUR02.prod.protection.example.com]"

    assert decide("rcptto", "550", "5.4.1", answer) == ("recipient_unknown", "vendor")
    assert decide("bounce", "550", "5.4.1", answer) == ("recipient_unknown", "vendor")
    assert decide("bounce", "", "5.4.1", "No answer from host") == ("connection", "extended")


@pytest.mark.parametrize("state", ["rcptto", "data", "message"])
@pytest.mark.parametrize("extended", ["4.4.1", "5.4.1", "4.4.2", "5.4.2"])
def test_a_server_that_answers_was_reached(state: str, extended: str) -> None:
    """In the answer to RCPT TO and later, a failed connection is behind the server, unless it says what it lost."""
    assert decide(state, "451", extended, "No reply") == ("remote_system", "vendor")
    assert decide(state, "421", "4.4.1", "Cannot connect to the mailbox server").reason == "remote_system"
    assert decide(state, "421", "4.4.2", "Timeout exceeded") == ("connection", "description")
    assert decide("ehlo", "421", extended, "No reply") == ("connection", "extended")


def test_5110_is_a_null_mx_unless_the_text_names_the_recipient() -> None:
    """5.1.10 is a null MX as registered, and an unknown recipient if Exchange Online says so."""
    assert decide("bounce", "550", "5.1.10", "Domain example.com takes no mail (nullMX)") == (
        "domain_invalid",
        "extended",
    )
    assert decide("bounce", "550", "5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP lookup") == (
        "recipient_unknown",
        "description",
    )


@pytest.mark.parametrize("detail", ["23", "27", "29", "30", "31", "32", "40"])
@pytest.mark.parametrize("class_", ["4", "5"])
def test_gmails_meaning_of_authentication_codes_wins(class_: str, detail: str) -> None:
    """Codes that Gmail uses for SPF, DKIM, DMARC, TLS and alignment are about authentication, whatever the text."""
    answer = "This mail has been rate limited. To protect our users from spam, it was blocked. - gsmtp"

    assert decide("message", f"{class_}50", f"{class_}.7.{detail}", answer).reason == "authentication"


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ("<someone@example.com>: Relay access denied", ("policy", "extended")),
        ("Rejected", ("policy", "extended")),
        ("<someone@example.com>: Recipient address rejected: User unknown", ("recipient_unknown", "description")),
        ("Service unavailable; Client host [192.0.2.7] blocked using bl.example.com", ("blocked", "description")),
        ("Message rejected as spam by content filtering", ("content", "description")),
        (
            "Unauthenticated email from example.com is not accepted due to its DMARC policy",
            ("authentication", "description"),
        ),
    ],
)
def test_571_is_policy_unless_the_text_says_more(answer: str, decision: tuple[str, str]) -> None:
    """The catch-all 5.7.1 has the reason of its text, and is a policy without a known text."""
    assert decide("rcptto", "554", "5.7.1", answer) == decision


@pytest.mark.parametrize(("code", "extended"), [("550", "5.2.1"), ("450", "4.2.1")])
def test_x21_is_a_disabled_mailbox_unless_gmail_limits_the_rate(code: str, extended: str) -> None:
    """X.2.1 is a disabled mailbox. Gmail also uses it if one user receives too much mail."""
    limited = "The user you are trying to contact is receiving mail at a rate that prevents additional messages"

    assert decide("rcptto", code, extended, "Account disabled") == ("mailbox_unavailable", "extended")
    assert decide("rcptto", code, extended, limited) == ("rate_limited", "description")


def test_codes_of_different_classes_do_not_change_the_reason() -> None:
    """550 with 4.x.x has the reason of the enhanced code, as has 450 with 5.x.x."""
    assert decide("rcptto", "550", "4.2.2") == ("mailbox_full", "extended")
    assert decide("rcptto", "450", "5.2.2") == ("mailbox_full", "extended")
    assert decide("rcptto", "550", "4.4.7") == ("expired", "extended")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("550 someone@example.com... No such user", "recipient_unknown"),
        ("552 <someone@example.com> mailbox is full", "mailbox_full"),
        ("554 5.7.1 blocked, see https://www.example.com/?p=1", "blocked"),
        ("smtp; 550 5.2.2 sorry", "mailbox_full"),  # an enhanced code in the text
        ("", "protocol"),
    ],
)
def test_the_text_of_a_bounce_with_a_vague_code_decides(answer: str, reason: str) -> None:
    """A bounce with 5.0.0 has the reason of its text. Without one, it is unclassified, or that of 5.5.0."""
    if answer:
        assert decide("bounce", "", "5.0.0", answer) == (reason, "description")
    else:
        assert decide("bounce", "", "5.0.0") == (UNCLASSIFIED, UNCLASSIFIED)
        assert decide("bounce", "", "5.5.0") == (reason, "extended")


# The order of the steps.


@pytest.mark.parametrize(
    ("report", "decision"),
    [
        (("suppression", "550", "5.1.1", "user unknown"), ("suppressed", "state")),
        (("storage", "", "", ""), ("platform", "state")),
        (("start tls", "454", "4.7.0", "TLS not available"), ("security", "state")),
        (("message", "550", "5.7.606", "Access denied, banned sending IP"), ("blocked", "vendor")),
        (("rcptto", "421", "4.7.0", "try again later"), ("rate_limited", "vendor")),
        (("mailfrom", "553", "5.1.0", "example.com does not exist"), ("sender_rejected", "vendor")),
        (("rcpt to", "550", "5.1.1", "rejected"), ("recipient_unknown", "extended")),
        (
            ("message", "550", "5.7.99", "rejected"),
            ("policy", "extended"),
        ),  # unlisted: that of its subject
        (("rcpt to", "550", "", "rejected"), ("recipient_unknown", "code_and_state")),
        (("rcptto", "550", "5.0.0", "rejected"), ("recipient_unknown", "code_and_state")),
        (("rcptto", "550", "nonsense", "rejected"), ("recipient_unknown", "code_and_state")),
        (("mailfrom", "552", "", ""), ("message_too_large", "code_and_state")),
        (("intro", "554", "", ""), ("blocked", "code_and_state")),
        (("dns", "", "", ""), ("domain_invalid", "state_alone")),
        (("dns", "", "", "Host not found, try again"), ("routing", "description")),
        (("process", "", "", ""), ("expired", "state_alone")),
        (("process", "299", "", ""), (UNCLASSIFIED, UNCLASSIFIED)),
        (("connect", "", "", ""), ("connection", "state_alone")),
        (("bounce", "", "", "Mailbox full"), ("mailbox_full", "description")),
        (("bounce", "550", "", "rejected"), (UNCLASSIFIED, UNCLASSIFIED)),
        (("", "", "", ""), (UNCLASSIFIED, UNCLASSIFIED)),
        (("bounce", "250", "2.1.5", "ok"), (UNCLASSIFIED, UNCLASSIFIED)),
    ],
)
def test_the_first_step_that_knows_decides(report: tuple[str, str, str, str], decision: tuple[str, str]) -> None:
    """State, vendor, enhanced code, SMTP code with state, state, text: the first that knows decides, and is named."""
    assert decide(*report) == decision


def test_the_text_does_not_override_specific_codes() -> None:
    """5.2.2 and 5.1.8 keep their reasons; 5.1.1 only becomes one of a mailbox, or of a sender that is not welcome."""
    assert decide("rcptto", "552", "5.2.2", "User unknown") == ("mailbox_full", "extended")
    assert decide("bounce", "501", "5.1.8", "Address not found. Sender address rejected") == (
        "sender_rejected",
        "extended",
    )
    assert decide("rcptto", "550", "5.1.1", "virus found") == ("recipient_unknown", "extended")
    assert decide("rcptto", "550", "5.1.1", "blocked using bl.example.com") == ("blocked", "description")
    assert decide("rcptto", "550", "5.1.1", "sorry, over quota") == ("mailbox_full", "description")


def test_before_rcpt_to_no_text_is_about_a_recipient() -> None:
    """In the answer to MAIL FROM, "does not exist" is not about the recipient."""
    assert decide("mailfrom", "550", "", "user does not exist") == ("sender_rejected", "code_and_state")
    assert decide("rcptto", "554", "", "user does not exist") == ("recipient_unknown", "description")


def named(answer: dict[str, str]) -> str:
    """Return the name of a test: the codes and the beginning of the text."""
    return " ".join((answer["state"], answer["code"], answer["extended"], answer["description"][:40]))


@pytest.mark.parametrize("answer", HARD_ANSWERS, ids=named)
def test_hard_answers(answer: dict[str, str]) -> None:
    """An answer in hard_answers.jsonl has the reason that is written there."""
    decision = decide(*(answer[name] for name in ("state", "code", "extended", "description")))
    assert decision.reason == answer["reason"]


# Any input

TEXTS = st.text(max_size=300) | st.lists(
    st.sampled_from(sorted({word for _, *rows in HINTS for row in rows for word in row.split()})), max_size=60
).map(" ".join)


@given(
    state=st.sampled_from(sorted(STATES)) | st.text(max_size=20),
    code=st.integers(200, 599).map(str) | st.text(max_size=5),
    extended=st.from_regex(r"[245]\.[0-9]\.[0-9]{1,3}", fullmatch=True) | st.text(max_size=12),
    description=TEXTS,
)
def test_any_report_has_a_known_reason_and_step(state: str, code: str, extended: str, description: str) -> None:
    """Any text in any variable gives a reason and a step of the vocabulary, the same each time."""
    decision = decide(state, code, extended, description)

    assert decision.reason in REASONS
    assert decision.decided_by in DECIDERS
    assert (decision.reason == UNCLASSIFIED) == (decision.decided_by == UNCLASSIFIED)
    assert decide(state, code, extended, description) == decision


@given(description=st.characters().map(lambda character: character * 70_000))
def test_a_long_text_is_harmless(description: str) -> None:
    """A long description of any one character, lone surrogates included, neither raises nor decides."""
    assert decide(description=description).reason == UNCLASSIFIED


def test_answers_of_large_providers() -> None:
    """Each answer in answers.jsonl has the reason that is written there, and each reason has an answer there."""
    wrong = []
    for answer in ANSWERS:
        decision = decide(*(answer[name] for name in ("state", "code", "extended", "description")))
        if decision.reason != answer["reason"]:
            wrong.append((decision, answer))
    assert wrong == []
    assert {answer["reason"] for answer in ANSWERS} == set(REASONS) - {"platform", UNCLASSIFIED}
