"""A report becomes a record: an identity that never changes, and the counters that it increments."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.classifier import Classifier, Failure, identity_of
from exporter.classification.fields import Fields
from exporter.classification.labels import OVERFLOW, Labels, LabelSets
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
    assert classifier().failure_of(report).record == classifier().failure_of(report_of(Fields(R.items()))).record


@pytest.mark.parametrize("code", ["550 5.1.1", "550-5.1.1 No such user", "5.1.1"])
def test_a_status_in_the_code(code: str) -> None:
    """The status gives labels and reason; the identity has the values as they were sent."""
    sent = REPORT._replace(code=code, extended="")
    failure = classifier().failure_of(sent)
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
    rest = ("", (), frozenset[str]())
    assert identity_of(Report._make([*one, *rest])) != identity_of(Report._make([*other, *rest]))


# Counters


@pytest.mark.parametrize("example", REPORTS.values(), ids=REPORTS)
def test_reports_in_files(example: Example) -> None:
    """Each report in tests/support/reports has the labels, decision and counters of its JSON file."""
    failure = classifier(*COUNTED_TAGS).failure_of(example.report)
    assert {
        "labels": failure.labels._asdict(),
        "decision": failure.decision._asdict(),
        "series": ["/".join(series) for series in failure.record.series],
    } == example.expected


def test_a_failure() -> None:
    """A failure has its identity, one counter in each family, and one for each counted tag."""
    assert classifier("may", "newsletter", "june").failure_of(REPORT) == Failure(
        Record(
            identity_of(REPORT),
            (
                ("failures", "rcptto", "5xx", "5.1.1"),
                ("failures_by_reason", "recipient_unknown"),
                ("failures_by_provider", "gmail", "5xx"),
                ("failures_by_tag", "may"),
                ("failures_by_tag", "newsletter"),
            ),
        ),
        Labels("rcptto", "5xx", "5.1.1"),
        Decision("recipient_unknown", "extended"),
        "gmail",
        overflowed=False,
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
    record = classifier(*counted).failure_of(REPORT._replace(tags=tags)).record
    assert [series[1] for series in record.series if series[0] == "failures_by_tag"] == expected


def test_the_users_providers_count() -> None:
    """A domain of the user counts under the user's name, with the class of the code."""
    failure = classifier().failure_of(REPORT._replace(recipient="a@school.example", code="451"))
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
    failure = Classifier(LabelSets(), Providers(), (), own_reasons).failure_of(report)
    built_in = classifier().failure_of(report)
    assert built_in.decision.reason != "rate_limited"
    series = list(built_in.record.series)
    series[1] = ("failures_by_reason", "rate_limited")
    record = built_in.record._replace(series=tuple(series))
    assert failure == built_in._replace(record=record, decision=Decision("rate_limited", "configured"))


def test_past_the_limit_on_label_sets() -> None:
    """The labels of the main counter are all ``other``; labels, reason and provider of the failure stay true."""
    one = classifier(limit=0).failure_of(REPORT)
    assert one == Failure(
        Record(
            identity_of(REPORT),
            (
                ("failures", *OVERFLOW),
                ("failures_by_reason", "recipient_unknown"),
                ("failures_by_provider", "gmail", "5xx"),
                ("failures_by_tag", "other"),
            ),
        ),
        Labels("rcptto", "5xx", "5.1.1"),
        Decision("recipient_unknown", "extended"),
        "gmail",
        overflowed=True,
    )


def test_a_known_label_set_does_not_overflow() -> None:
    """With a limit of one label set, the second one overflows, and the first one keeps counting."""
    one = classifier(limit=1)
    codes = ["5.1.1", "5.2.2", "5.1.1", "5.2.2"]
    failures = [one.failure_of(REPORT._replace(extended=extended)) for extended in codes]
    assert [failure.overflowed for failure in failures] == [False, True, False, True]
    assert [failure.record.series[0][3] for failure in failures] == ["5.1.1", "other", "5.1.1", "other"]


@given(report=REPORTS_AT_RANDOM)
def test_any_report_is_a_failure(report: Report) -> None:
    """Any report increments one counter in each family, and no address is in the labels."""
    failure = classifier("newsletter").failure_of(report)
    families = [series[0] for series in failure.record.series]
    assert families == ["failures", "failures_by_reason", "failures_by_provider", "failures_by_tag"]
    words = {word for series in failure.record.series for word in series}
    assert "@" not in "".join(words)
    assert max(map(len, words)) <= 40
