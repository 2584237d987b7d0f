"""Log lines in logfmt or JSON: one line per event, with the local part of every e-mail address masked."""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# An at sign in any spelling, and space around it. Only the last repetition is unbounded: the time must be linear.
_AT: Final = re.compile(
    r"[ \t]{0,8}(?:@"
    r"|%(?:25){0,4}40"  # URL-encoded as in forms, perhaps several times
    r"|=40(?=[a-z0-9-]{1,63}\.[a-z])"  # quoted-printable; status=404 is none
    r"|&(?:#0{0,4}64|#x0{0,4}40|commat);"  # HTML
    r"|\\{1,4}(?:u00|x)40"  # escapes of JSON and of many languages
    r"|\( ?at ?\)|\[ ?at ?\]|\{ ?at ?\}|< ?at ?>"
    "|[\uff20\ufe6b]"  # full-width or small as in Chinese and Japanese answers
    r")[ \t]*",
    re.IGNORECASE,
)
_BRACKETED_LOCAL_PART: Final = re.compile(r'[(\[{<][^()\[\]{}<>\s@"]{1,64}[)\]}>](?=@)')
# RFC 5321 section 4.1.2: "john doe"@example.com, "john \"jr\" doe"@example.com. Matched on the reversed text, because
# only backwards from the at sign is it certain which quote opens the local part: "jane@example.com" "@jane"@example.com
_QUOTED_LOCAL_PART: Final = re.compile(r'(?<=@)"(?:[^"\n]|"(?=\\)){1,512}"')
_WORD: Final = re.compile(r"([\s<>()\[\],;:\"]+)")
_PLAIN: Final = re.compile(r"[^\s\"=\\]+")


def mask(text: str) -> str:
    """Replace the local part of each e-mail address by ``***``. The time is linear in the length of the text.

    This is a second line of defense: texts that may contain addresses in any spelling are not logged at all.
    """
    text = _AT.sub("@", text)
    if "@" not in text:
        return text
    text = _BRACKETED_LOCAL_PART.sub("***", text)
    words = _WORD.split(_QUOTED_LOCAL_PART.sub("***", text[::-1])[::-1])
    return "".join(f"***@{word.rpartition('@')[2]}" if "@" in word else word for word in words)


class LineFormatter(logging.Formatter):
    """Formats a record as ``ts=… level=… msg=… key=value``, or as a JSON object; the keys are those of ``extra``."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception adds the fields ``error`` and ``at`` (its innermost frames)."""
        fields: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields["error"] = f"{type(error).__name__}: {error}"
            fields["at"] = " < ".join(
                f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"
                for frame in reversed(traceback.extract_tb(error.__traceback__, limit=-5))
            )
        masked = {key: mask(text) for key, value in fields.items() if (text := _text(value))}
        if self._as_json:
            return json.dumps(masked)
        return " ".join(f"{key}={_logfmt(value)}" for key, value in masked.items())


def _text(value: object) -> str:
    """Return a value as plain text, without Python's syntax."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ";".join(map(_text, value))
    return str(value)


def _logfmt(value: str) -> str:
    # logfmt uses the escapes of JSON. They keep a mail server's text on one line, and control codes out of terminals.
    return value if value.isprintable() and _PLAIN.fullmatch(value) else json.dumps(value)


def configure(level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Send the process's log lines to ``stream`` (default: standard error); the format is ``logfmt`` or ``json``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(as_json=log_format == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Clients can cause waitress's warnings (about its queue and connections) at will, and the metrics show the same.
    logging.getLogger("waitress").setLevel(level.upper() if level == "debug" else "ERROR")
