"""``simulate``: post simulated traffic to a URL as SMTPeter would, each call at its time, and count what comes back."""

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import Empty, SimpleQueue
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from exporter.errors import SettingError
from exporter.simulator.client import TIMEOUT, Response, Signing, call_of
from exporter.simulator.traffic import SimulatedRequest

CONNECTIONS: Final = 16
"""Connections that are kept open, and with that calls that are made at the same time."""
BACKOFF: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds to wait before each further try of what was answered 503; after the last one it is given up."""
RETRY: Final = 1.0
"""Seconds between two tries while nobody answers."""
IDLE: Final = 10.0
"""Seconds after which a connection is not used again; the exporter closes those that were idle for 30."""
PROGRESS_SECONDS: Final = 60.0
PROGRESS_CALLS: Final = 10_000

_OK: Final = 200
_UNAVAILABLE: Final = 503
_LONGEST_ANSWER: Final = 4_096


class Target(NamedTuple):
    """Where to post: the URL, and its parts as a request has them."""

    url: str
    secure: bool
    host: str
    path: str


def target_of(url: str) -> Target:
    """Take a URL apart. Raises SettingError."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        right = right and "@" not in parts.netloc and re.fullmatch("[!-~]+", url) is not None
        (parts.hostname or "").encode("idna")  # as the socket will do it
    except ValueError:  # what is no port or IPv6 address, a label of 64 characters
        right = False
    if not right:
        raise SettingError(f"URL: {url!r}: expected that of the callback, such as http://127.0.0.1:10125/failures")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(url, parts.scheme == "https", parts.netloc, path)


