"""Labels have values of closed sets, whatever a report contains, and the number of label sets is bounded."""

from threading import Barrier, Thread
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.labels import OVERFLOW, STATES, Labels, LabelSets, fold_state, labels_of, separate
from exporter.classification.status_codes import REGISTRY, SUBJECTS, VENDOR_MEANINGS

# The states of MailerQ, and SMTPeter's "bounce", in alphabetical order.
DOCUMENTED: Final = """
    amqp authcram authlogin authpassword authplain authresponse authusername bind bounce connect data dns ehlo handshake
    helo idle intro mailfrom message personalize process rcptto responsive rewrite starttls storage suppression unknown
"""
CODE_CLASSES: Final = {"2xx", "3xx", "4xx", "5xx", "other", "none"}
EXTENDED: Final = {
    *("none", "invalid"),
    *(f"{class_}.{code}" for class_ in "245" for code in REGISTRY),
    *VENDOR_MEANINGS,
    *(f"{class_}.{subject}.x" for class_ in "245" for subject in [*SUBJECTS, "x"]),
}
"""All values of the label ``extended`` except ``other``."""


def test_states_are_the_documented_ones() -> None:
    """The states are those of the documentation. The label's special values are not among them."""
    assert sorted(STATES) == DOCUMENTED.split()
    assert {"none", "other"} & STATES == set()


def test_each_state_is_its_own_label() -> None:
    """A documented state is its own label."""
    assert {state: labels_of(state, "", "").state for state in STATES} == {state: state for state in STATES}
    assert {fold_state(state) for state in STATES} == STATES


@pytest.mark.parametrize(
    ("state", "label"),
    [
        ("", "none"),
        ("rcpt to", "rcptto"),
        ("mail from", "mailfrom"),
        ("RCPT TO", "rcptto"),
        ("Bounce", "bounce"),
        ("accept", "other"),
        ("none", "other"),
        ("other", "other"),
        (" ", "other"),
        ("rcpt\tto", "rcptto"),
        ("rcpt_to", "rcptto"),
        ("rcpt-to", "rcptto"),
        ("Mail - From\n", "mailfrom"),
        ("\u017ftarttls", "other"),  # a long s, whose capital is S
        ("jane.doe@example.com", "other"),
    ],
)
def test_state(state: str, label: str) -> None:
    """Case, spaces, underscores and hyphens make no difference. Unknown is ``other``, absent is ``none``."""
    assert labels_of(state, "", "") == Labels(label, "none", "none")


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("", "none"),
        ("250", "2xx"),
        ("354", "3xx"),
        ("421", "4xx"),
        ("550", "5xx"),
        ("571", "5xx"),
        ("599", "5xx"),
        ("199", "other"),
        ("600", "other"),
        ("55", "other"),
        ("5500", "other"),
        ("550.0", "other"),
        ("-550", "other"),
        ("5xx", "other"),
        ("550 No such user", "5xx"),
        ("550-No such user", "5xx"),
        ("5.1", "other"),
        ("55 5.1.1", "other"),
        ("\u0665\u0665\u0660", "other"),  # Arabic digits
        ("5\u0665\u0660", "other"),
        ("\uff15\uff15\uff10", "other"),  # full-width digits
    ],
)
def test_code_class(code: str, label: str) -> None:
    """A code from 200 to 599 has the class of its first digit; another one is ``other``, an absent one ``none``."""
    assert labels_of("", code, "") == Labels("none", label, "none")


@pytest.mark.parametrize(
    ("code", "extended", "separated"),
    [
        ("550", "5.1.1", ("550", "5.1.1")),
        ("550", "", ("550", "")),
        ("550 5.1.1", "", ("550", "5.1.1")),
        ("550-5.1.1", "", ("550", "5.1.1")),
        ("550, 5.1.1", "", ("550", "5.1.1")),
        ("550/5.1.1", "", ("550", "5.1.1")),
        ("550 5.1.1 No such user", "", ("550", "5.1.1")),
        ("5.1.1", "", ("", "5.1.1")),
        ("5.1.1", "5.2.2", ("", "5.2.2")),
        ("550 5.1.1", "5.2.2", ("550", "5.2.2")),
        ("550 5.1.1.1", "", ("550", "")),
        ("550.5.1.1", "", ("550.5.1.1", "")),
        ("5.1.1.1", "", ("5.1.1.1", "")),
        ("five", "", ("five", "")),
        ("", "5.1.1", ("", "5.1.1")),
    ],
)
def test_a_status_in_the_code(code: str, extended: str, separated: tuple[str, str]) -> None:
    """A code that begins like a reply is the SMTP code; its status counts if the status itself is absent."""
    assert separate(code, extended) == separated
    assert labels_of("", code, extended) == labels_of("", *separated)


@pytest.mark.parametrize(
    ("extended", "label"),
    [
        ("", "none"),
        ("5.1.1", "5.1.1"),
        ("4.2.2", "4.2.2"),
        ("2.1.5", "2.1.5"),
        ("5.7.606", "5.7.606"),
        ("4.7.606", "4.7.x"),  # the vendor only uses class 5
        ("5.7.999", "5.7.x"),
        ("5.0.1", "5.0.x"),
        ("4.3.99", "4.3.x"),
        ("5.8.1", "5.x.x"),
        ("2.999.999", "2.x.x"),
        ("5.1.1000", "invalid"),
        ("5.1000.1", "invalid"),
        ("5.01.1", "invalid"),
        ("5.1.01", "invalid"),
        ("5.00.0", "invalid"),
        ("3.1.1", "invalid"),
        ("550", "invalid"),
        ("5.1", "invalid"),
        ("5.1.1.1", "invalid"),
        ("5.1.1\n", "invalid"),
        ("#5.1.1", "invalid"),
        ("5.7.x", "invalid"),
        ("5,1,1", "invalid"),
        ("\uff15.\uff11.\uff11", "invalid"),
        ("none", "invalid"),
        ("other", "invalid"),
    ],
)
def test_extended(extended: str, label: str) -> None:
    """A known code is its own label, a well-formed one folds to its subject or class, others are ``invalid``."""
    assert labels_of("", "", extended) == Labels("none", "none", label)


