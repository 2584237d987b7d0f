"""The private listener exposes the metrics: new series at 0, formats, names and limits, whatever clients do."""

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
from tests.support.running import (
    TIMEOUT,
    Exporter,
    Samples,
    connect,
    exporter,
    failure,
    failures_of,
    read_to_end,
    samples_of,
    until,
)

SERIES: Final = "rcptto/5xx/5.1.1"
HOLD: Final = ("--metrics.birth-hold", "2s")

FAMILIES: Final = {
    "smtpeter_failures_total": "counter",
    "smtpeter_failures_by_reason_total": "counter",
    "smtpeter_failures_by_provider_total": "counter",
    "smtpeter_failures_by_tag_total": "counter",
    "smtpeter_failures_by_reason_provider_total": "counter",
    "smtpeter_failures_after_delivery_by_provider_total": "counter",
    "smtpeter_failures_after_delivery_by_tag_total": "counter",
    "smtpeter_exporter_accepted_total": "counter",
    "smtpeter_exporter_last_request_timestamp_seconds": "gauge",
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
    "smtpeter_exporter_repaired_total": "counter",
    "smtpeter_exporter_request_duration_seconds": "histogram",
    "smtpeter_exporter_signature_refused_total": "counter",
    "smtpeter_exporter_signature_required": "gauge",
    "process_cpu_seconds_total": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
}
"""All families and their types. A change of a name breaks users' dashboards."""

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
PROMETHEUS: Final = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""The Accept header of Prometheus 2.42."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run an exporter that has counted two failures on two series and a duplicate, and rejected a request."""
    with exporter(tmp_path_factory.mktemp("exposing")) as shared:
        two = [failure(1), failure(2, state="", code="", extended="")]
        assert [shared.post(fields).status for fields in [*two, two[0], {"id": "1"}]] == [200, 200, 200, 400]
        yield shared


def values_until(running: Exporter, value: float) -> list[float]:
    """Return the values of the series until it has ``value``, each once."""
    seen: list[float] = []

    def reached() -> bool:
        seen.append(running.failures()[SERIES])
        return seen[-1] == value

    until(reached)
    return list(dict.fromkeys(seen))


def test_a_new_series_starts_at_zero(tmp_path: Path) -> None:
    """It is 0 for the hold time, then has its full value, and is never held again."""
    with exporter(tmp_path, *HOLD) as running:
        assert running.failures() == {}
        assert [running.post(failure(number)).status for number in range(3)] == [200] * 3
        assert values_until(running, 3) == [0, 3]
        assert running.post(failure(3)).status == 200
        assert running.failures() == {SERIES: 4}


def test_a_restart_does_not_release_a_held_series(tmp_path: Path) -> None:
    """A series that is held during a restart is released after the hold time, with its full value."""
    with exporter(tmp_path, *HOLD) as running:
        assert [running.post(failure(number)).status for number in range(3)] == [200] * 3
        assert running.failures() == {SERIES: 0}
    with exporter(tmp_path, *HOLD) as running:
        assert values_until(running, 3) == [0, 3]
    with exporter(tmp_path, *HOLD) as running:
        assert running.failures() == {SERIES: 3}


def test_without_a_hold_a_failure_is_exposed_immediately(tmp_path: Path) -> None:
    """With a hold of 0s, the first scrape after the answer has the failure."""
    with exporter(tmp_path, "--metrics.birth-hold", "0s") as running:
        assert running.post(failure(1)).status == 200
        assert running.failures() == {SERIES: 1}


def steady(samples: Samples) -> Samples:
    """Return the samples that do not change from scrape to scrape."""
    return {key: value for key, value in samples.items() if not key.startswith("process_")}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/json", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
    ids=["nothing", "anything", "text", "JSON", "OpenMetrics", "Prometheus"],
)
def test_the_format_follows_accept(running: Exporter, accept: str, content_type: str) -> None:
    """It is OpenMetrics if the scraper accepts that, otherwise text, with the same samples."""
    answer = running.get("/metrics", Accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
    if content_type.startswith("text/plain"):
        samples = samples_of(answer.text)
    else:
        samples = samples_of(answer.text, openmetrics.text_string_to_metric_families)
    assert steady(samples) == steady(running.samples())
    assert answer.text.endswith("# EOF\n") == (not content_type.startswith("text/plain"))


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, deflate", "gzip"), ("identity", None)])
def test_compression_follows_accept_encoding(running: Exporter, accepted: str, encoding: str | None) -> None:
    """The exposition is compressed if the scraper accepts gzip, and is the same."""
    answer = running.get("/metrics", Accept_Encoding=accepted)
    assert answer.headers.get("Content-Encoding") == encoding
    body = gzip.decompress(answer.body) if encoding else answer.body
    assert steady(samples_of(body.decode())) == steady(running.samples())


def test_the_families_are_fixed(running: Exporter) -> None:
    """The families and their types are those listed above; each has a help text that is a sentence."""
    text = running.get("/metrics").text
    assert dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)) == FAMILIES
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert helps.keys() == FAMILIES.keys()
    assert [name for name, words in helps.items() if not re.fullmatch(r"[A-Z1].+[a-z0].*\.", words)] == []


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_no_series_has_its_time_of_creation(running: Exporter, accept: str) -> None:
    """Otherwise _created would double the number of series."""
    text = running.get("/metrics", Accept=accept).text
    assert re.findall(r"^\S+_created\b.*$", text, re.MULTILINE) == []


