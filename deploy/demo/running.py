"""Run the exporter and a Prometheus as processes, send them requests, and parse their metrics."""

import json
import os
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

FORM: Final = "application/x-www-form-urlencoded"
TIMEOUT: Final = 60.0
"""Seconds to wait for something that usually takes one; the machine may be busy."""

T = TypeVar("T")
Samples = dict[str, float]
"""The value of each series that an exporter exposes, by its name and labels in the text format."""


class MissingProgramError(Exception):
    """A program is not installed, or cannot run here."""


def program(name: str) -> str:
    """Return the path of a program; raise MissingProgramError if it is not on PATH."""
    found = shutil.which(name)
    if found is None:
        raise MissingProgramError(f"needs {name}, which is not on PATH")
    return found


def until(condition: Callable[[], T | None], seconds: float = TIMEOUT) -> T:
    """Poll ``condition`` until its value is true, and return that; raise AssertionError after ``seconds``."""
    never = threading.Event()
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds:.0f} s"
        never.wait(0.02)
    return value


class Response(NamedTuple):
    """The answer of an HTTP server. Header names are in title case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def response_of(response: HTTPResponse) -> Response:
    """Read and close the response."""
    with response:
        headers = {name.title(): value for name, value in response.getheaders()}
        return Response(response.status, headers, response.read())


class Client:
    """A persistent connection to ``address`` (``host:port``)."""

    def __init__(self, address: str, *, timeout: float = TIMEOUT) -> None:
        self._connection = HTTPConnection(address, timeout=timeout)

    def __enter__(self) -> Self:
        """Return the client; it connects with the first request."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request and return the answer. Raise OSError or HTTPException if there is none."""
        self._connection.request(method, path, body, dict(headers or {}))
        return response_of(self._connection.getresponse())

    def post(self, fields: Mapping[str, str], path: str = "/failures") -> Response:
        """Post fields as a form."""
        return self.request("POST", path, urlencode(fields).encode(), {"Content-Type": FORM})


def samples_of(exposition: str, parse: Callable[[str], Iterable[Metric]] = text_string_to_metric_families) -> Samples:
    """Return the samples of an exposition in the text format, or in the format of ``parse``."""
    samples = {}
    for family in parse(exposition):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def failures_of(samples: Samples) -> Samples:
    """Return the values of the main counter by ``state/code_class/extended``."""
    pattern = r'smtpeter_failures_total\{code_class="(.*)",extended="(.*)",state="(.*)"\}'
    found = {re.fullmatch(pattern, key): value for key, value in samples.items()}
    return {f"{match[3]}/{match[1]}/{match[2]}": value for match, value in found.items() if match}


PROGRAM: Final = (sys.executable, "-m", "exporter")


def command(directory: Path, *flags: str, program: Sequence[str] = PROGRAM) -> list[str]:
    """Return the command line of an exporter with its ledger in ``directory``. ``flags`` override the defaults here."""
    # fmt: off
    return [
        *program, "serve", "--signature.mode", "off", "--metrics.birth-hold", "0s",
        "--webhook.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.1:0",
        "--storage.url", f"sqlite:///{directory / 'ledger.db'}", *flags,
    ]
    # fmt: on


def environment(*, measured: bool = True) -> dict[str, str]:
    """Return this process's environment without the exporter's settings, and without coverage unless ``measured``."""
    foreign = ("SMTPETER_EXPORTER_", "STATE_DIRECTORY", "NOTIFY_SOCKET", *(() if measured else ("COV",)))
    return {name: text for name, text in os.environ.items() if not name.startswith(foreign)}


