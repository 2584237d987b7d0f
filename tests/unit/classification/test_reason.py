"""Each failure has one reason out of a closed vocabulary, decided in the order that the tables say."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification import reason_codes
from exporter.classification.labels import STATES
from exporter.classification.phrase_matcher import LONGEST_TEXT, hint_of
from exporter.classification.reason import DECIDERS, REASONS, UNCLASSIFIED, Decision, reason_of
from exporter.classification.reason_phrases import HINTS, SLOTS
from exporter.classification.report import Report
from exporter.classification.status_codes import REGISTRY, VENDOR_MEANINGS

# Answers as large providers and common servers give them, put down by ourselves with the reason that each should have.
ANSWERS = [json.loads(line) for line in (Path(__file__).parent / "answers.jsonl").read_text().splitlines()]
# Real answers, with the reasons that are right for each; not part of the project.
SAMPLES = Path(__file__).parents[4] / "shared/samples/replies.jsonl"

# The registry by reason, written out once more by hand. "4:" and "5:" where the class matters.
REGISTERED = {
    "recipient_unknown": "1.0 1.1 1.3 1.4 1.6 7.17",
    "mailbox_unavailable": "2.0 2.1 2.4 7.13",
    "mailbox_full": "2.2",
    "message_too_large": "2.3 3.4 7.16",
    "domain_invalid": "1.2 1.10 7.18",
    "routing": "4.0 4.3 4.4 4.6",
    "connection": "4.1 4.2",
    "expired": "4.7",
    "remote_system": "3.0 3.1 3.2 3.3 3.5 3.6 4.5 1.9",
    "rate_limited": "5.3 7.28",
    "sender_rejected": "1.7 1.8",
    "authentication": "7.20 7.21 7.22 7.23 7.24 7.25 7.26 7.27 7.29 7.30",
    "policy": "7.0 7.1 7.2 7.14 7.15 7.19",
    "security": "7.3 7.4 7.5 7.6 7.7 7.8 7.9 7.10 7.11 7.12",
    "content": "6.0 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9 6.10",
    "protocol": "5.0 5.1 5.2 5.4 5.5 5.6",
    UNCLASSIFIED: "0.0 1.5",
}
# Microsoft gives 5.7.12 another sense than the registry, and only the temporary one is a matter of login.
OTHERWISE = {"5.7.12": "policy"}

VENDORS = {
    "authentication": """
        4.7.23 4.7.27 5.7.27 4.7.29 5.7.29 4.7.30 5.7.30 4.7.31 4.7.32 5.7.32 4.7.40 5.7.40 5.7.509 5.7.515
    """,
    "blocked": "4.7.650 4.7.651 5.7.501 5.7.507 5.7.511 5.7.513 5.7.705 5.7.708 "
    + " ".join(f"5.7.{detail}" for detail in range(606, 650)),
    "connection": "4.4.315 4.4.316 4.4.317 4.4.318 5.4.316 5.4.317 5.4.318 5.4.1",
    "content": "5.6.11",
    "domain_invalid": "5.1.10",
    "expired": "5.4.300",
    "mailbox_unavailable": "5.7.13",
    "policy": """
        5.7.12 5.7.64 5.7.124 5.7.133 5.7.134 5.7.135 5.7.136 5.7.193 5.7.367 5.7.510 5.7.520 5.7.703
    """,
    "protocol": "5.7.506",
    "rate_limited": "5.1.90 5.2.121 5.2.122 4.7.500 4.7.550 4.7.652 5.7.508",
    "recipient_unknown": "5.1.351 5.7.504 5.7.505",
    "remote_system": "5.3.190",
    "routing": "5.4.14 4.4.8 5.4.8 4.4.312 5.4.312",
    "security": "5.7.57 4.7.320 4.7.321 5.7.321 4.7.322 5.7.322 4.7.323 5.7.323 4.7.324 5.7.324 4.7.325 5.7.325",
    "sender_rejected": "5.1.20 5.7.502 5.7.503 5.7.512 5.7.750",
    UNCLASSIFIED: "5.0.350",
}


def decide(state: str = "", code: str = "", extended: str = "", description: str = "") -> Decision:
    """The decision on a report with these variables."""
    return reason_of(Report("1", "someone@example.com", state, code, extended, description))


def test_vocabulary_is_closed_and_small() -> None:
    """There are 20 reasons and 7 steps; all tables use no other words, and each reason is used."""
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
    assert {reason for reasons in reason_codes.MISUSED.values() for reason in reasons} <= set(REASONS)
    assert (len(REASONS), len(DECIDERS)) == (20, 7)


def test_states_of_the_tables_exist() -> None:
    """Each state in a table is one that SMTPeter can send."""
    states = {*reason_codes.SETTLED, *reason_codes.STATES}
    states |= {state for _, _, state in reason_codes.OVERRIDES} | {state for _, state in reason_codes.CODE_AND_STATE}
    assert states <= STATES


@pytest.mark.parametrize("class_", ["4", "5"])
def test_every_registered_code_has_its_reason_on_purpose(class_: str) -> None:
    """Each code of the registry, temporary and permanent, has the reason that the table above gives by hand."""
    wanted = {f"{class_}.{row}": reason for reason, rows in REGISTERED.items() for row in rows.split()}
    wanted |= {extended: reason for extended, reason in OTHERWISE.items() if extended in wanted}

    assert set(wanted) == {f"{class_}.{row}" for row in REGISTRY}
    assert {extended: decide(extended=extended).reason for extended in wanted} == wanted
    assert set(reason_codes.EXTENDED) - set(REGISTRY) == {"4.8", "7.31", "7.32", "7.40"}  # Microsoft's, and Gmail's


def test_every_vendor_code_has_its_reason_on_purpose() -> None:
    """Each code of the vendors' table has the reason that the table above gives by hand."""
    wanted = {extended: reason for reason, row in VENDORS.items() for extended in row.split()}

    assert set(wanted) == set(VENDOR_MEANINGS)
    assert {extended: decide(extended=extended).reason for extended in wanted} == wanted


