"""Public keys that SMTPeter signs with: DKIM-style TXT records (RFC 6376 section 3.6.1) in DNS, cached.

Keys rotate monthly, so they are looked up, never pinned. A name in the cache is in one of these states::

                  a key             TTL over             DNS fails
    unverified ─────────▶ fresh ──────────────▶ expired ───────────▶ stale
                          ▲ ▲ ▲                  │   │                │ │
                          │ │ └───── a key ──────┘   │                │ │
                          │ └─────── a key ──────────┼────────────────┘ │
                          │                          │ no key           │ no key, or STALE over
                          └─ a key ── keyless ◀──────┴──────────────────┘

unverified
    Never had a key. Requests wait for a look-up; then 403 if there is no key, 503 if DNS fails.
fresh
    Requests get the key. Near the end of the TTL a look-up starts in the background. If it finds no key, the name is
    keyless at once; if DNS fails, the name is stale as soon as the TTL is over.
expired
    Requests wait for a look-up.
stale
    Requests get the last good key. A look-up starts in the background every RETRY seconds.
keyless
    Had a key once. As unverified, but with places of its own to wait in.

A name without a key does not always make requests wait: for NEGATIVE_TTL after DNS said that there is no key they get
403 at once, for RETRY after DNS failed 503. All states but unverified are *trusted*. What forged requests can cause is
bounded: names, look-ups, and threads that wait.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from exporter.refusals import Refusal
from exporter.signature.key_records import DnsDown, TxtRecords, read_records

log = logging.getLogger(__name__)

MIN_TTL: Final = 60.0
MAX_TTL: Final = 3_600.0
"""A key is kept for as long as DNS says, within these bounds (seconds)."""
NEGATIVE_TTL: Final = 30.0
"""Seconds for which a name is known to have no key; short, because a new key may be about to appear."""
RETRY: Final = 5.0
"""Seconds after which a look-up that failed, or a key that did not fit, may be looked up again."""
STALE: Final = 12 * 3_600.0
"""Seconds for which the last good key is used while DNS is down."""
MAX_NAMES: Final = 64
"""Names that are remembered."""
MAX_UNVERIFIED_LOOKUPS: Final = 10
"""Look-ups a second of unverified names; as many may be under way."""
MAX_WAITING: Final = {"unverified": 44, "trusted": 12}
"""Maximum number of requests, of 64 threads, that may wait for DNS at once, for unverified and for trusted names."""
LOOKUP_TIMEOUT: Final = 4.0
"""Seconds that a request waits for a look-up; a little more than a look-up takes at most."""

LOOKUP_RESULTS: Final = ("found", "unknown", "revoked", "unusable", "failed")
"""What a look-up may end with; ``unknown``: DNS says that there is no key, ``failed``: DNS says nothing."""


@dataclass
class _Entry:
    """What is known of a name. ``keys`` is empty when ``refusal`` says why; times are of the clock.

    ``trusted``: it had a key once.
    """

    used: float
    trusted: bool = False
    keys: tuple[RSAPublicKey, ...] = ()
    refusal: str = "key_unavailable"
    fetched: float = float("-inf")
    expires: float = float("-inf")
    tried: float = float("-inf")
    failed: bool = False
    looking: Future[None] | None = None


class Keys:
    """The cache. ``resolve`` answers a name or raises DnsDown; ``on_result`` gets each look-up's result."""

    def __init__(
        self,
        resolve: Callable[[str], TxtRecords],
        *,
        on_result: Callable[[str], None] = lambda _result: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._on_result = on_result
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._unverified: list[float] = []
        self._waiting = {kind: threading.Semaphore(most) for kind, most in MAX_WAITING.items()}
        self._pools = {
            kind: ThreadPoolExecutor(most, thread_name_prefix=f"{kind} key look-up")
            for kind, most in {"unverified": MAX_UNVERIFIED_LOOKUPS, "trusted": 4}.items()
        }

    def find(self, name: str) -> Sequence[RSAPublicKey]:
        """The keys at the name, at least one. Raises Refusal: 403 when there is none, 503 when none can be had now."""
        with self._lock:
            now = self._clock()
            entry = self._entry(name, now)
            if now < entry.expires:
                if entry.keys and now > entry.fetched + 0.8 * (entry.expires - entry.fetched):
                    self._look_up(name, entry, now)
                return self._result(name, entry)
            looking = self._look_up(name, entry, now)
            if looking is None or (entry.failed and entry.keys):
                return self._result(name, entry)
        if not self._wait(name, entry, looking) and not entry.keys:
            raise Refusal(503, "key_unavailable", f"too many requests wait for the key {name}")
        with self._lock:
            return self._result(name, entry)

    def find_newer(self, name: str, tried: Sequence[RSAPublicKey]) -> Sequence[RSAPublicKey]:
        """Keys that took the place of those that were tried; none when the last look-up is too recent."""
        with self._lock:
            entry = self._entry(name, self._clock())
            if entry.keys is not tried:  # another request's look-up brought them
                return entry.keys
            looking = self._look_up(name, entry, self._clock())
        if looking is None:
            return ()
        if not self._wait(name, entry, looking):
            raise Refusal(503, "key_unavailable", f"too many requests wait for the key {name}")
        with self._lock:
            return () if entry.keys is tried else self._result(name, entry)

    def ages(self) -> list[tuple[float, bool]]:
        """For each key that is held: seconds since DNS gave it, and whether it is past its time for want of DNS."""
        with self._lock:
            now = self._clock()
            held = [entry for entry in self._entries.values() if entry.keys and now - entry.used < STALE]
            return [(now - entry.fetched, entry.failed and now >= entry.expires) for entry in held]

    def close(self) -> None:
        """Begin no further look-up."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _entry(self, name: str, now: float) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            if len(self._entries) >= MAX_NAMES:  # names that never had a key go first, those not used for longest
                gone = min(self._entries.items(), key=lambda one: (one[1].trusted, bool(one[1].looking), one[1].used))
                del self._entries[gone[0]]
            entry = self._entries[name] = _Entry(used=now)
        entry.used = now
        if now - entry.fetched > STALE:
            entry.keys, entry.refusal = (), "key_unavailable"
        return entry

    def _result(self, name: str, entry: _Entry) -> Sequence[RSAPublicKey]:
        if entry.keys:
            return entry.keys
        if entry.refusal == "key_unavailable":
            raise Refusal(503, "key_unavailable", f"DNS does not tell the key {name}")
        raise Refusal(403, entry.refusal, f"no usable key at {name}")

    def _look_up(self, name: str, entry: _Entry, now: float) -> Future[None] | None:
        """The look-up of the name that is under way, begun if need be; None when it is too early for another."""
        if entry.looking or now < entry.tried + RETRY:
            return entry.looking
        if not entry.trusted:
            self._unverified = [then for then in self._unverified if then > now - 1]
            under_way = sum(bool(one.looking) and not one.trusted for one in self._entries.values())
            if max(len(self._unverified), under_way) >= MAX_UNVERIFIED_LOOKUPS:
                return None
            self._unverified.append(now)
        entry.tried = now
        entry.looking = self._pools[_kind(entry)].submit(self._fetch, name, entry)
        return entry.looking

    def _wait(self, name: str, entry: _Entry, looking: Future[None]) -> bool:
        """Wait for a look-up, whatever comes of it; False when too many wait already."""
        waiting = self._waiting[_kind(entry)]
        if not waiting.acquire(blocking=False):
            return False
        try:
            looking.result(LOOKUP_TIMEOUT)
        except (NotInTime, CancelledError):
            log.debug("no answer from DNS in time", extra={"key": name})
        finally:
            waiting.release()
        return True

    def _fetch(self, name: str, entry: _Entry) -> None:
        """Look the name up, and note what came of it."""
        keys: tuple[RSAPublicKey, ...] = ()
        ttl = 0.0
        try:
            answer = self._resolve(name)
            keys, result = read_records(name, answer.texts)
            ttl = min(max(answer.ttl, MIN_TTL), MAX_TTL) if keys else NEGATIVE_TTL
        except DnsDown as error:
            result = "failed"
            log.warning("key look-up failed", extra={"key": name, "error": str(error), "have_key": bool(entry.keys)})
        except Exception:
            result = "failed"
            log.exception("fault while looking up a key; please report it", extra={"key": name})
        with self._lock:
            now = self._clock()
            entry.looking = None
            entry.failed = result == "failed"
            if entry.failed:
                entry.refusal = "key_unavailable"
            else:
                if keys != entry.keys:
                    entry.keys = keys
                entry.trusted = entry.trusted or bool(keys)
                entry.refusal = f"key_{result}"
                entry.fetched, entry.expires = now, now + ttl
        self._on_result(result)


def _kind(entry: _Entry) -> str:
    return "trusted" if entry.trusted else "unverified"