def test_no_series_is_duplicated(running: Exporter) -> None:
    """Each series is exposed once."""
    lines = [line.rpartition(" ")[0] for line in running.get("/metrics").text.splitlines() if line[:1] != "#"]
    assert [series for series, times in Counter(lines).items() if times > 1] == []


def test_promtool_has_no_complaints(running: Exporter, promtool: str) -> None:
    """Its linter accepts the exposition."""
    text = running.get("/metrics").body
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, timeout=TIMEOUT, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_failures_duplicates_and_rejected_requests_are_counted(running: Exporter) -> None:
    """Each has its counter; rejected requests have a series for each reason."""
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


def test_the_time_of_the_last_failure_and_the_size_of_the_ledger(running: Exporter) -> None:
    """The time is within the life of the process, and the size is that of the ledger's files."""
    samples = running.samples()
    started = samples["process_start_time_seconds"]
    assert started - 1 < samples["smtpeter_last_failure_timestamp_seconds"] < started + 600
    files = [running.ledger, running.ledger.with_name("ledger.db-wal")]
    assert samples["smtpeter_exporter_ledger_size_bytes"] == sum(path.stat().st_size for path in files)


def test_the_version_is_exposed(running: Exporter) -> None:
    """Build info has the versions of the exporter, Python and SQLite."""
    (found,) = [key for key in running.samples() if key.startswith("smtpeter_exporter_build_info")]
    pattern = r'smtpeter_exporter_build_info\{python="3\.\d+\.\d+\S*",sqlite="3\.\d+\.\d+",version="(.+)"\}'
    match = re.fullmatch(pattern, found)
    assert match is not None
    assert match[1] == __version__


@pytest.mark.parametrize(("path", "body"), [("/-/healthy", "healthy\n"), ("/-/ready", "ready\n")])
def test_health_and_readiness(running: Exporter, path: str, body: str) -> None:
    """They are one word of plain text."""
    answer = running.get(path)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0], answer.text) == (200, "text/plain", body)


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready", "/"])
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_head(running: Exporter, path: str, connection: str) -> None:
    """HEAD has the status and headers of GET, with the length of its body, but no body; then the connection closes."""
    got = running.get(path)
    with connect(running.private) as sock:
        sock.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n".encode() * 2)
        head, end, rest = read_to_end(sock).partition(b"\r\n\r\n")
    assert (head.split()[1], end, rest) == (b"200", b"\r\n\r\n", b"")
    headers = dict(re.findall(r"^(\S+): (.+)$", head.decode().replace("\r", ""), re.MULTILINE))
    lower = {name.lower(): text for name, text in headers.items()}
    assert lower.keys() == {name.lower() for name in got.headers}
    assert lower["content-type"] == got.headers["Content-Type"]
    assert int(lower["content-length"]) == pytest.approx(len(got.body), rel=0.05)  # values change meanwhile


@pytest.mark.parametrize("path", ["/failures", "/smtpeter-x.txt", "/metrics/", "/-/quit"])
def test_other_paths_do_not_exist(running: Exporter, path: str) -> None:
    """The private listener accepts no failures and has no other paths."""
    assert running.get(path).status == 404


def test_an_invalid_version_in_accept_is_harmless(running: Exporter) -> None:
    """It is answered with text, without an error in the log."""
    answer = running.get("/metrics", Accept="application/openmetrics-text; version=new")
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    assert [line for line in running.log() if line["level"] == "error"] == []


def test_label_sets_past_500_are_other(tmp_path: Path) -> None:
    """The first 500 label sets keep counting, also after a restart; new ones count as other, and as overflow."""
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


def test_idle_clients_block_nothing(tmp_path: Path) -> None:
    """200 connections that send nothing, or half a request, block neither scrapes nor failures."""
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
    """Raise the limit on open files of this process, which is too low on most systems."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4_096 if hard == resource.RLIM_INFINITY else min(4_096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_full_public_listener_does_not_block_scrapes(tmp_path: Path) -> None:
    """Scrapes are answered while clients hold all connections of the public listener, with at most 1,024 files."""
    with exporter(tmp_path) as running, ExitStack() as stack:
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (1_024, 1_024))
        for _ in range(1_100):
            stack.enter_context(connect(running.public))
        assert running.failures() == {}
        assert running.get("/-/healthy").status == 200
