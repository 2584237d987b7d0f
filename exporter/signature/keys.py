"""A cache of the public keys that SMTPeter signs with: DKIM-style TXT records in DNS (RFC 6376 section 3.6.1).

SMTPeter rotates its keys monthly, so they can't be pinned. A name in the cache is in one of these states::

                  a key             TTL over             DNS fails
    unverified ─────────▶ fresh ──────────────▶ expired ───────────▶ stale
                          ▲ ▲ ▲                  │   │                │ │
                          │ │ └───── a key ──────┘   │                │ │
                          │ └─────── a key ──────────┼────────────────┘ │
                          │                          │ no key           │ no key, or STALE over
                          └─ a key ── keyless ◀──────┴──────────────────┘

unverified
    Never had a key. Requests wait for a lookup; then 403 if there is no key, 503 if DNS fails.
fresh
    Requests get the key. Near the end of the TTL a lookup starts in the background. If it finds no key, the name is
    keyless at once; if DNS fails, the name is stale as soon as the TTL is over.
expired
    Requests wait for a lookup.
stale
    Requests get the last valid key. A lookup starts in the background every RETRY seconds.
keyless
    Had a key once. As unverified, but with separate limits for waiting requests and lookups.

A request for a name without a key does not always wait. For NEGATIVE_TTL after DNS said that there is no key it gets
403 at once; for RETRY after DNS failed it gets 503. All states but unverified are *trusted*. Forged requests can only
cause a limited number of cached names, lookups and waiting requests.

No thread waits: a request that has to wait gets LookupPending, and asks again when the lookup is done.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from exporter.refusals import Refusal
from exporter.signature.key_records import DnsDown, TxtRecords, read_records

log = logging.getLogger(__name__)

MIN_TTL: Final = 60.0
MAX_TTL: Final = 3_600.0
"""Bounds in seconds for the TTL of a key."""
NEGATIVE_TTL: Final = 30.0
"""Seconds to cache that a name has no key. Short, because a new key may be published at any moment."""
RETRY: Final = 5.0
"""Seconds before the next lookup, if the last one failed or its key did not match a signature."""
STALE: Final = 12 * 3_600.0
"""Seconds to use the last valid key while DNS is down."""
MAX_NAMES: Final = 64
"""Maximum number of cached names."""
MAX_LOOKUPS: Final = {"unverified": 10, "trusted": 4}
"""Maximum number of lookups at the same time; for unverified names also per second."""
MAX_WAITING: Final = {"unverified": 500, "trusted": 250}
"""Maximum number of requests that may wait for DNS at the same time, out of 1,000 connections."""

LOOKUP_RESULTS: Final = ("found", "unknown", "revoked", "unusable", "failed")
"""Results of a lookup. ``unknown``: DNS says that there is no key; ``failed``: DNS does not answer."""


class LookupPending(Exception):
    """The request must wait until ``lookup`` is done, and then ask again."""

    def __init__(self, lookup: Future[None]) -> None:
        super().__init__()
        self.lookup = lookup


@dataclass
class _Entry:
    """The cached state of a name. If ``keys`` is empty, ``refusal`` is the reason. Times are those of the clock.

    ``trusted`` means that the name had a key once; ``used`` and ``tried`` are the times of the last request and lookup.
    """

    used: float
    trusted: bool = False
    keys: tuple[RSAPublicKey, ...] = ()
    refusal: str = ""
    fetched: float = float("-inf")
    expires: float = float("-inf")
    tried: float = float("-inf")
    failed: bool = False
    lookup: Future[None] | None = None


class Keys:
    """The cache. ``resolve`` returns a name's records or raises DnsDown; ``on_result`` gets the result of a lookup."""

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
        self._recent_unverified: list[float] = []
        self._waiting = {kind: threading.Semaphore(most) for kind, most in MAX_WAITING.items()}
        self._pools = {
            kind: ThreadPoolExecutor(most, thread_name_prefix=f"{kind} key lookup")
            for kind, most in MAX_LOOKUPS.items()
        }

    def find(self, name: str, *, may_wait: bool) -> Sequence[RSAPublicKey]:
        """Return the keys of the name, at least one. Raise Refusal: 403 if it has none, 503 if DNS does not answer.

        Raise LookupPending if the request should wait, and may do so.
        """
        with self._lock:
            now = self._clock()
            entry = self._entry(name, now)
            if now < entry.expires:
                if not entry.keys:
                    raise Refusal(403, entry.refusal, f"no usable key at {name}")
                if now > entry.fetched + 0.8 * (entry.expires - entry.fetched):
                    self._start_lookup(name, entry, now)
                return entry.keys
            lookup = self._start_lookup(name, entry, now)
            if lookup and may_wait and not (entry.failed and entry.keys):
                self._wait(entry, lookup)
            if not entry.keys:
                raise Refusal(503, "key_unavailable", f"DNS has not answered for the key {name}")
            return entry.keys

    def find_newer(self, name: str, tried: Sequence[RSAPublicKey], *, may_wait: bool) -> Sequence[RSAPublicKey]:
        """Return the keys that replaced those in ``tried``; none if there are none or the last lookup is too recent.

        Raise LookupPending if the request should wait, and may do so; otherwise Refusal (503) while DNS is asked, does
        not answer, or too many lookups run.
        """
        with self._lock:
            entry = self._entry(name, self._clock())
            if entry.keys is not tried:  # already updated by another request
                return entry.keys
            now = self._clock()
            lookup = self._start_lookup(name, entry, now)
            if lookup and may_wait:
                self._wait(entry, lookup)
            if lookup is None and now < entry.tried + RETRY and not entry.failed:
                return ()
            raise Refusal(503, "key_unavailable", f"DNS has not answered for a newer key {name}")

    def ages(self) -> list[tuple[float, bool]]:
        """Return for each cached key its age in seconds, and whether it has expired and DNS does not answer."""
        with self._lock:
            now = self._clock()
            cached = [entry for entry in self._entries.values() if entry.keys and now - entry.used < STALE]
            return [(now - entry.fetched, entry.failed and now >= entry.expires) for entry in cached]

    def close(self) -> None:
        """Start no more lookups."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _entry(self, name: str, now: float) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            if len(self._entries) >= MAX_NAMES:  # evict names that never had a key first, the least recently used first
                evicted = min(
                    self._entries.items(), key=lambda item: (item[1].trusted, bool(item[1].lookup), item[1].used)
                )
                del self._entries[evicted[0]]
            entry = self._entries[name] = _Entry(used=now)
        entry.used = now
        if now - entry.fetched > STALE:
            entry.keys = ()
        return entry

    def _start_lookup(self, name: str, entry: _Entry, now: float) -> Future[None] | None:
        """Return the running lookup of the name, or start one. Return None if it is too early, or too many run."""
        if entry.lookup or now < entry.tried + RETRY:
            return entry.lookup
        running = sum(bool(other.lookup) and other.trusted == entry.trusted for other in self._entries.values())
        if running >= MAX_LOOKUPS[_kind(entry)]:
            return None
        if not entry.trusted:
            self._recent_unverified = [started for started in self._recent_unverified if started > now - 1]
            if len(self._recent_unverified) >= MAX_LOOKUPS["unverified"]:
                return None
            self._recent_unverified.append(now)
        entry.tried = now
        try:
            entry.lookup = self._pools[_kind(entry)].submit(self._fetch, name, entry)
        except RuntimeError:  # the system allows no more threads
            entry.failed = True
        return entry.lookup

    def _wait(self, entry: _Entry, lookup: Future[None]) -> None:
        """Raise LookupPending, unless too many requests are waiting."""
        waiting = self._waiting[_kind(entry)]
        if waiting.acquire(blocking=False):
            lookup.add_done_callback(lambda _: waiting.release())
            raise LookupPending(lookup)

    def _fetch(self, name: str, entry: _Entry) -> None:
        """Look the name up and update its entry."""
        keys: tuple[RSAPublicKey, ...] = ()
        ttl = 0.0
        try:
            answer = self._resolve(name)
            keys, result = read_records(name, answer.texts)
            ttl = min(max(answer.ttl, MIN_TTL), MAX_TTL) if keys else NEGATIVE_TTL
        except DnsDown as error:
            result = "failed"
            log.warning("key lookup failed", extra={"key": name, "error": str(error), "have_key": bool(entry.keys)})
        except Exception:
            result = "failed"
            log.exception("internal error during key lookup; please report it", extra={"key": name})
        with self._lock:
            now = self._clock()
            entry.lookup = None
            entry.failed = result == "failed"
            if not entry.failed:
                if keys != entry.keys:  # find_newer compares identities
                    entry.keys = keys
                entry.trusted = entry.trusted or bool(keys)
                entry.refusal = f"key_{result}"
                entry.fetched, entry.expires = now, now + ttl
        self._on_result(result)


def _kind(entry: _Entry) -> str:
    return "trusted" if entry.trusted else "unverified"
