"""The cache of public keys, with a fake clock and a fake DNS."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from exporter.refusals import Refusal
from exporter.serve import MAX_CONNECTIONS
from exporter.signature.key_records import DnsDown, TxtRecords
from exporter.signature.keys import (
    MAX_LOOKUPS,
    MAX_NAMES,
    MAX_WAITING,
    NEGATIVE_TTL,
    RETRY,
    STALE,
    Keys,
    LookupPending,
)
from tests.support.running import TIMEOUT, until
from tests.support.signing import KEY_ID, key, record
from tests.support.texts import Texts

OLD, NEW = key(0), key(1)
WAITS: Final = "waits"
ANSWERS: Final = {
    "a key": TxtRecords([record(NEW).encode()], 300),
    "no key": TxtRecords([], 0),
    "DNS fails": None,
}


class World:
    """A clock, a DNS with one answer for all names, and the cache that uses them. Lookups end while ``gate`` is set."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.answer: TxtRecords | None = TxtRecords([record(OLD).encode()], 300)
        self.asked: list[str] = []
        self.results: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.tried: Sequence[RSAPublicKey] = ()
        self.lookups = list[Future[None]]()
        self.keys = Keys(self._resolve, on_result=self.results.append, clock=lambda: self.now)

    def _resolve(self, name: str) -> TxtRecords:
        self.asked.append(name)
        assert self.gate.wait(TIMEOUT)
        if self.answer is None:
            raise DnsDown("no answer")
        return self.answer

    def ask(self, name: str = KEY_ID, *, may_wait: bool = True) -> str:
        """Ask once. Return ``old``, ``new``, ``old+new``, status and reason of the rejection, or WAITS.

        If the request has to wait, append the lookup to ``lookups``.
        """
        return self._name(lambda: self.keys.find(name, may_wait=may_wait))

    def ask_newer(self, *, may_wait: bool = True) -> str:
        """Ask once for keys that replaced those tried; return the same as ``ask``, or nothing if there are none."""
        return self._name(lambda: self.keys.find_newer(KEY_ID, self.tried, may_wait=may_wait))

    def find(self, name: str = KEY_ID) -> str:
        """Ask, and if the request has to wait, do so and ask again. It never has to wait twice."""
        return self._find(lambda: self.ask(name))

    def find_first(self) -> str:
        """Find the keys, and remember them as tried."""
        found = self.find()
        self.tried = self.keys.find(KEY_ID, may_wait=False)
        return found

    def find_newer(self) -> str:
        """Ask for newer keys, and if the request has to wait, do so and ask again. It never has to wait twice."""
        return self._find(self.ask_newer)

    def wait_for_lookups(self, number: int) -> None:
        """Wait until this many lookups have ended."""
        until(lambda: len(self.results) >= number)

    def reach(self, state: str) -> None:
        """Bring the name into a state of the module's diagram, at a time when a lookup is due."""
        if state != "unverified":
            self.find()
            self.now += 241 if state == "fresh" else 301
        if state == "keyless":
            self.answer = ANSWERS["no key"]
            self.find()
            self.now += NEGATIVE_TTL
        if state.startswith("stale"):
            self.answer = None
            self.find()
            self.now += RETRY if state == "stale" else STALE

    def _find(self, ask: Callable[[], str]) -> str:
        if (found := ask()) == WAITS:
            self.lookups[-1].result(TIMEOUT)
            found = ask()
            assert found != WAITS
        return found

    def _name(self, call: Callable[[], Sequence[RSAPublicKey]]) -> str:
        try:
            found = call()
        except Refusal as refusal:
            return f"{refusal.status} {refusal.reason}"
        except LookupPending as pending:
            self.lookups.append(pending.lookup)
            return WAITS
        known = {OLD.public_key().public_numbers(): "old", NEW.public_key().public_numbers(): "new"}
        return "+".join(known[one.public_numbers()] for one in found)


@pytest.fixture
def world() -> Iterator[World]:
    """Yield a new world, and end its threads."""
    made = World()
    yield made
    made.gate.set()
    made.keys.close()


