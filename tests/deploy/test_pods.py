"""The pods of deploy/kubernetes, run without a cluster as far as possible: command, settings, mounts, privileges."""

import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import pytest

from tests.support.confinement import confined
from tests.support.kubernetes import LEDGER_COPY, Objects, build, probes
from tests.support.postgres import PASSWORD, Postgres, postgres
from tests.support.running import (
    COUNTED,
    FORM,
    TIMEOUT,
    Client,
    Response,
    Samples,
    changes,
    environment,
    failure,
    failures_of,
    samples_of,
    until,
)
from tests.support.signing import KEY_ID, NameServer, headers_for, key, record
from tests.support.tree import ROOT

NUMBERS: Final = count()
PAGE: Final = "on the page: smtpeter"
REPLICAS: Final = "on the page: smtpeter, replicas"
FILE: Final = "smtpeter-example.txt"
ADDRESSES: Final = ("SMTPETER_EXPORTER_WEBHOOK_LISTEN_ADDRESS", "SMTPETER_EXPORTER_WEB_LISTEN_ADDRESS")
OPERATOR: Final = {"job", "namespace", "service", "endpoint", "pod", "instance", "container"}
"""The labels that the Prometheus operator adds to targets of a ServiceMonitor."""


def command(objects: Objects) -> list[str]:
    """Return the container's command, with this interpreter instead of the image's command."""
    words: list[str] = objects.container["command"] + objects.container.get("args", [])
    name, *arguments = words
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[name] == "exporter.cli.main:main"
    return [sys.executable, "-m", "exporter", *arguments]


class Pod:
    """The container of a build as a local process, with its volumes in ``directory``, on loopback."""

    def __init__(self, objects: Objects, directory: Path, more: Mapping[str, str]) -> None:
        self.objects = objects
        self._log = directory.parent / f"{directory.name}.log"
        settings = {**objects.settings, **dict.fromkeys(ADDRESSES, "127.0.0.1:0")}
        for mount in objects.container["volumeMounts"]:
            volume = directory / mount["name"]
            volume.mkdir(parents=True, exist_ok=True)
            settings = {name: text.replace(mount["mountPath"], str(volume)) for name, text in settings.items()}
        (directory / "verification" / FILE).write_bytes(b"proof")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*confined(directory), *command(objects)],
                cwd=ROOT,
                env={**environment(measured=False), **settings, **more},
                stdout=log,
                stderr=log,
            )
        try:
            self._ready = until(self._started)
        except BaseException:
            self.end()
            raise

    def address(self, port: str) -> str:
        """Return the local address of a port of the container."""
        wanted = {"callback": "failures", "metrics": "metrics"}[port]
        (url,) = (word.partition("=")[2] for word in self._ready.split() if word.startswith(f"{wanted}="))
        return urlsplit(url).netloc

    def request(self, port: str, method: str, path: str, **more: Any) -> Response:
        """Send a request to a port of the container."""
        with Client(self.address(port)) as client:
            return client.request(method, path, **more)

    def post(self) -> int:
        """Post a new failure as SMTPeter would, to the Ingress's host and first path; return the status."""
        (rule,) = self.objects.one("Ingress")["spec"]["rules"]
        path = rule["http"]["paths"][0]["path"]
        body = urlencode(failure(next(NUMBERS))).encode()
        return self.request(
            "callback", "POST", path, body=body, headers=headers_for(rule["host"], path, body, FORM)
        ).status

    def samples(self) -> Samples:
        """Return the samples of a scrape."""
        return samples_of(self.request("metrics", "GET", "/metrics").text)

    def stop(self) -> int:
        """Stop the process as Kubernetes does; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(TIMEOUT)

    def end(self) -> None:
        """Kill the process if it is still running."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(TIMEOUT)

    def _started(self) -> str | None:
        text = self._log.read_text()
        assert self._process.poll() is None, text
        return next((line for line in text.splitlines() if "msg=ready" in line), None)


@contextmanager
def running(name: str, directory: Path, **more: str) -> Iterator[Pod]:
    """Run the pod of a build, with a local name server for SMTPeter's key; it must exit with 0."""
    with NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        local = {
            "SMTPETER_EXPORTER_METRICS_BIRTH_HOLD": "0s",
            "SMTPETER_EXPORTER_SIGNATURE_NAMESERVER": name_server.address,
        }
        pod = Pod(build(name), directory, local | more)
        try:
            yield pod
            assert pod.stop() == 0
        finally:
            pod.end()


def database_settings(server: Postgres, pods: Objects, database: str) -> dict[str, str]:
    """Return the variables with which pods use a new database. The password is in its own variable, as in the pods."""
    (variable,) = pods.container["env"]
    url = urlsplit(server.create(database))
    assert url.username == "exporter"
    return {
        "SMTPETER_EXPORTER_STORAGE_URL": f"postgresql://exporter@127.0.0.1:{server.port}/{database}",
        variable["name"]: PASSWORD,
    }


@pytest.fixture(scope="module")
def database_server() -> Iterator[Postgres]:
    """Run a PostgreSQL."""
    with postgres() as started:
        yield started


