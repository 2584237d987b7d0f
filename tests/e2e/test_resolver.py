"""Lookups of public keys at a real name server on loopback."""

from collections.abc import Callable, Iterator

import pytest

from exporter.net import Address
from exporter.signature.key_records import DnsDown, TxtRecords, resolver
from tests.support.signing import KEY_ID, NameServer, key, record


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    """Yield a name server on loopback."""
    with NameServer() as running:
        yield running


def resolver_of(name_server: NameServer) -> Callable[[str], TxtRecords]:
    """Return a resolver that asks this name server."""
    host, _, port = name_server.address.partition(":")
    return resolver([Address(host, int(port))])


def test_records_of_a_name_are_returned(name_server: NameServer) -> None:
    """The strings of a record are joined, the TTL is returned, and a missing name or record has no texts."""
    name_server.records = {KEY_ID: [record(key())], "empty.copernica.com": []}
    ask = resolver_of(name_server)
    assert ask(KEY_ID) == TxtRecords([record(key()).encode()], 300)
    assert ask("empty.copernica.com").texts == ()
    assert ask("none.copernica.com").texts == ()
    assert name_server.asked == {KEY_ID: 1, "empty.copernica.com": 1, "none.copernica.com": 1}


@pytest.mark.parametrize("how", ["silent", "failing"])
def test_a_failing_name_server_is_not_a_missing_key(name_server: NameServer, how: str) -> None:
    """If DNS does not answer in time or answers SERVFAIL, the lookup raises DnsDown."""
    setattr(name_server, how, True)
    with pytest.raises(DnsDown):
        resolver_of(name_server)(KEY_ID)
