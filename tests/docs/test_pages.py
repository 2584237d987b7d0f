"""The documentation names only what exists, and documents all of it. test_commands.py runs its commands."""

import fnmatch
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final
from unittest.mock import Mock

import bcrypt
import click
import pytest
import trustme
import yaml
from falcon.inspect import inspect_routes

from exporter.classification.loops import LOOPS
from exporter.classification.reason import DECIDERS, REASONS, reason_of
from exporter.classification.report import Report
from exporter.classification.status_codes import REGISTRY
from exporter.cli.group import LazyCommand, cli
from exporter.ledger.committer import Committer
from exporter.metrics.telemetry import Telemetry
from exporter.web.app import private_app
from exporter.web.passwords import Passwords
from exporter.web.web_config import WebConfig
from tests.support.documentation import PAGES, Block, anchors, blocks, commands, links, quoted
from tests.support.names import (
    ALERTS,
    EXPOSED,
    RECORDED,
    SETTING_NAMES,
    THRESHOLDS,
    VARIABLES,
    known_metrics,
    metrics_in,
    threshold,
)
from tests.support.running import environment, server
from tests.support.settings import gathered, parsed
from tests.support.tree import ROOT, files

REASON_PAGES = {Path(name).stem: ROOT / name for name in files("docs/reasons") if not name.endswith("README.md")}
LANGUAGES: Final = frozenset("sh console promql yaml toml ini nginx sql text".split())
"""The languages of code blocks. test_commands.py runs commands; this file checks queries and configurations."""
TEXT: Final = "\n".join(PAGES.values())


def parts(page: str) -> Iterator[str]:
    """Yield the single commands on a page, from code blocks and inline code."""
    code = [*(command for block in blocks(page, "sh", "console") for command in commands(block)), *quoted(page)]
    for command in code:
        yield from (part.strip() for part in re.split(r"\|\|?|&&|;|\n(?=\S)", command.replace("\\\n", " ")))


def words_of(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the arguments of each command that runs a program."""
    for page in PAGES:
        for part in parts(page):
            first, _, rest = part.removeprefix("sudo ").partition(" ")
            if first.rpartition("/")[2] == program:
                yield page, shlex.split(rest)


def test_the_reference_is_up_to_date() -> None:
    """docs/reference.md is what its generator writes."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reference_lists_all_paths() -> None:
    """The reference has each path of the two listeners."""
    app = private_app(Telemetry(), Mock(spec=Committer), Passwords({}), Mock())
    routes = [route.path for route in inspect_routes(app)]
    listed = re.findall(r"`(?:GET|POST) (/\S*)`", PAGES["docs/reference.md"].partition("## HTTP")[2])
    assert set(listed) == {*(loop.path for loop in LOOPS.values()), "/smtpeter-{token}.txt", *routes}


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_are_named_exist(page: str) -> None:
    """Each flag, variable and `dotted.name` on a page is a setting or a threshold."""
    flags = {flag for text in quoted(page) for flag in re.findall(r"--([a-z]+(?:\.[a-z-]+)+)", text)}
    foreign = {"alertmanager.url"}  # of amtool
    assert flags - foreign <= SETTING_NAMES
    assert set(re.findall(r"SMTPETER_EXPORTER_[A-Z_]*[A-Z]", PAGES[page])) <= VARIABLES
    tables = {name.partition(".")[0] for name in SETTING_NAMES}
    dotted = {text for text in quoted(page) if re.fullmatch(r"[a-z_]+(\.[a-z0-9_-]+)+", text)}
    dotted = {name for name in dotted if not name.endswith((".py", ".md", ".toml", ".yaml", ".yml", ".crt", ".key"))}
    assert {name for name in dotted if name.partition(".")[0] in tables} - PROMETHEUS_SETTINGS <= SETTING_NAMES
    for name in dotted:
        if name.partition(".")[0] in THRESHOLDS:
            assert threshold(name) is not None


PROMETHEUS_SETTINGS: Final = frozenset({"storage.tsdb.retention.time"})


def test_metrics_that_are_named_exist() -> None:
    """Each word smtpeter_… on the pages is a metric of the exporter, a part of one, or a recorded series."""
    named = set(re.findall(r"\b(?:\w+:)?smtpeter_[a-z0-9_]*[a-z0-9](?::\w+)*", TEXT))
    assert named >= EXPOSED.keys() | RECORDED
    # The prefix of a release's files, tables in PostgreSQL, a Docker volume.
    others = {"smtpeter_exporter", "smtpeter_total", "smtpeter_delivery", "smtpeter_data"}
    assert named - others <= known_metrics() | EXPOSED.keys()


def test_alerts_that_are_named_exist() -> None:
    """Each name SMTPeter… on the pages is an alert, and each alert is on a page."""
    trials = {"SMTPeterTrial"}  # sent to test the receivers
    assert set(re.findall(r"\bSMTPeter[A-Z]\w+", TEXT)) - trials == {rule["alert"] for rule in ALERTS}


def test_commands_that_are_named_exist() -> None:
    """Each `smtpeter-exporter …` on the pages is a command with options that it has, and each command is on a page."""
    named = set()
    for page, words in words_of("smtpeter-exporter"):
        command: click.Command = cli
        path: list[str] = []
        left = list(words)
        while isinstance(command, click.Group) and left and not left[0].startswith("-"):
            path.append(left.pop(0))
            found = command.get_command(click.Context(command), path[-1])
            assert found, f"{page}: {' '.join(path)}"
            command = loaded(found)
        named.add(" ".join(path))
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in left if re.match(r"--?[a-z]", word)}
        assert given <= options, f"{page}: {' '.join(words)}"
    assert named - {""} == set(names(cli))


