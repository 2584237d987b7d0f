"""The user's own patterns: which one decides, what they match, and the errors for invalid ones."""

import re
import subprocess
import sys
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.own_reasons import LONGEST_TEXT, MOST_RULES, OwnReasons
from exporter.classification.reason import DECIDERS, REASONS, Decision
from tests.support.texts import Texts


def decided(pattern: str, description: str) -> bool:
    """Return whether the pattern decides on the reason of that description."""
    return OwnReasons([(pattern, "policy")]).decision_of(description) == Decision("policy", "configured")


def error_of(*rules: tuple[str, str]) -> str:
    """Return the text of the ValueError for these rules."""
    with pytest.raises(ValueError, match=r".") as caught:
        OwnReasons(rules)
    return str(caught.value)


def test_the_first_rule_that_matches_decides() -> None:
    """The order of the rules matters, not the place of the match in the text."""
    own = OwnReasons([("tenant 7", "policy"), ("quota", "rate_limited"), ("tenant", "blocked")])
    found = {text: own.decision_of(text) for text in ("quota of tenant 7", "tenant 8: quota", "tenant 8", "other")}
    assert found == {
        "quota of tenant 7": Decision("policy", "configured"),
        "tenant 8: quota": Decision("rate_limited", "configured"),
        "tenant 8": Decision("blocked", "configured"),
        "other": None,
    }
    assert "configured" in DECIDERS


def test_any_reason_can_be_given() -> None:
    """Each reason of the vocabulary is accepted, also unclassified."""
    own = OwnReasons([(f"<{reason}>", reason) for reason in REASONS])
    decisions = [own.decision_of(f"550 <{reason}>") for reason in REASONS]
    assert decisions == [Decision(reason, "configured") for reason in REASONS]


MATCHES: Final = [
    ("queue quota", "450 4.7.3 Queue QUOTA exceeded"),  # anywhere, in either case
    ("QUOTA", "quota"),
    ("(?-i)Quota", "Quota"),
    ("quota.*tenant", "450-quota exceeded\r\n450 for tenant 7"),
    ("quota exceeded", "queue quota\r\n\t exceeded"),
    (r"quota\s+exceeded", "queue quota\u00a0exceeded"),
    ("^550 no$", "550  no"),
    (" user  unknown\t", "User unknown"),
    ("a, b; c=d", "A, b; C=d"),
    ("boîte pleine", "552 BOÎTE PLEINE"),
    ("ящик", "550 ЯЩИК переполнен"),
    ("満杯", "メールボックスが満杯です"),
    ("a.b", "a\N{GRINNING FACE}b"),  # the dot matches a character, not a byte
    ("(court|bailiff)", "closed by bailiff"),
    (r"\x00", "a\0b"),
    ("quota", "\ud800 quota"),
    ("a.b", "a\udfffb"),
]


@pytest.mark.parametrize(("pattern", "description"), MATCHES, ids=repr)
def test_matches(pattern: str, description: str) -> None:
    """A pattern matches anywhere in the description, in any case and across lines, which are joined by a space."""
    assert decided(pattern, description)


DIFFERENCES: Final = [
    ("(?-i)Quota", "quota"),
    ("^550", "x 550"),
    ("^550", "x\n550"),
    ("no$", "no\nx"),
    ("queue quota", "queuequota"),
    (".", ""),
    (".", " \n"),
]


@pytest.mark.parametrize(("pattern", "description"), DIFFERENCES, ids=repr)
def test_does_not_match(pattern: str, description: str) -> None:
    """A flag in the pattern makes case matter; ``^`` and ``$`` are the ends of the text; no text matches nothing."""
    assert not decided(pattern, description)


def test_the_first_thousand_characters_are_matched() -> None:
    """They are characters, not bytes: the thousandth one counts, and the one after it does not."""
    assert LONGEST_TEXT == 1_000
    assert decided("x", "é" * 999 + "x")
    assert not decided("x", "é" * 1_000 + "x")


