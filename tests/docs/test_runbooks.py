"""The runbooks name only what exists, and Alertmanager accepts the example and does what it says."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.demo.alertmanager import EXAMPLE, Alertmanager, example
from exporter.refusals import REFUSAL_REASONS
from tests.support.documentation import PAGES, blocks, quoted
from tests.support.names import ALERTS, THRESHOLDS, threshold
from tests.support.running import server, skipping, until
from tests.support.texts import Snapshot, Texts
from tests.support.tree import ROOT, files

RUNBOOKS: Final = {Path(page).stem: page for page in PAGES if page.startswith("docs/runbooks/SMTPeter")}
"""The page of each alert, by the alert's name."""
INDEX: Final = "docs/runbooks/README.md"
TABLE: Final = "docs/alerts.md"
SEVERITIES: Final = {
    name: [rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == name]
    for name in dict.fromkeys(rule["alert"] for rule in ALERTS)
}
"""The severities of each alert, in the order of the file."""
LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    "SMTPeterFailuresSpike": {"reason": "REASON"},
    "SMTPeterReputationSpike": {"reason": "REASON"},
    "SMTPeterSignatureRefusals": {"reason": "REASON"},
    "SMTPeterNewStatus": {"extended": "EXTENDED"},
    "SMTPeterReplicaDown": {"instance": "INSTANCE"},
    "SMTPeterLedgerNotWritable": {"instance": "INSTANCE"},
}
"""The labels of an alert besides alertname, severity and job."""
HEADINGS: Final = ["What it means", "Check", "Likely causes", "Fix", "Silence"]


def silences(name: str) -> list[list[str]]:
    """Return the arguments of each ``amtool silence add`` on a page."""
    commands = [shlex.split(block.text.replace("\\\n", " ")) for block in blocks(RUNBOOKS[name], "sh")]
    return [command[3:] for command in commands if command[:3] == ["amtool", "silence", "add"]]


def test_each_alert_has_a_page() -> None:
    """docs/runbooks has a page for each alert and no other, and the index lists them with their severities."""
    assert list(SEVERITIES) == list(dict.fromkeys(rule["alert"] for rule in ALERTS))
    assert set(RUNBOOKS) == set(SEVERITIES)
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| ([a-z, ]+) \|", PAGES[INDEX], re.MULTILINE)
    assert rows == [(name, name, ", ".join(levels)) for name, levels in SEVERITIES.items()]


def test_the_table_of_alerts_is_complete() -> None:
    """docs/alerts.md lists the alerts in the order of the file, with severities, runbook and reputation reasons."""
    rows = re.findall(
        r"^\| `(\w+)` \| ([a-z, ]+) \| .+ \| \[runbook\]\(runbooks/(\w+)\.md\) \|$", PAGES[TABLE], re.MULTILINE
    )
    assert rows == [(name, ", ".join(levels), name) for name, levels in SEVERITIES.items()]
    for page in (TABLE, RUNBOOKS["SMTPeterReputationSpike"]):
        assert set(THRESHOLDS["reputation"]["reasons"]) <= set(quoted(page))


@pytest.mark.parametrize("name", RUNBOOKS)
def test_pages_are_of_one_form(name: str) -> None:
    """A page begins with Do now, Impact and Wake, has queries and one silence, and explains both levels."""
    page = PAGES[RUNBOOKS[name]]
    opening = page.partition("\n## ")[0]
    assert re.fullmatch(rf"(?s)# {name}\n\n\*\*Do now\*\*\n\n1\. .+\n\n\*\*Impact:\*\* .+ *\*\*Wake:\*\* .+\n", opening)
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == HEADINGS
    assert blocks(RUNBOOKS[name], "promql")
    assert len(silences(name)) == 1
    assert len(page.splitlines()) <= 70
    levels = {level.lower() for level in re.findall(r"\*(Warning|Critical)\*", page)}
    assert levels == (set(SEVERITIES[name]) if len(SEVERITIES[name]) > 1 else set())


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_links_of_alerts_work(rule: Mapping[str, Any]) -> None:
    """The runbook is the alert's page, and dashboard_url is a dashboard with values for its own variables."""
    links, annotations = THRESHOLDS["links"], rule["annotations"]
    assert "runbook_url" not in annotations
    assert annotations["runbook"] == RUNBOOKS[rule["alert"]]
    base, _, query = annotations["dashboard_url"].partition("?")
    dashboards = {board["uid"]: board for board in dashboard_files()}
    assert base.removeprefix(f"{links['grafana']}/d/") in dashboards
    variables = {one["name"] for one in dashboards[base.rpartition("/")[2]]["templating"]["list"]}
    assert set(re.findall(r"var-(\w+)=", query)) <= variables


