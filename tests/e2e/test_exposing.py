"""What the private listener shows: births at zero, formats, names, bounds, and that nobody outside can stop it."""

import gzip
import re
import resource
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from exporter import __version__
from exporter.refusals import REFUSAL_REASONS
from tests.support.running import TIMEOUT, Exporter, Samples, connect, exporter, failure, failures_of, samples_of, until

SERIES: Final = "rcptto/5xx/5.1.1"
HOLD: Final = ("--metrics.birth-hold", "2s")

FAMILIES: Final = {
    "smtpeter_failures_total": "counter",
    "smtpeter_failures_by_reason_total": "counter",
    "smtpeter_failures_by_provider_total": "counter",
    "smtpeter_failures_by_tag_total": "counter",
    "smtpeter_last_failure_timestamp_seconds": "gauge",
    "smtpeter_exporter_build_info": "gauge",
    "smtpeter_exporter_commit_batch_size": "histogram",
    "smtpeter_exporter_commit_duration_seconds": "histogram",
    "smtpeter_exporter_duplicates_total": "counter",
    "smtpeter_exporter_key_age_seconds": "gauge",
    "smtpeter_exporter_key_lookups_total": "counter",
    "smtpeter_exporter_keys": "gauge",
    "smtpeter_exporter_label_overflow_total": "counter",
    "smtpeter_exporter_label_sets": "gauge",
    "smtpeter_exporter_ledger_size_bytes": "gauge",
    "smtpeter_exporter_ledger_writable": "gauge",
    "smtpeter_exporter_reason_decisions_total": "counter",
    "smtpeter_exporter_refused_total": "counter",
    "smtpeter_exporter_request_duration_seconds": "histogram",
    "smtpeter_exporter_signature_required": "gauge",
    "process_cpu_seconds_total": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
}
"""All there is, with types; a name that goes or changes breaks somebody's dashboard."""

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
PROMETHEUS: Final = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 accepts."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """An exporter that has counted two failures on two series, one of them twice, and refused one."""
    with exporter(tmp_path_factory.mktemp("exposing")) as shared:
        two = [failure(1), failure(2, state="", code="", extended="")]
        assert [shared.post(fields).status for fields in [*two, two[0], {"id": "1"}]] == [200, 200, 200, 400]
        yield shared


def values_until(running: Exporter, value: float) -> list[float]:
    """The values that the series shows until it shows ``value``, each once."""
    seen: list[float] = []

    def shown() -> bool:
        seen.append(running.failures()[SERIES])
        return seen[-1] == value

    until(shown)
    return list(dict.fromkeys(seen))


def test_is_born_at_zero(tmp_path: Path) -> None:
    """A series that is new shows 0 for the hold time, then its true value at once, and is never held again."""
    with exporter(tmp_path, *HOLD) as running:
        assert running.failures() == {}
        assert [running.post(failure(number)).status for number in range(3)] == [200] * 3
        assert values_until(running, 3) == [0, 3]
        assert running.post(failure(3)).status == 200
        assert running.failures() == {SERIES: 4}


def test_is_born_at_zero_over_a_restart(tmp_path: Path) -> None:
    """A restart in the middle of the hold time neither shows the value too early nor forgets it."""
    with exporter(tmp_path, *HOLD) as running:
        assert [running.post(failure(number)).status for number in range(3)] == [200] * 3
        assert running.failures() == {SERIES: 0}
    with exporter(tmp_path, *HOLD) as running:
        assert values_until(running, 3) == [0, 3]
    with exporter(tmp_path, *HOLD) as running:
        assert running.failures() == {SERIES: 3}


def test_is_shown_at_once_without_hold(tmp_path: Path) -> None:
    """With a hold of 0s the first scrape after the answer shows the failure."""
    with exporter(tmp_path, "--metrics.birth-hold", "0s") as running:
        assert running.post(failure(1)).status == 200
        assert running.failures() == {SERIES: 1}


def steady(samples: Samples) -> Samples:
    """The samples that do not change from scrape to scrape."""
    return {key: value for key, value in samples.items() if not key.startswith("process_")}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/json", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
    ],
    ids=["nothing", "anything", "text", "JSON", "OpenMetrics", "Prometheus"],
)
def test_speaks_what_is_asked_for(running: Exporter, accept: str, content_type: str) -> None:
    """The format follows Accept, and shows the same samples as text."""
    answer = running.get("/metrics", Accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
    if content_type.startswith("text/plain"):
        samples = samples_of(answer.text)
    else:
        samples = samples_of(answer.text, openmetrics.text_string_to_metric_families)
    assert steady(samples) == steady(running.samples())
    assert answer.text.endswith("# EOF\n") == (not content_type.startswith("text/plain"))


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, deflate", "gzip"), ("identity", None)])
def test_compresses_on_demand(running: Exporter, accepted: str, encoding: str | None) -> None:
    """The exposition comes compressed when the scraper takes gzip, and is the same."""
    answer = running.get("/metrics", Accept_Encoding=accepted)
    assert answer.headers.get("Content-Encoding") == encoding
    body = gzip.decompress(answer.body) if encoding else answer.body
    assert steady(samples_of(body.decode())) == steady(running.samples())


def test_exposes_no_more_and_no_less(running: Exporter) -> None:
    """The families and their types are those that are listed here; each has a help text that is a sentence."""
    text = running.get("/metrics").text
    assert dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)) == FAMILIES
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert helps.keys() == FAMILIES.keys()
    assert [name for name, words in helps.items() if not re.fullmatch(r"[A-Z1].+[a-z0].*\.", words)] == []


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_does_not_say_when_series_were_created(running: Exporter, accept: str) -> None:
    """No series has a twin called _created, which would double their number."""
    text = running.get("/metrics", Accept=accept).text
    assert re.findall(r"^\S+_created\b.*$", text, re.MULTILINE) == []


def test_has_no_series_twice(running: Exporter) -> None:
    """Each series is exposed once."""
    lines = [line.rpartition(" ")[0] for line in running.get("/metrics").text.splitlines() if line[:1] != "#"]
    assert [series for series, times in Counter(lines).items() if times > 1] == []


def test_satisfies_promtool(running: Exporter, promtool: str) -> None:
    """Promtool finds nothing to complain of in a real exposition."""
    text = running.get("/metrics").body
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, timeout=TIMEOUT, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_counts_what_happened(running: Exporter) -> None:
    """Failures, duplicates and refusals stand where they belong; closed sets of labels are complete from the start."""
    samples = running.samples()
    assert failures_of(samples) == {SERIES: 1, "none/none/none": 1}
    refused = {key: value for key, value in samples.items() if key.startswith("smtpeter_exporter_refused_total")}
    assert refused == {
        f'smtpeter_exporter_refused_total{{reason="{reason}"}}': float(reason == "missing_field")
        for reason in REFUSAL_REASONS
    }
    own = {
        "duplicates_total": 1,
        "label_overflow_total": 0,
        "label_sets": 2,
        "ledger_writable": 1,
        "signature_required": 0,
        "request_duration_seconds_count": 3,
        "commit_batch_size_sum": 3,
    }
    assert {name: samples[f"smtpeter_exporter_{name}"] for name in own} == own


def test_tells_when_and_how_much(running: Exporter) -> None:
    """The time of the last failure lies within the life of the process, and the ledger has the size of its files."""
    samples = running.samples()
    started = samples["process_start_time_seconds"]
    assert started - 1 < samples["smtpeter_last_failure_timestamp_seconds"] < started + 600
    files = [running.ledger, running.ledger.with_name("ledger.db-wal")]
    assert samples["smtpeter_exporter_ledger_size_bytes"] == sum(path.stat().st_size for path in files)


def test_tells_its_version(running: Exporter) -> None:
    """Build info names this version and what it runs on."""
    (found,) = [key for key in running.samples() if key.startswith("smtpeter_exporter_build_info")]
    pattern = r'smtpeter_exporter_build_info\{python="3\.\d+\.\d+\S*",sqlite="3\.\d+\.\d+",version="(.+)"\}'
    match = re.fullmatch(pattern, found)
    assert match is not None
    assert match[1] == __version__


@pytest.mark.parametrize(("path", "body"), [("/-/healthy", "healthy\n"), ("/-/ready", "ready\n")])
def test_tells_its_health(running: Exporter, path: str, body: str) -> None:
    """Health and readiness are told in a word of plain text."""
    answer = running.get(path)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0], answer.text) == (200, "text/plain", body)


@pytest.mark.parametrize("path", ["/failures", "/smtpeter-x.txt", "/metrics/", "/-/quit"])
def test_serves_nothing_else(running: Exporter, path: str) -> None:
    """The private listener takes no failures and knows no other paths."""
    assert running.get(path).status == 404


def test_takes_no_odd_accept_for_a_fault(running: Exporter) -> None:
    """A version in Accept that is none is answered with text, and is no reason for a line in the log."""
    answer = running.get("/metrics", Accept="application/openmetrics-text; version=new")
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    assert [line for line in running.log() if line["level"] == "error"] == []


def test_folds_past_500_label_sets(tmp_path: Path) -> None:
    """The 500 label sets that came first go on being counted; what is new after that is other, and counted as such."""
    states = "rcptto data bounce mailfrom connect message ehlo dns intro helo".split()
    codes = ("550", "450", "", "x", "250")
    details = [f"5.7.{detail}" for detail in range(11)]
    kinds = [
        {"state": state, "code": code, "extended": extended}
        for state, code, extended in product(states, codes, details)
    ]
    with exporter(tmp_path) as running, running.client() as client:
        statuses = [client.post(failure(number, **kind)).status for number, kind in enumerate(kinds)]
        statuses += [client.post(failure(len(kinds) + number, **kinds[number])).status for number in range(10)]
        statuses.append(client.post(failure(0, **kinds[0])).status)
        assert statuses == [200] * (len(kinds) + 11)
        samples = running.samples()
    failures = failures_of(samples)
    assert Counter(failures.values()) == {1: 490, 2: 10, len(kinds) - 500: 1}
    assert failures["other/other/other"] == len(kinds) - 500
    names = ("label_sets", "label_overflow_total", "duplicates_total")
    assert [samples[f"smtpeter_exporter_{name}"] for name in names] == [500, len(kinds) - 500, 1]
    with exporter(tmp_path) as running:
        assert running.post(failure(9_999, state="idle")).status == 200
        assert running.failures() == failures | {"other/other/other": len(kinds) - 499}
        assert running.samples()["smtpeter_exporter_label_sets"] == 500


def test_answers_whatever_strangers_do(tmp_path: Path) -> None:
    """200 connections that say nothing, or half a request, hold up neither scrapes nor failures."""
    with exporter(tmp_path) as running, ExitStack() as stack:
        for number in range(200):
            sock = stack.enter_context(connect(running.public))
            if number % 2:
                sock.sendall(b"POST /failures HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid=")
        assert running.post(failure(1)).status == 200
        assert running.failures() == {SERIES: 1}
        assert running.get("/-/ready").status == 200


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open more files than it may by default on most systems."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4_096 if hard == resource.RLIM_INFINITY else min(4_096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_answers_when_the_public_listener_is_full(tmp_path: Path) -> None:
    """With all connections that the public listener takes in strange hands, and 1,024 files at most, scrapes go on."""
    with exporter(tmp_path) as running, ExitStack() as stack:
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (1_024, 1_024))
        for _ in range(1_100):
            stack.enter_context(connect(running.public))
        assert running.failures() == {}
        assert running.get("/-/healthy").status == 200
