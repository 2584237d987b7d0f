"""Decide the reason for a failure by the user's own patterns, before the built-in tables. Pure.

The patterns are regular expressions of RE2 (the package google-re2, an extra), which match in linear time: Python's own
``re`` could take hours for some of them. See https://github.com/google/re2/wiki/Syntax.
"""

from collections.abc import Sequence
from typing import Any, Final

from exporter.classification.reason import REASONS, Decision

MOST_RULES: Final = 50
"""Maximum number of rules. Each rule that does not match costs every failure about a microsecond."""
LONGEST_TEXT: Final = 1_000
"""Number of characters of a description that are matched."""

# In bytes, for each pattern. If RE2 would need more to match a text, it takes time proportional to text and pattern.
# The limit keeps that below about 30 ms: a pattern that compiles to more than about 4,000 instructions is invalid.
_MAX_MEMORY: Final = 1 << 16
_SHOWN: Final = 100
"""Maximum length of a pattern in an error."""


class OwnReasons:
    """The user's rules, each a pattern and the reason for descriptions that it matches. The first match decides.

    Case does not matter, unless the pattern begins with ``(?-i)``. In patterns and descriptions, line breaks and
    repeated spaces are one space, as ``classify --summary`` prints them.

    Raises :class:`ValueError` with a line for each invalid pattern and unknown reason, or one for too many rules.
    Raises :class:`ImportError` if there are rules and google-re2 is not installed.
    """

    def __init__(self, rules: Sequence[tuple[str, str]] = ()) -> None:
        if len(rules) > MOST_RULES:
            raise ValueError(f"{len(rules)} patterns: expected at most {MOST_RULES}")
        self._rules: list[tuple[Any, Decision]] = []
        problems = []
        for pattern, reason in rules:
            if reason not in REASONS:
                shown = f"reason {reason[:50]!r} of pattern {pattern[:_SHOWN]!r}"
                problems.append(f"{shown}: expected one of {', '.join(REASONS)}")
            try:
                self._rules.append((_compiled(pattern), Decision(reason, "configured")))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))

    def decision_of(self, description: str) -> Decision | None:
        """Return the decision of the first rule that matches, None if there is none. Accepts any text, never raises."""
        if not self._rules:
            return None
        # Encoded once for all rules. A lone surrogate, which has no UTF-8, becomes a question mark.
        text = " ".join(description[:LONGEST_TEXT].split()).encode(errors="replace")
        return next((decision for pattern, decision in self._rules if pattern.search(text)), None)


def _compiled(pattern: str) -> Any:  # noqa: ANN401 -- re2 has no type hints
    # Not "import re2": other packages also have a module of that name, but without Options.
    from re2 import Options, error  # noqa: PLC0415 -- an optional dependency
    from re2 import compile as compile_pattern  # noqa: PLC0415 -- as above

    options = Options()
    options.case_sensitive = False
    options.log_errors = False  # to standard error
    options.max_mem = _MAX_MEMORY
    options.never_capture = True  # groups in the pattern then cost nothing
    shown = f"pattern {pattern[:_SHOWN]!r}"
    try:
        compiled = compile_pattern(" ".join(pattern.split()), options)
    except UnicodeEncodeError:  # a lone surrogate
        raise ValueError(f"{shown}: not valid Unicode: expected a regular expression in RE2's syntax") from None
    except error as problem:
        words = problem.args[0].decode(errors="replace")  # bytes, because they quote the pattern
        raise ValueError(f"{shown}: {words[:_SHOWN]}: expected a regular expression in RE2's syntax") from None
    if compiled.search(b""):
        raise ValueError(
            f"{shown}: matches an empty text, and so every answer: expected a pattern that requires some text"
        )
    return compiled
