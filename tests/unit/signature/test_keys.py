"""The cache of public keys, with a clock and a DNS that do as they are told; and the resolver against a name server."""

import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from exporter.net import Address
from exporter.refusals import Refusal
from exporter.serve import PUBLIC_THREADS
from exporter.signature import keys as module
from exporter.signature.key_records import DnsDown, TxtRecords, read_records, resolver
from exporter.signature.keys import MAX_WAITING, Keys
from tests.support.running import until
from tests.support.signing import KEY_ID, NameServer, key, record, short_record

OLD, NEW = key(0), key(1)


class World:
    """A clock, a DNS with one answer for all names, and the cache that sees them."""

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
        assert self.gate.wait(10)
        if self.answer is None:
            raise DnsDown("no answer")
        return self.answer

    def find(self, name: str = KEY_ID) -> str:
        """``old``, ``new``, ``both``, or status and reason of the refusal."""
        return self._name(lambda: self.keys.find(name))

    def holding(self) -> str:
        """As :meth:`find`, and remember the keys as those to be tried."""
        self.tried = self.keys.find(KEY_ID)
        return self.find()

    def find_newer(self, name: str = KEY_ID) -> str:
        """As :meth:`find`; empty when there is none."""
        return self._name(lambda: self.keys.find_newer(name, self.tried))

    def looked_up(self, times: int) -> None:
        """Wait until so many look-ups are over."""
        until(lambda: len(self.results) >= times)

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
    """A new one, whose threads end."""
    made = World()
    yield made
    made.gate.set()
    made.keys.close()


def test_a_key_is_looked_up_once_while_it_lasts(world: World) -> None:
    """Until four fifths of its time are over, DNS is not asked again."""
    assert [world.find(), world.find()] == ["old", "old"]
    world.now += 239
    assert world.find() == "old"
    assert world.asked == [KEY_ID]


def test_a_key_is_looked_up_again_before_it_expires(world: World) -> None:
    """Whoever uses a key in the last fifth of its time gets it at once; what DNS says then is used by the next."""
    world.find()
    world.answer = TxtRecords([record(NEW).encode()], 300)
    world.now += 241
    world.gate.clear()
    assert world.find() == "old"
    world.gate.set()
    world.looked_up(2)
    assert (world.find(), world.asked) == ("new", [KEY_ID] * 2)


@pytest.mark.parametrize(("ttl", "kept"), [(0, 60), (60, 60), (300, 300), (3_600, 3_600), (86_400, 3_600)])
def test_the_time_to_live_is_bounded_on_both_sides(world: World, ttl: int, kept: int) -> None:
    """A key is kept for as long as DNS says, but for a minute at least and an hour at most."""
    world.answer = TxtRecords([record(OLD).encode()], ttl)
    world.find()
    world.answer = TxtRecords([], 0)
    world.now += 0.79 * kept
    assert world.find() == "old"
    world.now += 0.22 * kept
    assert world.find() == "403 key_unknown"


def test_the_last_good_key_serves_while_dns_is_down(world: World) -> None:
    """It is used for twelve hours, is shown as stale, and nobody waits for DNS."""
    world.find()
    world.answer = None
    world.now += 301
    assert world.find() == "old"  # this one waited for the look-up
    assert world.keys.ages() == [(301.0, True)]
    world.gate.clear()
    for _ in range(20):
        world.now += 1
        assert world.find() == "old"  # and these do not
    until(lambda: len(world.asked) == 3)
    world.gate.set()
    world.now = 1_000 + 12 * 3_600 + 1
    world.looked_up(3)
    assert world.find() == "503 key_unavailable"
    assert world.keys.ages() == []


def test_heals_when_dns_is_back(world: World) -> None:
    """After a failure the next look-up that is answered counts."""
    world.answer = None
    assert world.find() == "503 key_unavailable"
    world.answer = TxtRecords([record(OLD).encode()], 300)
    assert world.find() == "503 key_unavailable"
    world.now += 10
    assert world.find() == "old"
    assert world.keys.ages() == [(0.0, False)]
    assert world.results == ["failed", "found"]


