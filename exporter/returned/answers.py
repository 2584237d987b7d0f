"""Find the answer of a mail server in the text of a failure notice: its codes and its words. Pure, never raises."""

import re
from typing import Final, NamedTuple

MAX_DESCRIPTION: Final = 2_000
"""Maximum number of characters of the words of an answer."""

# "550 5.1.1", "550-5.1.1", "554: 5.7.9" and "550 #5.1.0"
_REPLY: Final = re.compile(r"(?<![\w.#-])([45][0-9]{2})[ :;-]{1,3}\(?#?(?=[45]\.[0-7]\.[0-9])", re.ASCII)
# An enhanced status code, not part of an IP address or a version
_EXTENDED: Final = re.compile(r"(?<![0-9.])[45]\.[0-7]\.[0-9]{1,3}(?!\.?[0-9])", re.ASCII)
# An SMTP reply code without an enhanced one: at the beginning of a line, or after what introduces an answer
_CODE: Final = re.compile(r"(?:^|[:>'\"(<=])[ \t]{0,9}([45][0-5][0-9])(?:[ -](?=[^\d\s])|$)", re.ASCII | re.MULTILINE)

# Number of lines of which the last has a code: some servers give the reason above it.
_LINES_BEFORE: Final = 4

# The line above the returned message, by the words of many servers
_RETURNED: Final = re.compile(
    r"^[ \t]{0,9}(?:"
    r"[-=_*#]{2,80}[^\n]{0,40}\b(?:copy|headers?|original|returned|unsent|undelivered|forwarded)\b[^\n]{0,80}"
    r"|(?:(?:original|returned|the) )?message (?:headers?|text)(?: follows?)?[.:]?"
    r"|original message(?: headers?)?(?: follows)?[.:]?"
    r"|below is a copy of the (?:original )?message[^\n]{0,40}"
    r"|(?:received|return-path|mime-version|dkim-signature|reporting-mta|final-recipient):[^\n]*"
    r")[ \t]{0,9}$",
    re.IGNORECASE | re.MULTILINE,
)
_WORDS: Final = re.compile(r"[^\W\d_]{3,}")


class Answer(NamedTuple):
    """The answer of a server: its SMTP reply code, enhanced status code and words; empty if there are none."""

    code: str
    extended: str
    description: str


def answer_in(text: str) -> Answer:
    """Return the answer in the text of a failure notice, above the returned message.

    The words are the paragraph with the codes, without a second answer, or the whole text if there are no codes.
    """
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    returned = _RETURNED.search(text)
    if returned and has_words(text[: returned.start()]):  # otherwise, it is the heading of the notice
        text = text[: returned.start()]
    found = _first_code_in(text)
    if found is None:
        return Answer("", "", text.strip()[:MAX_DESCRIPTION])
    lines_before = text[: found.start()].rpartition("\n\n")[2].split("\n")[-_LINES_BEFORE:]
    rest = text[found.start() :].partition("\n\n")[0][:MAX_DESCRIPTION]
    extended = extended_in(rest)
    for other in _EXTENDED.finditer(rest):
        if other[0] != extended and "\n" in rest[: other.start()]:
            rest = rest[: other.start()].rpartition("\n")[0]
            break
    description = "\n".join([*lines_before[:-1], lines_before[-1] + rest])[-MAX_DESCRIPTION:].strip()
    return Answer(code_in(description), extended_in(rest), description)


def _first_code_in(text: str) -> re.Match[str] | None:
    """Return where both codes are together, or else the first of either."""
    either = [found for pattern in (_EXTENDED, _CODE) if (found := pattern.search(text))]
    return _REPLY.search(text) or min(either, key=re.Match.start, default=None)


def code_in(text: str) -> str:
    """Return the first SMTP reply code of a failure in a text, empty if there is none."""
    found = _REPLY.search(text) or _CODE.search(text)
    return found[1] if found else ""


def extended_in(*texts: str) -> str:
    """Return the first enhanced status code of a failure that says more than "5.0.0", else the first; empty if none."""
    codes = [code for text in texts for code in _EXTENDED.findall(text)]
    return next((code for code in codes if code[2] != "0"), codes[0] if codes else "")


def has_words(text: str) -> bool:
    """Return whether a text says something, in at least two words."""
    return len(_WORDS.findall(text[:MAX_DESCRIPTION])) > 1
