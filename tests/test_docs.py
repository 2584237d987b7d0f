"""What the documentation names exists, and what exists is documented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli import cli
from exporter.reason import DECIDERS, REASONS, reason_of
from exporter.report import Report
from exporter.settings import SETTINGS
from exporter.status_codes import REGISTRY

ROOT = Path(__file__).parent.parent
REASON_PAGES = {path.stem: path for path in ROOT.glob("docs/reasons/*.md") if path.stem != "README"}
PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "docs/how-to/*.md", "docs/reasons/*.md") for path in ROOT.glob(pattern)
)


@pytest.fixture(scope="module")
def text() -> str:
    """All pages together."""
    return "\n".join(path.read_text() for path in PAGES)


def test_the_reference_is_what_the_code_says() -> None:
    """docs/reference.md is as its generator would write it now."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_settings_that_are_named_exist(text: str) -> None:
    """Each --dotted.flag in the documentation is a setting or --config.file."""
    named = set(re.findall(r"--([a-z]+\.[a-z-]+(?:\.[a-z-]+)?)", text))
    assert named <= {setting.name for setting in SETTINGS} | {"config.file"}


def test_metrics_that_are_named_exist(text: str) -> None:
    """Each smtpeter_… word in the pages stands in the table of metrics of the reference."""
    reference = (ROOT / "docs/reference.md").read_text()
    known = set(re.findall(r"^\| `(smtpeter_\w+)` \|", reference, re.MULTILINE))
    named = set(re.findall(r"\bsmtpeter_[a-z_]+[a-z]\b", text))
    # The first is what the curl line greps for, the second a volume of Docker's.
    assert named - {"smtpeter_failures", "smtpeter_data"} <= known


def test_commands_that_are_named_exist(text: str) -> None:
    """Each `smtpeter-exporter WORD` in the documentation is a command, and each command is named."""
    assert set(re.findall(r"(?:`|bin/|[|$] |    )smtpeter-exporter ([a-z][a-z-]+)", text)) == set(cli.commands)


def test_make_targets_that_are_named_exist(text: str) -> None:
    """Each `make WORD` in the documentation is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", text, re.MULTILINE))
    assert named == {
        *("run", "demo", "test", "lint", "docs", "lock", "rules", "dashboards"),
        *("bench", "history", "soak", "fuzz", "hostile"),
    }
    assert named <= targets


def test_links_between_pages_lead_somewhere() -> None:
    """Each relative link of a page is a file."""
    broken = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(((?!https?:)[^)#]+)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_modules_are_the_ones_that_contributors_read_of() -> None:
    """The table in CONTRIBUTING.md lists the modules of the package, each once."""
    listed = re.findall(
        r"`(\w+\.py)`", "\n".join(re.findall(r"^\| `.*", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    )
    here = {path.name for path in (ROOT / "exporter").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert sorted(listed) == sorted(here)


def test_no_module_is_long() -> None:
    """A module of the package has at most 300 lines."""
    long = {path.name for path in (ROOT / "exporter").glob("*.py") if len(path.read_text().splitlines()) > 300}
    assert long == set()


def test_status_codes_in_the_readme_are_real() -> None:
    """The sample of metrics in the README shows statuses that the registry knows."""
    shown = re.findall(r'extended="\d\.(\d+\.\d+)"', (ROOT / "README.md").read_text())
    assert shown
    assert set(shown) <= set(REGISTRY)


def test_each_reason_has_a_page_and_each_page_a_reason() -> None:
    """docs/reasons has a page for each reason, under its name, that begins with what the code says of it."""
    assert set(REASON_PAGES) == set(REASONS)
    wrong = {
        reason: page.read_text().splitlines()[:3]
        for reason, page in REASON_PAGES.items()
        if page.read_text().splitlines()[:3] != [f"# `{reason}`", "", f"**{REASONS[reason]}**"]
    }
    assert wrong == {}


def test_the_index_of_reasons_is_what_the_code_says() -> None:
    """The index lists the reasons and the steps with the code's own words, in the code's order."""
    index = (ROOT / "docs/reasons/README.md").read_text()
    assert re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \| (.*) \|$", index, re.MULTILINE) == [
        (reason, reason, meaning) for reason, meaning in REASONS.items()
    ]
    assert re.findall(r"^\d\. `(\w+)`: (.*)$", index, re.MULTILINE) == list(DECIDERS.items())


@pytest.mark.parametrize("reason", REASONS)
def test_answers_on_a_page_have_its_reason(reason: str) -> None:
    """Each answer that a page shows is given the reason of that page, and its query asks for it."""
    page = REASON_PAGES[reason].read_text()
    block = re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block
    decisions = {}
    for line in block[1].splitlines():
        parts = ["" if part == "-" else part for part in line.split(maxsplit=3)]
        state, code, extended, description = parts
        decisions[line] = reason_of(Report("1", "s@example.com", state, code, extended, description)).reason
    assert set(decisions.values()) == {reason}, decisions
    assert f'smtpeter_failures_by_reason_total{{reason="{reason}"}}' in page
