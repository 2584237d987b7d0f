"""The cache of public keys, with a fake clock and a fake DNS."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from exporter.refusals import Refusal
from exporter.serve import PUBLIC_THREADS
from exporter.signature import keys as module
from exporter.signature.key_records import DnsDown, TxtRecords
from exporter.signature.keys import MAX_WAITING, Keys
from tests.support.running import TIMEOUT, until
from tests.support.signing import KEY_ID, key, record
from tests.support.texts import Texts

OLD, NEW = key(0), key(1)


class World:
    """A clock, a DNS with one answer for all names, and the cache that uses them."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.answer: TxtRecords | None = TxtRecords([record(OLD).encode()], 300)
        self.asked: list[str] = []
        self.results: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.tried: Sequence[RSAPublicKey] = ()
        self.keys = Keys(self._resolve, on_result=self.results.append, clock=lambda: self.now)

    def _resolve(self, name: str) -> TxtRecords:
        self.asked.append(name)
        assert self.gate.wait(TIMEOUT)
        if self.answer is None:
            raise DnsDown("no answer")
        return self.answer

    def find(self, name: str = KEY_ID) -> str:
        """Return ``old``, ``new``, ``old+new``, or status and reason of the rejection."""
        return self._name(lambda: self.keys.find(name))

    def find_first(self) -> str:
        """Find the keys, and remember them as tried."""
        self.tried = self.keys.find(KEY_ID)
        return self.find()

    def find_newer(self, name: str = KEY_ID) -> str:
        """Find newer keys than those tried; empty if there are none."""
        return self._name(lambda: self.keys.find_newer(name, self.tried))

    def wait_for_lookups(self, number: int) -> None:
        """Wait until this many lookups have ended."""
        until(lambda: len(self.results) >= number)

    @staticmethod
    def _name(call: Callable[[], Sequence[RSAPublicKey]]) -> str:
        try:
            found = call()
        except Refusal as refusal:
            return f"{refusal.status} {refusal.reason}"
        known = {OLD.public_key().public_numbers(): "old", NEW.public_key().public_numbers(): "new"}
        return "+".join(known[one.public_numbers()] for one in found)


@pytest.fixture
def world() -> Iterator[World]:
    """Yield a new world, and end its threads."""
    made = World()
    yield made
    made.gate.set()
    made.keys.close()


def test_a_key_is_cached(world: World) -> None:
    """DNS is not asked again during the first four fifths of the TTL."""
    assert [world.find(), world.find()] == ["old", "old"]
    world.now += 239
    assert world.find() == "old"
    assert world.asked == [KEY_ID]


def test_a_key_is_looked_up_again_before_it_expires(world: World) -> None:
    """In the last fifth of the TTL a request gets the cached key at once, and starts a lookup for the next requests."""
    world.find()
    world.answer = TxtRecords([record(NEW).encode()], 300)
    world.now += 241
    world.gate.clear()
    assert world.find() == "old"
    world.gate.set()
    world.wait_for_lookups(2)
    assert (world.find(), world.asked) == ("new", [KEY_ID] * 2)


@pytest.mark.parametrize(("ttl", "kept"), [(0, 60), (60, 60), (300, 300), (3_600, 3_600), (86_400, 3_600)])
def test_the_ttl_is_bounded_on_both_sides(world: World, ttl: int, kept: int) -> None:
    """A key is cached for its TTL, but for at least a minute and at most an hour."""
    world.answer = TxtRecords([record(OLD).encode()], ttl)
    world.find()
    world.answer = TxtRecords([], 0)
    world.now += 0.79 * kept
    assert world.find() == "old"
    world.now += 0.22 * kept
    assert world.find() == "403 key_unknown"


def test_the_last_valid_key_is_used_while_dns_is_down(world: World) -> None:
    """It is used for twelve hours, counts as expired, and requests don't wait for DNS."""
    world.find()
    world.answer = None
    world.now += 301
    assert world.find() == "old"  # waits for the lookup
    assert world.keys.ages() == [(301.0, True)]
    world.gate.clear()
    for _ in range(20):
        world.now += 1
        assert world.find() == "old"  # does not wait
    until(lambda: len(world.asked) == 3)
    world.gate.set()
    world.now = 1_000 + 12 * 3_600 + 1
    world.wait_for_lookups(3)
    assert world.find() == "503 key_unavailable"
    assert world.keys.ages() == []


def test_lookups_resume_when_dns_is_back(world: World) -> None:
    """After a failed lookup, the next one that DNS answers is used."""
    world.answer = None
    assert world.find() == "503 key_unavailable"
    world.answer = TxtRecords([record(OLD).encode()], 300)
    assert world.find() == "503 key_unavailable"
    world.now += 10
    assert world.find() == "old"
    assert world.keys.ages() == [(0.0, False)]
    assert world.results == ["failed", "found"]


def test_a_key_that_appears_is_found_soon(world: World) -> None:
    """The answer that there is no key is cached for half a minute."""
    world.answer = TxtRecords([], 3_600)
    assert world.find() == "403 key_unknown"
    world.answer = TxtRecords([record(OLD).encode()], 300)
    world.now += 29
    assert world.find() == "403 key_unknown"
    world.now += 1
    assert world.find() == "old"


def test_without_dns_a_key_is_unavailable_not_unknown(world: World) -> None:
    """If DNS is down now, it does not matter that the key was unknown half a minute ago."""
    world.answer = TxtRecords([], 0)
    world.find()
    world.answer = None
    world.now += 31
    assert world.find() == "503 key_unavailable"


