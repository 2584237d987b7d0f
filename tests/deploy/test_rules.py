"""The rules for Prometheus are up to date and valid, and fire when they should in a real promtool."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.texts import Texts
from tests.support.tree import ROOT, files

PROMETHEUS = ROOT / "deploy/prometheus"
CASES = [ROOT / name for name in files("tests/deploy/rules")]
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]


def make_rules(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the generator of the rules."""
    return subprocess.run(
        [sys.executable, PROMETHEUS / "make_rules.py", *arguments], check=False, capture_output=True, text=True
    )


def test_the_rules_are_up_to_date() -> None:
    """rules.yaml and alerts.yaml are what their generator writes."""
    done = make_rules("--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_rules_pass_promtools_lint(promtool: str) -> None:
    """Promtool finds no problem in the rules, such as duplicates."""
    rules = [PROMETHEUS / "rules.yaml", PROMETHEUS / "alerts.yaml"]
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *rules], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def values_of(annotation: str) -> str:
    """Return the template without its prose: only what it computes, with a semicolon after each value that it shows."""
    actions = re.findall(r"\{\{-?\s*(.*?)\s*-?\}\}", annotation)
    silent = re.compile(r"\$\w+(, \$\w+)? :?= |(if|range|with) |end$")
    return "".join(f"{{{{ {action} }}}}{'' if silent.match(action) else ';'}" for action in actions)