class Exporter:
    """A running exporter. ``public`` and ``private`` are its listeners' addresses, and ``lines`` is its log so far."""

    def __init__(self, directory: Path, *flags: str, measured: bool = True, program: Sequence[str] = PROGRAM) -> None:
        self.ledger = directory / "ledger.db"
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command(directory, *flags, program=program),
            stderr=subprocess.PIPE,
            text=True,
            env=environment(measured=measured),
            start_new_session=True,  # so that Ctrl-C reaches only the parent process, which stops the exporter
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            ready = until(self._ready)
        except BaseException:
            self.end()
            raise
        self.public, self.private = urlsplit(ready["failures"]).netloc, urlsplit(ready["metrics"]).netloc

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def log(self) -> list[dict[str, str]]:
        """Return the fields of each log line so far."""
        return [json.loads(line) if line.startswith("{") else _logfmt(line) for line in list(self.lines)]

    def client(self) -> Client:
        """Return a client of the public listener."""
        return Client(self.public)

    def post(self, fields: Mapping[str, str], path: str = "/failures") -> Response:
        """Post a failure as a form, on a new connection."""
        with self.client() as client:
            return client.post(fields, path)

    def get(self, path: str, **headers: str) -> Response:
        """Send a GET request to the private listener. ``_`` in the names of headers stands for ``-``."""
        with Client(self.private) as client:
            return client.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def samples(self) -> Samples:
        """Return the samples of a scrape."""
        answer = self.get("/metrics")
        assert answer.status == 200
        return samples_of(answer.text)

    def failures(self) -> Samples:
        """Return the values of the main counter by ``state/code_class/extended``."""
        return failures_of(self.samples())

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def wait(self, seconds: float = TIMEOUT) -> int:
        """Wait until the process exits; return its exit code. ``lines`` is complete then."""
        code = self._process.wait(seconds)
        self._reader.join(seconds)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the process and wait until it exits; return its exit code."""
        self.send_signal(number)
        return self.wait()

    def limit_files(self, size: int) -> None:
        """Limit the size of the files that the process may write, to simulate a full disk."""
        with suppress(ProcessLookupError):
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def logged(self, message: str) -> bool:
        """Return whether the log has a line with the message."""
        return any(line.get("msg") == message for line in self.log())

    def end(self) -> None:
        """Kill the process if it is still running, and close its pipe."""
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _ready(self) -> dict[str, str] | None:
        code = self._process.poll()
        if code is not None:
            self.wait()
        assert code is None, f"the exporter exited with {code}: {self.lines}"
        return next((line for line in self.log() if line.get("msg") == "ready"), None)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        self.lines.extend(line.rstrip("\n") for line in self._process.stderr)


@contextmanager
def exporter(
    directory: Path, *flags: str, measured: bool = True, program: Sequence[str] = PROGRAM
) -> Iterator[Exporter]:
    """Run an exporter with its ledger in ``directory``; stop it afterwards and check that it exits with 0."""
    running = Exporter(directory, *flags, measured=measured, program=program)
    try:
        yield running
        if running.alive:
            assert running.stop() == 0
    finally:
        running.end()


def _logfmt(line: str) -> dict[str, str]:
    pairs = re.findall(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)', line)
    return {key: json.loads(text) if text.startswith('"') else text for key, text in pairs}


def as_installed(program: str) -> list[str]:
    """Return the command that starts a program from a Debian package, even if the package is only unpacked.

    Such a program looks for its files in /usr/share. If the system allows it, a mount namespace has the unpacked
    directory in that place.
    """
    share = Path(program).resolve().parents[1] / "share"
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if share == Path("/usr/share") or not share.exists() or not shutil.which("unshare"):
        return [program]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        return [program]
    return [*namespace, "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', str(share), program]


class Prometheus:
    """A running Prometheus. Each test adds targets under its own ``job``."""

    INTERVAL: Final = 0.5
    """Seconds between two scrapes of a target."""

    def __init__(  # noqa: PLR0913 -- by name
        self,
        program: str,
        directory: Path,
        *,
        address: str | None = None,
        interval: float = INTERVAL,
        rules: Sequence[Path] = (),
        alertmanager: str | None = None,
    ) -> None:
        """Evaluate ``rules`` at the same interval. ``directory/data`` may already have a history."""
        self._targets = directory / "targets"
        self._targets.mkdir()
        every = f"{interval * 1000:.0f}ms"
        config = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(file) for file in rules],
            "scrape_configs": [{"job_name": "tests", "file_sd_configs": [{"files": [f"{self._targets}/*.json"]}]}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []},
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))
        self.address = address or f"127.0.0.1:{free_port()}"
        self._log = directory / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *as_installed(program),
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={self.address}",
                ],
                stdout=log,
                stderr=log,
            )
        until(self._ready)

    def add(self, job: str, *addresses: str, **labels: str) -> None:
        """Scrape these addresses, and no others, under the job and labels. Prometheus starts after about 5 s."""
        group = [{"targets": addresses, "labels": {"job": job, **labels}}]
        written = self._targets / f"{job}.new"
        written.write_text(json.dumps(group))
        written.rename(self._targets / f"{job}.json")

    def query(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Run an instant query now or at a time; return the labels and value of each sample."""
        parameters = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
        with Client(self.address) as client:
            answer = client.request("GET", f"/api/v1/query?{urlencode(parameters)}")
        assert answer.status == 200, answer.text
        result: Sequence[Any] = json.loads(answer.body)["data"]["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def value(self, expression: str, at: float | None = None) -> float | None:
        """Return the value of an expression with one sample, or None if it has none."""
        found = self.query(expression, at)
        assert len(found) < 2, found
        return found[0][1] if found else None

    def stop(self) -> None:
        """Stop the process."""
        self._process.terminate()
        self._process.wait(TIMEOUT)

    def _ready(self) -> bool:
        code = self._process.poll()
        assert code is None, f"Prometheus exited with {code}: {self._log.read_text()}"
        try:
            with Client(self.address) as client:
                return client.request("GET", "/-/ready").status == 200
        except OSError:
            return False


def free_port() -> int:
    """Return a free port on loopback below the range from which systems assign ports automatically."""
    while True:
        port = 10_240 + secrets.randbelow(22_528)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
