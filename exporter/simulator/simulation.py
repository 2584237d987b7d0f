"""Post simulated traffic to a URL as SMTPeter would, each request at its time, and count the answers."""

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import Empty, SimpleQueue
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from exporter.errors import ExporterError, SettingError
from exporter.simulator.client import TIMEOUT, Response, Signing, headers_and_body
from exporter.simulator.traffic import SimulatedRequest

CONNECTIONS: Final = 16
"""Number of connections, and thereby of concurrent requests."""
BACKOFF: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds to wait before each retry of a request that was answered 503. After the last retry it is given up."""
RETRY: Final = 1.0
"""Seconds to wait before a retry if there was no answer."""
IDLE: Final = 10.0
"""Seconds after which an idle connection is not reused; the exporter closes those that are idle for 30."""
PROGRESS_SECONDS: Final = 60.0
PROGRESS_REQUESTS: Final = 10_000

UNREACHABLE: Final = 5.0
"""Seconds after which the simulation is given up if the target can't be reached at its start."""

_OK: Final = 200
_UNAVAILABLE: Final = 503
_LONGEST_ANSWER: Final = 4_096


class Target(NamedTuple):
    """Where to post: the URL, whether it is HTTPS, host (with port), and path (with query)."""

    url: str
    secure: bool
    host: str
    path: str


def target_of(url: str) -> Target:
    """Parse an HTTP or HTTPS URL. Raises SettingError if it is invalid or has a user."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        valid = valid and "@" not in parts.netloc and re.fullmatch("[!-~]+", url) is not None
        (parts.hostname or "").encode("idna")  # as the socket will do
    except ValueError:  # an invalid port or IPv6 address, or a label of 64 characters
        valid = False
    if not valid:
        raise SettingError(f"URL: {url!r}: expected the URL of a webhook such as http://127.0.0.1:10125/failures")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(url, parts.scheme == "https", parts.netloc, path)


class Clock:
    """The simulated time: it starts at ``now`` (Unix seconds) and runs ``speed`` times as fast as the real time."""

    def __init__(self, now: float, speed: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.now, self._speed, self._monotonic = now, speed, monotonic
        self._since = monotonic()

    def until(self, at: float) -> float:
        """Return the real seconds until the simulated time ``at``; zero or negative if it has passed."""
        return (at - self.now) / self._speed - (self._monotonic() - self._since)


class Tally:
    """The number of answers by status. Thread-safe. As text, it is the summary for the user."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Counter[int] = Counter()
        self._repeats = 0
        self._unanswered = 0

    def lose(self) -> None:
        """Count a request that was given up without an answer."""
        with self._lock:
            self._unanswered += 1

    @property
    def statuses(self) -> Counter[int]:
        """Number of answers by status."""
        with self._lock:
            return Counter(self._statuses)

    def is_complete(self) -> bool:
        """Return whether each request was answered, and not all of them were rejected."""
        with self._lock:
            return not self._unanswered and bool(self._statuses[_OK] or not self._statuses.total())

    def add(self, status: int, *, repeated: bool) -> None:
        """Count an answer to a request, ``repeated`` if the same failure was sent before."""
        with self._lock:
            self._statuses[status] += 1
            self._repeats += repeated and status == _OK

    @property
    def requests(self) -> int:
        """Number of requests that were answered."""
        return self.statuses.total()

    def __str__(self) -> str:
        """Return the summary."""
        with self._lock:
            statuses, repeats, unanswered = Counter(self._statuses), self._repeats, self._unanswered
        requests, good = statuses.total(), statuses.pop(_OK, 0)
        kinds = ", ".join(f"{count:,} with {status}" for status, count in sorted(statuses.items()))
        return (
            f"{requests:,} requests sent: {good:,} answered 200, {repeats:,} of them repeats; "
            f"{statuses.total():,} rejected{kinds and f': {kinds}'}"
            f"{f'; {unanswered:,} without an answer' if unanswered else ''}"
        )