def with_its_rules(case: Path, directory: Path) -> Path:
    """Copy a case with the rules that it names and the rules that these use, and no others, to save time.

    Summaries and descriptions are reduced to their values.
    """
    rule_files = {name: yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("rules.yaml", "alerts.yaml")}
    left = [rule for file in rule_files.values() for group in file["groups"] for rule in group["rules"]]
    text = case.read_text()
    while named := [rule for rule in left if (rule.get("alert") or rule["record"]) in text]:
        text += yaml.safe_dump(named)
        left = [rule for rule in left if rule not in named]
    for name, file in rule_files.items():
        for group in file["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule not in left]
            for rule in group["rules"]:
                for text in {"summary", "description"} & rule.get("annotations", {}).keys():
                    rule["annotations"][text] = values_of(rule["annotations"][text])
        (directory / name).write_text(yaml.safe_dump(file))
    copy = directory / case.name
    copy.write_text(case.read_text().replace("../../deploy/prometheus/", ""))
    return copy


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_rules_do_what_the_cases_say(case: Path, promtool: str, tmp_path: Path) -> None:
    """Promtool's unit tests of the rules pass."""
    command = [promtool, "test", "rules", str(with_its_rules(case, tmp_path))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_quiet_and_firing() -> None:
    """For each alert and severity, a case shows that it does not fire at first, and then fires with all annotations."""
    quiet, firing = set(), set()
    for case in CASES:
        for test in yaml.safe_load(case.read_text())["tests"]:
            calm: set[str] = set()
            for expected in test.get("alert_rule_test", ()):
                name = expected["alertname"]
                if not expected["exp_alerts"]:
                    calm.add(name)
                for alert in expected["exp_alerts"]:
                    firing.add((name, alert["exp_labels"]["severity"], *sorted(alert["exp_annotations"])))
                    quiet |= {(name, alert["exp_labels"]["severity"])} if name in calm else set()
    words = ("dashboard_url", "description", "runbook", "summary")
    assert firing == {(alert["alert"], alert["labels"]["severity"], *words) for alert in ALERTS}
    assert quiet == {(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS}


def test_changed_thresholds_change_the_rules(tmp_path: Path) -> None:
    """Another floor and another URL of Grafana change these in the alerts, and nothing else."""
    text = (PROMETHEUS / "thresholds.toml").read_text()
    changed = tmp_path / "mine.toml"
    changed.write_text(
        text.replace("floor = 50", "floor = 321").replace("http://127.0.0.1:3000", "https://grafana.example.org")
    )
    assert make_rules("--thresholds", str(changed), "--out", str(tmp_path)).returncode == 0
    before, after = (PROMETHEUS / "alerts.yaml").read_text(), (tmp_path / "alerts.yaml").read_text()
    assert after == before.replace("> 50\n", "> 321\n").replace("http://127.0.0.1:3000", "https://grafana.example.org")
    assert (tmp_path / "rules.yaml").read_text() == (PROMETHEUS / "rules.yaml").read_text()


@pytest.mark.parametrize(
    ("grafana", "docs", "expected"),
    [
        ("", "", {"runbook": "docs/runbooks/{}.md"}),
        ("", "https://git.example.com/docs", {"runbook_url": "https://git.example.com/docs/runbooks/{}.md"}),
        (
            "https://grafana.example.com",
            "https://git.example.com/docs",
            {
                "runbook_url": "https://git.example.com/docs/runbooks/{}.md",
                "dashboard_url": "https://grafana.example.com/d/",
            },
        ),
    ],
)
def test_an_alert_links_only_to_what_is_set(grafana: str, docs: str, expected: dict[str, str], tmp_path: Path) -> None:
    """Each alert links to its runbook or names the file; it links to a dashboard only if the URL of Grafana is set."""
    shipped = (PROMETHEUS / "thresholds.toml").read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(
        shipped.replace('grafana = "http://127.0.0.1:3000"', f'grafana = "{grafana}"').replace(
            'docs = ""', f'docs = "{docs}"'
        )
    )
    assert make_rules("--thresholds", str(mine), "--out", str(tmp_path)).returncode == 0
    made = yaml.safe_load((tmp_path / "alerts.yaml").read_text())
    alerts = [rule for group in made["groups"] for rule in group["rules"]]
    assert len(alerts) == len(ALERTS)
    for alert in alerts:
        annotations = alert["annotations"]
        where = {name: text for name, text in annotations.items() if name not in {"summary", "description"}}
        if "dashboard_url" in where:
            where["dashboard_url"] = where["dashboard_url"].partition("smtpeter-")[0]
        assert where == {name: text.format(alert["alert"]) for name, text in expected.items()}
    page = f" {docs or 'docs'}/reasons/{{{{ $labels.reason }}}}.md"
    linking = [alert["alert"] for alert in alerts if alert["annotations"]["description"].endswith(page)]
    assert linking == ["SMTPeterFailuresSpike"] * 2 + ["SMTPeterReputationSpike"] * 2


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        ("floor = 15", "floor = '15'", "spike.warning.floor = '15': "),
        ("floor = 15", "floor = -1", "spike.warning.floor = -1: "),
        ("floor = 15", "floor = true", "spike.warning.floor = True: "),
        ("floor = 15", "flour = 15", "spike.warning.floor: "),
        ("floor = 15", "floor = 15\nfoo = 1", "spike.warning.foo: "),
        ("[silence]\nfailures", "[[silence]]\nfailures", "silence = [{'failures': 20}]: "),
        ('replica = "10m"', 'replica = "10 minutes"', "down.replica = '10 minutes': "),
        ('grafana = "http://127.0.0.1:3000"', 'grafana = "127.0.0.1:3000/"', "links.grafana = '127.0.0.1:3000/': "),
        ('job = ".*smtpeter.*"', "job = '\"x'", "exporters.job = '\"x': "),
        (
            'replica_labels = ["instance", ',
            'replica_labels = ["in-stance", ',
            "exporters.replica_labels = ['in-stance', ",
        ),
    ],
    ids=["text", "negative", "boolean", "missing", "unknown", "array", "duration", "URL", "job", "label"],
)
def test_mistakes_in_the_thresholds_are_errors(
    line: str, instead: str, named: str, tmp_path: Path, texts: Texts
) -> None:
    """A mistake in the thresholds stops the generator with a line that has the key, its value and what is expected."""
    text = (PROMETHEUS / "thresholds.toml").read_text()
    assert line in text
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(text.replace(line, instead, 1))
    done = make_rules("--thresholds", str(wrong), "--out", str(tmp_path))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert named in done.stderr
    texts.check(done.stderr)


def test_thresholds_must_be_toml(tmp_path: Path) -> None:
    """A file that is not TOML stops the generator with a line that has its path and the place of the mistake."""
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[down\n")
    done = make_rules("--thresholds", str(wrong), "--out", str(tmp_path))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert [str(wrong) in done.stderr, "line 1" in done.stderr, "TOML" in done.stderr] == [True] * 3


def test_each_threshold_is_explained() -> None:
    """Each table of thresholds, or its first part, has a comment above."""
    text = (PROMETHEUS / "thresholds.toml").read_text()
    tables = dict.fromkeys(re.findall(r"^\[(\w+)", text, re.MULTILINE))
    explained = set(re.findall(r"^#.*\n\[(\w+)", text, re.MULTILINE))
    assert tables.keys() - {"links", "exporters"} == explained  # in these two, each key has a comment


def test_all_placeholders_are_filled_in() -> None:
    """The generated files have no placeholders in angle brackets."""
    made = (PROMETHEUS / "alerts.yaml").read_text() + (PROMETHEUS / "rules.yaml").read_text()
    assert re.findall(r"<[a-z_.0-9]+>", made) == []
