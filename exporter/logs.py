"""Log lines: one event, one line, logfmt or JSON, and no address readable in any of them."""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# As forms write it, and as answers in Chinese or Japanese may: full-width, small.
_AT: Final = re.compile("%40|[\uff20\ufe6b]")
# RFC 5321 section 4.1.2: "john doe"@example.com, "john \"jr\" doe"@example.com. Written backwards, for only from the at
# sign is it plain which quote opens the local part: "jane@example.com" "@jane"@example.com.
_QUOTED_LOCAL_PART: Final = re.compile(r'(?<=@)"(?:[^"\n]|"(?=\\)){1,512}"')
_WORD: Final = re.compile(r"([\s<>()\[\],;:\"]+)")
_PLAIN: Final = re.compile(r"[^\s\"=\\]+")


def mask(text: str) -> str:
    """The text with the local part of each address in it replaced by ``***``. Takes time linear in its length."""
    text = _AT.sub("@", text)
    if "@" not in text:
        return text
    words = _WORD.split(_QUOTED_LOCAL_PART.sub("***", text[::-1])[::-1])
    return "".join(f"***@{word.rpartition('@')[2]}" if "@" in word else word for word in words)


class LineFormatter(logging.Formatter):
    """A record as ``ts=… level=… msg=… key=value``, or the same as a JSON object; ``extra`` gives the keys."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Make the line; an exception becomes its last line and the place where it was raised."""
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
        masked = {key: mask(str(value)) for key, value in fields.items() if value not in (None, "")}
        if self._as_json:
            return json.dumps(masked)
        return " ".join(f"{key}={_logfmt(value)}" for key, value in masked.items())


def _logfmt(value: str) -> str:
    # JSON's escapes are logfmt's, too; they keep a line a line, and a terminal in order, whatever an SMTP server says.
    return value if value.isprintable() and _PLAIN.fullmatch(value) else json.dumps(value)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all log lines of the process to ``stream`` (standard error) in ``form`` (logfmt or json)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(as_json=form == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What waitress warns of (its queue, its connections) is made by clients; the metrics show it. Granian tells of its
    # start and its end, as we do.
    for server in ("waitress", "_granian"):
        logging.getLogger(server).setLevel(level.upper() if level == "debug" else "ERROR")