def test_code_and_extended_may_be_of_different_classes() -> None:
    """The two labels are independent of each other."""
    assert labels_of("data", "550", "4.7.1") == Labels("data", "5xx", "4.7.1")


TEXTS: Final = st.text(max_size=12)


@given(
    state=st.sampled_from(sorted(STATES)).map(str.upper) | TEXTS,
    code=st.integers(-1, 1_000).map(str) | TEXTS,
    extended=st.from_regex(r"[0-9]\.[0-9]{1,4}\.[0-9]{1,4}") | TEXTS,
)
def test_any_text_has_known_labels(state: str, code: str, extended: str) -> None:
    """Any text has labels of the closed sets, the same each time; only an absent one is ``none``."""
    labels = labels_of(state, code, extended)

    assert labels.state in STATES | {"none", "other"}
    assert labels.code_class in CODE_CLASSES
    assert labels.extended in EXTENDED
    assert [label == "none" for label in labels] == [not text for text in (state, *separate(code, extended))]
    assert labels_of(state, code, extended) == labels


@given(class_=st.sampled_from("245"), subject=st.integers(0, 999), detail=st.integers(0, 999))
def test_each_well_formed_code_is_valid(class_: str, subject: int, detail: int) -> None:
    """A code in the syntax of RFC 3463 is never ``invalid``, and keeps its class."""
    label = labels_of("", "", f"{class_}.{subject}.{detail}").extended
    assert label in {f"{class_}.{subject}.{detail}", f"{class_}.{subject}.x", f"{class_}.x.x"}


# Label sets


def sets(number: int) -> list[Labels]:
    """Return different label sets."""
    return [Labels("rcptto", "5xx", f"5.1.{detail}") for detail in range(number)]


def test_500_label_sets_are_admitted() -> None:
    """The first 500 label sets are admitted; the labels of all later ones are ``other``, permanently."""
    label_sets = LabelSets()
    wanted = sets(600)

    assert [label_sets.admit(labels) for labels in wanted] == wanted[:500] + [OVERFLOW] * 100
    assert [label_sets.admit(labels) for labels in wanted] == wanted[:500] + [OVERFLOW] * 100
    assert len(label_sets) == 500
    assert Labels("other", "other", "other") == OVERFLOW


def test_overflow_does_not_count_against_the_limit() -> None:
    """The overflow is always admitted, and does not take the place of another label set."""
    label_sets = LabelSets(limit=1)
    label_sets.learn([OVERFLOW])
    first, second = sets(2)

    assert [label_sets.admit(labels) for labels in (OVERFLOW, first, second)] == [OVERFLOW, first, OVERFLOW]
    assert len(label_sets) == 1


def test_label_sets_of_the_ledger_are_admitted() -> None:
    """Label sets that the ledger has are admitted even past the limit, and count against it."""
    known, new = sets(4)[:3], sets(4)[3]
    label_sets = LabelSets(limit=2)
    label_sets.learn(known)

    assert [label_sets.admit(labels) for labels in [*known, new]] == [*known, OVERFLOW]
    assert len(label_sets) == 3


def test_label_sets_of_another_replica_are_admitted() -> None:
    """A label set that another replica has added is admitted past the limit, and counts against it."""
    known, new = sets(4)[:3], sets(4)[3]
    label_sets = LabelSets(limit=3)
    label_sets.learn(known)
    assert label_sets.admit(new) == OVERFLOW
    label_sets.learn([new])
    assert (label_sets.admit(new), len(label_sets)) == (new, 4)


def test_a_label_set_counts_once() -> None:
    """A repeated label set does not count against the limit again."""
    label_sets = LabelSets(limit=2)
    first, second = sets(2)

    assert [label_sets.admit(labels) for labels in (first, first, second)] == [first, first, second]
    assert len(label_sets) == 2


def test_each_thread_exceeds_the_limit_by_at_most_one() -> None:
    """Eight threads that add new label sets at the same time exceed the limit by at most eight."""
    label_sets, wanted, together = LabelSets(limit=10), sets(800), Barrier(8)

    def admit(own: list[Labels]) -> None:
        together.wait()
        for labels in own:
            label_sets.admit(labels)

    threads = [Thread(target=admit, args=(wanted[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 10 <= len(label_sets) <= 18


@given(data=st.lists(st.tuples(TEXTS, TEXTS, TEXTS)), limit=st.integers(0, 5))
def test_any_texts_stay_within_the_limit(data: list[tuple[str, str, str]], limit: int) -> None:
    """No more label sets than the limit are in use, and an admitted one stays admitted."""
    label_sets = LabelSets(limit=limit)
    admitted = {labels: label_sets.admit(labels) for labels in (labels_of(*texts) for texts in data)}

    assert len(label_sets) <= limit
    assert {labels: label_sets.admit(labels) for labels in admitted} == admitted
    assert set(admitted.values()) <= {*admitted, OVERFLOW}
