"""Check the passwords of basic authentication against bcrypt hashes, one at a time.

A bcrypt check is slow on purpose. Without a limit, somebody who guesses passwords would occupy the whole machine.
"""

import hashlib
import hmac
import secrets
import threading
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Final

import bcrypt

MAX_COST: Final = 14
"""Maximum cost of a hash: a check then takes about a second, and each further step doubles that."""
MAX_WAITING: Final = 8
"""Maximum number of checks that wait or run; other requests are rejected."""
MAX_WAITING_OF_CLIENT: Final = 2
"""Maximum number of them from the same address, so that one client leaves room for others."""
_POLL_INTERVAL: Final = 0.1
"""Seconds after which a waiting check looks whether its client is still there."""


class Busy(Exception):
    """Too many checks are waiting, or the client of a waiting one has disconnected."""


class Passwords:
    """The users and the bcrypt hashes of their passwords; without users, every request is admitted."""

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._users = users
        # Keyed hashes of passwords that were right, by bcrypt hash: bcrypt takes longer than a scrape.
        self._salt = secrets.token_bytes(32)
        self._verified: dict[bytes, bytes] = {}
        self._waiting: dict[object, str] = {}  # in order of arrival: a ticket and the client's address
        self._changed = threading.Condition()

    def replace(self, users: Mapping[str, bytes]) -> None:
        """Use these users from now on. Passwords that were right and did not change need no new check."""
        self._users = users
        known = list(self._verified.items())  # a check that ends meanwhile adds to the dictionary
        self._verified = {hashed: token for hashed, token in known if hashed in users.values()}

    def admits(
        self, authorization: str | None, *, client: str = "", disconnected: Callable[[], bool] = lambda: False
    ) -> bool:
        """Return whether a request with this Authorization header (None: without one) is authenticated.

        ``client`` is the address that sent it. ``disconnected`` returns whether its connection has ended; the check is
        then dropped. Raises Busy.
        """
        users = self._users
        if not users:
            return True
        user, password = _credentials(authorization or "")
        if password is None:
            return False
        cost = max(map(_cost, users.values()))
        expected = users.get(user) or _dummy(cost)
        token = hmac.digest(self._salt, expected + password, hashlib.sha256)
        if self._is_verified(expected, token):
            return True
        ticket = self._enter(client)
        try:
            with self._changed:
                while not (gone := disconnected()) and next(iter(self._waiting)) is not ticket:
                    self._changed.wait(_POLL_INTERVAL)
            if gone:
                raise Busy
            good = self._is_verified(expected, token) or (_check(password, expected, cost) and user in users)
        finally:
            with self._changed:
                del self._waiting[ticket]
                self._changed.notify_all()
        if good:
            self._verified[expected] = token
        return good

    def _is_verified(self, expected: bytes, token: bytes) -> bool:
        return hmac.compare_digest(self._verified.get(expected, b""), token)

    def _enter(self, client: str) -> object:
        with self._changed:
            of_client = list(self._waiting.values()).count(client)
            if len(self._waiting) >= MAX_WAITING or of_client >= MAX_WAITING_OF_CLIENT:
                raise Busy
            ticket = object()
            self._waiting[ticket] = client
            return ticket


def _credentials(authorization: str) -> tuple[str, bytes | None]:
    """Return user and password of the header; the password is None if no user can have such a header."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, text = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8
        return "", None
    password = text.encode()
    if scheme.lower() != "basic" or not colon or len(password) > 72:  # bcrypt's limit
        return "", None
    return user, password


def _check(password: bytes, expected: bytes, cost: int) -> bool:
    """Check the password in the time of a hash with this cost, so that the time does not tell which users exist."""
    good = bcrypt.checkpw(password, expected)
    # Each step of the cost doubles the work, so a hash of each lower cost and one more make up the difference.
    for lower in range(_cost(expected), cost):
        bcrypt.checkpw(password, _dummy(lower))
    return good


def _cost(hashed: bytes) -> int:
    return int(hashed.split(b"$")[2])


def _dummy(cost: int) -> bytes:
    """Return a hash of this cost that belongs to no known password."""
    return b"$2b$%02d$" % cost + b"." * 53
