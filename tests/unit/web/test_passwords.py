"""Passwords of basic authentication: right and wrong ones, what a check costs, and how many wait."""

import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import bcrypt
import pytest

from exporter.web.passwords import MAX_WAITING, MAX_WAITING_OF_CLIENT, Busy, Passwords
from tests.support.running import TIMEOUT, until
from tests.support.web_config import basic, hashed

LONG: Final = "x" * 72
PEOPLE: Final = {"alice": "sesame", "bob": "", "carol": "a:b", "dave": LONG, "erin": "ünïcode", "frank": "a\0b"}

CREDENTIALS: Final = {
    "right": (basic("alice:sesame"), True),
    "scheme in capitals": (basic("alice:sesame").replace("Basic", "BASIC"), True),
    "more spaces": (basic("alice:sesame").replace(" ", "   "), True),
    "empty password": (basic("bob:"), True),
    "colon in the password": (basic("carol:a:b"), True),
    "password of 72 bytes": (basic(f"dave:{LONG}"), True),
    "password beyond ASCII": (basic("erin:ünïcode"), True),
    "NUL in the password": (basic("frank:a\0b"), True),
    "cut off at NUL": (basic("frank:a"), False),
    "wrong password": (basic("alice:Sesame"), False),
    "password of another user": (basic("bob:sesame"), False),
    "password and more": (basic("alice:sesame:"), False),
    "no password": (basic("alice:"), False),
    "no colon": (basic("bob"), False),
    "unknown user": (basic("mallory:sesame"), False),
    "no user": (basic(":sesame"), False),
    "nothing": (basic(""), False),
    "user with NUL": (basic("alice\0:sesame"), False),
    "user in capitals": (basic("Alice:sesame"), False),
    "password of 73 bytes": (basic(f"dave:{LONG}x"), False),
    "very long password": (basic(f"dave:{LONG * 1_000}"), False),
    "no header": (None, False),
    "empty header": ("", False),
    "scheme only": ("Basic", False),
    "other scheme": (basic("alice:sesame").replace("Basic", "Bearer"), False),
    "no scheme": (b64encode(b"alice:sesame").decode(), False),
    "not base64": ("Basic alice:sesame", False),
    "base64 without padding": (basic("alice:sesame1").rstrip("="), False),
    "two of them": (f"{basic('alice:sesame')}, {basic('alice:sesame')}", False),
    "not UTF-8": (f"Basic {b64encode(b'alice:' + bytes([0xFF])).decode()}", False),
    "header beyond ASCII": ("Basic ÿ", False),
}


UNUSABLE: Final = {
    "no colon",
    "nothing",
    "password of 73 bytes",
    "very long password",
    "no header",
    "empty header",
    "scheme only",
    "other scheme",
    "no scheme",
    "not base64",
    "base64 without padding",
    "two of them",
    "not UTF-8",
    "header beyond ASCII",
}
"""The names of the credentials that no user can have."""


def passwords_of(**hashes: str) -> Passwords:
    """Return the users with these hashes."""
    return Passwords({user: text.encode() for user, text in hashes.items()})


@pytest.fixture(scope="module")
def people() -> Passwords:
    """Return the users of PEOPLE."""
    return passwords_of(**{user: hashed(password) for user, password in PEOPLE.items()})