@pytest.mark.parametrize("code", ["550", "554"])
def test_registered_codes_mean_the_same_with_any_smtp_code(code: str) -> None:
    """The SMTP code of an answer does not change the reason of a registered code without a vendor's sense."""
    wanted = {row: decide(state="bounce", extended=f"4.{row}").reason for row in REGISTRY if row not in {"0.0", "1.5"}}

    assert {row: decide("bounce", code, f"4.{row}").reason for row in wanted} == wanted


# The conflicts of the vocabulary's page, each with the answer that shows it.


def test_exchange_online_says_541_for_an_unknown_recipient() -> None:
    """550 5.4.1 is an unknown recipient where recipients are told of; 4.4.1 is a connection in any state."""
    answer = "Recipient address rejected: Access denied. [AM0EUR02FT004.eop-EUR02.prod.protection.example.com]"

    assert decide("rcptto", "550", "5.4.1", answer) == ("recipient_unknown", "vendor")
    assert decide("bounce", "550", "5.4.1", answer) == ("recipient_unknown", "vendor")
    assert decide("rcptto", "450", "4.4.1", "No answer") == ("connection", "extended")
    assert decide("bounce", "", "5.4.1", "No answer from host") == ("connection", "extended")


def test_1_10_is_a_null_mx_unless_the_text_names_the_recipient() -> None:
    """5.1.10 is the registry's null MX, and Exchange Online's unknown recipient when it says so."""
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
def test_gmails_sense_of_authentication_codes_wins(class_: str, detail: str) -> None:
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
def test_571_is_policy_until_the_text_says_better(answer: str, decision: tuple[str, str]) -> None:
    """The catch-all 5.7.1 takes the reason of its text, and is a policy without one."""
    assert decide("rcptto", "554", "5.7.1", answer) == decision