class Transition(NamedTuple):
    """What a request gets while DNS is asked, what it gets afterwards, and whether each cached key is then stale."""

    during: str
    after: str
    stale: list[bool]


TRANSITIONS: Final = {
    ("unverified", "a key"): Transition(WAITS, "new", [False]),
    ("unverified", "no key"): Transition(WAITS, "403 key_unknown", []),
    ("unverified", "DNS fails"): Transition(WAITS, "503 key_unavailable", []),
    ("fresh", "a key"): Transition("old", "new", [False]),
    ("fresh", "no key"): Transition("old", "403 key_unknown", []),
    ("fresh", "DNS fails"): Transition("old", "old", [False]),
    ("expired", "a key"): Transition(WAITS, "new", [False]),
    ("expired", "no key"): Transition(WAITS, "403 key_unknown", []),
    ("expired", "DNS fails"): Transition(WAITS, "old", [True]),
    ("stale", "a key"): Transition("old", "new", [False]),
    ("stale", "no key"): Transition("old", "403 key_unknown", []),
    ("stale", "DNS fails"): Transition("old", "old", [True]),
    ("stale for too long", "a key"): Transition(WAITS, "new", [False]),
    ("stale for too long", "no key"): Transition(WAITS, "403 key_unknown", []),
    ("stale for too long", "DNS fails"): Transition(WAITS, "503 key_unavailable", []),
    ("keyless", "a key"): Transition(WAITS, "new", [False]),
    ("keyless", "no key"): Transition(WAITS, "403 key_unknown", []),
    ("keyless", "DNS fails"): Transition(WAITS, "503 key_unavailable", []),
}


@pytest.mark.parametrize(("state", "answer"), TRANSITIONS)
def test_states(world: World, state: str, answer: str) -> None:
    """In each state a lookup starts, and its result leads to the next state, as in the module's diagram."""
    during, after, stale = TRANSITIONS[state, answer]
    world.reach(state)
    world.answer = ANSWERS[answer]
    done = len(world.results)
    world.gate.clear()
    assert world.ask() == during
    until(lambda: len(world.asked) == done + 1)
    world.gate.set()
    world.wait_for_lookups(done + 1)
    assert world.ask() == after
    assert [is_stale for _, is_stale in world.keys.ages()] == stale
    assert len(world.asked) == done + 1


@pytest.mark.parametrize(
    ("state", "during"),
    [
        ("unverified", "503 key_unavailable"),
        ("fresh", "old"),
        ("expired", "old"),
        ("stale", "old"),
        ("stale for too long", "503 key_unavailable"),
        ("keyless", "503 key_unavailable"),
    ],
)
def test_a_request_that_may_not_wait(world: World, state: str, during: str) -> None:
    """It starts a lookup, too. Until that ends it gets the cached key, expired or not, or 503 if there is none.

    That DNS said that there is no key proves nothing once this answer is too old, so it is not 403.
    """
    world.reach(state)
    done = len(world.results)
    world.gate.clear()
    assert [world.ask(may_wait=False), world.ask(may_wait=False)] == [during] * 2
    until(lambda: len(world.asked) == done + 1)
    world.answer = ANSWERS["a key"]
    world.gate.set()
    world.wait_for_lookups(done + 1)
    assert world.ask(may_wait=False) == "new"


def test_a_key_that_could_not_be_refreshed_becomes_stale(world: World) -> None:
    """If DNS fails near the end of the TTL, no request waits for DNS when the TTL is over."""
    world.reach("fresh")
    world.answer = None
    world.ask()
    world.wait_for_lookups(2)
    assert world.keys.ages() == [(241.0, False)]
    world.now += 59
    assert world.ask() == "old"
    assert world.keys.ages() == [(300.0, True)]
    world.wait_for_lookups(3)


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
        assert world.ask() == "old"  # does not wait
    until(lambda: len(world.asked) == 3)
    world.gate.set()
    world.now = 1_000 + 12 * 3_600
    world.wait_for_lookups(3)
    assert world.ask() == "old"
    world.now += 1
    world.wait_for_lookups(4)
    assert world.ask() == "503 key_unavailable"
    assert world.keys.ages() == []


