"""Write the files of rules from thresholds.toml, or with ``--check`` fail when they are not what it says.

``rules.yaml`` and ``alerts.yaml`` are for Prometheus; ``prometheusrule.yaml``, for its operator, has what is in both.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

try:
    import recording
    import thresholds
    import yaml

    from exporter.refusals import reasons_of
except ModuleNotFoundError as error:
    python = "the Python of the exporter, such as /opt/smtpeter-exporter/bin/python"
    sys.exit(f"make_rules.py: {error}: run it with {python}")

HERE: Final = Path(__file__).parent
HEADER: Final = "# Made by make_rules.py: change thresholds.toml, then run make rules.\n"
WORDS: Final = {
    # Reasons to reject requests that SMTPeter signed, most likely; and requests that somebody else sent.
    "signed": "|".join(sorted(reasons_of("signed"))),
    "unlike": "|".join(sorted(reasons_of("foreign", "unsigned"))),
    # For queries in a text: a selector of the alert's own job, by whatever labels its target has.
    "where": (
        '{{ $where := "" }}{{ range $name, $value := $labels }}{{ if and (ne $name "__name__") (ne $name "reason") }}'
        '{{ $where = printf "%s%s=%q," $where $name $value }}{{ end }}{{ end }}'
    ),
}
"""What stands in angle brackets in alerts.in.yaml besides the thresholds."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and every text where it is used."""

    def ignore_aliases(self, _data: object) -> bool:
        """No anchors: each rule is whole."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def files(limits: thresholds.Thresholds) -> dict[str, str]:
    """Name and text of each file of rules. Raises ValueError when alerts and thresholds don't go together."""
    replica = ", ".join(limits["exporters"]["replica_labels"])
    words = WORDS | dict(_flat(limits)) | {"replica": replica, "links.docs": limits["links"]["docs"] or "docs"}
    used = {"exporters.replica_labels"}

    def fill(part: Any) -> Any:  # noqa: ANN401 -- whatever YAML holds
        if isinstance(part, dict):
            return {key: fill(value) for key, value in part.items()}
        if isinstance(part, list):
            return [fill(one) for one in part]
        names = re.findall(r"<([a-z0-9_.]+)>", part)
        used.update(names)
        for name in names:
            if name not in words:
                raise ValueError(f"alerts.in.yaml: <{name}> is nothing that thresholds.toml has")
            part = part.replace(f"<{name}>", words[name])
        return part

    alerts = fill(yaml.safe_load((HERE / "alerts.in.yaml").read_text()))
    if idle := words.keys() - used:
        raise ValueError(f"alerts.in.yaml does not use {', '.join(sorted(idle))}")
    for group in alerts["groups"]:
        for rule in group["rules"]:
            rule["annotations"] = _linked(rule["annotations"], limits["links"])
    rules = {"groups": recording.groups(replica)}
    return {
        "rules.yaml": _yaml(rules),
        "alerts.yaml": _yaml(alerts),
        "prometheusrule.yaml": _yaml(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": "smtpeter"},
                "spec": {"groups": [*rules["groups"], *alerts["groups"]]},
            }
        ),
    }


def _linked(annotations: Mapping[str, str], links: Mapping[str, str]) -> dict[str, str]:
    """Drop links that are not set: many programs render any annotation named ``…_url`` as a link."""
    names = {} if links["docs"] else {"runbook_url": "runbook"}
    left_out = set() if links["grafana"] else {"dashboard_url"}
    return {names.get(name, name): text for name, text in annotations.items() if name not in left_out}


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "|".join(value) if isinstance(value, list) else str(value)


def _yaml(content: Mapping[str, Any]) -> str:
    return HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thresholds", type=Path, default=HERE / "thresholds.toml", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to; default: %(default)s")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the files are not up to date")
    wanted = parser.parse_args()
    try:
        made = files(thresholds.read(wanted.thresholds))
        if not wanted.check:
            for name, text in made.items():
                (wanted.out / name).write_text(text)
        elif old := [name for name, text in made.items() if (wanted.out / name).read_text() != text]:
            sys.exit(f"{', '.join(old)}: not what {wanted.thresholds.name} says: run make rules")
    except (ValueError, OSError) as error:
        sys.exit(f"make_rules.py: {error}")


if __name__ == "__main__":
    main()
