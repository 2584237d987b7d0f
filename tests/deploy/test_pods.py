"""The pods of deploy/kubernetes, run as far as that goes without a cluster: command, settings, mounts, rights."""

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
"""The labels that the Prometheus operator gives to targets of a ServiceMonitor."""


def command(objects: Objects) -> list[str]:
    """What the container runs, with this interpreter for the command that an image has."""
    words: list[str] = objects.container["command"] + objects.container.get("args", [])
    name, *arguments = words
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[name] == "exporter.cli.main:main"
    return [sys.executable, "-m", "exporter", *arguments]


class Pod:
    """The container of a build as a process here: ``folder`` stands for its volumes, loopback for its address."""

    def __init__(self, objects: Objects, folder: Path, more: Mapping[str, str]) -> None:
        self.objects = objects
        self._log = folder.parent / f"{folder.name}.log"
        settings = {**objects.settings, **dict.fromkeys(ADDRESSES, "127.0.0.1:0")}
        for mount in objects.container["volumeMounts"]:
            (folder / mount["name"]).mkdir(parents=True, exist_ok=True)
            settings = {
                name: text.replace(mount["mountPath"], str(folder / mount["name"])) for name, text in settings.items()
            }
        (folder / "verification" / FILE).write_bytes(b"proof")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*confined(folder), *command(objects)],
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
        """Where the port of that name is on this machine."""
        wanted = {"callback": "failures", "metrics": "metrics"}[port]
        (url,) = (word.partition("=")[2] for word in self._ready.split() if word.startswith(f"{wanted}="))
        return urlsplit(url).netloc

    def request(self, port: str, method: str, path: str, **more: Any) -> Response:
        """Send one request to the port of that name."""
        with Client(self.address(port)) as client:
            return client.request(method, path, **more)

    def post(self) -> int:
        """Post a new failure as SMTPeter would, to the Ingress's host and first path; the status of the answer."""
        (rule,) = self.objects.one("Ingress")["spec"]["rules"]
        path = rule["http"]["paths"][0]["path"]
        body = urlencode(failure(next(NUMBERS))).encode()
        return self.request(
            "callback", "POST", path, body=body, headers=headers_for(rule["host"], path, body, FORM)
        ).status

    def samples(self) -> Samples:
        """What a scrape shows."""
        return samples_of(self.request("metrics", "GET", "/metrics").text)

    def stop(self) -> int:
        """End it as Kubernetes does; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(TIMEOUT)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(TIMEOUT)

    def _started(self) -> str | None:
        text = self._log.read_text()
        assert self._process.poll() is None, text
        return next((line for line in text.splitlines() if "msg=ready" in line), None)


@contextmanager
def running(name: str, folder: Path, **more: str) -> Iterator[Pod]:
    """Run the pod of a build; it must end in good order. A name server of this machine gives SMTPeter's key."""
    with NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        here = {
            "SMTPETER_EXPORTER_METRICS_BIRTH_HOLD": "0s",
            "SMTPETER_EXPORTER_SIGNATURE_NAMESERVER": name_server.address,
        }
        pod = Pod(build(name), folder, here | more)
        try:
            yield pod
            assert pod.stop() == 0
        finally:
            pod.end()


def of_database(server: Postgres, pods: Objects, database: str) -> dict[str, str]:
    """What makes the pods use this database instead of theirs: user and password stay apart, as they are there."""
    (variable,) = pods.container["env"]
    url = urlsplit(server.create(database))
    assert url.username == "exporter"
    return {
        "SMTPETER_EXPORTER_STORAGE_URL": f"postgresql://exporter@127.0.0.1:{server.port}/{database}",
        variable["name"]: PASSWORD,
    }


@pytest.fixture(scope="module")
def database_server() -> Iterator[Postgres]:
    """A PostgreSQL."""
    with postgres() as started:
        yield started


@pytest.mark.parametrize("name", [PAGE, REPLICAS])
def test_pods_work(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With the page's settings and hardly any rights: probes, both paths and metrics, and again after a new start."""
    more = {}
    if name == REPLICAS:
        more = of_database(request.getfixturevalue("database_server"), build(name), "pods")
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
            # None that the operator gives to targets: it would come out under another name.
            labels = {name for series in samples for name in re.findall(r'(\w+)="', series)}
            assert "reason" in labels
            assert labels & OPERATOR == set()
            paths = [path["path"] for path in pod.objects.one("Ingress")["spec"]["rules"][0]["http"]["paths"]]
            answer = pod.request("callback", "GET", paths[1])
            assert (answer.status, answer.body) == (200, b"proof")


def test_replicas_show_the_same_totals(database_server: Postgres, tmp_path: Path) -> None:
    """Pods of the overlay that run at once on one database each count a failure, and all show both."""
    more = of_database(database_server, build(REPLICAS), "replicas")
    with ExitStack() as stack:
        pods = [stack.enter_context(running(REPLICAS, tmp_path / name, **more)) for name in ("a", "b")]
        assert [pod.post() for pod in pods] == [200, 200]
        for pod in pods:
            until(partial(_shows, pod, {"rcptto/5xx/5.1.1": 2}))


def _shows(pod: Pod, failures: Samples) -> bool:
    return failures_of(pod.samples()) == failures


def test_a_disk_that_fails_is_no_reason_to_restart(tmp_path: Path) -> None:
    """With the ledger gone the pod is alive and not ready; it answers calls itself, 503, and counts them as refused."""
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


def test_the_base_says_what_it_lacks(tmp_path: Path) -> None:
    """Without the user's account a pod ends at once, with a line that names the setting."""
    with pytest.raises(AssertionError, match=r"signature\.account: not given"), running("base", tmp_path / "pod"):
        pass


def test_pods_are_confined(tmp_path: Path) -> None:
    """What runs as the pods do here can write below its folder and nowhere else, and is capable of nothing."""
    (tmp_path / "pod").mkdir()
    if not (words := confined(tmp_path / "pod")):
        pytest.skip("needs unshare and setpriv, and leave to mount for oneself; so pods run with all rights here")
    script = (
        'for place in "$@"; do touch "$place/written" 2>/dev/null && echo "$place"; done; '
        'sed -n "s/^CapEff:[[:space:]]*//p; s/^NoNewPrivs:[[:space:]]*/no new privileges /p" /proc/self/status'
    )
    places = [str(tmp_path / "pod"), str(tmp_path), str(ROOT), "/tmp", "/dev/shm", str(Path.home())]  # noqa: S108 -- looked at
    done = subprocess.run([*words, "sh", "-c", script, "sh", *places], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [places[0], "0000000000000000", "no new privileges 1"]


def test_the_ledger_moves_to_postgresql(database_server: Postgres, tmp_path: Path) -> None:
    """The Job copies what the pod counted, and the pods of the overlay go on from there."""
    with running(PAGE, tmp_path / "pod") as pod:
        assert pod.post() == 200
    more = of_database(database_server, build(REPLICAS), "moved")
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