def test_a_key_that_appears_is_found_soon(world: World) -> None:
    """That there is no key is believed for half a minute."""
    world.answer = TxtRecords([], 3_600)
    assert world.find() == "403 key_unknown"
    world.answer = TxtRecords([record(OLD).encode()], 300)
    world.now += 29
    assert world.find() == "403 key_unknown"
    world.now += 1
    assert world.find() == "old"


def test_without_dns_an_unknown_key_is_not_called_unknown(world: World) -> None:
    """What was unknown half a minute ago can't be told when DNS is down now."""
    world.answer = TxtRecords([], 0)
    world.find()
    world.answer = None
    world.now += 31
    assert world.find() == "503 key_unavailable"


def test_a_withdrawn_key_is_refused(world: World) -> None:
    """An empty p= in the record ends a key's life, as soon as it is looked up again."""
    world.find()
    world.answer = TxtRecords([b"v=DKIM1; k=rsa; p="], 300)
    world.now += 301
    assert world.find() == "403 key_revoked"
    assert world.results == ["found", "revoked"]


def test_rotation_is_seen_at_once(world: World) -> None:
    """When a signature does not fit, the name is looked up again, though the old key has not expired."""
    world.holding()
    world.answer = TxtRecords([record(NEW).encode()], 300)
    assert world.find_newer() == ""  # too early
    world.now += 10
    assert world.find_newer() == "new"
    assert world.find_newer() == "new"  # for all that tried the old one
    assert world.holding() == "new"
    world.now += 10
    assert world.find_newer() == ""  # nothing newer
    assert world.asked == [KEY_ID] * 3


def test_old_and_new_key_may_stand_side_by_side(world: World) -> None:
    """All records of a name are good; one that is revoked, unusable or something else does not spoil them."""
    texts = [record(OLD), record(NEW), "v=DKIM1; p=", "v=spf1 -all", "v=DKIM1; p=AAAA"]
    world.answer = TxtRecords([text.encode() for text in texts], 300)
    assert world.find() == "old+new"


def test_a_name_is_looked_up_once_at_a_time(world: World) -> None:
    """A crowd of requests for one new name wait for one look-up; one more is told to come back."""
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
    """Of the threads that serve requests, one in eight waits for no name server."""
    assert sum(MAX_WAITING.values()) == PUBLIC_THREADS * 7 // 8


def test_a_crowd_does_not_wait_for_a_key_that_is_held(world: World) -> None:
    """When the time of a key is over, some requests wait for DNS; those that find no room go on with the key."""
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


def test_strangers_cannot_make_us_ask_for_ever(world: World) -> None:
    """Of names without a key ten are looked up in a second; one that had a key goes on being looked up."""
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


def test_strangers_cannot_occupy_the_look_ups(world: World) -> None:
    """Ten names whose servers are silent wait; the look-up of a name that had a key has threads of its own."""
    world.find()
    world.now += 301
    world.gate.clear()
    with ThreadPoolExecutor(11) as pool:
        strange = [pool.submit(world.find, f"x{number}.copernica.com") for number in range(10)]
        until(lambda: len(world.asked) == 11)
        world.now += 2
        assert world.find("y.copernica.com") == "503 key_unavailable"
        good = pool.submit(world.find)
        until(lambda: len(world.asked) == 12)
        assert world.asked[-1] == KEY_ID
        world.gate.set()
        assert {one.result() for one in (*strange, good)} == {"old"}


def test_a_crowd_of_names_does_not_push_the_good_key_out(world: World) -> None:
    """When more names are asked for than are remembered, those without a key are forgotten first."""
    world.find()
    world.answer = TxtRecords([], 0)
    for number in range(3 * module.MAX_NAMES):
        world.find(f"x{number}.copernica.com")
    assert world.find() == "old"
    assert world.asked.count(KEY_ID) == 1