CATASTROPHIC: Final = [
    ("(a+)+$", "a" * 999 + "!", False),
    ("(a+)+$", "a" * 65_536, True),
    ("(a|aa)+$", "a" * 999 + "!", False),
    ("(.*)*x", "a" * 1_000, False),
    ("(x+x+)+y", "x" * 1_000, False),
    ("(x+x+)+y", "x" * 999 + "y", True),
    (r"^(\w+\s?)+$", "word " * 199 + "word!", False),
    ("[ab]*a[ab]{200}c", "ab" * 500, False),
    ("(?:a?){200}a{200}c", "a" * 1_000, False),
]


@pytest.mark.parametrize(("pattern", "description", "matches"), CATASTROPHIC)
def test_a_pattern_that_backtracks_elsewhere_has_a_result(pattern: str, description: str, *, matches: bool) -> None:
    """Where no match is expected, Python's re would take years for most of them."""
    assert decided(pattern, description) == matches


# All characters, lone surrogates too.
@given(description=st.text(st.characters(), max_size=1_200) | st.text("aquot \n\0\ud800é", max_size=1_200))
def test_any_description_is_accepted(description: str) -> None:
    """A simple pattern decides as Python's re does, and nothing raises."""
    assert decided("quot", description) == bool(re.search("quot", description[:LONGEST_TEXT], re.IGNORECASE))


BAD_PATTERNS: Final = {
    "open group": "mailbox (closed",
    "open class": "[a-z",
    "repeated repetition": "a**",
    "look-ahead": "closed(?= by)",
    "back-reference": r"(a)\1",
    "backslash at the end": "closed\\",
    "not UTF-8": "\ud800",
    "open class, not ASCII": "[é",
    "repeated too often": "(((a{100}){100}){100})",
    "too large": "closed.{1000}",
    "empty": "",
    "everything": ".*",
    "everything by an empty alternative": "closed|",
    "anchors alone": "^",
}


@pytest.mark.parametrize("problem", BAD_PATTERNS)
def test_a_bad_pattern_is_an_error(problem: str, texts: Texts, capfd: pytest.CaptureFixture[str]) -> None:
    """The error is one line, names the pattern, and says what is wrong. RE2 itself prints nothing."""
    pattern = BAD_PATTERNS[problem]
    error = error_of(("fine", "policy"), (pattern, "policy"))
    assert error.startswith(f"pattern {pattern!r}: ")
    assert (error.count("\n"), "b'" in error, 'b"' in error) == (0, False, False)
    assert capfd.readouterr() == ("", "")
    texts.check(error)


@pytest.mark.parametrize("reason", ["", "rate-limited", "Blocked", "blockd", "x" * 10_000])
def test_an_unknown_reason_is_an_error(reason: str) -> None:
    """The error names the pattern and what was given for it, shortened, and lists the reasons."""
    error = error_of(("fine", "policy"), ("queue quota", reason))
    assert error.startswith(f"reason {reason[:50]!r} of pattern 'queue quota': expected one of recipient_unknown, ")
    assert [name for name in REASONS if name not in error] == []
    assert len(error) < 500


def test_each_bad_rule_has_a_line() -> None:
    """All rules are checked, whichever is bad."""
    lines = error_of(("a(", "policy"), ("queue", "slow"), ("fine", "policy"), (".*", "later")).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "pattern 'a('",
        "reason 'slow' of pattern 'queue'",
        "reason 'later' of pattern '.*'",
        "pattern '.*'",
    ]


def test_there_are_at_most_fifty_rules(texts: Texts) -> None:
    """The last of fifty still decides; one more is an error."""
    rules = [(f"phrase {number};", "policy") for number in range(51)]
    assert MOST_RULES == 50
    assert OwnReasons(rules[:50]).decision_of("phrase 49;") == Decision("policy", "configured")
    texts.check(error_of(*rules))


def test_a_long_pattern_is_shortened_in_the_error() -> None:
    """The error stays readable."""
    assert len(error_of(("(" + "x" * 3_000, "policy"))) < 300


def test_without_rules_the_package_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rules nothing is decided, and re2 is not imported; with rules it is."""
    monkeypatch.setitem(sys.modules, "re2", None)
    assert OwnReasons().decision_of("queue quota exceeded") is None
    with pytest.raises(ImportError):
        OwnReasons([("a", "policy")])
    code = "import sys, exporter.serve, exporter.cli.classify; print('re2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
