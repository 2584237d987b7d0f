"""Write failures.json and exporter.json, or with ``--check`` fail when they are not what the code says."""

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import exporter_dashboard
import failures_dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

HERE: Final = Path(__file__).parent
THRESHOLDS: Final = HERE.parent / "deploy/prometheus/thresholds.toml"


_SUPERFLUOUS: Final = {
    "auto": "of variables that are intervals",
    "auto_count": "as auto",
    "auto_min": "as auto",
    "footer": "of tables, which Grafana 13 keeps elsewhere",
    "placement": "hides links and annotations in a menu; legends have one, too, which stays",
}
"""What the SDK writes unasked, and can't be told not to, and why it goes."""


def text_of(built: dashboard.Dashboard) -> str:
    """The dashboard as JSON, the same for the same dashboard."""
    content: dict[str, Any] = json.loads(JSONEncoder().encode(built), object_hook=_needed)
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _needed(part: dict[str, Any]) -> dict[str, Any]:
    superfluous = _SUPERFLUOUS.keys() - ({"placement"} if "showLegend" in part else set())
    return {key: value for key, value in part.items() if key not in superfluous}


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thresholds", type=Path, default=THRESHOLDS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to; default: %(default)s")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the files are not up to date")
    wanted = parser.parse_args()
    limits = tomllib.loads(wanted.thresholds.read_text())
    texts = {
        wanted.out / "failures.json": text_of(failures_dashboard.build(limits)),
        wanted.out / "exporter.json": text_of(exporter_dashboard.build(limits)),
    }
    if not wanted.check:
        for path, text in texts.items():
            path.write_text(text)
    elif old := [str(path) for path, text in texts.items() if not path.exists() or path.read_text() != text]:
        sys.exit(f"{', '.join(old)}: not what the code says: run make dashboards")


if __name__ == "__main__":
    main()