def test_lookups_resume_when_dns_is_back(world: World) -> None:
    """After a failed lookup, no other starts for five seconds; the next one that DNS answers is used."""
    world.answer = None
    assert world.find() == "503 key_unavailable"
    world.answer = TxtRecords([record(OLD).encode()], 300)
    world.now += 4.9
    assert world.ask() == "503 key_unavailable"
    world.now += 0.1
    assert world.find() == "old"
    assert world.keys.ages() == [(0.0, False)]
    assert world.results == ["failed", "found"]


def test_a_key_that_appears_is_found_soon(world: World) -> None:
    """The answer that there is no key is cached for half a minute."""
    world.answer = TxtRecords([], 3_600)
    assert world.find() == "403 key_unknown"
    world.answer = TxtRecords([record(OLD).encode()], 300)
    world.now += 29
    assert world.ask() == "403 key_unknown"
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
    assert world.ask_newer() == ""  # too early
    world.now += 10
    assert world.ask_newer() == WAITS
    assert world.find_newer() == "new"
    assert world.ask_newer() == "new"  # for every request that tried the old key
    assert world.find_first() == "new"
    world.now += 10
    assert world.find_newer() == ""  # nothing newer
    assert world.asked == [KEY_ID] * 3


def test_a_request_that_waited_for_a_newer_key_begins_again(world: World) -> None:
    """When it asks again from the beginning, it gets the newer key at once; or the same one, and no newer.

    If DNS does not answer it gets 503, because the signature may be valid.
    """
    world.find_first()
    for answer, newer in (("a key", ""), ("no change", ""), ("DNS fails", "503 key_unavailable")):
        world.answer = ANSWERS.get(answer, world.answer)
        world.now += 10
        assert world.ask_newer() == WAITS
        world.lookups[-1].result(TIMEOUT)
        assert world.find_first() == "new"
        assert world.ask_newer() == newer
    assert world.results == ["found", "found", "found", "failed"]


def test_a_newer_key_that_cannot_be_looked_up_now(world: World) -> None:
    """If too many lookups run, the request gets 503, because the signature may be valid."""
    world.find_first()
    others = [f"{number}.copernica.com" for number in range(MAX_LOOKUPS["trusted"])]
    for name in others:
        world.find(name)
    world.now += 301
    world.gate.clear()
    assert {world.ask(name) for name in others} == {WAITS}
    world.keys._entries[KEY_ID].expires = world.now + 1
    assert world.ask_newer() == "503 key_unavailable"


