"""The status code tables are whole, in plain words, and answer for every value of the ``extended`` label."""

import re
from collections.abc import Mapping
from itertools import combinations

import pytest

from exporter.classification.status_codes import REGISTRY, SUBJECTS, VENDOR_MEANINGS, is_known, meaning

# IANA's table "Enumerated Status Codes", as subject and the details registered under it. Written out once more, by
# hand, so that a row lost from the module is missed here.
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

# Microsoft's one answer under many numbers, and pairs it words alike itself.
SAME_WORDS = (
    frozenset(f"5.7.{detail}" for detail in range(606, 650)),
    frozenset({"5.7.502", "5.7.503"}),
    frozenset({"4.7.650", "4.7.651"}),
)

TABLES = {"subjects": SUBJECTS, "registry": REGISTRY, "vendor": VENDOR_MEANINGS}


def test_registry_holds_every_registered_code_and_no_other() -> None:
    """REGISTRY has exactly the 81 codes that IANA lists."""
    listed = {f"{subject}.{detail}" for subject, details in REGISTERED.items() for detail in details}

    assert set(REGISTRY) == listed
    assert len(REGISTRY) == 81


def test_subjects_are_those_of_rfc_3463() -> None:
    """SUBJECTS has 0 to 7, the subjects of RFC 3463, which are also the registry's."""
    assert list(SUBJECTS) == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert {code.partition(".")[0] for code in REGISTRY} == set(SUBJECTS)


def test_vendor_codes_are_whole_failure_codes() -> None:
    """VENDOR_MEANINGS has whole codes of class 4 or 5, with a known subject and without leading zeros."""
    assert [code for code in VENDOR_MEANINGS if not re.fullmatch(r"[45]\.[0-7]\.(0|[1-9]\d{0,2})", code)] == []


def test_vendor_codes_beside_the_registry_are_few_enough_for_labels() -> None:
    """Vendor codes beside the registry number at most 125, a quarter of the limit of 500 label sets."""
    assert len([code for code in VENDOR_MEANINGS if code[2:] not in REGISTRY]) <= 125


def test_microsofts_banned_ip_range_is_complete() -> None:
    """VENDOR_MEANINGS has 5.7.606 to 5.7.649, all with the same words, and neither neighbour."""
    block = [f"5.7.{detail}" for detail in range(605, 651)]

    assert [code for code in block if code in VENDOR_MEANINGS] == block[1:-1]
    assert {VENDOR_MEANINGS[code] for code in block[1:-1]} == {"Our IP address is banned, use the delist portal"}


def test_microsofts_throttling_range_is_not_listed_whole() -> None:
    """Of 4.7.500 to 4.7.699 only the codes met by name are in VENDOR_MEANINGS."""
    listed = [code for code in (f"4.7.{detail}" for detail in range(500, 700)) if code in VENDOR_MEANINGS]

    assert listed == ["4.7.500", "4.7.550", "4.7.650", "4.7.651", "4.7.652"]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_meanings_are_short_plain_and_free_of_addresses(table: Mapping[str, str]) -> None:
    """Every meaning is one trimmed line of 8 to 60 ASCII characters, capitalised, without a mail or web address."""
    plain = re.compile(r"(?=.{8,60}\Z)[A-Z][\x20-\x7e]*[A-Za-z0-9)]")
    address = re.compile(r"@|://|www\.|\d+\.\d+\.\d+\.\d+|\w\.(com|net|org)\b")

    assert {code: words for code, words in table.items() if not plain.fullmatch(words)} == {}
    assert {code: words for code, words in table.items() if address.search(words)} == {}


def test_registry_meanings_tell_the_codes_apart() -> None:
    """No two codes of the registry have the same words."""
    assert len(set(REGISTRY.values())) == len(REGISTRY)