def dashboard_files() -> list[dict[str, Any]]:
    """Return the dashboards."""
    return [json.loads((ROOT / name).read_text()) for name in files("grafana") if name.endswith(".json")]


def test_panels_that_are_named_exist() -> None:
    """Each page names a dashboard, and panels of that dashboard."""
    panels = {
        board["title"]: {
            panel["title"] for part in board["panels"] for panel in (part, *part.get("panels", ())) if "title" in panel
        }
        for board in dashboard_files()
    }
    wrong = {}
    for name, page in RUNBOOKS.items():
        named = re.findall(r"Dashboard\s+\*([^*]+)\*,\s+panel\s+\*([^*]+)\*", PAGES[page])
        if not named or not all(" ".join(panel.split()) in panels.get(board, ()) for board, panel in named):
            wrong[name] = named
    assert wrong == {}


def test_a_page_names_the_threshold_to_raise() -> None:
    """Each `table.key` on a page is a value in thresholds.toml, and all alerts but one have a threshold to raise."""
    named = {
        page: [
            threshold(word)
            for word in quoted(page)
            if re.fullmatch(r"[a-z_]+(\.\w+)+", word) and word.partition(".")[0] in THRESHOLDS
        ]
        for page in (TABLE, INDEX, *RUNBOOKS.values())
    }
    assert not any(isinstance(value, dict) for values in named.values() for value in values)
    assert {name for name, page in RUNBOOKS.items() if not named[page]} == {"SMTPeterLabelOverflow"}


def test_reasons_of_refusal_that_are_named_exist() -> None:
    """The table of SMTPeterSignatureRefusals explains each reason that the alert watches, and no other."""
    watched = {
        reason
        for rule in ALERTS
        if rule["alert"] == "SMTPeterSignatureRefusals"
        for pattern in re.findall(r'reason=~"([^"]+)"', rule["expr"])
        for reason in pattern.split("|")
    }
    cells = re.findall(r"^\| (`.*?) \| ", PAGES[RUNBOOKS["SMTPeterSignatureRefusals"]], re.MULTILINE)
    assert sorted(reason for cell in cells for reason in re.findall("`(.*?)`", cell)) == sorted(watched)
    assert watched <= set(REFUSAL_REASONS)


def test_the_texts_of_ready_on_the_page_are_real() -> None:
    """Each text of ``/-/ready`` in the table of SMTPeterLedgerNotWritable is part of a message of the ledger."""
    snapshot = {file: tests for file, tests in Snapshot(update=False).texts.items() if "ledger/" in file}
    messages = "\n".join(text for tests in snapshot.values() for texts in tests.values() for text in texts)
    said = re.findall(r"^\| `([^`]+)` \|", PAGES[RUNBOOKS["SMTPeterLedgerNotWritable"]], re.MULTILINE)[1:]
    assert len(said) > 5
    assert [words for words in said if words not in messages] == []


def test_a_page_numbers_its_causes_in_order() -> None:
    """The numbers of causes have no gaps, because other pages refer to them."""
    for name, page in RUNBOOKS.items():
        causes = PAGES[page].partition("## Likely causes")[2]
        numbers = [int(number) for number in re.findall(r"^(\d+)\. ", causes, re.MULTILINE)]
        assert all(after == before + 1 for before, after in pairwise([0, *numbers])), name


@pytest.fixture(scope="module")
def amtool() -> str:
    """Return the path of a real amtool."""
    return server("amtool")