def names(group: click.Group) -> Iterator[str]:
    """Yield the commands of a group. The commands of a subgroup follow the subgroup's name."""
    for name, command in group.commands.items():
        found = loaded(command)
        yield from (f"{name} {each}" for each in names(found)) if isinstance(found, click.Group) else [name]


def loaded(command: click.Command) -> click.Command:
    """Return the command, imported if it is not yet."""
    return command.load() if isinstance(command, LazyCommand) else command


def test_make_targets_that_are_named_exist() -> None:
    """Each `make WORD` on the pages is a target of the Makefile, and each target is on a page."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for _, words in words_of("make") for word in words if "=" not in word}
    assert named <= targets
    assert targets - named == {"help", "servers"}


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    """Each path on a page that begins with a directory of the project exists."""
    code = [*quoted(page), *(block.text for block in blocks(page))]
    top = "|".join({re.escape(name.partition("/")[0]) for name in files() if "/" in name})
    named = {word.rstrip(".,:") for text in code for word in re.findall(rf"(?<![\w./~-])(?:{top})/[\w./*-]*", text)}
    existing = {str(path) for name in files() for path in (PurePath(name), *PurePath(name).parents)}
    assert [word for word in sorted(named) if not fnmatch.filter(existing, word.rstrip("/"))] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_work(page: str) -> None:
    """Each link of a page that is not a URL leads to a file, and to a heading in it if it has a fragment."""
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        name = str(target.relative_to(ROOT)) if target.is_relative_to(ROOT) else ""
        if not target.is_file() or (anchor and (name not in PAGES or anchor not in anchors(name))):
            broken.append(link)
    assert broken == []


def test_the_index_links_to_every_page() -> None:
    """docs/index.md has a link to each page of docs/, except for runbooks and reasons, which have their own index."""
    linked = {
        str(((ROOT / "docs") / link).resolve().relative_to(ROOT)) for link in links("docs/index.md") if ".md" in link
    }
    own = re.compile(r"docs/(index|runbooks/SMTPeter\w+|reasons/[a-z_]+)\.md")
    assert {page for page in PAGES if page.startswith("docs/") and not own.fullmatch(page)} - linked == set()


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_have_a_language(page: str) -> None:
    """Each code block names its language, which says how it is checked. None is only indented."""
    assert [str(block) for block in blocks(page) if block.language not in LANGUAGES] == []


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "promql")], ids=str)
def test_queries_are_valid(block: Block) -> None:
    """Each query is valid PromQL over metrics that the exporter exposes or the rules record."""
    queried = metrics_in(block.text)
    assert queried
    assert queried <= known_metrics()


@pytest.fixture(scope="module")
def etc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory like /etc with everything that configurations on the pages name."""
    directory = tmp_path_factory.mktemp("etc")
    for name in ("prometheus/smtpeter", "smtpeter-exporter/verification"):
        (directory / name).mkdir(parents=True)
    for name in ("rules.yaml", "alerts.yaml"):
        (directory / "prometheus/smtpeter" / name).write_text((ROOT / "deploy/prometheus" / name).read_text())
    authority = trustme.CA()
    certificate = authority.issue_cert("exporter.example.com")
    authority.cert_pem.write_to_path(directory / "prometheus/smtpeter-ca.crt")
    certificate.cert_chain_pems[0].write_to_path(directory / "smtpeter-exporter/tls.crt")
    certificate.private_key_pem.write_to_path(directory / "smtpeter-exporter/tls.key")
    (directory / "prometheus/smtpeter-password").write_text("secret")
    return directory


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "yaml")], ids=str)
def test_yaml_is_a_configuration(block: Block, etc: Path) -> None:
    """Each YAML block is valid. Prometheus and the private listener accept those that are their configuration."""
    file = etc / "block.yaml"
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    file.write_text(block.text.replace("/etc/", f"{etc}/").replace("$2y$10$…", hashed))
    content = yaml.safe_load(file.read_text())
    keys = content.keys() if isinstance(content, dict) else {"part of a file"}
    if keys <= {"tls_server_config", "basic_auth_users"}:
        WebConfig(file)
    elif keys <= {"global", "rule_files", "scrape_configs", "alerting"}:
        done = subprocess.run(
            [server("promtool"), "check", "config", file], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    else:  # for Kubernetes or Docker; tests/deploy checks those
        assert content


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "toml")], ids=str)
def test_toml_is_a_configuration(block: Block, etc: Path) -> None:
    """Each TOML block is a configuration that the exporter accepts."""
    file = etc / "block.toml"
    file.write_text(block.text.replace("/etc/", f"{etc}/"))
    values = gathered({}, {"SMTPETER_EXPORTER_SIGNATURE_ACCOUNT": "environment-1234"}, file)
    parsed(values)
    assert str(file) in {value.origin for value in values.values()}


