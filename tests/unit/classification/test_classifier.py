"""A report becomes a record: an identity that never changes, and the counters that it increments."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.classifier import Classifier, Event, identity_of, message_of
from exporter.classification.fields import Fields
from exporter.classification.labels import OVERFLOW, Labels, LabelSets
from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LOOPS, Loop
from exporter.classification.own_reasons import OwnReasons
from exporter.classification.providers import Providers
from exporter.classification.reason import Decision
from exporter.classification.report import Report, report_of
from exporter.classification.series import Record
from tests.support.reports import COUNTED_TAGS, REPORTS, Example

REPORT: Final = Report(
    "qa7d0e1f2b3c", "jane.doe@gmail.com", "rcptto", "550", "5.1.1", "550 5.1.1 No such user", ("newsletter", "may")
)

# Ledgers in production contain these. If one changed, failures that are repeated after an upgrade would count twice.
IDENTITIES: Final = {
    Report("1", "r"): "c102983c345378ad3a7de4530af15807",
    Report("1", "jane@example.com", "rcptto", "550", "5.1.1"): "464c9f85259b0d5d7534bed344d93c84",
    Report("1", "JANE@Example.com", "RCPT TO", "550", "5.1.1", "words", ("tag",)): "464c9f85259b0d5d7534bed344d93c84",
    Report("qa7d0e1f2b40", "用户@例子.cn", "bounce", "", "5.0.0"): "d95ccbd23cc0aa9435001c032fcb38ac",
    Report("20190311-0043", "info@example.org", "connect"): "9f70a48279ef1ba0f7a384d88b3f2eb8",
    Report("m-1", "jürgen@müller.example", "bounce", "", "5.0.0"): "5ad80ffaa66fafbf5ea1d68fad2d2623",
    Report("m-2", "a+b_c-d@sub.example.nl", "rcpt to", "451", "4.7.650"): "0a0fddfaf857ca8c1ad7cf13d25aad30",
    Report("m-3", "x@y.nl", "quantum", "five", "5.01.1"): "8bf7d43060f79f84aa6ee7615b513f38",
    Report("a b", '"jan de vries"@voorbeeld.nl', "message", "250"): "0076390f97bce4b38e7956e385d4e711",
    Report("1e300", "İ@example.com", "mail from", "-1", "5.1"): "3ddfa6826682f46bf6ccf7883bcc91b0",
    Report("m-4\\u0000", "c:\\dir@example.com", "ehlo", "421", "4.3.2"): "fec7d48f9305a17aa7c1b35818d9f570",
    Report("x" * 256, "é" * 512, "s" * 64, "c" * 64, "e" * 64): "65e2885dac62f9d0595902e0e55ee5f3",
}


def classifier(*tags: str, limit: int = 500) -> Classifier:
    """Return a classifier with a limit on label sets, the built-in providers, and one of the user."""
    return Classifier(LabelSets(limit=limit), Providers({"school.example": "school"}), tags)


# Identity

R: Final = {"id": "1", "recipient": "jane@example.com", "state": "rcptto", "code": "550", "extended": "5.1.1"}
CANONICAL: Final = "464c9f85259b0d5d7534bed344d93c84"
SPELLINGS: Final = [
    {},
    {"code": "550.0"},
    {"code": " 550.00 "},
    *({"state": state} for state in ("rcpt\tto", "rcpt_to", "rcpt-to", "RCPT TO", "RcptTo\n")),
    {"recipient": "<jane@example.com>"},
    {"recipient": "jane@example.com."},
    {"recipient": " < Jane@example.com.> "},
    {"recipient": "\ufeffjane@example.com"},
    {"recipient": "jane@exam\u200bple.com\u2060"},
    {"id": " 1\r\n"},
    {"type": "failure", "action": "failed", "time": "1700000000", "description": "words", "tags": "a;b"},
]


@pytest.mark.parametrize("change", SPELLINGS, ids=ascii)
def test_one_failure_in_all_spellings(change: dict[str, str]) -> None:
    """However SMTPeter spells a failure, it has the identity of the canonical spelling, and the same series."""
    report = report_of(Fields((R | change).items()))
    assert identity_of(report).hex() == CANONICAL
    assert classifier().event_of(report).record == classifier().event_of(report_of(Fields(R.items()))).record


@pytest.mark.parametrize("code", ["550 5.1.1", "550-5.1.1 No such user", "5.1.1"])
def test_a_status_in_the_code(code: str) -> None:
    """The status gives labels and reason; the identity has the values as they were sent."""
    sent = REPORT._replace(code=code, extended="")
    failure = classifier().event_of(sent)
    code_class = "5xx" if code.startswith("550") else "none"
    assert failure.labels == Labels("rcptto", code_class, "5.1.1")
    assert failure.decision == Decision("recipient_unknown", "extended")
    assert failure.record.identity == identity_of(sent) != identity_of(REPORT)


@pytest.mark.parametrize(("report", "identity"), IDENTITIES.items(), ids=range(len(IDENTITIES)))
def test_identities_never_change(report: Report, identity: str) -> None:
    """The identity of a failure is the same as in the first release."""
    assert identity_of(report).hex() == identity


@pytest.mark.parametrize(
    "change",
    [
        {"recipient": "JANE.DOE@Gmail.COM"},
        {"state": "RCPTTO"},
        {"state": "rcpt to"},
        {"description": ""},
        {"description": "other words"},
        {"tags": ()},
        {"tags": ("may", "newsletter")},
    ],
    ids=str,
)
def test_two_reports_of_one_failure(change: dict[str, Any]) -> None:
    """Case of the recipient, spelling of the state, description and tags do not change the identity."""
    assert identity_of(REPORT._replace(**change)) == identity_of(REPORT)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "QA7D0E1F2B3C"},
        {"id": ""},
        {"recipient": "jane.doe@googlemail.com"},
        {"recipient": "janedoe@gmail.com"},
        {"state": "bounce"},
        {"state": ""},
        {"code": "551"},
        {"code": ""},
        {"extended": "5.1.10"},
        {"extended": ""},
        {"code": "5505", "extended": ".1.1"},
        {"id": "qa7d0e1f2b3", "recipient": "cjane.doe@gmail.com"},
        {"code": "5.1.1", "extended": "550"},
    ],
    ids=str,
)
def test_reports_of_two_failures(change: dict[str, Any]) -> None:
    """Another message, recipient, state or code is another failure, even if the concatenated values are the same."""
    assert identity_of(REPORT._replace(**change)) != identity_of(REPORT)


TEXTS: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
REPORTS_AT_RANDOM: Final = st.builds(
    Report, TEXTS, TEXTS | st.emails(), TEXTS, TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple)
)


def essence(report: Report) -> tuple[str, ...]:
    """Return what two reports of one failure have in common."""
    state = report.state.replace(" ", "").lower()
    return (report.id, report.recipient.lower(), state, report.code, report.extended)


# Few texts, so that two reports are often of the same failure.
ALIKE: Final = st.builds(Report, *[st.sampled_from(["", "a", "A", "a A"])] * 6)


@given(one=ALIKE, other=ALIKE)
def test_identities_are_equal_for_the_same_failure_only(one: Report, other: Report) -> None:
    """Two reports have the same 16 bytes if, and only if, they are of the same failure."""
    assert len(identity_of(one)) == 16
    assert (identity_of(one) == identity_of(other)) == (essence(one) == essence(other))


@given(texts=st.lists(TEXTS, min_size=5, max_size=5), moved=st.integers(0, 3))
def test_values_are_delimited(texts: list[str], moved: int) -> None:
    """Moving a letter from the end of one variable to the beginning of the next makes another failure."""
    one, other = [*texts], [*texts]
    one[moved] = f"{texts[moved]}x"
    other[moved + 1] = f"x{texts[moved + 1]}"
    rest = ("", (), frozenset[str](), b"", "")
    assert identity_of(Report._make([*one, *rest])) != identity_of(Report._make([*other, *rest]))


# Counters


@pytest.mark.parametrize("example", REPORTS.values(), ids=REPORTS)
def test_reports_in_files(example: Example) -> None:
    """Each report in tests/support/reports has the labels, decision and counters of its JSON file."""
    event = classifier(*COUNTED_TAGS).event_of(example.report, example.loop)
    known = {
        "labels": event.labels and event.labels._asdict(),
        "decision": event.decision and event.decision._asdict(),
        "kind": event.kind,
        "series": ["/".join(series) for series in event.record.series],
    }
    assert {name: value for name, value in known.items() if value} == example.expected
    assert (event.loop, event.record.loop) == (example.loop, example.loop.number)


def test_a_failure() -> None:
    """A failure has its identity, one counter in each family, and one for each counted tag."""
    assert classifier("may", "newsletter", "june").event_of(REPORT) == Event(
        FAILURES,
        Record(
            identity_of(REPORT),
            (
                ("failures", "rcptto", "5xx", "5.1.1"),
                ("failures_by_reason", "recipient_unknown"),
                ("failures_by_provider", "gmail", "5xx"),
                ("failures_by_reason_provider", "recipient_unknown", "gmail"),
                ("failures_by_tag", "may"),
                ("failures_by_tag", "newsletter"),
            ),
            loop=0,
            message=message_of(REPORT),
        ),
        REPORT,
        "gmail",
        ("may", "newsletter"),
        Labels("rcptto", "5xx", "5.1.1"),
        Decision("recipient_unknown", "extended"),
    )


@pytest.mark.parametrize(
    ("counted", "tags", "expected"),
    [
        ((), (), ["other"]),
        ((), ("a", "b"), ["other"]),
        (("a",), (), ["other"]),
        (("a",), ("b",), ["other"]),
        (("a",), ("A", " a"), ["other"]),
        (("a",), ("a", "b"), ["a"]),
        (("b", "a"), ("b", "c", "a"), ["a", "b"]),
        (("b", "a", "b"), ("b", "b"), ["b"]),
        (tuple("hgfedcba"), tuple("bdfhaceg"), list("abcdefgh")),
    ],
)
def test_only_configured_tags_count(counted: tuple[str, ...], tags: tuple[str, ...], expected: list[str]) -> None:
    """A failure counts once in each of its tags that is configured, in order, or in ``other`` if none of them is."""
    record = classifier(*counted).event_of(REPORT._replace(tags=tags)).record
    assert [series[1] for series in record.series if series[0] == "failures_by_tag"] == expected


def test_the_users_providers_count() -> None:
    """A domain of the user counts under the user's name, with the class of the code."""
    failure = classifier().event_of(REPORT._replace(recipient="a@school.example", code="451"))
    assert (failure.provider, failure.record.series[2]) == ("school", ("failures_by_provider", "school", "4xx"))