def test_vendor_meanings_tell_the_codes_apart() -> None:
    """Vendor codes share words only between the classes of one code, or where the vendor itself does."""
    alike = [
        (one, two)
        for one, two in combinations(VENDOR_MEANINGS, 2)
        if VENDOR_MEANINGS[one] == VENDOR_MEANINGS[two]
        and one[2:] != two[2:]
        and not any({one, two} <= group for group in SAME_WORDS)
    ]

    assert alike == []


def test_vendor_meanings_differ_from_those_of_the_registry() -> None:
    """No vendor code only repeats what the registry says of it."""
    assert [code for code, words in VENDOR_MEANINGS.items() if words == REGISTRY.get(code[2:])] == []


@pytest.mark.parametrize("class_", ["2", "4", "5"])
def test_registered_codes_are_known_in_every_class(class_: str) -> None:
    """The registry leaves the class open, so 2.1.1, 4.1.1 and 5.1.1 are known alike."""
    assert [code for code in REGISTRY if not is_known(f"{class_}.{code}")] == []


def test_vendor_codes_are_known() -> None:
    """Every code of VENDOR_MEANINGS is known as it stands."""
    assert [code for code in VENDOR_MEANINGS if not is_known(code)] == []


@pytest.mark.parametrize(
    "extended",
    ["5.1.11", "5.4.9", "5.7.31", "5.7.99", "5.7.605", "5.7.650", "4.7.606", "4.7.501", "5.0.1", "5.8.0", "5.10.1"],
)
def test_other_codes_are_not_known(extended: str) -> None:
    """Well-formed codes of neither table are unknown, also when only their class is another."""
    assert is_known(extended) is False


@pytest.mark.parametrize("label", ["5.7.x", "5.x.x", "none", "invalid", "other", ""])
def test_labels_that_stand_for_no_single_code_are_not_known(label: str) -> None:
    """Folded labels and the exporter's own words are not codes."""
    assert is_known(label) is False


@pytest.mark.parametrize(
    ("extended", "words"),
    [
        ("5.1.1", "No such mailbox at that domain"),
        ("2.1.5", "Recipient's address is valid"),
        ("4.2.2", "Mailbox is full"),
        ("5.7.30", "DKIM failed (Gmail); elsewhere REQUIRETLS"),
        ("2.7.30", "Next server cannot guarantee TLS (REQUIRETLS)"),
        ("5.7.606", "Our IP address is banned, use the delist portal"),
        ("4.4.1", "Receiving host does not answer"),
        ("5.4.1", "No such recipient (Microsoft); elsewhere no answer"),
    ],
)
def test_meaning_of_known_codes(extended: str, words: str) -> None:
    """A known code gets its own words, the vendor's sense of the whole code before the registry's."""
    assert meaning(extended) == words


@pytest.mark.parametrize(
    ("extended", "words"),
    [
        ("5.0.x", "Unspecified"),
        ("5.7.x", "Security or policy, detail unknown"),
        ("4.2.x", "Recipient's mailbox, detail unknown"),
        ("5.7.999", "Security or policy, detail unknown"),
        ("2.x.x", "Success, details unknown"),
        ("4.x.x", "Temporary failure, details unknown"),
        ("5.x.x", "Permanent failure, details unknown"),
        ("5.9.1", "Permanent failure, details unknown"),
    ],
)
def test_meaning_of_folded_and_unknown_codes(extended: str, words: str) -> None:
    """A folded or unknown code gets its subject's words, or its class's when the subject is unknown too."""
    assert meaning(extended) == words


@pytest.mark.parametrize(
    ("extended", "words"),
    [
        ("none", "The report has no enhanced status code"),
        ("invalid", "The report's enhanced status code is malformed"),
        ("other", "Counted together, past the limit on label sets"),
        ("", "The report's enhanced status code is malformed"),
        ("3.9.9", "The report's enhanced status code is malformed"),
    ],
)
def test_meaning_of_what_is_no_code(extended: str, words: str) -> None:
    """The exporter's own label values have words, and anything else counts as invalid."""
    assert meaning(extended) == words
