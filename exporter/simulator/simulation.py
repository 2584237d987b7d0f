"""Post simulated traffic to a URL as SMTPeter would, each request at its time, and count the answers."""

import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import Empty, SimpleQueue
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from exporter.classification.loops import FAILURES
from exporter.errors import SettingError
from exporter.simulator.client import TIMEOUT, Response, Signing, headers_and_body, hint_for
from exporter.simulator.requests import SimulatedRequest
from exporter.simulator.tally import Tally, Truth

CONNECTIONS: Final = 16
"""Number of connections, and thereby of concurrent requests."""
BACKOFF: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds to wait before each retry of a request that was answered 503. After the last retry it is given up."""
RETRY: Final = 1.0
"""Seconds to wait before a retry if there was no answer."""
START_TIMEOUT: Final = 5.0
"""Seconds after which a target that has never accepted a connection is given up."""
OUTAGE_TIMEOUT: Final = 60.0
"""Seconds without an answer after which a target is given up; enough for a restart of the exporter."""
IDLE: Final = 10.0
"""Seconds after which an idle connection is not reused; the exporter closes those that are idle for 30."""
PROGRESS_SECONDS: Final = 60.0
PROGRESS_REQUESTS: Final = 10_000

_OK: Final = 200
_UNAVAILABLE: Final = 503
_LONGEST_ANSWER: Final = 4_096


class Target(NamedTuple):
    """Where to post: the URL, whether it is HTTPS, host (with port), and path (with query)."""

    url: str
    secure: bool
    host: str
    path: str

    def of_loop(self, loop: str) -> "Target":
        """Return the target of a loop, if this is that of failures. Raises SettingError unless the path shows this."""
        if loop == FAILURES.name:
            return self
        parts = urlsplit(self.url)
        base, slash, name = parts.path.rpartition("/")
        if name != FAILURES.name:
            raise SettingError(
                f"URL: {self.url!r}: expected a path that ends in /failures, beside those of other loops"
            )
        return target_of(parts._replace(path=f"{base}{slash}{loop}").geturl())


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


class _Connection:
    """A persistent connection to the target, opened on demand."""

    def __init__(self, target: Target, timeout: float = TIMEOUT) -> None:
        kind = HTTPSConnection if target.secure else HTTPConnection
        self._http = kind(target.host, timeout=timeout)
        self._used = 0.0

    def open(self) -> None:
        """Open the connection. Raises OSError."""
        self._http.connect()

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send one request and return the answer. Raises OSError or HTTPException if there is none."""
        if time.monotonic() - self._used > IDLE:
            self.close()
        reused = self._http.sock is not None
        try:
            return self._post(path, headers, body)
        except TimeoutError:
            raise
        except (OSError, HTTPException):
            if not reused:
                raise
            return self._post(path, headers, body)  # the server closed the connection after the last request

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._http.close()

    def _post(self, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            self._http.request("POST", path, body, dict(headers))
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

    ``target`` is that of failures; the other ``loops`` are beside it. A request without an answer is retried until
    ``end``, one that is answered 503 a few times. If the target is given up, ``problem`` says why. ``say`` receives
    messages for the user, each one line. ``tally`` and ``truth`` are the result.
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
        loops: Collection[str] = (FAILURES.name,),
    ) -> None:
        self.tally: Final = Tally()
        self.truth: Final = Truth(loops)
        self.problem = ""
        self._target, self._requests, self._clock, self._end = target, requests, clock, end
        self._targets = {loop: target.of_loop(loop) for loop in loops}
        self._form, self._signer, self._say = form, signer, say
        self._stopping = threading.Event()
        self._requests_lock = threading.Lock()
        self._at = clock.now
        self._say_lock = threading.Lock()
        self._down_since: float | None = None
        self._reported: set[int] = {_OK}
        # Wakes the main thread when a worker has ended or a signal has arrived. Unlike an Event, a SimpleQueue may be
        # used in a signal handler at any time: its put() is reentrant.
        self._wakeups: SimpleQueue[Literal["ended", "signal"]] = SimpleQueue()

    def run(self) -> None:
        """Run to the end, or until SIGINT or SIGTERM. A second signal does not wait for requests in flight."""
        signal.signal(signal.SIGINT, lambda *_: self._wakeups.put("signal"))
        signal.signal(signal.SIGTERM, lambda *_: self._wakeups.put("signal"))
        if self._clock.until(self._end) > 0:
            self._connect()
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
                self._say(f"{datetime.fromtimestamp(self._at, UTC):%Y-%m-%d %H:%M} UTC: {self.tally}")

    def _connect(self) -> None:
        """Wait until the target accepts a connection. The first request, which would show this, may be hours away."""
        while not self._stopping.is_set():
            try:
                with closing(_Connection(self._target, START_TIMEOUT)) as connection:
                    connection.open()
            except OSError as error:
                self._unanswered(error, START_TIMEOUT)
            else:
                self._answered(self._target.url, None)
                return
            with suppress(Empty):
                self._wakeups.get(timeout=RETRY)
                self._stopping.set()  # a signal

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
        status: int | None = None
        target = self._targets[request.loop]
        while True:
            last = self._stopping.is_set()
            headers, body = headers_and_body(
                target.host, target.path, request.fields, form=self._form, tags=request.tags, signer=self._signer
            )
            try:
                answer = connection.post(target.path, headers, body)
            except (OSError, HTTPException) as error:
                self._unanswered(error, OUTAGE_TIMEOUT)
                pause = RETRY if self._clock.until(self._end) > 0 else None
            else:
                self._answered(target.url, answer)
                status = answer.status
                pause = next(pauses, None) if status == _UNAVAILABLE else None
            if pause is None or last:
                self.tally.add(status, repeated=request.repeated)
                if status == _OK:
                    self.truth.add(request)
                return
            self._stopping.wait(pause)

    def _answered(self, url: str, answer: Response | None) -> None:
        """Say that an outage is over, and the first answer of each status other than 200, with a hint if there is one.

        ``answer`` is None if only a connection was accepted.
        """
        with self._say_lock:
            if self._down_since is not None:
                self._down_since = None
                self._say(f"{self._target.url} answers again")
            if answer and answer.status not in self._reported:
                self._reported.add(answer.status)
                self._say(f"first answer {answer}")
                if hint := hint_for(url, answer, signed=self._signer is not None):
                    self._say(hint)

    def _unanswered(self, error: Exception, timeout: float) -> None:
        """Say that an outage has begun; give up if it has lasted ``timeout`` seconds."""
        why = str(error).strip() or type(error).__name__
        problem, now = f"no answer from {self._target.url}: {why}", time.monotonic()
        with self._say_lock:
            if self._down_since is None:
                self._down_since = now
                self._say(f"{problem}; retrying")
            elif now >= self._down_since + timeout:
                self.problem = f"{problem}; gave up after {timeout:.0f} seconds"
                self._stopping.set()
