"""The tables of status codes are complete and readable, and each value of the label ``extended`` has a meaning."""

import re
from collections.abc import Mapping
from itertools import combinations

import pytest

from exporter.classification.status_codes import REGISTRY, SUBJECTS, VENDOR_MEANINGS, is_known, meaning
from tests.support.texts import Texts

# IANA's table "Enumerated Status Codes": subjects and their registered details. Written by hand a second time, so that
# a missing row is noticed.
REGISTERED = {
    "0": (0,),
    "1": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    "2": (0, 1, 2, 3, 4),
    "3": (0, 1, 2, 3, 4, 5, 6),
    "4": (0, 1, 2, 3, 4, 5, 6, 7),
    "5": (0, 1, 2, 3, 4, 5, 6),
    "6": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    "7": (
        *(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
        *(10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
        *(20, 21, 22, 23, 24, 25, 26, 27, 28, 29),
        30,
    ),
}

# Codes that Microsoft documents with the same words.
SAME_WORDS = (
    frozenset(f"5.7.{detail}" for detail in range(606, 650)),
    frozenset({"5.7.502", "5.7.503"}),
    frozenset({"4.7.650", "4.7.651"}),
)

TABLES = {"subjects": SUBJECTS, "registry": REGISTRY, "vendor": VENDOR_MEANINGS}


def test_the_registry_is_complete() -> None:
    """REGISTRY has exactly the 81 codes that IANA lists."""
    listed = {f"{subject}.{detail}" for subject, details in REGISTERED.items() for detail in details}

    assert set(REGISTRY) == listed
    assert len(REGISTRY) == 81


def test_subjects_are_those_of_rfc_3463() -> None:
    """SUBJECTS has the subjects 0 to 7 of RFC 3463, which are also those of the registry."""
    assert list(SUBJECTS) == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert {code.partition(".")[0] for code in REGISTRY} == set(SUBJECTS)


def test_vendor_codes_are_whole_failure_codes() -> None:
    """VENDOR_MEANINGS has whole codes of class 4 or 5, with a known subject and without leading zeros."""
    assert [code for code in VENDOR_MEANINGS if not re.fullmatch(r"[45]\.[0-7]\.(0|[1-9]\d{0,2})", code)] == []


def test_vendors_add_at_most_125_codes() -> None:
    """Unregistered codes of vendors take at most a quarter of the 500 label sets."""
    assert len([code for code in VENDOR_MEANINGS if code[2:] not in REGISTRY]) <= 125


def test_microsofts_banned_ip_range_is_complete() -> None:
    """VENDOR_MEANINGS has 5.7.606 to 5.7.649, all with the same meaning, and no code next to them."""
    block = [f"5.7.{detail}" for detail in range(605, 651)]

    assert [code for code in block if code in VENDOR_MEANINGS] == block[1:-1]
    assert len({VENDOR_MEANINGS[code] for code in block[1:-1]}) == 1


def test_microsofts_throttling_range_is_not_listed_completely() -> None:
    """Of 4.7.500 to 4.7.699, only five codes are in VENDOR_MEANINGS."""
    listed = [code for code in (f"4.7.{detail}" for detail in range(500, 700)) if code in VENDOR_MEANINGS]

    assert listed == ["4.7.500", "4.7.550", "4.7.650", "4.7.651", "4.7.652"]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_meanings_are_short_and_without_addresses(table: Mapping[str, str]) -> None:
    """A meaning is a line of 8 to 60 ASCII characters with a capital first letter, without email or web address."""
    plain = re.compile(r"(?=.{8,60}\Z)[A-Z][\x20-\x7e]*[A-Za-z0-9)]")
    address = re.compile(r"@|://|www\.|\d+\.\d+\.\d+\.\d+|\w\.(com|net|org)\b")

    assert {code: words for code, words in table.items() if not plain.fullmatch(words)} == {}
    assert {code: words for code, words in table.items() if address.search(words)} == {}


def test_registered_meanings_are_distinct() -> None:
    """No two registered codes have the same meaning."""
    assert len(set(REGISTRY.values())) == len(REGISTRY)


def test_vendor_meanings_are_distinct() -> None:
    """Codes of vendors only share a meaning with the same code of another class, or if the vendor says so."""
    alike = [
        (one, two)
        for one, two in combinations(VENDOR_MEANINGS, 2)
        if VENDOR_MEANINGS[one] == VENDOR_MEANINGS[two]
        and one[2:] != two[2:]
        and not any({one, two} <= group for group in SAME_WORDS)
    ]

    assert alike == []


def test_vendor_meanings_differ_from_the_registered_ones() -> None:
    """No code of a vendor repeats the registered meaning."""
    assert [code for code, words in VENDOR_MEANINGS.items() if words == REGISTRY.get(code[2:])] == []


@pytest.mark.parametrize("class_", ["2", "4", "5"])
def test_registered_codes_are_known_in_every_class(class_: str) -> None:
    """A registered code is known in each class."""
    assert [code for code in REGISTRY if not is_known(f"{class_}.{code}")] == []


def test_vendor_codes_are_known() -> None:
    """Each code of VENDOR_MEANINGS is known."""
    assert [code for code in VENDOR_MEANINGS if not is_known(code)] == []


@pytest.mark.parametrize(
    "extended",
    ["5.1.11", "5.4.9", "5.7.31", "5.7.99", "5.7.605", "5.7.650", "4.7.606", "4.7.501", "5.0.1", "5.8.0", "5.10.1"],
)
def test_other_codes_are_not_known(extended: str) -> None:
    """Well-formed codes that are in neither table are unknown, even if a vendor uses them in another class."""
    assert is_known(extended) is False


@pytest.mark.parametrize("label", ["5.7.x", "5.x.x", "none", "invalid", "other", ""])
def test_labels_that_are_no_codes_are_not_known(label: str) -> None:
    """Folded codes and the exporter's own words are not codes."""
    assert is_known(label) is False


def test_a_vendors_meaning_takes_precedence() -> None:
    """A known code has the meaning of a vendor, or the registered one in another class."""
    assert meaning("5.7.30") == VENDOR_MEANINGS["5.7.30"] != REGISTRY["7.30"]
    assert meaning("2.7.30") == REGISTRY["7.30"]
    assert meaning("5.4.1") == VENDOR_MEANINGS["5.4.1"] != REGISTRY["4.1"]
    assert meaning("4.4.1") == REGISTRY["4.1"]


@pytest.mark.parametrize("class_", ["2", "4", "5"])
def test_folded_and_unknown_codes_have_the_meaning_of_their_subject(class_: str) -> None:
    """A folded or unknown code has the meaning of its subject."""
    for subject, words in SUBJECTS.items():
        assert meaning(f"{class_}.{subject}.x") == meaning(f"{class_}.{subject}.999") == words


def test_codes_without_a_subject_have_the_meaning_of_their_class(texts: Texts) -> None:
    """A code whose subject is unknown has the meaning of its class."""
    classes = {class_: meaning(f"{class_}.x.x") for class_ in "245"}
    assert {class_: meaning(f"{class_}.9.1") for class_ in "245"} == classes
    assert len(set(classes.values())) == 3
    for words in classes.values():
        texts.check(words)


def test_labels_that_are_no_codes_have_a_meaning(texts: Texts) -> None:
    """The exporter's own words have meanings; any other text is an invalid code."""
    assert meaning("") == meaning("3.9.9") == meaning("Jane") == meaning("invalid")
    for label in ("none", "invalid", "other"):
        texts.check(f"{label}: {meaning(label)}")