def test_the_example_is_valid(amtool: str) -> None:
    """Amtool accepts the example and finds its template."""
    done = subprocess.run([amtool, "check-config", EXAMPLE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("SUCCESS")) == (0, 2), done.stdout  # file and template


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pager"), ("warning", "mail"), ("info", "daily-mail"), ("", "mail")]
)
def test_the_severity_selects_the_receiver(amtool: str, severity: str, receiver: str) -> None:
    """Critical alerts go to the pager, warnings and unknown severities to mail, and information to the daily mail."""
    command = [amtool, "config", "routes", "test", f"--config.file={EXAMPLE}", "alertname=A", f"severity={severity}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [receiver]


def test_inhibitions_name_alerts_that_exist() -> None:
    """Each alert in inhibit_rules exists, with the severity that the rule names."""
    rules = yaml.safe_load(EXAMPLE.read_text())["inhibit_rules"]
    for matchers in (rule[side] for rule in rules for side in ("source_matchers", "target_matchers")):
        values = dict(re.split("=~?", matcher, maxsplit=1) for matcher in matchers)
        names = [name for name in SEVERITIES if re.fullmatch(values["alertname"].strip('"'), name)]
        assert names
        assert "SMTPeter.+" in values["alertname"] or len(names) == values["alertname"].count("|") + 1
        if "severity" in values:
            assert values["severity"].strip('"') in {level for name in names for level in SEVERITIES[name]}


@pytest.mark.parametrize(
    "links",
    [
        {"runbook": "docs/runbooks/X.md"},
        {"runbook_url": "https://git.example.com/X.md", "dashboard_url": "https://grafana.example.com/d/x"},
    ],
    ids=["as shipped", "with links"],
)
def test_mails_show_the_annotations(amtool: str, tmp_path: Path, links: dict[str, str], texts: Texts) -> None:
    """A mail has all annotations of each alert and says which are resolved; its subject has the number of alerts."""
    annotations = {
        "summary": "smtpeter: 312 failures in 15 minutes: blocked",
        "description": "312 deliveries failed.",
        **links,
    }
    alert = {
        "status": "firing",
        "labels": {"alertname": "SMTPeterReputationSpike", "severity": "critical"},
        "annotations": annotations,
        "startsAt": "2026-11-23T09:10:00+02:00",
    }
    resolved = alert | {"status": "resolved", "endsAt": "2026-11-23T09:40:00Z"}
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"status": "firing", "alerts": [alert, resolved]}))

    def rendered(name: str) -> str:
        command = [amtool, "template", "render", f"--template.data={data}"]
        template = [
            f"--template.glob={EXAMPLE.parent / 'smtpeter.tmpl'}",
            f'--template.text={{{{ template "{name}" . }}}}',
        ]
        return subprocess.run([*command, *template], check=True, capture_output=True, text=True).stdout

    subject, parts = rendered("smtpeter.subject"), re.split(r"\n\n\n+", rendered("smtpeter.text").strip())
    assert ["firing" in subject, annotations["summary"] in subject, "2" in subject] == [True] * 3
    assert len(parts) == 2
    labels_and_times = ("SMTPeterReputationSpike", "critical", "2026-11-23 07:10 UTC")
    for part in parts:
        assert [text for text in (*annotations.values(), *labels_and_times) if text not in part] == []
    assert ["2026-11-23 09:40 UTC" in part for part in parts] == [False, True]
    texts.check(subject)
    for part in parts:
        texts.check(part)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Run an Alertmanager with the shipped routes. The tests of this module share it; each has its own jobs."""
    program, directory = server("prometheus-alertmanager"), tmp_path_factory.mktemp("alertmanager")
    with skipping():
        running = Alertmanager(program, directory, example())
    yield running
    running.stop()


def labels_of(name: str, severity: str, job: str, **others: str) -> dict[str, str]:
    """Return the labels of an alert."""
    return {"alertname": name, "severity": severity, "job": job, **others}


@pytest.mark.parametrize("name", RUNBOOKS)
def test_the_silence_on_a_page_silences_its_alert(amtool: str, alertmanager: Alertmanager, name: str) -> None:
    """With the labels filled in, the command on a page silences that alert and no other alert of the job."""
    (arguments,) = silences(name)
    job = f"silence-{name}"
    filled = [argument.replace("job=JOB", f"job={job}") for argument in arguments]
    address = next(index for index, text in enumerate(filled) if text.startswith("--alertmanager.url="))
    filled[address] = f"--alertmanager.url=http://{alertmanager.address}"
    assert any(text.startswith("--duration=") for text in filled)
    assert any(text.startswith("--comment=") for text in filled)
    matched = dict(text.split("=", maxsplit=1) for text in filled if not text.startswith("--"))
    assert matched.keys() <= {"alertname", "severity", "job", *LABELS.get(name, ())}
    assert matched.get("severity", SEVERITIES[name][0]) in SEVERITIES[name]
    alertmanager.post(
        labels_of(name, SEVERITIES[name][0], job, **LABELS.get(name, {})),
        labels_of("SMTPeterOther", "warning", job, **LABELS.get(name, {})),
    )
    subprocess.run([amtool, "silence", "add", *filled], check=True, capture_output=True)
    until(lambda: any(status["silencedBy"] for _, status in alertmanager.statuses(job)))
    silenced = {labels["alertname"]: bool(status["silencedBy"]) for labels, status in alertmanager.statuses(job)}
    assert silenced == {name: True, "SMTPeterOther": False}


DOWN: Final = ("SMTPeterExporterDown", "critical")
REFUSED: Final = ("SMTPeterSignatureRefusals", "critical")
SPIKE: Final = ("SMTPeterFailuresSpike", "critical")
INHIBITIONS: Final[list[tuple[tuple[str, str, dict[str, str]], tuple[str, str, dict[str, str]], bool]]] = [
    ((*SPIKE, {"reason": "expired"}), ("SMTPeterFailuresSpike", "warning", {"reason": "expired"}), True),
    ((*SPIKE, {"reason": "expired"}), ("SMTPeterFailuresSpike", "warning", {"reason": "routing"}), False),
    ((*SPIKE, {"reason": "expired"}), ("SMTPeterReputationSpike", "warning", {"reason": "expired"}), False),
    ((*SPIKE, {"reason": "expired"}), ("SMTPeterFailuresElevated", "warning", {}), True),
    ((*SPIKE, {"reason": "expired"}), ("SMTPeterNewStatus", "info", {"extended": "5.7.26"}), False),
    (
        ("SMTPeterReputationSpike", "warning", {"reason": "blocked"}),
        ("SMTPeterFailuresElevated", "warning", {"account": ""}),
        True,
    ),
    (
        ("SMTPeterReputationSpike", "warning", {"reason": "blocked", "account": "shop"}),
        ("SMTPeterFailuresElevated", "warning", {"account": "news"}),
        False,
    ),
    ((*DOWN, {}), ("SMTPeterReplicaDown", "warning", {"instance": "a:1"}), True),
    ((*DOWN, {}), ("SMTPeterSilence", "warning", {}), True),
    ((*DOWN, {}), ("SMTPeterKeysUnavailable", "warning", {}), True),
    ((*DOWN, {}), ("SMTPeterFailuresSpike", "critical", {"reason": "expired"}), False),
    ((*DOWN, {"account": "shop"}), ("SMTPeterSilence", "warning", {"account": "news"}), False),
    ((*REFUSED, {}), ("SMTPeterSignatureRefusals", "warning", {"reason": "url"}), True),
    ((*REFUSED, {}), ("SMTPeterSilence", "warning", {}), True),
    (("SMTPeterSignatureRefusals", "warning", {"reason": "url"}), ("SMTPeterSilence", "warning", {}), False),
    (("SMTPeterKeysUnavailable", "critical", {}), ("SMTPeterKeysUnavailable", "warning", {}), True),
    (("SMTPeterKeysUnavailable", "warning", {}), ("SMTPeterSilence", "warning", {}), False),
    (("SMTPeterLedgerNotWritable", "critical", {"instance": "a:1"}), ("SMTPeterSilence", "warning", {}), True),
]
"""Source, target, and whether the source inhibits the target."""


def test_the_example_inhibits_consequences(alertmanager: Alertmanager) -> None:
    """With the example, an alert inhibits the less specific alerts of its account, and no others."""
    jobs = {f"inhibit-{number}": case for number, case in enumerate(INHIBITIONS)}
    for job, (source, target, _) in jobs.items():
        alertmanager.post(*(labels_of(name, severity, job, **more) for name, severity, more in (source, target)))
        # Without the job in the rules, all of these would be inhibited.
        alertmanager.post(labels_of(target[0], target[1], f"{job}-other", **target[2]))
    last = "inhibit-last"  # evaluated after all others
    alertmanager.post(labels_of(*DOWN, last), labels_of("SMTPeterSilence", "warning", last))
    until(lambda: any(status["inhibitedBy"] for _, status in alertmanager.statuses(last)))

    def inhibited(job: str, name: str, severity: str) -> list[bool]:
        return [
            bool(status["inhibitedBy"])
            for labels, status in alertmanager.statuses(job)
            if (labels["alertname"], labels["severity"]) == (name, severity)
        ]

    assert {job: inhibited(job, *target[:2]) for job, (_, target, _) in jobs.items()} == {
        job: [expected] for job, (_, _, expected) in jobs.items()
    }
    others = {job: inhibited(f"{job}-other", *target[:2]) for job, (_, target, _) in jobs.items()}
    assert others == {job: [False] for job in jobs}
