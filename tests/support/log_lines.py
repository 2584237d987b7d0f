"""Parse lines of the log strictly: a line that a client could have forged or garbled is an error."""

import json
import re
from typing import Final

_PAIR: Final = r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)'


def read_line(line: str, *, as_json: bool = False) -> dict[str, str]:
    """Return the fields of a line in logfmt or JSON. Raise ValueError if any of it is not part of a field."""
    if not line.isprintable():
        raise ValueError(f"not printable: {line!r}")
    if as_json:
        fields: dict[str, str] = json.loads(line)
        return fields
    if not re.fullmatch(rf"{_PAIR}( {_PAIR})*", line, re.ASCII):
        raise ValueError(f"not logfmt: {line!r}")
    return {key: json.loads(text) if text.startswith('"') else text for key, text in re.findall(_PAIR, line)}