def test_a_revoked_key_is_rejected(world: World) -> None:
    """An empty p= in the record revokes the key from the next lookup on."""
    world.find()
    world.answer = TxtRecords([b"v=DKIM1; k=rsa; p="], 300)
    world.now += 301
    assert world.find() == "403 key_revoked"
    assert world.results == ["found", "revoked"]


def test_a_rotated_key_is_found_before_the_old_one_expires(world: World) -> None:
    """If a signature does not match, the name is looked up again although the cached key has not expired."""
    world.find_first()
    world.answer = TxtRecords([record(NEW).encode()], 300)
    assert world.find_newer() == ""  # too early
    world.now += 10
    assert world.find_newer() == "new"
    assert world.find_newer() == "new"  # for every request that tried the old key
    assert world.find_first() == "new"
    world.now += 10
    assert world.find_newer() == ""  # nothing newer
    assert world.asked == [KEY_ID] * 3


def test_a_name_may_have_several_keys(world: World) -> None:
    """All keys of a name are returned."""
    world.answer = TxtRecords([record(OLD).encode(), record(NEW).encode()], 300)
    assert world.find() == "old+new"


def test_a_failed_lookup_is_logged(world: World, caplog: pytest.LogCaptureFixture, texts: Texts) -> None:
    """The warning has the name, the error of DNS, and whether a cached key is used."""
    world.find()
    world.answer = None
    world.now += 301
    world.find()
    [entry] = caplog.records
    fields = {name: vars(entry)[name] for name in ("key", "error", "have_key")}
    assert (entry.levelno, fields) == (logging.WARNING, {"key": KEY_ID, "error": "no answer", "have_key": True})
    texts.check(entry.getMessage())


def test_requests_for_one_name_share_a_lookup(world: World) -> None:
    """Many requests for a new name wait for one lookup. Beyond the limit, a request is rejected with 503."""
    most = module.MAX_WAITING["unverified"]
    world.gate.clear()
    with ThreadPoolExecutor(most) as pool:
        waiting = [pool.submit(world.find) for _ in range(most)]
        until(lambda: world.keys._waiting["unverified"]._value == 0)
        assert world.find() == "503 key_unavailable"
        world.gate.set()
        assert {one.result() for one in waiting} == {"old"}
    assert world.asked == [KEY_ID]


def test_threads_are_left_for_others() -> None:
    """One in eight of the threads for requests never waits for DNS."""
    assert sum(MAX_WAITING.values()) == PUBLIC_THREADS * 7 // 8


def test_requests_beyond_the_limit_use_the_expired_key(world: World) -> None:
    """When a key has expired, some requests wait for DNS. Beyond the limit, requests use the expired key."""
    most = module.MAX_WAITING["trusted"]
    world.find()
    world.now += 301
    world.gate.clear()
    with ThreadPoolExecutor(most) as pool:
        waiting = [pool.submit(world.find) for _ in range(most)]
        until(lambda: world.keys._waiting["trusted"]._value == 0)
        assert world.find() == "old"
        world.answer = TxtRecords([record(NEW).encode()], 300)
        world.gate.set()
        assert {one.result() for one in waiting} == {"new"}


def test_forged_requests_cause_few_lookups(world: World) -> None:
    """At most ten unverified names are looked up per second. A name that had a key is still looked up."""
    world.find()
    world.now += 13 * 3_600
    world.answer = TxtRecords([], 0)
    found = [world.find(f"x{number}.copernica.com") for number in range(20)]
    assert found == ["403 key_unknown"] * 10 + ["503 key_unavailable"] * 10
    assert len(world.asked) == 11
    world.answer = TxtRecords([record(OLD).encode()], 300)
    assert world.find() == "old"
    world.now += 1.1
    assert world.find("y.copernica.com") == "old"


def test_forged_requests_do_not_block_lookups_of_trusted_names(world: World) -> None:
    """While ten lookups of unverified names hang, a name that had a key is looked up on another thread."""
    world.find()
    world.now += 301
    world.gate.clear()
    with ThreadPoolExecutor(11) as pool:
        forged = [pool.submit(world.find, f"x{number}.copernica.com") for number in range(10)]
        until(lambda: len(world.asked) == 11)
        world.now += 2
        assert world.find("y.copernica.com") == "503 key_unavailable"
        good = pool.submit(world.find)
        until(lambda: len(world.asked) == 12)
        assert world.asked[-1] == KEY_ID
        world.gate.set()
        assert {one.result() for one in (*forged, good)} == {"old"}


def test_forged_names_do_not_evict_trusted_ones(world: World) -> None:
    """If the cache is full, names without a key are evicted first."""
    world.find()
    world.answer = TxtRecords([], 0)
    for number in range(3 * module.MAX_NAMES):
        world.find(f"x{number}.copernica.com")
    assert world.find() == "old"
    assert world.asked.count(KEY_ID) == 1


def test_an_internal_error_in_a_lookup_is_a_failed_lookup(
    world: World, caplog: pytest.LogCaptureFixture, texts: Texts
) -> None:
    """It is logged, and the request is rejected with 503."""
    world.answer = TxtRecords([0], 300)  # type: ignore[list-item]  # an internal error
    assert world.find() == "503 key_unavailable"
    [entry] = caplog.records
    assert (entry.levelno, bool(entry.exc_info), vars(entry)["key"]) == (logging.ERROR, True, KEY_ID)
    texts.check(entry.getMessage())