class _Connection:
    """A persistent connection to the target, opened on demand."""

    def __init__(self, target: Target) -> None:
        self._path = target.path
        kind = HTTPSConnection if target.secure else HTTPConnection
        self._http = kind(target.host, timeout=TIMEOUT)
        self._used = 0.0

    def post(self, headers: Mapping[str, str], body: bytes) -> Response:
        """Send one request and return the answer. Raises OSError or HTTPException if there is none."""
        if time.monotonic() - self._used > IDLE:
            self.close()
        reused = self._http.sock is not None
        try:
            return self._post(headers, body)
        except TimeoutError:
            raise
        except (OSError, HTTPException):
            if not reused:
                raise
            return self._post(headers, body)  # the server closed the connection after the last request

    def open(self) -> None:
        """Open the connection. Raises OSError if the target cannot be reached."""
        self._http.connect()

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._http.close()

    def _post(self, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            self._http.request("POST", self._path, body, dict(headers))
            response = self._http.getresponse()
            text = response.read(_LONGEST_ANSWER)
        except BaseException:
            self.close()
            raise
        if not response.isclosed():  # discard the rest of the body
            self.close()
        self._used = time.monotonic()
        line = text.decode(errors="replace").strip().partition("\n")[0]
        return Response(response.status, response.reason, line)


class Simulation:
    """Posts the requests before ``end`` (Unix seconds), each at its time by ``clock``; late ones immediately.

    A request without an answer is retried until ``end``, one that is answered 503 a few times. So the target may be
    restarted meanwhile, but it must answer at the start. ``say`` receives messages for the user, each one line.
    """

    def __init__(  # noqa: PLR0913 -- by name
        self,
        target: Target,
        requests: Iterator[SimulatedRequest],
        *,
        clock: Clock,
        end: float,
        form: str,
        signer: Signing | None,
        say: Callable[[str], None],
    ) -> None:
        self.tally: Final = Tally()
        self._target, self._requests, self._clock, self._end = target, requests, clock, end
        self._form, self._signer, self._say = form, signer, say
        self._stopping = threading.Event()
        self._requests_lock = threading.Lock()
        self._at = clock.now
        self._say_lock = threading.Lock()
        self._reachable = True
        self._reported: set[int] = {_OK}
        # Wakes the main thread when a worker has ended or a signal has arrived. Unlike an Event, a SimpleQueue may be
        # used in a signal handler at any time: its put() is reentrant.
        self._wakeups: SimpleQueue[Literal["ended", "signal"]] = SimpleQueue()

    def run(self) -> None:
        """Run to the end, or until SIGINT or SIGTERM. A second signal does not wait for requests in flight.

        Raises ExporterError if the target can't be reached at the start.
        """
        self._reach()  # until it returns, a signal ends the process
        signal.signal(signal.SIGINT, lambda *_: self._wakeups.put("signal"))
        signal.signal(signal.SIGTERM, lambda *_: self._wakeups.put("signal"))
        running = CONNECTIONS
        for number in range(running):
            threading.Thread(target=self._work, name=f"connection {number}", daemon=True).start()
        reported, reported_at = 0, time.monotonic()
        while running:
            try:
                if self._wakeups.get(timeout=1) == "ended":
                    running -= 1
                elif self._stopping.is_set():
                    return
                else:
                    self._stopping.set()
            except Empty:
                pass
            sent, now = self.tally.requests, time.monotonic()
            if sent >= reported + PROGRESS_REQUESTS or now >= reported_at + PROGRESS_SECONDS:
                reported, reported_at = sent, now
                self._say(f"{_time(self._at)}: {self.tally}")

    def _reach(self) -> None:
        """Connect once. Otherwise, a wrong port would be noticed only when the first request is due."""
        deadline = time.monotonic() + UNREACHABLE
        while True:
            try:
                with closing(_Connection(self._target)) as connection:
                    connection.open()
            except OSError as error:
                problem = f"no answer from {self._target.url}: {error}"
                if time.monotonic() > deadline:
                    raise ExporterError(f"{problem}; given up after {UNREACHABLE:.0f} seconds") from error
                self._report(f"{problem}; retrying")
                self._stopping.wait(RETRY)
            else:
                self._report(None)
                return

    def _work(self) -> None:
        connection = _Connection(self._target)
        try:
            while (request := self._next()) is not None:
                self._deliver(connection, request)
        finally:
            connection.close()
            self._wakeups.put("ended")

    def _next(self) -> SimulatedRequest | None:
        """Wait until it is time for the next request and return it, or None at the end."""
        with self._requests_lock:
            request = next(self._requests)
        pause = max(0.0, self._clock.until(min(request.at, self._end)))
        if self._stopping.wait(pause) or request.at >= self._end:
            return None
        self._at = request.at
        return request

    def _deliver(self, connection: _Connection, request: SimulatedRequest) -> None:
        pauses = iter(BACKOFF)
        while not self._stopping.is_set():
            headers, body = headers_and_body(
                self._target.host, self._target.path, request.fields, form=self._form, signer=self._signer
            )
            try:
                answer = connection.post(headers, body)
            except (OSError, HTTPException) as error:
                self._report(
                    f"no answer from {self._target.url}: {str(error).strip() or type(error).__name__}; retrying"
                )
                if self._clock.until(self._end) <= 0:
                    self.tally.lose()
                    return
                self._stopping.wait(RETRY)
                continue
            self._report(None, answer)
            pause = next(pauses, None) if answer.status == _UNAVAILABLE else None
            if pause is None:
                self.tally.add(answer.status, repeated=request.repeated)
                return
            self._stopping.wait(pause)

    def _report(self, problem: str | None, answer: Response | None = None) -> None:
        """Say when the target stops or resumes answering, and the first answer of each status other than 200."""
        with self._say_lock:
            if self._reachable != (problem is None):
                self._reachable = problem is None
                self._say(problem or f"{self._target.url} answers again")
            if answer and answer.status not in self._reported:
                self._reported.add(answer.status)
                self._say(f"first answer {answer.status} {answer.phrase}: {answer.body}".rstrip(": "))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