def test_contributing_lists_the_modules() -> None:
    """CONTRIBUTING.md has a row for each package and each top-level module of the exporter, and no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `exporter/(\w+(?:/|\.py))` \|", text, re.MULTILINE)
    here = {re.sub("/.*", "/", name.removeprefix("exporter/")) for name in files("exporter")}
    assert sorted(rows) == sorted(here - {"__init__.py", "py.typed"})


def test_each_package_has_a_description() -> None:
    """The ``__init__.py`` of a package has one sentence and no code."""
    for name in files("exporter"):
        if name.endswith("/__init__.py") and name != "exporter/__init__.py":
            assert re.fullmatch(r'"""[A-Z][^"]+\."""\n', (ROOT / name).read_text()), name


def test_no_module_is_long() -> None:
    """A module of the package has at most 300 lines."""
    modules = [name for name in files("exporter") if name.endswith(".py")]
    assert [name for name in modules if len((ROOT / name).read_text().splitlines()) > 300] == []


def test_status_codes_in_the_readme_are_real() -> None:
    """The metrics in the README show statuses that are in the registry."""
    shown = re.findall(r'extended="\d\.(\d+\.\d+)"', (ROOT / "README.md").read_text())
    assert shown
    assert set(shown) <= set(REGISTRY)


def test_each_reason_has_a_page() -> None:
    """docs/reasons has a page for each reason and no other; it begins with the description in the code."""
    assert set(REASON_PAGES) == set(REASONS)
    wrong = {
        reason: page.read_text().splitlines()[:3]
        for reason, page in REASON_PAGES.items()
        if page.read_text().splitlines()[:3] != [f"# `{reason}`", "", f"**{REASONS[reason]}**"]
    }
    assert wrong == {}


def test_the_index_of_reasons_is_complete() -> None:
    """The index lists reasons and steps in the order of the code, with the descriptions in the code."""
    index = (ROOT / "docs/reasons/README.md").read_text()
    assert re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \| (.*) \|$", index, re.MULTILINE) == [
        (reason, reason, meaning) for reason, meaning in REASONS.items()
    ]
    assert re.findall(r"^\d\. `(\w+)`: (.*)$", index, re.MULTILINE) == list(DECIDERS.items())