@pytest.mark.parametrize(("header", "admitted"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_authentication(people: Passwords, header: str | None, *, admitted: bool) -> None:
    """Only the right password of a known user is accepted, the first time and later."""
    assert [people.admits(header) for _ in range(3)] == [admitted] * 3


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_all_tools_are_accepted(kind: str) -> None:
    """The prefixes of htpasswd ($2y$), Go ($2a$) and Python ($2b$) mean the same."""
    passwords = passwords_of(alice=hashed("sesame").replace("$2b$", kind))
    assert [passwords.admits(basic(f"alice:{text}")) for text in ("sesame", "other")] == [True, False]


def test_a_user_name_with_a_colon_never_matches() -> None:
    """The header cannot name such a user, and the part before the colon is not a user."""
    passwords = passwords_of(**{"alice:x": hashed("sesame")})
    assert [passwords.admits(basic(text)) for text in ("alice:x:sesame", "alice:sesame", "x:sesame")] == [False] * 3


def test_without_users_every_request_is_admitted() -> None:
    """No password is needed, and an odd header does not matter."""
    assert [Passwords({}).admits(header) for header in (None, "Basic !")] == [True, True]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int]]:
    """Return the passwords that bcrypt has checked, each with the cost of the hash."""
    checks = []
    check = bcrypt.checkpw

    def recording(password: bytes, hashed_password: bytes) -> bool:
        checks.append((password, int(hashed_password[4:6])))
        return check(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", recording)
    return checks


def test_bcrypt_checks_right_credentials_once(checked: list[tuple[bytes, int]]) -> None:
    """Right credentials are cached; wrong ones cost the same each time, whether the user exists or not."""
    passwords = passwords_of(alice=hashed("sesame"), bob=hashed("sesame2"))
    tries = ["alice:sesame", "bob:sesame2"] * 3 + ["alice:wrong", "mallory:sesame"] * 2 + ["bob:sesame", "alice:sesame"]
    assert [passwords.admits(basic(text)) for text in tries] == [True] * 6 + [False] * 5 + [True]
    assert checked == [(word, 4) for word in (b"sesame", b"sesame2", *[b"wrong", b"sesame"] * 2, b"sesame")]


@pytest.mark.parametrize(("user", "password"), [("alice", "x"), ("alice", "sesame"), ("bob", "x"), ("mallory", "x")])
def test_each_check_takes_as_long_as_the_most_expensive(
    checked: list[tuple[bytes, int]], user: str, password: str
) -> None:
    """The time tells neither which users exist nor the cost of their hashes: 2 to the power of the highest cost."""
    passwords = passwords_of(alice=hashed("sesame"), bob=hashed("sesame", cost=7))
    passwords.admits(basic(f"{user}:{password}"))
    assert sum(2**cost for _, cost in checked) == 2**7


@pytest.mark.parametrize("name", [name for name, (_, admitted) in CREDENTIALS.items() if not admitted])
def test_only_credentials_that_may_be_right_are_checked(
    people: Passwords, checked: list[tuple[bytes, int]], name: str
) -> None:
    """A request without usable credentials costs no check."""
    header, _ = CREDENTIALS[name]
    people.admits(header)
    assert len(checked) == (0 if name in UNUSABLE else 1)


def test_cached_credentials_end_with_the_user(checked: list[tuple[bytes, int]]) -> None:
    """After a change, an old password and that of a removed user are rejected. Others need no new check."""
    passwords = passwords_of(alice=hashed("old"), bob=hashed("sesame"), carol=hashed("same"))
    tries = [basic(text) for text in ("alice:old", "alice:new", "bob:sesame", "carol:same")]
    assert [passwords.admits(header) for header in tries] == [True, False, True, True]
    passwords.replace({"alice": hashed("new").encode(), "carol": hashed("same").encode()})
    checked.clear()
    assert [passwords.admits(header) for header in tries] == [False, True, False, True]
    assert (b"same", 4) not in checked


class Checks:
    """Checks of bcrypt that wait until they are released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running: list[bytes] = []
        self.most = 0
        self.all: list[bytes] = []
        self.released = threading.Event()
        self._check = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self.check)

    def check(self, password: bytes, hashed_password: bytes) -> bool:
        """Check the password after the release."""
        self.all.append(password)
        self.running.append(password)
        self.most = max(self.most, len(self.running))
        assert self.released.wait(TIMEOUT)
        self.running.remove(password)
        return self._check(password, hashed_password)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Return checks that wait until they are released."""
    return Checks(monkeypatch)


def test_checks_run_one_at_a_time_and_few_wait(checks: Checks) -> None:
    """Others are rejected at once, per client and in all; a known right password and no password never wait."""
    passwords = passwords_of(alice=hashed("sesame"))
    checks.released.set()
    assert passwords.admits(basic("alice:sesame"))
    checks.released.clear()
    with ThreadPoolExecutor(MAX_WAITING) as pool:
        waiting = [
            pool.submit(passwords.admits, basic(f"alice:{number}"), client=str(number // MAX_WAITING_OF_CLIENT))
            for number in range(MAX_WAITING_OF_CLIENT)
        ]
        until(lambda: len(passwords._waiting) == MAX_WAITING_OF_CLIENT)
        with pytest.raises(Busy):
            passwords.admits(basic("alice:x"), client="0")
        waiting += [
            pool.submit(passwords.admits, basic(f"alice:{number}"), client=f"other {number}")
            for number in range(MAX_WAITING_OF_CLIENT, MAX_WAITING)
        ]
        until(lambda: len(passwords._waiting) == MAX_WAITING)
        with pytest.raises(Busy):
            passwords.admits(basic("alice:x"), client="one more")
        assert [passwords.admits(header) for header in (basic("alice:sesame"), None, "Basic !")] == [True, False, False]
        checks.released.set()
        assert [future.result(TIMEOUT) for future in waiting] == [False] * MAX_WAITING
    assert checks.most == 1
    assert passwords.admits(basic("alice:x")) is False, "there is room again"


def test_the_check_of_a_client_that_left_is_dropped(checks: Checks) -> None:
    """A waiting check does not run once its connection has ended, and makes room."""
    passwords = passwords_of(alice=hashed("sesame"))
    left = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(passwords.admits, basic("alice:1"))
        until(lambda: checks.running)
        dropped = pool.submit(passwords.admits, basic("alice:sesame"), disconnected=left.is_set)
        until(lambda: len(passwords._waiting) == 2)
        left.set()
        with pytest.raises(Busy):
            dropped.result(TIMEOUT)
        assert len(passwords._waiting) == 1
        checks.released.set()
        assert running.result(TIMEOUT) is False
    assert checks.all == [b"1"]


def test_the_same_password_is_checked_once_for_all_that_wait(checks: Checks) -> None:
    """Scrapes that arrive together after a start need one check."""
    passwords = passwords_of(alice=hashed("sesame"))
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(passwords.admits, basic("alice:sesame"), client=str(number)) for number in range(4)]
        until(lambda: len(passwords._waiting) == 4)
        checks.released.set()
        assert [future.result(TIMEOUT) for future in waiting] == [True] * 4
    assert checks.all == [b"sesame"]


def test_checks_run_in_the_order_in_which_they_arrived(checks: Checks) -> None:
    """Nobody who arrives later overtakes, so that a right password waits for those before it only."""
    passwords = passwords_of(alice=hashed("sesame"))
    with ThreadPoolExecutor(MAX_WAITING) as pool:
        for number in range(MAX_WAITING):
            pool.submit(passwords.admits, basic(f"alice:{number}"), client=str(number))
            until(lambda: len(passwords._waiting) == number + 1)  # noqa: B023 -- called at once
        checks.released.set()
    assert checks.all == [str(number).encode() for number in range(MAX_WAITING)]


def test_a_check_may_end_during_a_reload() -> None:
    """A reload runs in the thread of the listener, which an error would end."""
    passwords = passwords_of(alice=hashed("sesame"))
    assert passwords.admits(basic("alice:sesame"))

    class Users(dict[str, bytes]):
        def values(self) -> Any:
            passwords._verified[f"another {len(passwords._verified)}".encode()] = b""
            return super().values()

    passwords.replace(Users(passwords._users))
    assert passwords.admits(basic("alice:sesame"))
