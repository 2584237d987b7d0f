"""``classify``: the labels of failures in JSON lines, without counting anything."""

import json
from collections.abc import Iterable, Iterator

from exporter.errors import Refusal
from exporter.labels import labels_of
from exporter.report import json_pairs, text_of


def classify(lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """For each line, in order, what it means; ``{"error": …}`` for one that can't be read."""
    for number, line in enumerate(lines, start=1):
        try:
            fields = dict(json_pairs(line.decode()))
            labels = labels_of(*(text_of(name, fields.get(name)) for name in ("state", "code", "extended")))
        except UnicodeDecodeError:
            yield {"error": f"line {number}: not UTF-8"}
        except Refusal as error:
            yield {"error": f"line {number}: {error}"}
        else:
            yield labels._asdict()


def as_json(result: dict[str, str]) -> str:
    """One line of output."""
    return json.dumps(result, ensure_ascii=False)
