"""Write failures.json and exporter.json. With ``--check``, fail if they are out of date."""

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
    "auto": "only for interval variables",
    "auto_count": "like auto",
    "auto_min": "like auto",
    "footer": "a table option that Grafana 13 stores elsewhere",
    "placement": "would hide links and annotations in a menu; the placement of legends is kept",
}
"""Properties that the SDK always writes, and why they are removed."""


def text_of(built: dashboard.Dashboard) -> str:
    """Return the dashboard as JSON. The same dashboard always gives the same text."""
    content: dict[str, Any] = json.loads(JSONEncoder().encode(built), object_hook=_needed)
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _needed(part: dict[str, Any]) -> dict[str, Any]:
    superfluous = _SUPERFLUOUS.keys() - ({"placement"} if "showLegend" in part else set())
    return {key: value for key, value in part.items() if key not in superfluous}


def main() -> None:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thresholds", type=Path, default=THRESHOLDS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=HERE, help="directory to write to; default: %(default)s")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the files are out of date")
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
        sys.exit(f"{', '.join(old)}: out of date; run make dashboards")


if __name__ == "__main__":
    main()