@pytest.mark.parametrize("reason", REASONS)
def test_answers_on_a_page_have_its_reason(reason: str) -> None:
    """Each sample answer on the page of a reason is classified as that reason, and the page's query selects it."""
    page = f"docs/reasons/{reason}.md"
    (block,) = blocks(page, "text")
    decisions = {}
    for line in block.text.splitlines():
        parts = ["" if part == "-" else part for part in line.split(maxsplit=3)]
        state, code, extended, description = parts
        decisions[line] = reason_of(Report("1", "s@example.com", state, code, extended, description)).reason
    assert set(decisions.values()) == {reason}, decisions
    assert f'smtpeter_failures_by_reason_total{{reason="{reason}"}}' in PAGES[page]


SHIPPED: Final = (
    *("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", "Makefile"),
    *(".github", "docs", "deploy", "grafana", "exporter"),
)
USERS_HOSTS: Final = {
    "mail.example.com": "of the webhook",
    "db.example.com": "of PostgreSQL",
    "a.example.com": "of PostgreSQL, one of two",
    "b.example.com": "of PostgreSQL, the other one",
    "postgresql.example.com": "of PostgreSQL, in Kubernetes",
    "registry.example.com": "of container images",
    "grafana.example.com": "of Grafana",
    "loki.example.com": "of Loki",
    "exporter.example.com": "of the private listener",
    "pager.example.com": "of the service that pages people",
    "git.example.com": "of the documentation",
    "trial._domainkey.example.com": "name of a key in DNS",
    "_domainkey.example.com": "name of a key in DNS",
    "_dmarc.example.com": "name of a policy in DNS",
    "mx.example.com": "of a recipient, in a server's answer",
    "bl.example.com": "of a blocklist, in a server's answer",
    "*.example.com": "the form of a provider's domain",
}
"""The hosts below example.com that shipped files may name, and what each stands for."""


def test_example_hosts_are_hosts_of_users() -> None:
    """Shipped files use hosts below example.com only for hosts of users, and no link leads to example.com itself."""
    texts = {name: (ROOT / name).read_bytes().decode(errors="replace") for name in files(*SHIPPED)}
    assert len(texts) > 100
    named = {host for text in texts.values() for host in re.findall(r"(?:[\w*-]+\.)+example\.com\b", text)}
    assert named == USERS_HOSTS.keys()
    link = re.compile(r"//(?:[^\s/@]*@)?example\.com\b|(?<![\w.@-])example\.com[/:]|git@example\.com")
    assert {file: found for file, text in texts.items() if (found := link.findall(text))} == {}


def test_git_ignores_what_the_tutorial_leaves() -> None:
    """The files that the tutorial tells to delete are not offered to git."""
    (line,) = re.findall(r"^rm -r (.+)$", PAGES["docs/tutorial.md"], re.MULTILINE)
    ends = {"smtpeter-exporter.db*": ("", "-wal", "-shm", ".lock")}
    left = [name.rstrip("*") + end for name in line.split() for end in ends.get(name, ("",))]
    ignored = subprocess.run(
        [server("git"), "check-ignore", "--no-index", *left], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if ignored.returncode == 128:
        pytest.skip(f"needs a git checkout: {ignored.stderr}")
    assert ignored.stdout.split() == left