def test_a_fault_in_a_look_up_is_a_failed_look_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and holds up nobody."""
    world.answer = TxtRecords([0], 300)  # type: ignore[list-item]  # so that it is a fault
    assert world.find() == "503 key_unavailable"
    assert [one.getMessage() for one in caplog.records] == ["fault while looking up a key; please report it"]


def der(public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> str:
    """The key as a record."""
    raw = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; p={base64.b64encode(raw).decode()}"


RECORDS: Final = {
    "documented": ([record(OLD)], (1, "found")),
    "PKCS#1": ([record(OLD, PublicFormat.PKCS1)], (1, "found")),
    "no version, no kind": ([record(OLD).partition("rsa; ")[2]], (1, "found")),
    "spaces within": ([record(OLD).replace("A", "A ")], (1, "found")),
    "1024 bits": ([record(key(0, 1_024))], (1, "found")),
    "1023 bits": ([short_record()], (0, "unusable")),
    "final semicolon": ([record(OLD) + "; "], (1, "found")),
    "sha256 among the hashes": (["h=sha1:sha256; " + record(OLD)], (1, "found")),
    "sha1 only": (["h=sha1; " + record(OLD)], (0, "unusable")),
    "no RSA by its word": ([record(OLD).replace("rsa", "ed25519")], (0, "unusable")),
    "elliptic curve": ([der(ec.generate_private_key(ec.SECP256R1()).public_key())], (0, "unusable")),
    "Ed25519": ([der(ed25519.Ed25519PrivateKey.generate().public_key())], (0, "unusable")),
    "not base64": (["v=DKIM1; p=***"], (0, "unusable")),
    "not a key": (["v=DKIM1; p=AAAA"], (0, "unusable")),
    "revoked": (["v=DKIM1; p="], (0, "revoked")),
    "another version": ([record(OLD).replace("DKIM1", "DKIM2")], (0, "unknown")),
    "other records": (["v=spf1 -all", ""], (0, "unknown")),
    "none": ([], (0, "unknown")),
}


@pytest.mark.parametrize(("texts", "expected"), RECORDS.values(), ids=RECORDS)
def test_reads_records(texts: list[str], expected: tuple[int, str]) -> None:
    """A record is read as RFC 6376 has it; what is not an RSA key of 1024 bits or more is not used."""
    found, result = read_records(KEY_ID, [text.encode() for text in texts])
    assert (len(found), result) == expected


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_no_record_is_too_odd(texts: list[bytes]) -> None:
    """Whatever DNS holds, the result is one that is known."""
    found, result = read_records(KEY_ID, texts)
    assert (found, result) in [((), "unknown"), ((), "revoked"), ((), "unusable")]


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    """A real one, on loopback."""
    with NameServer() as running:
        yield running


def asking(name_server: NameServer) -> Callable[[str], TxtRecords]:
    """A resolver that asks it."""
    host, _, port = name_server.address.partition(":")
    return resolver([Address(host, int(port))])


def test_asks_a_real_name_server(name_server: NameServer) -> None:
    """A record of several strings is put together, the time to live is told, and a missing name has no texts."""
    name_server.records = {KEY_ID: [record(OLD)], "empty.copernica.com": []}
    ask = asking(name_server)
    assert ask(KEY_ID) == TxtRecords([record(OLD).encode()], 300)
    assert ask("empty.copernica.com").texts == ()
    assert ask("none.copernica.com").texts == ()
    assert name_server.asked == {KEY_ID: 1, "empty.copernica.com": 1, "none.copernica.com": 1}


@pytest.mark.parametrize("how", ["silent", "failing"])
def test_a_name_server_that_fails_is_told_from_a_missing_key(name_server: NameServer, how: str) -> None:
    """No answer in time, and SERVFAIL, are failures of DNS."""
    setattr(name_server, how, True)
    with pytest.raises(DnsDown):
        asking(name_server)(KEY_ID)