SETTLED: Final = {
    "state": REPORT._replace(state="suppression"),
    "a precise code": REPORT._replace(extended="5.2.2"),
    "the text": REPORT._replace(extended="5.7.1"),
    "nothing": REPORT._replace(code="", extended="", state="", description="Such user!"),
}


@pytest.mark.parametrize("report", SETTLED.values(), ids=SETTLED)
def test_the_users_reasons_come_first(report: Report) -> None:
    """A rule of the user decides, whatever would decide without it. The other labels and the identity stay the same."""
    own_reasons = OwnReasons([("another phrase", "policy"), ("such user", "rate_limited")])
    failure = Classifier(LabelSets(), Providers(), (), own_reasons).event_of(report)
    built_in = classifier().event_of(report)
    assert built_in.decision
    assert built_in.decision.reason != "rate_limited"
    series = list(built_in.record.series)
    series[1] = ("failures_by_reason", "rate_limited")
    series[3] = ("failures_by_reason_provider", "rate_limited", built_in.provider)
    record = built_in.record._replace(series=tuple(series))
    assert failure == built_in._replace(record=record, decision=Decision("rate_limited", "configured"))


def test_past_the_limit_on_label_sets() -> None:
    """The labels of the main counter are all ``other``; labels, reason and provider of the failure stay true."""
    one = classifier(limit=0).event_of(REPORT)
    assert one == Event(
        FAILURES,
        Record(
            identity_of(REPORT),
            (
                ("failures", *OVERFLOW),
                ("failures_by_reason", "recipient_unknown"),
                ("failures_by_provider", "gmail", "5xx"),
                ("failures_by_reason_provider", "recipient_unknown", "gmail"),
                ("failures_by_tag", "other"),
            ),
            loop=0,
            message=message_of(REPORT),
        ),
        REPORT,
        "gmail",
        (),
        Labels("rcptto", "5xx", "5.1.1"),
        Decision("recipient_unknown", "extended"),
        overflowed=True,
    )