def test_a_newer_key_without_a_thread_to_look_it_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system allows no more threads, that is as if DNS did not answer."""
    world.find_first()
    world.now += 10

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(world.keys._pools["trusted"], "submit", fail)
    assert [world.ask_newer(), world.ask_newer()] == ["503 key_unavailable"] * 2


def test_a_request_that_may_not_wait_for_a_newer_key(world: World) -> None:
    """While DNS is asked for a newer key it gets 503, because the signature may be valid."""
    world.find_first()
    world.now += 10
    world.gate.clear()
    assert [world.ask_newer(may_wait=False), world.ask_newer(may_wait=False)] == ["503 key_unavailable"] * 2
    world.answer = ANSWERS["a key"]
    world.gate.set()
    world.wait_for_lookups(2)
    assert world.ask_newer(may_wait=False) == "new"
    assert world.asked == [KEY_ID] * 2


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
    """All requests that wait for a name have the same lookup. It is done when the keys are there."""
    world.gate.clear()
    assert [world.ask(), world.ask()] == [WAITS, WAITS]
    first, second = world.lookups
    assert first is second
    assert not first.done()
    world.gate.set()
    assert first.result(TIMEOUT) is None
    assert world.ask(may_wait=False) == "old"
    assert world.asked == [KEY_ID]


@pytest.mark.parametrize(
    ("state", "kind", "beyond"),
    [
        ("unverified", "unverified", "503 key_unavailable"),
        ("expired", "trusted", "old"),
        ("keyless", "trusted", "503 key_unavailable"),
    ],
)
def test_a_limited_number_of_requests_wait(world: World, state: str, kind: str, beyond: str) -> None:
    """A request beyond the limit gets the expired key if there is one, otherwise 503.

    Unverified names and others have separate limits.
    """
    world.find("trusted.copernica.com")
    world.reach(state)
    world.now += 301
    world.gate.clear()
    assert {world.ask() for _ in range(MAX_WAITING[kind])} == {WAITS}
    assert [world.ask(), world.ask()] == [beyond] * 2
    assert world.ask("trusted.copernica.com" if kind == "unverified" else "new.copernica.com") == WAITS
    world.answer = ANSWERS["a key"]
    world.gate.set()
    world.lookups[-2].result(TIMEOUT)
    assert world.ask() == "new"


def test_as_many_requests_wait_for_the_next_lookup(world: World) -> None:
    """Requests wait no longer when their lookup is done, whatever its result."""
    free = world.keys._waiting["unverified"]
    for name, answer in (("x.copernica.com", "no key"), ("y.copernica.com", "DNS fails"), ("z.copernica.com", "a key")):
        world.answer = ANSWERS[answer]
        world.gate.clear()
        assert [world.ask(name) for _ in range(9)] == [WAITS] * 9
        assert free._value == MAX_WAITING["unverified"] - 9
        world.gate.set()
        until(lambda: free._value == MAX_WAITING["unverified"])


def test_requests_that_wait_for_a_newer_key_have_the_same_limit(world: World) -> None:
    """Beyond the limit a request whose signature does not match gets 503, because there may be a newer key."""
    world.find_first()
    world.now += 10
    world.gate.clear()
    assert {world.ask_newer() for _ in range(MAX_WAITING["trusted"])} == {WAITS}
    assert world.ask_newer() == "503 key_unavailable"


def test_connections_are_left_for_others() -> None:
    """A quarter of the public connections never waits for DNS."""
    assert sum(MAX_WAITING.values()) == MAX_CONNECTIONS.public * 3 // 4


@pytest.mark.parametrize(("kind", "beyond"), [("unverified", "503 key_unavailable"), ("trusted", "old")])
def test_a_limited_number_of_lookups_run(world: World, kind: str, beyond: str) -> None:
    """While the limit of lookups hang, another name gets its expired key or 503. Its lookup starts when they are done.

    Unverified names and others have separate limits.
    """
    most = MAX_LOOKUPS[kind]
    names = [f"x{number}.copernica.com" for number in range(most + 1)]
    *running, another = names
    world.find()  # a trusted name
    if kind == "trusted":
        for name in names:
            world.find(name)
            world.now += 1
    world.now += 301
    done = len(world.asked)
    world.gate.clear()
    assert [world.ask(name) for name in running] == [WAITS] * most
    world.now += 1.1
    assert [world.ask(another), world.ask(another, may_wait=False)] == [beyond] * 2
    assert world.ask(KEY_ID if kind == "unverified" else "y.copernica.com") == WAITS
    until(lambda: len(world.asked) == done + most + 1)
    world.gate.set()
    world.wait_for_lookups(done + most + 1)
    assert world.ask(another) == WAITS
    world.wait_for_lookups(done + most + 2)
    assert world.asked[-1] == another


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


def test_forged_names_do_not_evict_trusted_ones(world: World) -> None:
    """If the cache is full, names without a key are evicted first."""
    world.find()
    world.answer = TxtRecords([], 0)
    for number in range(3 * MAX_NAMES):
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


def test_a_key_is_used_although_no_thread_can_look_it_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system allows no more threads, a cached key serves; without one, the request is rejected with 503."""
    world.find()
    world.now += 241

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", fail)
    assert (world.find(), world.find("x.copernica.com")) == ("old", "503 key_unavailable")
    world.now += 60
    assert world.find() == "old"
