"""Listen addresses: what can be parsed, how it is printed, and what it is bound to."""

import re
import socket

import pytest

from exporter.errors import ListenError
from exporter.net import Address, address_of, bind, naming_setting, parse_address
from tests.support.texts import Texts


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:10125", Address("127.0.0.1", 10125)),
        (":0", Address("0.0.0.0", 0)),  # noqa: S104 -- what is meant
        ("[::1]:9100", Address("::1", 9100)),
        ("[]:9100", Address("0.0.0.0", 9100)),  # noqa: S104 -- what is meant
        ("example.com:65535", Address("example.com", 65_535)),
    ],
)
def test_parses_addresses(text: str, address: Address) -> None:
    """A host may be a name, an IPv4 address, an IPv6 address in brackets, or missing."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "9100", "host:", "host:99999", "host:100000", "::1:9100", "h:1:2", "host:-1", f"{'x' * 64}:1", "a\0b:1"],
)
def test_rejects_other_texts(text: str) -> None:
    """A missing or impossible port, an IPv6 address without brackets, and an impossible host are errors."""
    with pytest.raises(ValueError):  # noqa: PT011 -- it has no text
        parse_address(text)


def test_prints_addresses_as_in_a_url() -> None:
    """Only an IPv6 address has brackets."""
    assert [str(Address(host, 80)) for host in ("::1", "127.0.0.1", "a.example")] == [
        "[::1]:80",
        "127.0.0.1:80",
        "a.example:80",
    ]


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_binds_to_a_port_of_the_systems_choice(host: str, family: socket.AddressFamily) -> None:
    """With port 0 the socket gets a free port, which ``address_of`` returns with the host."""
    with bind(host, 0) as bound:
        port = bound.getsockname()[1]
        assert (bound.family, port > 0) == (family, True)
        assert address_of(host, bound) == str(Address(host, port))


def test_an_address_of_another_machine_is_an_error(texts: Texts) -> None:
    """The error names the address; 192.0.2.1 is reserved for documentation, so no interface has it."""
    with pytest.raises(ListenError) as caught:
        bind("192.0.2.1", 1)
    assert "192.0.2.1:1: " in str(caught.value)
    texts.check(caught.value)


def test_an_error_has_the_address_as_it_is_set() -> None:
    """An IPv6 address has its brackets, as in the setting."""
    with bind("::1", 0) as bound:
        bound.listen()
        address = Address("::1", bound.getsockname()[1])
        with pytest.raises(ListenError, match=re.escape(f"cannot listen on {address}: ")):
            bind(*address)


def test_a_port_in_use_is_an_error(texts: Texts) -> None:
    """The error names the setting, and a command that shows which process uses the port."""
    with bind("127.0.0.1", 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(ListenError) as caught, naming_setting("web.listen-address"):
            bind("127.0.0.1", port)
    texts.check(str(caught.value).replace(str(port), "PORT"))