def test_a_known_label_set_does_not_overflow() -> None:
    """With a limit of one label set, the second one overflows, and the first one keeps counting."""
    one = classifier(limit=1)
    codes = ["5.1.1", "5.2.2", "5.1.1", "5.2.2"]
    failures = [one.event_of(REPORT._replace(extended=extended)) for extended in codes]
    assert [failure.overflowed for failure in failures] == [False, True, False, True]
    assert [failure.record.series[0][3] for failure in failures] == ["5.1.1", "other", "5.1.1", "other"]


@given(report=REPORTS_AT_RANDOM)
def test_any_report_is_a_failure(report: Report) -> None:
    """Any report increments one counter in each family of failures, and no address is in the labels."""
    failure = classifier("newsletter").event_of(report)
    families = [series[0] for series in failure.record.series]
    later = ["failures_after_delivery_by_provider", "failures_after_delivery_by_tag"]
    assert families == [
        *("failures", "failures_by_reason", "failures_by_provider", "failures_by_reason_provider", "failures_by_tag"),
        *(later if failure.labels and failure.labels.state == "bounce" else []),
    ]
    words = {word for series in failure.record.series for word in series}
    assert "@" not in "".join(words)
    assert max(map(len, words)) <= 40


# The other loops

MIME: Final = b"From: MAILER-DAEMON@mx.example.net\r\nSubject: failure notice\r\n\r\nHi.\r\n"
FEEDBACK: Final = b"""\
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=x

--x
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Example/1.0
Version: 1
%s
--x--
"""