@pytest.mark.parametrize(("code", "extended"), [("550", "5.2.1"), ("450", "4.2.1")])
def test_21_is_a_disabled_mailbox_unless_gmail_says_too_much_mail(code: str, extended: str) -> None:
    """X.2.1 is a mailbox that takes no mail; Gmail also limits by it how much one user gets."""
    limited = "The user you are trying to contact is receiving mail at a rate that prevents additional messages"

    assert decide("rcptto", code, extended, "Account disabled") == ("mailbox_unavailable", "extended")
    assert decide("rcptto", code, extended, limited) == ("rate_limited", "description")


def test_digits_that_disagree_do_not_change_the_reason() -> None:
    """550 with 4.x.x has the reason of x.x, as has 450 with 5.x.x."""
    assert decide("rcptto", "550", "4.2.2") == ("mailbox_full", "extended")
    assert decide("rcptto", "450", "5.2.2") == ("mailbox_full", "extended")
    assert decide("rcptto", "550", "4.4.1") == ("connection", "extended")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("550 someone@example.com... No such user", "recipient_unknown"),
        ("552 <someone@example.com> mailbox is full", "mailbox_full"),
        ("554 5.7.1 blocked, see https://www.example.com/?p=1", "blocked"),
        ("smtp; 550 5.2.2 sorry", "mailbox_full"),  # an enhanced code in the text, in place of words
        ("", "protocol"),
    ],
)
def test_500_in_a_bounce_leaves_it_to_the_text(answer: str, reason: str) -> None:
    """An asynchronous bounce with 5.0.0 or 5.5.0 has the reason of its text."""
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
        (("message", "550", "5.7.99", "rejected"), ("policy", "extended")),  # unlisted, so that of its subject
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
def test_steps_in_their_order(report: tuple[str, str, str, str], decision: tuple[str, str]) -> None:
    """State, vendor, enhanced code, SMTP code with state, state, text: the first that knows decides, and is named."""
    assert decide(*report) == decision


def test_firm_codes_are_not_moved_by_the_text() -> None:
    """5.2.2 and 5.1.8 stay what they are, whatever the text talks of; 5.1.1 moves only to what is wrong with a box."""
    assert decide("rcptto", "552", "5.2.2", "User unknown") == ("mailbox_full", "extended")
    assert decide("bounce", "501", "5.1.8", "Address not found. Sender address rejected") == (
        "sender_rejected",
        "extended",
    )
    assert decide("rcptto", "550", "5.1.1", "blocked using bl.example.com") == ("recipient_unknown", "extended")
    assert decide("rcptto", "550", "5.1.1", "sorry, over quota") == ("mailbox_full", "description")


def test_before_the_recipient_is_named_no_text_is_about_one() -> None:
    """In answer to MAIL FROM, "does not exist" is not the recipient."""
    assert decide("mailfrom", "550", "", "user does not exist") == ("sender_rejected", "code_and_state")
    assert decide("rcptto", "554", "", "user does not exist") == ("recipient_unknown", "description")


# Words of answers.


def test_addresses_say_nothing() -> None:
    """Words of an address are not read as the server's."""
    assert hint_of("<mailbox-full@quota-exceeded.example.com>: no") is None
    assert hint_of("virus@spf.example.com") is None
    assert hint_of("virus@example.com\nspf@example.com\tdkim@example.com 漢字") is None
    assert hint_of("RCPT TO:<virus@example.com>:dmarc") == "authentication"
    assert hint_of("mailbox full\r\n<a@example.com>\r\n<b@example.com>") == "mailbox_full"


@pytest.mark.parametrize(
    "text",
    [
        "Mailbox full",
        "MAILBOX FULL",
        "mailbox <a@example.com> is full",
        "(mailbox)\r\n[full]!",
        "inbox:full",
        "ﬀ mailbox full",
    ],
)
def test_case_and_punctuation_do_not_matter(text: str) -> None:
    """A phrase is found without case, punctuation, line breaks and addresses between its words."""
    assert hint_of(text) == "mailbox_full"


@pytest.mark.parametrize(
    "text", ["mailbox fullness", "amailbox full", f"mailbox {'x' * 80} full", "full mailbox", "ful l"]
)
def test_phrases_are_of_whole_words_in_order_and_near(text: str) -> None:
    """A phrase needs its words whole, in order, and not far from one another."""
    assert hint_of(text) is None