@pytest.mark.parametrize("name", [PAGE, REPLICAS])
def test_pods_work(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With the page's settings and few privileges, probes, both paths and metrics work, also after a restart."""
    more = {}
    if name == REPLICAS:
        more = database_settings(request.getfixturevalue("database_server"), build(name), "pods")
    for counted in (1, 2):
        with running(name, tmp_path / "pod", **more) as pod:
            found = {
                use: pod.request(probe["port"], "GET", probe["path"]).status
                for use, probe in probes(pod.objects.container)
            }
            assert found == dict.fromkeys(("startup", "liveness", "readiness"), 200)
            before = pod.samples()
            assert pod.post() == 200
            raised = changes(before, pod.samples())
            assert {series: raised.get(series) for series in COUNTED} == COUNTED
            samples = pod.samples()
            assert failures_of(samples) == {"rcptto/5xx/5.1.1": counted}
            # A label of the operator's would be renamed to exported_….
            labels = {name for series in samples for name in re.findall(r'(\w+)="', series)}
            assert "reason" in labels
            assert labels & OPERATOR == set()
            paths = [path["path"] for path in pod.objects.one("Ingress")["spec"]["rules"][0]["http"]["paths"]]
            answer = pod.request("callback", "GET", paths[1])
            assert (answer.status, answer.body) == (200, b"proof")


def test_replicas_expose_the_same_totals(database_server: Postgres, tmp_path: Path) -> None:
    """Two pods of the overlay on one database count a failure each, and both expose both failures."""
    more = database_settings(database_server, build(REPLICAS), "replicas")
    with ExitStack() as stack:
        pods = [stack.enter_context(running(REPLICAS, tmp_path / name, **more)) for name in ("a", "b")]
        assert [pod.post() for pod in pods] == [200, 200]
        for pod in pods:
            until(partial(_shows, pod, {"rcptto/5xx/5.1.1": 2}))


def _shows(pod: Pod, failures: Samples) -> bool:
    return failures_of(pod.samples()) == failures


def test_a_missing_ledger_does_not_restart_the_pod(tmp_path: Path) -> None:
    """While the ledger is missing, the pod is alive but not ready, answers 503 and counts the rejected requests."""
    with running(PAGE, tmp_path / "pod") as pod:
        assert pod.post() == 200
        (tmp_path / "pod/ledger").rename(tmp_path / "pod/away")
        (tmp_path / "pod/ledger").mkdir()
        paths = dict(probes(pod.objects.container))
        until(lambda: pod.request("metrics", "GET", paths["readiness"]["path"]).status == 503)
        assert pod.request("metrics", "GET", paths["liveness"]["path"]).status == 200
        assert pod.post() == 503
        refused = 'smtpeter_exporter_refused_total{reason="unavailable"}'
        assert pod.samples()[refused] == 1
        (tmp_path / "pod/ledger").rmdir()
        (tmp_path / "pod/away").rename(tmp_path / "pod/ledger")
        until(lambda: pod.request("metrics", "GET", paths["readiness"]["path"]).status == 200)
        assert pod.post() == 200


def test_the_base_names_the_missing_setting(tmp_path: Path) -> None:
    """Without the user's account a pod exits at once, and its log names the setting."""
    with pytest.raises(AssertionError, match=r"signature\.account: "), running("base", tmp_path / "pod"):
        pass


def test_pods_are_confined(tmp_path: Path) -> None:
    """The confinement of the pods in these tests works: they write to their directory only and have no capabilities."""
    (tmp_path / "pod").mkdir()
    if not (words := confined(tmp_path / "pod")):
        pytest.skip("needs unshare, setpriv and permission to mount; the pods run without confinement")
    script = (
        'for place in "$@"; do touch "$place/written" 2>/dev/null && echo "$place"; done; '
        'sed -n "s/^CapEff:[[:space:]]*//p; s/^NoNewPrivs:[[:space:]]*/no new privileges /p" /proc/self/status'
    )
    places = [str(tmp_path / "pod"), str(tmp_path), str(ROOT), "/tmp", "/dev/shm", str(Path.home())]  # noqa: S108 -- tested
    done = subprocess.run([*words, "sh", "-c", script, "sh", *places], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [places[0], "0000000000000000", "no new privileges 1"]


def test_the_ledger_moves_to_postgresql(database_server: Postgres, tmp_path: Path) -> None:
    """The Job copies the counts of the pod, and the pods of the overlay continue from them."""
    with running(PAGE, tmp_path / "pod") as pod:
        assert pod.post() == 200
    more = database_settings(database_server, build(REPLICAS), "moved")
    job = build(LEDGER_COPY)
    (mount,) = job.container["volumeMounts"]
    source, _ = job.container["args"]
    ledger = source.replace(mount["mountPath"], str(tmp_path / "pod" / mount["name"]))
    arguments = command(job)[:-2]
    assert arguments[-2:] == ["ledger", "copy"]
    done = subprocess.run(
        [*confined(tmp_path / "pod"), *arguments, ledger, more["SMTPETER_EXPORTER_STORAGE_URL"]],
        cwd=ROOT,
        env=environment(measured=False) | more,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with running(REPLICAS, tmp_path / "replica", **more) as replica:
        assert failures_of(replica.samples()) == {"rcptto/5xx/5.1.1": 1}