def test_a_delivery() -> None:
    """Its identity is message and recipient, without the answer; it counts by provider and by counted tag."""
    sent = REPORT._replace(state="", code="250", extended="2.0.0")
    event = classifier("may").event_of(sent, DELIVERIES)
    series = (("deliveries",), ("deliveries_by_provider", "gmail"), ("deliveries_by_tag", "may"))
    assert event == Event(DELIVERIES, Record(message_of(REPORT), series, 1), sent, "gmail", ("may",))


def test_the_hash_of_a_message_never_changes() -> None:
    """Ledgers in production contain it, as the identity of a delivery and beside that of a failure."""
    assert message_of(REPORT).hex() == "192468131b23777827909368de8a332b"
    assert message_of(REPORT._replace(recipient="Jane.Doe@GMAIL.com", state="x", code="1")) == message_of(REPORT)
    assert message_of(REPORT._replace(id="other")) != message_of(REPORT)
    assert message_of(REPORT._replace(recipient="john@gmail.com")) != message_of(REPORT)


def test_identities_of_different_loops_differ() -> None:
    """A delivery, a failure, a returned message and a complaint with the same variables are four events."""
    sent = REPORT._replace(mime=MIME)
    assert len({classifier().event_of(sent, loop).record.identity for loop in LOOPS.values()}) == 4


def test_a_returned_message() -> None:
    """It counts by kind and by reason; its record has message and recipient, and the event keeps no MIME."""
    sent = REPORT._replace(mime=MIME)
    event = classifier("may").event_of(sent, BOUNCES)
    series = (("bounces", "other"), ("bounces_by_reason", "unclassified"))
    identity = bytes.fromhex("2c146b52c626ac0cb81344be45684a4c")
    assert event == Event(
        BOUNCES,
        Record(identity, series, 2, message_of(REPORT)),
        REPORT,
        "gmail",
        ("may",),
        decision=Decision("unclassified", "unclassified"),
        kind="other",
    )


@pytest.mark.parametrize("loop", [BOUNCES, ABUSES], ids=lambda loop: loop.name)
def test_a_message_identifies_its_event(loop: Loop) -> None:
    """Line ends do not matter, because a log file may have others than the request; everything else does."""

    def identity(mime: bytes, report: Report = REPORT) -> bytes:
        return classifier().event_of(report._replace(mime=mime), loop).record.identity

    assert identity(MIME) == identity(MIME.replace(b"\r\n", b"\n")) == identity(b"\n" + MIME + b"\r\n")
    assert len({identity(MIME), identity(MIME + b"."), identity(MIME, REPORT._replace(id="other"))}) == 3
    assert (identity(MIME) == identity(MIME, REPORT._replace(recipient="john@gmail.com"))) == (loop is ABUSES)


@pytest.mark.parametrize(
    ("fields", "emailfrom", "provider"),
    [
        (b"Original-Rcpt-To: <jane@ziggo.nl>\n", "staff@hotmail.com", "ziggo"),
        (b"Reporting-MTA: dns; mta1.mail.bf1.yahoo.com\n", "staff@hotmail.com", "yahoo"),
        (b"Reporting-MTA: dns; yahoo.com\n", "", "yahoo"),
        (b"Reporting-MTA: dns; mx.example.net\n", "staff@hotmail.com", "other"),
        (b"", "staff@hotmail.com", "microsoft"),
        (b"", "", "other"),
        (b"", "nobody", "other"),
        (b"", "<staff@hotmail.com>", "microsoft"),
        (b"", "Hotmail <staff@Hotmail.com>", "microsoft"),
        (b"", "staff@mail.hotmail.com.", "microsoft"),
        (b"", "a." * 200 + "hotmail.com", "microsoft"),
        (b"", "a." * 200_000 + "nl", "other"),
        (b"", "a@" + "a" * 200_000 + ".nl", "other"),
    ],
)
def test_the_provider_of_a_complaint(fields: bytes, emailfrom: str, provider: str) -> None:
    """It is that of the original recipient, else of the reporting server, else of the sender of the report."""
    sent = Report("1", mime=FEEDBACK % fields, emailfrom=emailfrom)
    event = classifier().event_of(sent, ABUSES)
    assert (event.record.series, event.provider) == ((("complaints", provider),), provider)


def test_the_users_reasons_decide_for_returned_messages() -> None:
    """A rule of the user is tried before the built-in ones, as for failures."""
    one = Classifier(LabelSets(), Providers(), (), OwnReasons([("paper clip", "content")]))
    event = one.event_of(
        REPORT._replace(mime=b"Subject: failure notice\n\nYour paper clip was not accepted.\n"), BOUNCES
    )
    assert event.decision == Decision("content", "configured")