def test_both_apostrophes_are_left_out() -> None:
    """Straight and curly apostrophes make no difference."""
    assert hint_of("user doesn't exist") == hint_of("user doesn\u2019t exist") == "recipient_unknown"


def test_only_the_beginning_of_a_text_is_read() -> None:
    """What stands after the first 2,000 characters is not looked at."""
    assert hint_of("- " * 990 + "user unknown") == "recipient_unknown"
    assert hint_of("- " * (LONGEST_TEXT // 2) + "user unknown") is None


def test_every_phrase_can_decide() -> None:
    """No phrase stands behind one of another reason that is always found with it."""
    hidden = {}
    for reason, *rows in HINTS:
        for phrase in " | ".join(rows).split(" | "):
            words = [SLOTS.get(word, (word,))[-1] for word in phrase.split()]
            text = " ".join(words).replace(" …", "").replace("*", "")
            if hint_of(text) != reason:
                hidden[phrase] = hint_of(text)
    assert hidden == {}


def test_rows_are_lower_case_and_without_marks() -> None:
    """A phrase is written as the folded text has it; only slots are in capitals, and every slot is used."""
    words = [word for _, *rows in HINTS for row in rows for word in row.split() if word not in {"|", "…"}]

    assert [word for word in words if word not in SLOTS and word != word.casefold()] == []
    assert [word for word in words if not word.removesuffix("*").isalnum() and word not in SLOTS] == []
    assert set(SLOTS) <= set(words)


# What any input gives.

TEXTS = st.text(max_size=300) | st.lists(
    st.sampled_from(sorted({word for _, *rows in HINTS for row in rows for word in row.split()})), max_size=60
).map(" ".join)


@given(
    state=st.sampled_from(sorted(STATES)) | st.text(max_size=20),
    code=st.integers(200, 599).map(str) | st.text(max_size=5),
    extended=st.from_regex(r"[245]\.[0-9]\.[0-9]{1,3}", fullmatch=True) | st.text(max_size=12),
    description=TEXTS,
)
def test_any_report_has_a_closed_reason_and_step(state: str, code: str, extended: str, description: str) -> None:
    """Any text in any variable gives a reason and a step out of the tables, the same each time."""
    decision = decide(state, code, extended, description)

    assert decision.reason in REASONS
    assert decision.decided_by in DECIDERS
    assert (decision.reason == UNCLASSIFIED) == (decision.decided_by == UNCLASSIFIED)
    assert decide(state, code, extended, description) == decision


@given(description=st.characters().map(lambda character: character * 70_000))
def test_long_texts_are_read_in_part(description: str) -> None:
    """A description of any size, lone surrogates included, neither raises nor decides."""
    assert decide(description=description).reason == UNCLASSIFIED


def test_answers_of_large_providers() -> None:
    """Each answer of answers.jsonl has the reason that it is noted with, and each reason an answer there."""
    wrong = []
    for answer in ANSWERS:
        decision = decide(*(answer[name] for name in ("state", "code", "extended", "description")))
        if decision.reason != answer["reason"]:
            wrong.append((decision, answer))
    assert wrong == []
    assert {answer["reason"] for answer in ANSWERS} == set(REASONS) - {"platform", UNCLASSIFIED}


def test_agreement_with_real_answers() -> None:
    """At least 88 % of real answers of mail servers get a reason that a person accepted for them."""
    if not SAMPLES.exists():
        pytest.skip(f"the answers are not part of the project: {SAMPLES} is missing")
    answers = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    misses = []
    for answer in answers:
        decision = decide(answer["state"], str(answer["code"]), answer["extended"], answer["description"])
        if decision.reason not in answer["accept"]:
            misses.append(f"{decision} is none of {answer['accept']}: {answer['description'][:120]}")
    agreement = 1 - len(misses) / len(answers)
    assert agreement >= 0.88, "\n".join(misses)
