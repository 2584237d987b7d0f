"""What the readers of all formats share: the columns of SMTPeter's log files, a record, and its greatest size."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from exporter.classification.fields import Fields

# A column `properties` or `tags` has several values, separated by semicolons.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    prefix: tuple(names.split())
    for prefix, names in {
        "attempts": "id time envelope recipient properties tags templateid",
        "deliveries": "id time envelope recipient from to attempt tags templateid",
        "failures": (
            "id time envelope recipient attempt from to type code status description state tags templateid"
            # `type` is the result, not that of a webhook; `status` is what webhooks call `extended`
        ),
        "bounces": "id time envelope recipient mime tags templateid",
        "responses": "id time envelope recipient mime tags templateid",
        "abuses": "id time envelope recipient tags templateid",
    }.items()
}
"""The columns of a log file ``PREFIX.DATE.log``, in the order in which SMTPeter documents and writes them."""

MAX_RECORD: Final = 16 * 1_048_576
"""Maximum size of a record, in bytes or characters, so that the memory is bounded. Bounces contain whole mails."""
CHUNK: Final = 65_536
"""Number of bytes to read at a time."""
TOO_LONG: Final = f"longer than {MAX_RECORD // 1_048_576} MiB"


class Record(NamedTuple):
    """The variables of a record, and its position for errors, such as ``line 7``."""

    where: str
    fields: Fields


class Unreadable(NamedTuple):
    """A record that cannot be read, and why; the records after it can."""

    where: str
    why: str


def position(record: int, line: int, column: int) -> str:
    """Return the position of an error as text. ``record`` is 0 before the first one."""
    place = f"line {line}, column {column}"
    return f"record {record} ({place})" if record else place