class Clock:
    """The simulated time: from ``now`` (Unix seconds) on, ``speed`` times as fast as the real one."""

    def __init__(self, now: float, speed: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.now, self._speed, self._monotonic = now, speed, monotonic
        self._since = monotonic()

    def until(self, at: float) -> float:
        """Real seconds to wait until the simulated time is ``at``; not more than 0 when it has passed."""
        return (at - self.now) / self._speed - (self._monotonic() - self._since)


class Tally:
    """What came back so far. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Counter[int] = Counter()
        self._repeats = 0

    def add(self, status: int, *, repeated: bool) -> None:
        """Count an answer."""
        with self._lock:
            self._statuses[status] += 1
            self._repeats += repeated and status == _OK

    @property
    def calls(self) -> int:
        """How many were answered."""
        with self._lock:
            return self._statuses.total()

    def __str__(self) -> str:
        """In words."""
        with self._lock:
            statuses, repeats = Counter(self._statuses), self._repeats
        calls, good = statuses.total(), statuses.pop(_OK, 0)
        kinds = ", ".join(f"{count:,} with {status}" for status, count in sorted(statuses.items()))
        return (
            f"{calls:,} calls sent: {good:,} answered 200, {repeats:,} of them repeats; "
            f"{statuses.total():,} refused{kinds and f': {kinds}'}"
        )


class _Connection:
    """One connection to the target, opened when it is needed and kept open."""

    def __init__(self, target: Target) -> None:
        self._path = target.path
        kind = HTTPSConnection if target.secure else HTTPConnection
        self._http = kind(target.host, timeout=TIMEOUT)
        self._used = 0.0

    def post(self, headers: Mapping[str, str], body: bytes) -> Response:
        """Make one call. Raises OSError or HTTPException when no answer comes."""
        if time.monotonic() - self._used > IDLE:
            self.close()
        kept = self._http.sock is not None
        try:
            return self._post(headers, body)
        except TimeoutError:
            raise
        except (OSError, HTTPException):
            if not kept:
                raise
            return self._post(headers, body)  # the other side closed it since the last call

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def _post(self, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            self._http.request("POST", self._path, body, dict(headers))
            response = self._http.getresponse()
            text = response.read(_LONGEST_ANSWER)
        except BaseException:
            self.close()
            raise
        if not response.isclosed():  # there is more, which nobody wants
            self.close()
        self._used = time.monotonic()
        line = text.decode(errors="replace").strip().partition("\n")[0]
        return Response(response.status, response.reason, line)


class Simulation:
    """Posts the events that lie before ``end`` (Unix seconds), each when the clock says so; what is late, at once.

    A call is made again until there is an answer or the end, and some more times when that is 503. ``say`` gets lines
    for people.
    """

    def __init__(  # noqa: PLR0913 -- by name
        self,
        target: Target,
        events: Iterator[SimulatedRequest],
        *,
        clock: Clock,
        end: float,
        form: str,
        signer: Signing | None,
        say: Callable[[str], None],
    ) -> None:
        self.tally: Final = Tally()
        self._target, self._events, self._clock, self._end = target, events, clock, end
        self._form, self._signer, self._say = form, signer, say
        self._stopping = threading.Event()
        self._taking = threading.Lock()
        self._at = clock.now
        self._telling = threading.Lock()
        self._reached = True
        self._told: set[int] = {_OK}
        # What the main thread has to know of: that a thread has ended, or that a signal came. Unlike an Event this may
        # be used in a signal handler, whatever the main thread is at.
        self._news: SimpleQueue[Literal["ended", "signal"]] = SimpleQueue()

    def run(self) -> None:
        """Run to the end, or until SIGINT or SIGTERM; a second signal does not wait for calls that hang."""
        signal.signal(signal.SIGINT, lambda *_: self._news.put("signal"))
        signal.signal(signal.SIGTERM, lambda *_: self._news.put("signal"))
        running = CONNECTIONS
        for number in range(running):
            threading.Thread(target=self._work, name=f"connection {number}", daemon=True).start()
        told, when = 0, time.monotonic()
        while running:
            try:
                if self._news.get(timeout=1) == "ended":
                    running -= 1
                elif self._stopping.is_set():
                    return
                else:
                    self._stopping.set()
            except Empty:
                pass
            calls, now = self.tally.calls, time.monotonic()
            if calls >= told + PROGRESS_CALLS or now >= when + PROGRESS_SECONDS:
                told, when = calls, now
                self._say(f"{_time(self._at)}: {self.tally}")

    def _work(self) -> None:
        connection = _Connection(self._target)
        try:
            while (event := self._next()) is not None:
                self._deliver(connection, event)
        finally:
            connection.close()
            self._news.put("ended")

    def _next(self) -> SimulatedRequest | None:
        """The next event, when it is time for it; None when there is none any more."""
        with self._taking:
            event = next(self._events)
        late = max(0.0, self._clock.until(min(event.at, self._end)))
        if self._stopping.wait(late) or event.at >= self._end:
            return None
        self._at = event.at
        return event

    def _deliver(self, connection: _Connection, event: SimulatedRequest) -> None:
        pauses = iter(BACKOFF)
        while not self._stopping.is_set():
            headers, body = call_of(
                self._target.host, self._target.path, event.fields, form=self._form, signer=self._signer
            )
            try:
                answer = connection.post(headers, body)
            except (OSError, HTTPException) as error:
                self._note(f"no answer from {self._target.url}: {str(error) or type(error).__name__}; trying on")
                if self._clock.until(self._end) <= 0:
                    return
                self._stopping.wait(RETRY)
                continue
            self._note(None, answer)
            pause = next(pauses, None) if answer.status == _UNAVAILABLE else None
            if pause is None:
                self.tally.add(answer.status, repeated=event.repeated)
                return
            self._stopping.wait(pause)

    def _note(self, problem: str | None, answer: Response | None = None) -> None:
        """Tell when the target is lost or back again, and of the first answer of each kind that is not 200."""
        with self._telling:
            if self._reached != (problem is None):
                self._reached = problem is None
                self._say(problem or f"{self._target.url} answers again")
            if answer and answer.status not in self._told:
                self._told.add(answer.status)
                self._say(f"first answer of its kind: {answer.status} {answer.phrase}: {answer.body}".rstrip(": "))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
